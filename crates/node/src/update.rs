//! What a signed release means for this computer, and its packages, verified. It works with a node and without one.
//! Nothing is installed by it: the platform's own tools do that, and are named.

use crate::handle::NodeHandle;
use crate::{Error, write_private};
use engine::update::{Activity, Decision, Here, Hold, KEYS, Reason, Trusted, Untrusted, Wish, decide};
use machine::download::{self, DownloadError, Expected};
use machine::image::Platform;
use model::document::{Channel, Package, PackageKind, Release, Version};
use model::{DeviceCertificate, DeviceId, Document, Invalid, Timestamp, Unverified};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;
use std::{fs, io};
use tokio::sync::Notify;
use tokio::time::timeout;

/// By which rules releases are taken.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Keys whose word counts; none: those that this program was built with.
    pub trust: Vec<DeviceId>,
    /// Whether previews are taken too.
    pub previews: bool,
    /// What installs packages here; none: what had installed this program.
    pub kind: Option<PackageKind>,
    /// Not to wait for this computer's turn.
    pub early: bool,
}

/// This computer, as far as its turn and a restart go.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Who it is.
    pub node: DeviceId,
    /// What goes on.
    pub activity: Activity,
}

impl Who {
    /// By the certificate in a data directory in which no node runs.
    ///
    /// # Errors
    /// When there has been no node.
    pub fn without_node(data: &Path) -> Result<Who, UpdateError> {
        let read = fs::read(data.join("keys/certificate")).ok().and_then(|bytes| {
            Unverified::<DeviceCertificate>::read(&bytes).and_then(|read| read.verify_past()).ok()
        });
        let known = read.ok_or_else(|| UpdateError::NoNode { data: data.to_owned() })?;
        Ok(Who { node: known.device, activity: Activity::default() })
    }
}

/// Why nothing can be said of a release, or nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Its signer does not count.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It is none.
    #[error("{from} is no valid release: {why}")]
    Bad {
        /// Where it came from.
        from: String,
        /// What is wrong.
        why: Invalid,
    },
    /// The keys of the build are none.
    #[error("SUBLET_RELEASE_KEYS, as it was at the build: {0}")]
    BadKeys(String),
    /// Nobody has said where releases are.
    #[error("nobody has said where releases come from")]
    Nowhere,
    /// It cannot be told what would install a package.
    #[error("this program was not installed by a package")]
    NotInstalled,
    /// No id, no turn.
    #[error("there has been no node in {} yet", data.display())]
    NoNode {
        /// Where.
        data: PathBuf,
    },
    /// A file that was named cannot be read.
    #[error("cannot read {}", path.display())]
    Unread {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was read cannot be kept.
    #[error("cannot write {}", path.display())]
    Unwritten {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be fetched, or something else came.
    #[error(transparent)]
    Download(#[from] DownloadError),
}

impl UpdateError {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            UpdateError::Untrusted(Untrusted::Off) => "updates_off",
            UpdateError::Untrusted(Untrusted::Signer { .. }) => "not_trusted",
            UpdateError::Bad { .. } => "bad_release",
            UpdateError::BadKeys(_) | UpdateError::Unwritten { .. } => "fault",
            UpdateError::Nowhere => "no_source",
            UpdateError::NotInstalled => "not_installed",
            UpdateError::NoNode { .. } => "no_node",
            UpdateError::Unread { .. } => "unread",
            UpdateError::Download(DownloadError::Address { .. }) => "bad_address",
            UpdateError::Download(DownloadError::Other { .. }) => "not_what_was_signed",
            UpdateError::Download(DownloadError::Unreachable { .. } | DownloadError::Status { .. }) => {
                "unreachable"
            }
            UpdateError::Download(DownloadError::Disk { .. }) => "disk",
        }
    }

    /// What to do about it; empty where there is nothing to do.
    pub fn hint(&self) -> &'static str {
        match self {
            UpdateError::Untrusted(Untrusted::Off) => {
                "Update it as you have installed it; or name a key that you know: --trust KEY."
            }
            UpdateError::Untrusted(Untrusted::Signer { .. }) => {
                "Take releases from where this program came from."
            }
            UpdateError::Nowhere => {
                "Name the release: `sublet update check URL`; or for always: `sublet settings set --releases URL`."
            }
            UpdateError::NotInstalled => "Say what installs packages here: --kind deb, for example.",
            UpdateError::NoNode { .. } => "Its id decides when its turn comes: start it once, `sublet host`.",
            UpdateError::Download(DownloadError::Other { .. }) => {
                "It was damaged or exchanged on its way; nothing of it was kept. Try again, or from another network."
            }
            UpdateError::Download(DownloadError::Unreachable { .. } | DownloadError::Status { .. }) => {
                "Try again later; what runs goes on."
            }
            UpdateError::Bad { .. }
            | UpdateError::BadKeys(_)
            | UpdateError::Unread { .. }
            | UpdateError::Unwritten { .. }
            | UpdateError::Download(DownloadError::Address { .. } | DownloadError::Disk { .. }) => "",
        }
    }
}

/// What a release means for this computer.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which version it is of.
    pub version: Version,
    /// What runs.
    pub running: Version,
    /// For whom it is.
    pub channel: Channel,
    /// Who signed.
    pub signer: DeviceId,
    /// What to do about it.
    pub step: Step,
    /// This computer's place in the order of this version, of ten thousand.
    pub place: u16,
    /// How far it has gone out.
    pub cursor: u16,
    /// Its packages for this computer.
    pub packages: Vec<Found>,
    /// The command that installs them, once they are here.
    pub install: Option<String>,
}

/// What to do about a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is not for this computer.
    Nothing(Reason),
    /// Not now.
    Wait(Hold),
    /// Its turn has come.
    Fetch,
    /// Its packages are here.
    Install,
}

/// A package of a release.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the release says of it.
    pub package: Package,
    /// Where it lies, verified; none: not here.
    pub file: Option<PathBuf>,
}

/// A release, beside this computer.
pub struct Look {
    data: PathBuf,
    release: Trusted,
    running: Version,
    who: Who,
    rules: Rules,
    kind: PackageKind,
    arch: String,
    names: Vec<&'static str>,
}

impl Look {
    /// Reads a release from a file or an https:// address, and remembers it. Of one version the last word counts: that may
    /// be an older one that was remembered.
    ///
    /// # Errors
    /// When it is none, or not its makers'.
    pub async fn at(
        data: &Path,
        who: Who,
        from: &str,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Look, UpdateError> {
        let keys = rules.keys()?;
        let bytes = if from.contains("://") {
            download::small(from, Release::MAX_BYTES).await?
        } else {
            read_file(Path::new(from))?
        };
        let bad = |why| UpdateError::Bad { from: from.to_owned(), why };
        let read = Unverified::<Release>::read(&bytes).and_then(|read| read.verify(now)).map_err(bad)?;
        let release = remember(data, Trusted::of(read, &keys)?, &keys, now)?;
        Look::of(data, who, release, rules)
    }

    /// The newest that is remembered; none where none is.
    ///
    /// # Errors
    /// When releases are not taken at all.
    pub fn remembered(
        data: &Path,
        who: Who,
        rules: Rules,
        now: Timestamp,
    ) -> Result<Option<Look>, UpdateError> {
        let keys = rules.keys()?;
        let stable = kept(data, Channel::Stable, &keys, now);
        let preview = kept(data, Channel::Preview, &keys, now).filter(|_| rules.previews);
        let newest = match (stable, preview) {
            (Some(one), Some(other)) => Some(one.or_later(other)),
            (one, other) => one.or(other),
        };
        newest.map(|release| Look::of(data, who, release, rules)).transpose()
    }

    fn of(data: &Path, who: Who, release: Trusted, rules: Rules) -> Result<Look, UpdateError> {
        let kind = rules.kind.or_else(installed_by).ok_or(UpdateError::NotInstalled)?;
        let (arch, names) = (Platform::here().architecture, names(kind));
        Ok(Look { data: data.to_owned(), release, running: running(), who, rules, kind, arch, names })
    }

    fn decide(&self, name: &str, fetched: bool, now: Timestamp) -> Step {
        let here = Here {
            node: self.who.node,
            version: self.running,
            channel: if self.rules.previews { Channel::Preview } else { Channel::Stable },
            package: name,
            kind: self.kind,
            arch: &self.arch,
            fetched,
            activity: self.who.activity,
            wish: Wish::Automatic,
            early: self.rules.early,
        };
        match decide(now, &here, &self.release) {
            Decision::Nothing(reason) => Step::Nothing(reason),
            Decision::Wait(hold) => Step::Wait(hold),
            Decision::Offer(_) | Decision::Fetch(_) => Step::Fetch,
            Decision::Install(_) => Step::Install,
        }
    }

    /// What it means now.
    pub async fn finding(&self, now: Timestamp) -> Finding {
        let release = self.release.release();
        let mut packages = Vec::new();
        for package in self.packages() {
            let file = self.staged(package);
            let is_there = download::is_there(&file, expected(package)).await;
            packages.push(Found { package: package.clone(), file: is_there.then_some(file) });
        }
        let here: Vec<&Path> = packages.iter().filter_map(|found| found.file.as_deref()).collect();
        let all_here = !packages.is_empty() && here.len() == packages.len();
        // What is here belongs together: a release that lacks one of them is for neither.
        let lacking = |name: &&&str| release.package(name, self.kind, &self.arch).is_none();
        let name = self.names.iter().find(lacking).unwrap_or(&self.names[0]);
        let step = self.decide(name, all_here, now);
        let install = (step == Step::Install).then(|| install(self.kind, &here));
        Finding {
            version: release.version,
            running: self.running,
            channel: release.channel,
            signer: release.signer(),
            step,
            place: release.place(self.who.node),
            cursor: release.cursor(now),
            packages,
            install,
        }
    }

    /// Brings its packages here, from where the release says that they lie or from a folder; `progress` hears of bytes that have
    /// come, and of how many there are.
    ///
    /// # Errors
    /// When something else comes than was signed, or nothing.
    pub async fn fetch(
        &self,
        from: Option<&Path>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<(), UpdateError> {
        let all = self.packages().map(|package| package.size).sum();
        let mut done = 0;
        for package in self.packages() {
            let to = self.staged(package);
            if !download::is_there(&to, expected(package)).await {
                match from {
                    Some(from) => {
                        download::copy(&from.join(file_name(package)), expected(package), &to).await?
                    }
                    None => {
                        let told = |at| progress(done + at, all);
                        download::fetch(&package.url, expected(package), &to, told).await?
                    }
                }
            }
            done += package.size;
            progress(done, all);
        }
        Ok(())
    }

    /// Those for this computer.
    fn packages(&self) -> impl Iterator<Item = &Package> {
        let release = self.release.release();
        self.names.iter().filter_map(|name| release.package(name, self.kind, &self.arch))
    }

    fn staged(&self, package: &Package) -> PathBuf {
        folder(&self.data).join(file_name(package))
    }
}

impl Rules {
    fn keys(&self) -> Result<Vec<DeviceId>, UpdateError> {
        if !self.trust.is_empty() {
            return Ok(self.trust.clone());
        }
        let keys = KEYS.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::parse);
        let keys: Result<Vec<DeviceId>, _> = keys.collect();
        let keys = keys.map_err(|error| UpdateError::BadKeys(error.to_string()))?;
        if keys.is_empty() { Err(Untrusted::Off.into()) } else { Ok(keys) }
    }
}

/// What runs.
pub fn running() -> Version {
    let version = env!("CARGO_PKG_VERSION");
    let numbers = version.split('-').next().unwrap_or(version);
    // A test holds that they are numbers.
    numbers.parse().unwrap_or(Version { major: 0, minor: 0, patch: 0 })
}

fn read_file(path: &Path) -> Result<Vec<u8>, UpdateError> {
    let unread = |source| UpdateError::Unread { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // One more than it may have, so that too much is told from enough.
    let mut file = io::Read::take(fs::File::open(path).map_err(unread)?, Release::MAX_BYTES as u64 + 1);
    io::Read::read_to_end(&mut file, &mut bytes).map_err(unread)?;
    Ok(bytes)
}

fn folder(data: &Path) -> PathBuf {
    data.join("updates")
}

/// A preview is newer than what is stable, and hides none of it.
fn place(data: &Path, channel: Channel) -> PathBuf {
    folder(data).join(match channel {
        Channel::Stable => "stable",
        Channel::Preview => "preview",
    })
}

fn kept(data: &Path, channel: Channel, keys: &[DeviceId], now: Timestamp) -> Option<Trusted> {
    let bytes = fs::read(place(data, channel)).ok()?;
    let kept = Unverified::<Release>::read(&bytes).and_then(|kept| kept.verify(now)).ok()?;
    Trusted::of(kept, keys).ok()
}

/// The last statement about the newest version is kept: one that was stopped is not started again by an older word.
fn remember(
    data: &Path,
    release: Trusted,
    keys: &[DeviceId],
    now: Timestamp,
) -> Result<Trusted, UpdateError> {
    let channel = release.release().channel;
    let counts = match kept(data, channel, keys, now) {
        Some(kept) => kept.or_later(release),
        None => release,
    };
    let path = place(data, channel);
    let unwritten = |source| UpdateError::Unwritten { path: path.clone(), source };
    fs::create_dir_all(folder(data)).map_err(unwritten)?;
    write_private(&path, counts.release().bytes()).map_err(unwritten)?;
    Ok(counts)
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

fn expected(package: &Package) -> Expected {
    Expected { size: package.size, sha256: package.sha256.0 }
}

/// How often releases are looked for, where the owner has said where they are.
const LOOKS_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// A node that has just started has better things to do.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// What came of looking for releases.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    again: Notify,
    last: Mutex<Option<Looked>>,
}

/// The last look for a release.
#[derive(Clone, Debug)]
pub struct Looked {
    /// When.
    pub at: Timestamp,
    /// Why nothing came of it: a code, a sentence, a hint.
    pub problem: Option<(String, String, String)>,
}

impl Updates {
    /// The owner has said something else of it.
    pub(crate) fn look_again(&self) {
        self.again.notify_one();
    }
}

impl NodeHandle {
    /// What a release means for this computer: one that is named, or the one where the owner has said that they are.
    ///
    /// # Errors
    /// When there is none, or it is not its makers'.
    pub async fn check_update(&self, from: Option<&str>, rules: Rules) -> Result<Finding, Error> {
        let look = self.look_at(from, rules).await?;
        Ok(look.finding(self.look(|core| core.now()).await?).await)
    }

    /// The same, and brings its packages here where its turn has come.
    ///
    /// # Errors
    /// The same, and when something else comes than was signed.
    pub async fn fetch_update(
        &self,
        release: Option<&str>,
        rules: Rules,
        from: Option<&Path>,
        progress: impl FnMut(u64, u64),
    ) -> Result<Finding, Error> {
        let look = self.look_at(release, rules).await?;
        let now = self.look(|core| core.now()).await?;
        let finding = look.finding(now).await;
        if finding.step != Step::Fetch {
            return Ok(finding);
        }
        look.fetch(from, progress).await?;
        self.tell_update();
        Ok(look.finding(now).await)
    }

    /// What the newest release that is remembered means for this computer; none where none is.
    ///
    /// # Errors
    /// When releases are not taken at all.
    pub async fn remembered_update(&self) -> Result<Option<Finding>, Error> {
        let (who, now) = self.who().await?;
        match Look::remembered(&self.config().data, who, self.rules()?, now)? {
            Some(look) => Ok(Some(look.finding(now).await)),
            None => Ok(None),
        }
    }

    /// The last look for releases; none where nobody has looked yet.
    pub fn looked_for_update(&self) -> Option<Looked> {
        self.updates().last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Without a release that is named, what was remembered goes on to count when it is not there any more.
    async fn look_at(&self, from: Option<&str>, rules: Rules) -> Result<Look, Error> {
        let (who, now) = self.who().await?;
        let set = self.settings()?.releases;
        let from = from.unwrap_or(&set);
        if from.is_empty() {
            return Err(UpdateError::Nowhere.into());
        }
        Ok(Look::at(&self.config().data, who, from, rules, now).await?)
    }

    /// As the owner has set them.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub fn rules(&self) -> Result<Rules, Error> {
        let set = self.settings()?;
        Ok(Rules { trust: set.release_keys, previews: set.previews, ..Rules::default() })
    }

    async fn who(&self) -> Result<(Who, Timestamp), Error> {
        let node = self.identity().party().device;
        let look = self.look(move |core| {
            let mut activity = Activity::default();
            for lease in core.engine().state().lease.all() {
                activity.count(&lease.phase, lease.unsigned_since.is_some());
            }
            (Who { node, activity }, core.now())
        });
        Ok(look.await?)
    }

    async fn look_for_update(&self) -> Result<(), Error> {
        if self.settings()?.releases.is_empty() {
            return Ok(());
        }
        let problem = match self.check_update(None, self.rules()?).await {
            Ok(_) => None,
            Err(error) => Some((error.code().to_owned(), error.to_string(), error.hint())),
        };
        let at = self.look(|core| core.now()).await?;
        *self.updates().last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Looked { at, problem });
        self.tell_update();
        Ok(())
    }
}

/// Looks for releases for as long as the node runs.
pub(crate) async fn watch(node: Weak<crate::handle::Shared>, updates: std::sync::Arc<Updates>) {
    let mut next = FIRST_LOOK;
    loop {
        // The time is over, or the owner has said something else: either way it is looked.
        let _ = timeout(next, updates.again.notified()).await;
        next = LOOKS_EVERY;
        let Some(node) = node.upgrade() else { return };
        match NodeHandle::of(node).look_for_update().await {
            Err(Error::Fault(crate::Fault::Stopped)) => return,
            Err(error) => tracing::warn!(%error, "releases are not looked for"),
            Ok(()) => {}
        }
    }
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
        assert_eq!(running().to_string(), env!("CARGO_PKG_VERSION").split('-').next().unwrap());
    }
}
