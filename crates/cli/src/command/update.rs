//! `sublet update`: what a signed release means for this computer, and its packages, verified. It works whether a node
//! runs here or not. Nothing is installed by it: the platform's own tools do that, and are named.

use crate::Done;
use crate::desk::Desk;
use crate::fail::{Failure, REFUSED};
use crate::show::{byte_bar, bytes, fields, moment};
use api::node::clock::timestamp;
use api::node::engine::update::{Activity, Decision, Here, Hold, KEYS, Trusted, Untrusted, Wish, decide};
use api::node::machine::download::{self, DownloadError, Expected};
use api::node::machine::image::Platform;
use api::node::model::document::{Channel, Package, PackageKind, Release, Version};
use api::node::model::{
    DeviceCertificate, DeviceId, Document, EndReason, FreezeReason, Key, Phase, Timestamp, Unverified,
};
use api::node::write_private;
use api::shapes::{Lease, LeaseState, Moment};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What to do about updates.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Verify a release, and say what it means for this computer.
    Check(Source),
    /// The same, and fetch its packages when this computer's turn has come.
    Fetch(FetchArgs),
    /// Sign the description of a release: for who makes packages.
    #[command(hide = true)]
    Sign(SignArgs),
}

#[derive(Args, Debug)]
struct Source {
    /// The signed release: a file, or an https:// address.
    #[arg(value_name = "FILE|URL")]
    release: String,
    /// Take releases by this key, rather than by those that this program was built with: for who builds his own.
    #[arg(long, value_name = "KEY")]
    trust: Vec<DeviceId>,
    /// Previews too.
    #[arg(long)]
    preview: bool,
    /// What installs packages here [default: what had installed this program].
    #[arg(long)]
    kind: Option<Kind>,
    /// Do not wait for this computer's turn.
    #[arg(long)]
    early: bool,
}

#[derive(Args, Debug)]
struct FetchArgs {
    #[command(flatten)]
    source: Source,
    /// Take the packages from this folder, rather than from where the release says that they lie.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct SignArgs {
    /// What to sign, in JSON.
    description: PathBuf,
    /// A file with the 64 hexadecimal digits of the secret key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the signed release.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Deb,
    Rpm,
    Appimage,
    Dmg,
    Msi,
}

/// What is found, for programs.
#[derive(Serialize)]
struct Finding {
    version: Version,
    running: Version,
    channel: Channel,
    /// Who signed.
    signer: DeviceId,
    /// `nothing`, `wait`, `fetch` or `install`.
    decision: &'static str,
    /// Why, in words.
    sentence: String,
    /// This computer's place in the order of this version, and how far that has gone.
    place: u16,
    cursor: u16,
    /// When its turn comes, if it has not.
    turn: Option<Moment>,
    packages: Vec<Found>,
    /// The command that installs them, once they are here.
    install: Option<String>,
}

#[derive(Serialize)]
struct Found {
    name: String,
    size: u64,
    sha256: String,
    url: String,
    /// Where it lies, verified; none: not here.
    file: Option<PathBuf>,
}

/// Does it.
pub async fn run(desk: &Desk<'_>, args: UpdateArgs) -> Done {
    match args.what {
        What::Check(source) => {
            let finding = Look::at(desk, &source).await?.finding(desk).await;
            tell(desk, &finding)
        }
        What::Fetch(args) => {
            let look = Look::at(desk, &args.source).await?;
            let finding = look.finding(desk).await;
            if finding.decision != "fetch" {
                return tell(desk, &finding);
            }
            look.fetch(desk, args.from.as_deref()).await?;
            tell(desk, &look.finding(desk).await)
        }
        What::Sign(args) => sign(desk, &args),
    }
}

/// A release, and this computer.
struct Look {
    release: Trusted,
    running: Version,
    node: DeviceId,
    channel: Channel,
    kind: PackageKind,
    arch: String,
    names: Vec<&'static str>,
    activity: Activity,
    early: bool,
}

impl Look {
    async fn at(desk: &Desk<'_>, source: &Source) -> Result<Look, Failure> {
        let keys = if source.trust.is_empty() { built_in()? } else { source.trust.clone() };
        let read = Unverified::<Release>::read(&read(&source.release).await?)
            .and_then(|release| release.verify(now()))
            .map_err(|error| {
                Failure::refused("bad_release", format!("{} is no valid release: {error}", source.release))
            })?;
        let release = Trusted::of(read, &keys).map_err(untrusted)?;
        let running = env!("CARGO_PKG_VERSION");
        let running = running.split('-').next().unwrap_or(running).parse();
        let running =
            running.map_err(|error| Failure::fault(format!("this program's own version: {error}")))?;
        let (node, activity) = node(desk).await?;
        let release = remember(&desk.data, release, &keys)?;
        let kind = match source.kind {
            Some(kind) => kind.into(),
            None => installed_by().ok_or_else(|| {
                Failure::refused("not_installed", "this program was not installed by a package")
                    .hint("Say what installs packages here: --kind deb, for example.")
            })?,
        };
        let channel = if source.preview { Channel::Preview } else { Channel::Stable };
        Ok(Look {
            release,
            running,
            node,
            channel,
            kind,
            arch: Platform::here().architecture,
            names: names(kind),
            activity,
            early: source.early,
        })
    }

    fn decide(&self, name: &str, fetched: bool) -> Decision<'_> {
        let here = Here {
            node: self.node,
            version: self.running,
            channel: self.channel,
            package: name,
            kind: self.kind,
            arch: &self.arch,
            fetched,
            activity: self.activity,
            wish: Wish::Automatic,
            early: self.early,
        };
        decide(now(), &here, &self.release)
    }

    async fn finding(&self, desk: &Desk<'_>) -> Finding {
        let release = self.release.release();
        let mut packages = Vec::new();
        let wanted = self.names.iter().filter_map(|name| release.package(name, self.kind, &self.arch));
        for package in wanted {
            let file = staged(&desk.data, package);
            let there = download::is_there(&file, expected(package)).await;
            packages.push(Found {
                name: package.name.clone(),
                size: package.size,
                sha256: package.sha256.to_string(),
                url: package.url.clone(),
                file: there.then_some(file),
            });
        }
        let here: Vec<&Path> = packages.iter().filter_map(|found| found.file.as_deref()).collect();
        let all_here = !packages.is_empty() && here.len() == packages.len();
        let place = release.place(self.node);
        let mut turn = None;
        // What is here belongs together: a release that lacks one of them is for neither.
        let lacking = |name: &&&str| release.package(name, self.kind, &self.arch).is_none();
        let name = self.names.iter().find(lacking).unwrap_or(&self.names[0]);
        let (decision, sentence) = match self.decide(name, all_here) {
            Decision::Nothing(reason) => ("nothing", reason.to_string()),
            Decision::Wait(hold) => {
                if let Hold::Turn { at, .. } = hold {
                    turn = at.map(Moment);
                }
                ("wait", hold.to_string())
            }
            Decision::Offer(_) | Decision::Fetch(_) => ("fetch", "its turn has come".to_owned()),
            Decision::Install(_) => (
                "install",
                format!("its packages are here and verified; {} guests would run on", self.activity.guests),
            ),
        };
        let install = (decision == "install").then(|| install(self.kind, &here));
        Finding {
            version: release.version,
            running: self.running,
            channel: release.channel,
            signer: release.signer(),
            decision,
            sentence,
            place,
            cursor: release.cursor(now()),
            turn,
            packages,
            install,
        }
    }

    async fn fetch(&self, desk: &Desk<'_>, from: Option<&Path>) -> Result<(), Failure> {
        let release = self.release.release();
        for package in self.names.iter().filter_map(|name| release.package(name, self.kind, &self.arch)) {
            let to = staged(&desk.data, package);
            if download::is_there(&to, expected(package)).await {
                continue;
            }
            let folder = to.parent().unwrap_or(&desk.data);
            fs::create_dir_all(folder)
                .map_err(|error| Failure::fault(format!("cannot make {}: {error}", folder.display())))?;
            match from {
                Some(from) => download::copy(&from.join(file_name(package)), expected(package), &to).await,
                None => {
                    let bar = byte_bar();
                    bar.set_length(package.size);
                    let done =
                        download::fetch(&package.url, expected(package), &to, |at| bar.set_position(at))
                            .await;
                    bar.finish_and_clear();
                    done
                }
            }
            .map_err(not_fetched)?;
        }
        Ok(())
    }
}

fn tell(desk: &Desk<'_>, finding: &Finding) -> Done {
    desk.out.either(finding, || story(finding))?;
    Ok(if finding.decision == "nothing" || finding.decision == "wait" { REFUSED } else { 0 })
}

fn story(finding: &Finding) -> String {
    let mut lines = vec![
        ("release", format!("{}, signed by {}", finding.version, finding.signer.short())),
        ("runs here", finding.running.to_string()),
        ("rollout", format!("place {} of 10000; it has gone out to {}", finding.place, finding.cursor)),
    ];
    for package in &finding.packages {
        let place = match &package.file {
            Some(file) => format!("verified: {}", file.display()),
            None => package.url.clone(),
        };
        lines.push(("package", format!("{}, {}, {place}", package.name, bytes(package.size))));
    }
    if let Some(turn) = finding.turn {
        lines.push(("its turn", moment(turn)));
    }
    let then = match &finding.install {
        Some(command) => format!("install: {command}"),
        None => format!("{}: {}", finding.decision, finding.sentence),
    };
    format!("{}\n\n{then}", fields(lines))
}

fn built_in() -> Result<Vec<DeviceId>, Failure> {
    let keys = KEYS.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::parse);
    let keys: Result<Vec<DeviceId>, _> = keys.collect();
    let keys = keys
        .map_err(|error| Failure::fault(format!("SUBLET_RELEASE_KEYS, as it was at the build: {error}")))?;
    if keys.is_empty() { Err(untrusted(Untrusted::Off)) } else { Ok(keys) }
}

fn untrusted(why: Untrusted) -> Failure {
    match why {
        Untrusted::Off => Failure::refused("updates_off", why.to_string())
            .hint("Update it as you have installed it; or name a key that you know: --trust KEY."),
        Untrusted::Signer { .. } => Failure::refused("not_trusted", why.to_string())
            .hint("Take releases from where this program came from."),
    }
}

async fn read(from: &str) -> Result<Vec<u8>, Failure> {
    if from.contains("://") {
        return download::small(from, Release::MAX_BYTES).await.map_err(not_fetched);
    }
    read_file(Path::new(from), Release::MAX_BYTES)
}

fn read_file(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let unread = |error| Failure::misused(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    // One more than it may have, so that too much is told from enough.
    fs::File::open(path).map_err(unread)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    Ok(bytes)
}

fn not_fetched(error: DownloadError) -> Failure {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let sentence = format!("{error}{cause}");
    match error {
        DownloadError::Address { .. } => Failure::misused(sentence),
        DownloadError::Other { .. } => Failure::refused("not_what_was_signed", sentence)
            .hint("It was damaged or exchanged on its way; nothing of it was kept. Try again, or from another network."),
        DownloadError::Unreachable { .. } | DownloadError::Status { .. } => {
            Failure::refused("unreachable", sentence).hint("Try again later; what runs goes on.")
        }
        DownloadError::Disk { .. } => Failure::fault(sentence),
    }
}

fn folder(data: &Path) -> PathBuf {
    data.join("updates")
}

/// The last statement about the newest version is kept: one that was stopped is not started again by an older word.
fn remember(data: &Path, release: Trusted, keys: &[DeviceId]) -> Result<Trusted, Failure> {
    // A preview is newer than what is stable, and hides none of it.
    let path = folder(data).join(match release.release().channel {
        Channel::Stable => "stable",
        Channel::Preview => "preview",
    });
    let kept = fs::read(&path).ok().and_then(|bytes| {
        let kept = Unverified::<Release>::read(&bytes).and_then(|kept| kept.verify(now())).ok()?;
        Trusted::of(kept, keys).ok()
    });
    let counts = match kept {
        Some(kept) => kept.or_later(release),
        None => release,
    };
    let unwritten = |error| Failure::fault(format!("cannot write {}: {error}", path.display()));
    fs::create_dir_all(folder(data)).map_err(unwritten)?;
    write_private(&path, counts.release().bytes()).map_err(unwritten)?;
    Ok(counts)
}

/// Who this node is, and what goes on there: by its own word if it runs, else by its certificate.
async fn node(desk: &Desk<'_>) -> Result<(DeviceId, Activity), Failure> {
    match desk.client.status().await {
        Ok(status) => {
            let id = status.me.device.parse();
            let id = id.map_err(|error| Failure::fault(format!("the node's id: {error}")))?;
            let mut activity = Activity::default();
            let leases = desk.client.all_leases(false).await?;
            leases.iter().for_each(|lease| activity.count(&phase(lease), unsigned(lease)));
            Ok((id, activity))
        }
        Err(api::ClientError::NoNode(_)) => {
            let certificate = desk.data.join("keys/certificate");
            let read = fs::read(&certificate).ok().and_then(|bytes| {
                Unverified::<DeviceCertificate>::read(&bytes).and_then(|read| read.verify_past()).ok()
            });
            let known = read.ok_or_else(|| {
                Failure::refused("no_node", format!("there has been no node in {} yet", desk.data.display()))
                    .hint("Its id decides when its turn comes: start it once, `sublet host`.")
            })?;
            Ok((known.device, Activity::default()))
        }
        Err(error) => Err(error.into()),
    }
}

/// As far as it matters here: the reasons do not.
fn phase(lease: &Lease) -> Phase {
    match lease.standing.state {
        LeaseState::Agreed => Phase::Agreed,
        LeaseState::Fetching => Phase::Fetching,
        LeaseState::Starting => Phase::Starting,
        LeaseState::Running | LeaseState::Throttled => Phase::Running,
        LeaseState::Frozen => Phase::Frozen(FreezeReason::Unsigned),
        LeaseState::Closing => Phase::Closing(EndReason::TermOver),
        LeaseState::Ended => Phase::Ended(EndReason::TermOver),
    }
}

fn unsigned(lease: &Lease) -> bool {
    let number = |total: &Option<api::shapes::Total>| total.as_ref().map_or(0, |total| total.number);
    number(&lease.tick) > number(&lease.receipt)
}

impl From<Kind> for PackageKind {
    fn from(kind: Kind) -> PackageKind {
        match kind {
            Kind::Deb => PackageKind::Deb,
            Kind::Rpm => PackageKind::Rpm,
            Kind::Appimage => PackageKind::AppImage,
            Kind::Dmg => PackageKind::Dmg,
            Kind::Msi => PackageKind::Msi,
        }
    }
}

/// What had installed this program.
fn installed_by() -> Option<PackageKind> {
    if std::env::var_os("APPIMAGE").is_some() {
        return Some(PackageKind::AppImage);
    }
    let program = std::env::current_exe().ok()?;
    if !program.starts_with("/usr/bin") {
        return None;
    }
    if Path::new("/var/lib/dpkg/info/sublet.list").exists() {
        return Some(PackageKind::Deb);
    }
    ["/usr/lib/sysimage/rpm", "/var/lib/rpm"]
        .iter()
        .any(|base| Path::new(base).is_dir())
        .then_some(PackageKind::Rpm)
}

/// The packages that belong together here.
fn names(kind: PackageKind) -> Vec<&'static str> {
    match kind {
        PackageKind::Deb | PackageKind::Rpm => {
            let mut names = vec!["sublet"];
            names.extend(Path::new("/usr/bin/sublet-desktop").exists().then_some("sublet-desktop"));
            names
        }
        PackageKind::AppImage | PackageKind::Dmg | PackageKind::Msi => vec!["sublet-desktop"],
    }
}

fn install(kind: PackageKind, files: &[&Path]) -> String {
    let quoted: Vec<String> =
        files.iter().map(|file| format!("'{}'", file.display().to_string().replace('\'', r"'\''"))).collect();
    let files = quoted.join(" ");
    match kind {
        PackageKind::Deb => format!("sudo apt-get install {files}"),
        PackageKind::Rpm => format!("sudo dnf install {files}"),
        PackageKind::AppImage => format!("install -m 755 {files} \"$APPIMAGE\""),
        PackageKind::Dmg => format!("open {files}"),
        PackageKind::Msi => format!("msiexec /i {files}"),
    }
}

/// A name that no release can choose: its parts are words.
fn file_name(package: &Package) -> String {
    let end = match package.kind {
        PackageKind::Deb => "deb",
        PackageKind::Rpm => "rpm",
        PackageKind::AppImage => "AppImage",
        PackageKind::Dmg => "dmg",
        PackageKind::Msi => "msi",
    };
    format!("{}_{}.{end}", package.name, package.arch)
}

fn staged(data: &Path, package: &Package) -> PathBuf {
    folder(data).join(file_name(package))
}

fn expected(package: &Package) -> Expected {
    Expected { size: package.size, sha256: package.sha256.0 }
}

fn sign(desk: &Desk<'_>, args: &SignArgs) -> Done {
    let description = read_file(&args.description, Release::MAX_BYTES)?;
    let release: Release = serde_json::from_slice(&description)
        .map_err(|error| Failure::misused(format!("{}: {error}", args.description.display())))?;
    let seed = String::from_utf8_lossy(&read_file(&args.key, 100)?).trim().parse::<DeviceId>();
    // Whatever is wrong with it: its text is a secret.
    let seed = seed.map_err(|_| Failure::misused(format!("{} holds no key", args.key.display())))?;
    let key = Key::from_seed(seed.0);
    let signed = key.sign(&release).map_err(|error| Failure::misused(error.to_string()))?;
    fs::write(&args.out, signed.bytes())
        .map_err(|error| Failure::misused(format!("cannot write {}: {error}", args.out.display())))?;
    let told = serde_json::json!({ "id": signed.id().to_string(), "signer": key.id() });
    desk.out
        .either(&told, || format!("{} of {} signed by {}", args.out.display(), release.version, key.id()))
        .map(|()| 0)
}

fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_survives_the_names_of_folders() {
        let file = Path::new("/home/o'neil/a b.deb");
        assert_eq!(install(PackageKind::Deb, &[file]), r"sudo apt-get install '/home/o'\''neil/a b.deb'");
    }

    #[test]
    fn this_program_has_a_version_that_releases_can_replace() {
        assert!(env!("CARGO_PKG_VERSION").split('-').next().unwrap().parse::<Version>().is_ok());
    }
}
