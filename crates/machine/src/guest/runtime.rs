//! Which OCI runtime runs guests, and how it is called.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::Feature;
use serde::{Deserialize, Serialize};

use super::engine::Engine;

/// Where distributions keep programs; used where `PATH` says nothing, and for the runtime itself.
pub const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An OCI runtime on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    program: PathBuf,
    /// Whether its guests have no network but one of their own, with nobody else in it.
    #[serde(default)]
    no_network: bool,
    /// The container engine that is asked for guests instead; the program is its socket.
    #[serde(default)]
    engine: Option<Engine>,
}

impl Runtime {
    /// The names of those that were tried, the best first: crun starts twice as fast as runc and takes a tenth of its
    /// memory; runsc is the strongest, and cannot give a guest all that others can.
    pub const KNOWN: [&str; 3] = ["crun", "runc", "runsc"];

    /// The best one installed; without any, a container engine that can hold guests.
    pub fn find() -> Option<Runtime> {
        let installed = Runtime::KNOWN.into_iter().find_map(find_in_path).map(Runtime::at);
        installed.or_else(|| Engine::find().map(Runtime::by))
    }

    /// What the owner has named: one of [`Runtime::KNOWN`], or a container engine: `podman`, `docker`, `unix:///path.sock`.
    ///
    /// # Errors
    /// When it is none of these, not there, or cannot hold guests.
    pub fn chosen(name: &str) -> Result<Runtime, String> {
        if Runtime::KNOWN.contains(&name) {
            let missing = || format!("{name} is not installed: `sublet doctor` says how to get it");
            return Runtime::named(name).ok_or_else(missing);
        }
        if !["podman", "docker"].contains(&name) && !name.starts_with("unix://") {
            return Err(format!(
                "guests are not held by {name}: crun, runc and runsc are what was tried, and the engines podman, docker and unix:///path.sock"
            ));
        }
        Engine::named(name).map(Runtime::by).map_err(|error| error.to_string())
    }

    /// A container engine in the place of one.
    pub fn by(engine: Engine) -> Runtime {
        let no_network = !rustix::process::geteuid().is_root();
        Runtime { program: engine.socket().to_owned(), no_network, engine: Some(engine) }
    }

    /// The container engine, if it is one.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The one of this name, if it is installed.
    pub fn named(name: &str) -> Option<Runtime> {
        find_in_path(name).map(Runtime::at)
    }

    /// This one.
    pub fn at(program: PathBuf) -> Runtime {
        let runtime = Runtime { program, no_network: false, engine: None };
        let no_network = runtime.has_own_kernel() && !waits_for_words(&runtime.description());
        Runtime { no_network, ..runtime }
    }

    /// What guests have as a rule, and not by it.
    pub fn without(&self) -> Vec<Feature> {
        if self.engine.is_some() {
            // No storage of an engine's holds every guest to its bytes and files.
            let never = [Feature::Writing, Feature::Devices, Feature::Volumes, Feature::Secrets];
            // Into a container's network and its groups comes root alone.
            let for_root = [Feature::Network, Feature::Processes, Feature::Copying];
            let for_root = for_root.into_iter().filter(|_| self.no_network);
            return never.into_iter().chain(for_root).collect();
        }
        let own_kernel = [Feature::Devices, Feature::Processes].into_iter().filter(|_| self.has_own_kernel());
        Some(Feature::Network).filter(|_| self.no_network).into_iter().chain(own_kernel).collect()
    }

    /// Its path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its name, by which people know it.
    pub fn name(&self) -> String {
        if let Some(engine) = &self.engine {
            return engine.name();
        }
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    /// Its name and version, as in an offer: `crun 1.8.1`.
    pub fn description(&self) -> String {
        if let Some(engine) = &self.engine {
            return engine.description();
        }
        let version = Command::new(&self.program).arg("--version").output();
        let text =
            version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let number = first.split_whitespace().last().unwrap_or_default();
        format!("{} {number}", self.name()).trim().to_owned()
    }

    /// Whether guests run on a kernel of its own, which is a program of this machine: what they do to that kernel they
    /// do to nobody else. It has no devices, and shows nothing of what goes on in it. A guest that fills more memory than
    /// it may have, or has more processes, ends as a whole.
    pub fn has_own_kernel(&self) -> bool {
        self.name() == "runsc"
    }

    /// Whether it holds directories in memory to a number of files. Elsewhere these only take the guest's memory.
    pub fn counts_files(&self) -> bool {
        self.engine.as_ref().is_none_or(Engine::counts_files)
    }

    /// What it takes itself, in the guest's groups and beside what the guest was given.
    pub fn keep(&self) -> Keep {
        match self.has_own_kernel() {
            // Threads of its kernel, and two for each of the guest's; what it holds when the guest does nothing.
            true => Keep { pids: 512, memory: 64 << 20 },
            // The warden, the runtime and its helper; and, for a moment, the runtime that begins another program.
            false => Keep { pids: 8, memory: 0 },
        }
    }

    /// crun refuses to run where both versions of control groups are mounted, even when told to leave them alone; runc
    /// refuses to run where none are.
    pub fn dreads_mixed_groups(&self) -> bool {
        self.name() == "crun"
    }

    /// Whether it hands the terminal of the guest's own program over. Others keep it, copy between it and their own, and
    /// pass on its size; crun copies and does not.
    pub fn hands_over_terminal(&self) -> bool {
        self.name() == "crun" || self.has_own_kernel()
    }

    /// The arguments that run `bundle` and leave control groups and network to us. `scratch` is a directory for its
    /// own state, in which it writes the files `pid` (when the program has begun) and `log` (its complaints, as JSON).
    pub fn arguments(&self, scratch: &Path, bundle: &Path, console: Option<&Path>) -> Vec<OsString> {
        let in_scratch = |name: &str| scratch.join(name).into_os_string();
        let mut arguments = self.global_arguments(scratch, &scratch.join("log"));
        arguments.extend(["run", "--pid-file"].map(OsString::from));
        arguments.extend([in_scratch("pid"), "--bundle".into(), bundle.into()]);
        arguments.extend(to_console(console));
        arguments.push("guest".into());
        arguments
    }

    /// The arguments that begin the process described in the file `process` in the guest that was run with the same
    /// `scratch`, and then leave: its number is in the file `pid`, and its terminal was sent to the socket `console`. One
    /// with a kernel of its own stays, and has the terminal and the exit code of what it has begun.
    pub fn exec_arguments(
        &self,
        scratch: &Path,
        log: &Path,
        process: &Path,
        pid: &Path,
        console: Option<&Path>,
    ) -> Vec<OsString> {
        let mut arguments = self.global_arguments(scratch, log);
        arguments.push("exec".into());
        match self.has_own_kernel() {
            // That of a short program it would not find when it looks for it. This one stays instead.
            true => arguments.extend(["--internal-pid-file".into(), pid.with_extension(INNER).into()]),
            false => arguments.push("--detach".into()),
        }
        arguments.extend(["--process".into(), process.into(), "--pid-file".into(), pid.into()]);
        arguments.extend(to_console(console));
        arguments.push("guest".into());
        arguments
    }

    /// The arguments that send a signal to a process of a guest whose kernel is its own: to the one that this kernel
    /// numbers so, else to the first.
    pub fn signal_arguments(&self, scratch: &Path, number: Option<u32>, signal: i32) -> Vec<OsString> {
        let mut arguments = self.global_arguments(scratch, &scratch.join("signal.log"));
        arguments.push("kill".into());
        arguments.extend(
            number
                .into_iter()
                .flat_map(|number| ["--pid".to_owned(), number.to_string()])
                .map(OsString::from),
        );
        arguments.extend(["guest".to_owned(), signal.to_string()].map(OsString::from));
        arguments
    }

    fn global_arguments(&self, scratch: &Path, log: &Path) -> Vec<OsString> {
        let own: &[&str] = match self.name().as_str() {
            "crun" => &["--cgroup-manager=disabled"],
            // Our list of calls holds in its kernel, too; and what is copied into a guest's files beside it is seen by it.
            "runsc" => &["--ignore-cgroups", "--oci-seccomp", "--file-access=shared", "--overlay2=none"],
            // runc then goes on where it may not make control groups, and stays in ours.
            _ => &["--rootless=true"],
        };
        let mut arguments: Vec<OsString> = own.iter().map(OsString::from).collect();
        if self.has_own_kernel() {
            // "Host" is the network that it stands in, which is the guest's.
            arguments.push(if self.no_network { "--network=none" } else { "--network=host" }.into());
        }
        arguments.extend(["--root".into(), scratch.join("state").into(), "--log".into(), log.into()]);
        arguments.push("--log-format=json".into());
        arguments
    }
}

/// Whether a program that reads from a socket waits until there is something, by this version of runsc. By that of the
/// end of 2022 it is told that nothing is there, and gives up. The first digits of eight in a row are its date; this is the
/// oldest that was seen to do better.
fn waits_for_words(description: &str) -> bool {
    let dates = description.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 8);
    dates.filter_map(|date| date.parse::<u32>().ok()).next().is_some_and(|date| date >= 20_240_729)
}

/// What a runtime takes for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Processes and threads.
    pub pids: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// The ending of the file's name in which a kernel of its own says how it numbers a process.
pub const INNER: &str = "inner";

fn to_console(console: Option<&Path>) -> impl Iterator<Item = OsString> {
    console.into_iter().flat_map(|console| ["--console-socket".into(), console.into()])
}

/// The last thing that a runtime wrote into its log.
pub fn complaint(log: File) -> Option<String> {
    let mut text = String::new();
    log.take(64 * 1024).read_to_string(&mut text).ok()?;
    let last = text.lines().rfind(|line| !line.trim().is_empty())?;
    let entry: serde_json::Value = serde_json::from_str(last).ok()?;
    // It has to fit into a packet, and may name what the tenant named.
    Some(entry.get("msg")?.as_str()?.trim().chars().take(500).collect())
}

/// A program in `PATH` or in the usual places: a desktop session often has no /usr/sbin in its `PATH`.
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(env::split_paths(USUAL_PATH)).map(|directory| directory.join(name)).find(
        |program| fs::metadata(program).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_was_not_seen_to_wait_is_not_trusted_to() {
        for (version, waits) in [
            ("runsc 0.0~20221219.0", false),
            ("runsc 0.0~20240729.0", true),
            ("runsc release-20250407.0", true),
            ("runsc", false),
            ("runsc release-1234567890", false),
        ] {
            assert_eq!(waits_for_words(version), waits, "{version}");
        }
    }

    #[test]
    fn only_a_kernel_of_its_own_lacks_anything() {
        let at = |path: &str| Runtime::at(path.into());
        assert_eq!(at("/nowhere/crun").without(), []);
        assert!(at("/nowhere/runsc").without().contains(&Feature::Network), "nobody says which it is");
    }
}
