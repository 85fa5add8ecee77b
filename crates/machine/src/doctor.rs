//! Whether this machine can hold guests, and the one command that mends what is missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::device;
use crate::guest::{Engine, EngineError, Hierarchy, Ids, Runtime, Writable, find_in_path};
use crate::presence::{self, Places, Sight, Wants};
use model::ReasonKind;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What, in a word or two.
    pub name: &'static str,
    /// How it is.
    pub state: Health,
    /// What was found.
    pub detail: String,
    /// A command that mends it, or a sentence if none does.
    pub remedy: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Works,
    /// Guests run, with something less.
    Limited,
    /// No guest runs without it.
    Missing,
}

/// Looks at all that guests need. Takes some milliseconds, and changes nothing but empty control groups of our own.
pub fn doctor() -> Vec<Finding> {
    let found = Runtime::find();
    let by_engine = found.as_ref().is_some_and(|runtime| runtime.engine().is_some());
    let mut findings = vec![runtime(found.as_ref()), own_kernel(), engines()];
    if !by_engine {
        // An engine sees to all of these itself.
        findings.extend([user_namespaces(), ids(), limits(), swap(), open_files(), disk(), disk_rate()]);
        findings.extend([devices(), device_guard(), overlay(), kernel()]);
    }
    findings.push(kvm());
    findings.extend(owner());
    findings
}

/// Whether nothing that guests need is missing.
pub fn can_host(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.state != Health::Missing)
}

/// What this machine can tell of its owner, and who tells. Where nothing does, the owner's rule about it cannot hold.
fn owner() -> Vec<Finding> {
    let places = Places::here(Path::new("/"));
    let kinds = ReasonKind::ALL.into_iter().filter(|kind| *kind > ReasonKind::OutsideSchedule).collect();
    let seen = presence::look(&mut presence::sources(&places), &Wants { kinds, ..Wants::default() });
    let finding = |(kind, sight)| {
        let name = match kind {
            ReasonKind::OnBattery => "power",
            ReasonKind::LowCharge => "charge",
            ReasonKind::Hot => "heat",
            ReasonKind::Metered => "metered network",
            ReasonKind::FullScreen => "full screen",
            ReasonKind::Program => "programs",
            ReasonKind::InUse => "keyboard and mouse",
            ReasonKind::Busy => "owner's load",
            ReasonKind::Never | ReasonKind::Paused | ReasonKind::OutsideSchedule => "owner",
        };
        match sight {
            Sight::Told { source } => works(name, format!("told by {source}")),
            Sight::Unknown { why } => limited(
                name,
                "not known here".into(),
                &why,
                "rules of `sublet policy` about it do not hold here",
            ),
        }
    };
    seen.sights.into_iter().map(finding).collect()
}

fn runtime(found: Option<&Runtime>) -> Finding {
    const NAME: &str = "container runtime";
    let Some(runtime) = found else {
        return missing(NAME, "neither crun, runc nor runsc is in PATH", &install("crun"));
    };
    if let Some(engine) = runtime.engine() {
        let detail = format!("{} ({})", runtime.description(), engine.socket().display());
        return limited(NAME, detail, &format!("guests by it have {}", lacks(runtime)), &install("crun"));
    }
    let version = Command::new(runtime.program()).arg("--version").output();
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let Some(version) = text.lines().next().filter(|line| !line.is_empty()) else {
        let detail = format!("{} does not say its version", runtime.program().display());
        return missing(NAME, &detail, &install("crun"));
    };
    let detail = format!("{version} ({})", runtime.program().display());
    if runtime.name() == "crun" {
        works(NAME, detail)
    } else {
        limited(NAME, detail, "guests start in half the time with crun", &install("crun"))
    }
}

/// Whether the owner could have guests run on a kernel of their own.
fn own_kernel() -> Finding {
    const NAME: &str = "kernel of its own";
    let Some(runsc) = Runtime::named("runsc") else {
        return works(NAME, "guests can have one where runsc is installed");
    };
    let detail = format!(
        "guests have one by `sublet host --runtime runsc` ({}), and then {}",
        runsc.description(),
        lacks(&runsc)
    );
    works(NAME, detail)
}

/// What guests go without by it: `no network, no devices`.
fn lacks(runtime: &Runtime) -> String {
    let words = runtime.without().into_iter().map(|feature| format!("no {}", feature.word()));
    words.collect::<Vec<_>>().join(", ")
}

/// Whether the owner could have guests held by a container engine.
fn engines() -> Finding {
    const NAME: &str = "container engines";
    let said = ["podman", "docker"].into_iter().filter_map(|name| match Engine::named(name) {
        Ok(engine) => {
            let runtime = Runtime::by(engine);
            let lacks = lacks(&runtime);
            let by = runtime.description();
            if let Some(missing) = runtime.engine().and_then(Engine::lacks) {
                return Some(format!("not yet {name} ({by}): {missing}"));
            }
            Some(format!(
                "guests can be held by `sublet host --runtime {name}` ({by}), and then have {lacks}"
            ))
        }
        Err(EngineError::NoSocket { .. }) => None,
        Err(error) => Some(format!("not {name}: {error}")),
    });
    let said: Vec<String> = said.collect();
    match said.is_empty() {
        true => works(
            NAME,
            "none listens at its usual place; guests can be held by Podman or Docker where one does",
        ),
        false => works(NAME, said.join("; ")),
    }
}

fn user_namespaces() -> Finding {
    const NAME: &str = "user namespaces";
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    match number("/proc/sys/user/max_user_namespaces") {
        None => return missing(NAME, "the kernel has none", "boot a kernel with CONFIG_USER_NS"),
        Some(0) => {
            return missing(
                NAME,
                "the kernel is told to allow none",
                "sysctl -w user.max_user_namespaces=15000",
            );
        }
        Some(_) => {}
    }
    if is_root() {
        return works(NAME, "allowed");
    }
    // Debian's and Ubuntu's switches; other kernels have neither.
    if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return missing(NAME, "for root alone", "sudo sysctl -w kernel.unprivileged_userns_clone=1");
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        let remedy = "install the package, which brings an AppArmor profile, or: \
                      sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
        return limited(
            NAME,
            "allowed for programs with an AppArmor profile".into(),
            "others are refused",
            remedy,
        );
    }
    works(NAME, "allowed")
}

fn ids() -> Finding {
    const NAME: &str = "ids for guests";
    match Ids::available() {
        Ok(Ids::Own { .. } | Ids::OfEngine) => works(NAME, "each guest has a range of its own"),
        Ok(Ids::Subordinate { count, .. }) => {
            let helpers =
                ["newuidmap", "newgidmap"].into_iter().find(|helper| find_in_path(helper).is_none());
            match helpers {
                Some(helper) => missing(NAME, &format!("{helper} is not in PATH"), &install("uidmap")),
                None => {
                    let but = "guests share them, and cannot change the files of their images";
                    limited(NAME, format!("{count} subordinate ids"), but, "run the node as root")
                }
            }
        }
        Err(error) => {
            let remedy = "sudo usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 \"$USER\"";
            missing(NAME, &error.to_string(), remedy)
        }
    }
}

fn limits() -> Finding {
    const NAME: &str = "limits";
    match Hierarchy::find() {
        Ok(hierarchy) => {
            let detail = format!(
                "processor, memory, processes and freezing by control groups of version {}",
                hierarchy.version()
            );
            works(NAME, detail)
        }
        Err(error) => {
            let remedy =
                error.remedy().map_or_else(|| "see the message".to_owned(), |remedy| remedy.to_string());
            missing(NAME, &error.to_string(), &remedy)
        }
    }
}

/// Guests get no swap: it would make the owner's disk wait for them.
fn swap() -> Finding {
    const NAME: &str = "swap";
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() <= 1 {
        return works(NAME, "this machine has none");
    }
    match Hierarchy::find().map(|hierarchy| hierarchy.counts_swap()) {
        Ok(true) => works(NAME, "counted as memory: guests get none beyond theirs"),
        Ok(false) => limited(
            NAME,
            "this kernel does not count it".into(),
            "guests are kept off it, but not by a limit",
            "boot with swapaccount=1",
        ),
        Err(_) => works(NAME, "guests get none"),
    }
}

fn open_files() -> Finding {
    const NAME: &str = "open files";
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    match most {
        Some(most) if most < LEAST_FILES && !is_root() => {
            let but = "programs in guests have no more either";
            limited(
                NAME,
                format!("{most} for each process"),
                but,
                "raise `nofile` in /etc/security/limits.conf",
            )
        }
        Some(most) => works(NAME, format!("limited, up to {most} for each process")),
        None => works(NAME, "limited"),
    }
}

/// What databases expect.
const LEAST_FILES: u64 = 4096;

fn disk() -> Finding {
    const NAME: &str = "disk";
    match Writable::on_disk() {
        Ok(()) => {
            works(NAME, "bytes and files are limited; each guest writes into a file of its size on the disk")
        }
        Err(why) => {
            let remedy = if is_root() { why.as_str() } else { "run the node as root" };
            limited(
                NAME,
                format!("bytes and files are limited exactly ({why})"),
                "what guests write is kept in memory, and counted as such",
                remedy,
            )
        }
    }
}

/// What the owner could lend besides, and whether a guest could open it.
fn devices() -> Finding {
    const NAME: &str = "devices";
    let found = device::lendable();
    if found.is_empty() {
        return works(NAME, "none that could be lent: no CDI file, graphics, camera, serial or sound device");
    }
    let names = |open: bool| {
        let such = found.iter().filter(|(_, devices)| devices.can_be_opened().is_ok() == open);
        such.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (open, closed) = (names(true), names(false));
    if closed.is_empty() {
        return works(NAME, format!("can be lent (`sublet offer set --device NAME=..`): {open}"));
    }
    limited(
        NAME,
        format!("can be lent: {}", if open.is_empty() { "none" } else { &open }),
        &format!("no guest could open {closed}"),
        "run the node as root: guests then have nodes of their own",
    )
}

/// What keeps guests from devices that are not theirs.
fn device_guard() -> Finding {
    const NAME: &str = "device guard";
    match Hierarchy::find().map(|hierarchy| hierarchy.guards_devices()) {
        Ok(true) => works(
            NAME,
            "a guest opens no device but the usual harmless ones and its own, whatever nodes it finds",
        ),
        Ok(false) => limited(
            NAME,
            "not enforceable here".into(),
            "a guest has no node of any device but its own; nothing else would keep it from one that somebody made there",
            "run the node as root, where control groups of version 1 have the `devices` controller",
        ),
        Err(_) => limited(NAME, "not known".into(), "there are no control groups", "see `limits`"),
    }
}

/// How fast a guest may read and write.
fn disk_rate() -> Finding {
    const NAME: &str = "disk rate";
    if Writable::here() == Writable::Memory {
        return works(NAME, "what guests write is in memory: it keeps no disk busy");
    }
    match Hierarchy::find().map(|hierarchy| hierarchy.limits_io()) {
        Ok(true) => works(
            NAME,
            "a guest's reading and writing on its disk can be limited (`sublet offer set --io-rate`)",
        ),
        Ok(false) => limited(
            NAME,
            "not enforceable here".into(),
            "there is no control group for it, and a guest may keep the disk busy",
            "boot a kernel with CONFIG_BLK_DEV_THROTTLING, or hand the `io` controller over (Delegate=yes)",
        ),
        Err(_) => limited(NAME, "not known".into(), "there are no control groups", "see `limits`"),
    }
}

fn overlay() -> Finding {
    const NAME: &str = "overlay";
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let folder = format!("/lib/modules/{}", rustix::system::uname().release().to_string_lossy());
    let is_module = || Path::new(&folder).join("kernel/fs/overlayfs").exists();
    let takes_none =
        || fs::read_to_string("/proc/sys/kernel/modules_disabled").is_ok_and(|word| word.trim() == "1");
    if known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
        works(NAME, "in the kernel")
    } else if !is_module() {
        missing(NAME, "not in the kernel", "boot a kernel with CONFIG_OVERLAY_FS")
    } else if takes_none() {
        missing(
            NAME,
            "a module, and the kernel takes no more of them",
            "echo overlay | sudo tee /etc/modules-load.d/sublet.conf, and start anew",
        )
    } else {
        works(NAME, "a module, which the kernel loads at the first guest")
    }
}

/// Linux 5.19 shows layers under the guest's own ids; 6.6 lets an overlay keep its marks on a tmpfs.
fn kernel() -> Finding {
    const NAME: &str = "kernel";
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 6) {
        works(NAME, format!("Linux {release}"))
    } else if version >= (5, 19) {
        let but = "a guest cannot make a directory anew that it has removed from its image";
        limited(NAME, format!("Linux {release}"), but, "boot Linux 6.6 or newer")
    } else {
        missing(NAME, &format!("Linux {release}"), "boot Linux 5.19 or newer")
    }
}

fn kvm() -> Finding {
    const NAME: &str = "virtual machines";
    match fs::File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => works(NAME, "/dev/kvm can be used"),
        Err(error) => limited(
            NAME,
            error.to_string(),
            "guests share this kernel",
            "sudo usermod -aG kvm \"$USER\", if there is /dev/kvm",
        ),
    }
}

fn works(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding { name, state: Health::Works, detail: detail.into(), remedy: None }
}

fn limited(name: &'static str, found: String, but: &str, remedy: &str) -> Finding {
    Finding {
        name,
        state: Health::Limited,
        detail: format!("{found}: {but}"),
        remedy: Some(remedy.to_owned()),
    }
}

fn missing(name: &'static str, detail: &str, remedy: &str) -> Finding {
    Finding { name, state: Health::Missing, detail: detail.to_owned(), remedy: Some(remedy.to_owned()) }
}

/// The command of this machine's package manager.
fn install(package: &str) -> String {
    // The tools that map ids are packaged under another name where there is no apt.
    let elsewhere = if package == "uidmap" { "shadow-utils" } else { package };
    let managers = [
        ("apt-get", "sudo apt-get install -y", package),
        ("dnf", "sudo dnf install -y", elsewhere),
        ("zypper", "sudo zypper install -y", elsewhere),
        ("pacman", "sudo pacman -S --noconfirm", if package == "uidmap" { "shadow" } else { package }),
        ("apk", "sudo apk add", if package == "uidmap" { "shadow-uidmap" } else { package }),
    ];
    match managers.into_iter().find(|(manager, ..)| find_in_path(manager).is_some()) {
        Some((_, command, package)) => format!("{command} {package}"),
        None => format!("install {package}"),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_comes_with_a_remedy() {
        let findings = doctor();
        assert!(findings.len() >= 6);
        for finding in findings {
            assert_eq!(finding.remedy.is_none(), finding.state == Health::Works, "{finding:?}");
            assert!(!finding.detail.is_empty());
        }
    }

    #[test]
    fn one_missing_thing_is_enough_for_no_guests() {
        let fine = works("a", "b");
        assert!(can_host(std::slice::from_ref(&fine)));
        assert!(can_host(&[fine.clone(), limited("c", "d".into(), "e", "f")]));
        assert!(!can_host(&[fine, missing("c", "d", "e")]));
    }
}
