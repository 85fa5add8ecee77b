//! `sublet update`: what a signed release means for this computer, and its packages, verified. It works whether a node
//! runs here or not. Nothing is installed by it: the platform's own tools do that, and are named.

use crate::Done;
use crate::desk::Desk;
use crate::fail::{Failure, REFUSED};
use crate::show::{byte_bar, bytes, fields, moment};
use api::node::Error;
use api::node::clock::timestamp;
use api::node::model::document::{PackageKind, Release};
use api::node::model::{DeviceId, Document, Key, Timestamp};
use api::node::update::{Look, Rules, UpdateError, Who};
use api::shapes::{Update, UpdateDecision, UpdateProgress, UpdateWish};
use api::{ClientError, Problem};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressBar;
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
    /// The signed release: a file, or an https:// address [default: where the settings say that releases are].
    #[arg(value_name = "FILE|URL")]
    release: Option<String>,
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

/// Does it.
pub async fn run(desk: &Desk<'_>, args: UpdateArgs) -> Done {
    match args.what {
        What::Check(source) => {
            let wish = source.wish(None)?;
            let found = match desk.client.check_update(&wish).await {
                Err(ClientError::NoNode(_)) => without_node(desk, &wish, false).await?,
                answer => answer?,
            };
            tell(desk, &found)
        }
        What::Fetch(args) => {
            let wish = args.source.wish(args.from)?;
            let found = match desk.client.fetch_update(&wish).await {
                Err(ClientError::NoNode(_)) => without_node(desk, &wish, true).await?,
                fetching => {
                    let bar = byte_bar();
                    let done = fetching?.done(|at: UpdateProgress| show(&bar, at.done, at.total)).await;
                    bar.finish_and_clear();
                    done?
                }
            };
            tell(desk, &found)
        }
        What::Sign(args) => sign(desk, &args),
    }
}

impl Source {
    /// Whole paths: the node's own folder is another.
    fn wish(self, from: Option<PathBuf>) -> Result<UpdateWish, Failure> {
        let whole = |path: &Path| {
            std::path::absolute(path)
                .map_err(|error| Failure::misused(format!("{}: {error}", path.display())))
        };
        let release = match self.release {
            Some(file) if !file.contains("://") => {
                Some(whole(Path::new(&file))?.to_string_lossy().into_owned())
            }
            release => release,
        };
        Ok(UpdateWish {
            release,
            trust: (!self.trust.is_empty()).then_some(self.trust),
            previews: self.preview.then_some(true),
            kind: self.kind.map(Into::into),
            early: self.early,
            from: from.map(|from| whole(&from)).transpose()?,
        })
    }
}

/// What the node would do, where none runs: its turn comes all the same.
async fn without_node(desk: &Desk<'_>, wish: &UpdateWish, fetch: bool) -> Result<Update, Failure> {
    let told = |error: UpdateError| Failure::from(Problem::from(Error::from(error)));
    let set = api::node::Settings::load(&desk.data)?;
    let rules = wish.rules(Rules { trust: set.release_keys, previews: set.previews, ..Rules::default() });
    let from = wish.release.as_deref().unwrap_or(&set.releases);
    if from.is_empty() {
        return Err(told(UpdateError::Nowhere));
    }
    let who = Who::without_node(&desk.data).map_err(told)?;
    let look = Look::at(&desk.data, who, from, rules, now()).await.map_err(told)?;
    let found = Update::from(look.finding(now()).await);
    if !fetch || found.decision != UpdateDecision::Fetch {
        return Ok(found);
    }
    let bar = byte_bar();
    let fetched = look.fetch(wish.from.as_deref(), |done, total| show(&bar, done, total)).await;
    bar.finish_and_clear();
    fetched.map_err(told)?;
    Ok(look.finding(now()).await.into())
}

fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

fn tell(desk: &Desk<'_>, found: &Update) -> Done {
    desk.out.either(found, || story(found))?;
    let no = matches!(found.decision, UpdateDecision::Nothing | UpdateDecision::Wait);
    Ok(if no { REFUSED } else { 0 })
}

fn story(found: &Update) -> String {
    let mut lines = vec![
        ("release", format!("{}, signed by {}", found.version, found.signer.short())),
        ("runs here", found.running.to_string()),
        ("rollout", format!("place {} of 10000; it has gone out to {}", found.place, found.cursor)),
    ];
    for package in &found.packages {
        let place = match &package.file {
            Some(file) => format!("verified: {}", file.display()),
            None => package.url.clone(),
        };
        lines.push(("package", format!("{}, {}, {place}", package.name, bytes(package.size))));
    }
    if let Some(turn) = found.turn {
        lines.push(("its turn", moment(turn)));
    }
    let decision = match found.decision {
        UpdateDecision::Nothing => "nothing",
        UpdateDecision::Wait => "wait",
        UpdateDecision::Fetch => "fetch",
        UpdateDecision::Install => "install",
    };
    let then = match &found.install {
        Some(command) => format!("install: {command}"),
        None => format!("{decision}: {}", found.sentence),
    };
    format!("{}\n\n{then}", fields(lines))
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

fn read_file(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let unread = |error| Failure::misused(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    // One more than it may have, so that too much is told from enough.
    fs::File::open(path).map_err(unread)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    Ok(bytes)
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
