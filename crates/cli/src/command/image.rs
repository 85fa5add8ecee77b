//! `sublet image`: images of this computer.

use crate::Done;
use crate::command::health::HealthArgs;
use crate::desk::Desk;
use crate::fail::{Failure, INTERRUPTED};
use crate::interrupt::Interrupt;
use crate::show::{Table, byte_bar, bytes, fields, short, spinner};
use api::shapes::{
    Build, CollectWish, Image, ImageProgress, ImageRulesWish, ImageStore, Import, Inspection, Login,
    Openness, Pull,
};
use api::{ClientError, Told};
use clap::{Args, Subcommand};
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// What to do with images.
#[derive(Args, Debug)]
pub struct ImageArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the images of this computer.
    Ls,
    /// Fetch an image from its registry.
    Pull(PullArgs),
    /// Take an image from an OCI layout, an archive of one, or what `docker save` writes.
    Import(ImportArgs),
    /// Make an image of a folder.
    Build(Box<BuildArgs>),
    /// Show what images take of the disk, and by which rules.
    Room,
    /// Remove images that have no name and that no lease needs, the least recently used first.
    Gc {
        /// Until images take at most so much [default: the limit; where there is none, all of them].
        #[arg(long, value_name = "SIZE", value_parser = crate::parse::size)]
        to: Option<u64>,
    },
    /// Set how much of the disk images may take: such as 20G, or none.
    Limit {
        /// The size.
        #[arg(value_name = "SIZE", value_parser = limit)]
        most: u64,
    },
    /// Set what neighbours get of the images here that are open.
    Neighbours(NeighboursArgs),
    /// Let neighbours that know its digest have an image from here, and hosts of it ask their neighbours.
    Open {
        /// Its name, its digest, or the first digits of that.
        image: String,
    },
    /// Keep an image from neighbours.
    Close {
        /// Its name, its digest, or the first digits of that.
        image: String,
    },
    /// Remove images.
    Rm {
        /// Names, digests, or the first digits of those.
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Show what there is to know about an image.
    Inspect {
        /// Its name, its digest, or the first digits of that.
        image: String,
    },
}

#[derive(Args, Debug)]
struct NeighboursArgs {
    /// Who may have them, of those who know the digest.
    #[arg(long, value_name = "WHO", value_parser = ["everyone", "nobody"])]
    serve: Option<String>,
    /// Bytes a second to all of them, such as 32M; 0: without limit.
    #[arg(long, value_name = "SIZE", value_parser = crate::parse::size)]
    rate: Option<u64>,
    /// How many at a time.
    #[arg(long, value_name = "N")]
    streams: Option<u32>,
    /// Whether images of leases here may be fetched from the public registry that the tenant names, too.
    #[arg(long, value_name = "YES", value_parser = clap::builder::BoolishValueParser::new())]
    registries: Option<bool>,
}

/// `20G`, or `none`.
fn limit(text: &str) -> Result<u64, String> {
    if text == "none" { Ok(0) } else { crate::parse::size(text).map(|size| size.max(1)) }
}

#[derive(Args, Debug)]
struct PullArgs {
    /// Log in as this user; the password, or a token, is the first line of standard input.
    #[arg(long, value_name = "USER")]
    login: Option<String>,
    /// Such as debian:12, or registry.example/app:1.
    reference: String,
}

#[derive(Args, Debug)]
struct ImportArgs {
    /// Which of several, and what to call it.
    #[arg(short = 't', long = "name", value_name = "NAME")]
    name: Option<String>,
    /// The file or directory.
    path: PathBuf,
}

#[derive(Args, Debug)]
struct BuildArgs {
    /// What to call it.
    #[arg(short = 't', long = "name", value_name = "NAME")]
    name: Option<String>,
    /// The image to build upon; none for a folder that is complete in itself.
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
    /// The program: a path inside the image.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// A variable; may be given several times.
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = crate::parse::variable)]
    env: Vec<String>,
    /// The working directory.
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    cwd: Option<String>,
    /// The user it runs as: user, user:group, or numbers.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// A TCP port that it listens on; may be given several times.
    #[arg(short, long = "port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// The signal that asks it to end, such as QUIT.
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    #[command(flatten)]
    health: HealthArgs,
    /// The folder.
    dir: PathBuf,
    /// The arguments, or the program where there is no entrypoint.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Lists, fetches, makes, removes, shows.
pub async fn run(desk: &Desk<'_>, args: ImageArgs) -> Done {
    match args.what {
        What::Ls => list(desk).await,
        What::Pull(args) => {
            let login = args.login.map(login).transpose()?;
            let pulling = desk.client.pull(&Pull { reference: args.reference, login }).await?;
            tell(desk, brought(pulling, "fetching").await?)
        }
        What::Import(args) => {
            let importing = desk
                .client
                .import(&Import { path: std::path::absolute(args.path)?, name: args.name })
                .await?;
            tell(desk, brought(importing, "importing").await?)
        }
        What::Build(args) => {
            let building = desk.client.build(&wish(*args)?).await?;
            tell(desk, brought(building, "building").await?)
        }
        What::Room => store(desk, desk.client.image_store().await?),
        What::Gc { to } => {
            let collected = desk.client.collect_images(&CollectWish { most_bytes: to }).await?;
            let text = || {
                let gone = collected.images.len();
                format!(
                    "{gone} removed, {} free, {} in use",
                    bytes(collected.freed_bytes),
                    bytes(collected.used_bytes)
                )
            };
            desk.out.either(&collected, text).map(|()| 0)
        }
        What::Limit { most } => {
            let wish = ImageRulesWish { limit_bytes: Some(most), ..ImageRulesWish::default() };
            store(desk, desk.client.set_image_rules(&wish).await?)
        }
        What::Neighbours(NeighboursArgs { serve, rate, streams, registries }) => {
            let wish = ImageRulesWish {
                serve,
                serve_rate_bytes: rate,
                serve_streams: streams,
                registries,
                ..ImageRulesWish::default()
            };
            store(desk, desk.client.set_image_rules(&wish).await?)
        }
        What::Open { image } => open(desk, image, true).await,
        What::Close { image } => open(desk, image, false).await,
        What::Rm { images } => remove(desk, &images).await,
        What::Inspect { image } => {
            let found = desk.client.image(&image).await?;
            desk.out.either(&found, || story(&found)).map(|()| 0)
        }
    }
}

/// The image of this name: one that is here, else one in a file or directory, else one at a registry.
pub async fn have(desk: &Desk<'_>, name: &str) -> Result<Image, Failure> {
    match desk.client.image(name).await {
        Ok(found) => return Ok(found.image),
        Err(ClientError::Problem(problem)) if matches!(problem.status, 404 | 422) => {}
        Err(error) => return Err(error.into()),
    }
    let path = Path::new(name);
    let image = if path.exists() {
        let importing = desk.client.import(&Import { path: std::path::absolute(path)?, name: None }).await?;
        brought(importing, "importing").await?
    } else {
        let pulling = desk.client.pull(&Pull { reference: name.to_owned(), login: None }).await?;
        brought(pulling, "fetching").await?
    };
    image.ok_or(Failure::Interrupted)
}

/// The image once it is here; none when it was interrupted, which ends the work in the node too.
async fn brought(work: Told<ImageProgress, Image>, doing: &'static str) -> Result<Option<Image>, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let (waiting, bar) = (spinner(doing), byte_bar());
    let done = work.done(|progress: ImageProgress| {
        waiting.finish_and_clear();
        bar.set_message(doing);
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    let image = tokio::select! {
        image = done => Some(image),
        () = interrupt.asked() => None,
    };
    waiting.finish_and_clear();
    bar.finish_and_clear();
    Ok(image.transpose()?)
}

fn tell(desk: &Desk<'_>, image: Option<Image>) -> Done {
    let Some(image) = image else { return Ok(INTERRUPTED) };
    desk.out.either(&image, || format!("{}  {}", image.digest, image.names.join(" "))).map(|()| 0)
}

fn login(user: String) -> Result<Login, Failure> {
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password)?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failure::misused("there is no password on standard input")
            .hint("For example: `sublet image pull --login USER NAME < token`."));
    }
    Ok(Login { user, password })
}

fn wish(args: BuildArgs) -> Result<Build, Failure> {
    Ok(Build {
        dir: std::path::absolute(args.dir)?,
        base: args.base,
        name: args.name,
        entrypoint: args.entrypoint.map(|program| vec![program]),
        cmd: Some(args.command).filter(|command| !command.is_empty()),
        env: args.env,
        cwd: args.cwd,
        user: args.user,
        ports: args.ports,
        stop_signal: args.stop_signal,
        health: args.health.wish(),
    })
}

async fn list(desk: &Desk<'_>) -> Done {
    let images = desk.client.images().await?;
    let text = || {
        let mut table = Table::new(&["IMAGE", "NAME", ">SIZE", "PLATFORM"]);
        for image in &images.images {
            table.row([
                short(&image.digest),
                image.names.join(" "),
                bytes(image.size_bytes),
                image.platform.clone(),
            ]);
        }
        table.text(|head| desk.out.head(head))
    };
    desk.out.either(&images, text).map(|()| 0)
}

async fn open(desk: &Desk<'_>, image: String, open: bool) -> Done {
    let wish = Openness { image, open };
    desk.client.open_image(&wish).await?;
    let state = if open { "open to neighbours" } else { "kept from neighbours" };
    desk.out.either(&wish, || format!("{} is {state}", wish.image)).map(|()| 0)
}

fn store(desk: &Desk<'_>, store: ImageStore) -> Done {
    let text = || {
        let rules = &store.rules;
        let rate = match rules.serve_rate_bytes {
            0 => "as fast as possible".to_owned(),
            rate => format!("{} a second in all", bytes(rate)),
        };
        let neighbours = match rules.serve.as_str() {
            "nobody" => "get nothing".to_owned(),
            _ => format!("who know a digest get open images: {} at a time, {rate}", rules.serve_streams),
        };
        let head = fields([
            ("used", bytes(store.used_bytes)),
            ("limit", rules.limit_bytes.map_or_else(|| "none".to_owned(), bytes)),
            ("unfinished", bytes(store.unfinished_bytes)),
            ("neighbours", neighbours),
            (
                "registries",
                if rules.registries { "public ones, for leases too" } else { "none for leases" }.to_owned(),
            ),
        ]);
        let mut table = Table::new(&["IMAGE", "NAME", ">OWN SIZE", "USED BY A LEASE", "OPEN"]);
        for image in &store.images {
            let name =
                if image.names.is_empty() { format!("({})", image.came_as) } else { image.names.join(" ") };
            let yes = |is: bool| if is { "yes" } else { "" }.to_owned();
            table.row([
                short(&image.digest),
                name,
                bytes(image.own_bytes),
                yes(image.in_use),
                yes(image.open),
            ]);
        }
        format!("{head}\n\n{}", table.text(|head| desk.out.head(head)))
    };
    desk.out.either(&store, text).map(|()| 0)
}

async fn remove(desk: &Desk<'_>, images: &[String]) -> Done {
    for image in images {
        desk.client.remove_image(image).await?;
        desk.out.either(&serde_json::json!({ "removed": image }), || format!("{image} removed"))?;
    }
    Ok(0)
}

fn story(found: &Inspection) -> String {
    let numbers: Vec<String> = found.ports.iter().map(u16::to_string).collect();
    fields([
        ("image", found.image.digest.clone()),
        ("names", found.image.names.join(" ")),
        ("size", bytes(found.image.size_bytes)),
        ("platform", found.image.platform.clone()),
        ("created", found.image.created.clone().unwrap_or_default()),
        ("program", found.entrypoint.iter().chain(&found.cmd).cloned().collect::<Vec<_>>().join(" ")),
        ("directory", found.cwd.clone()),
        ("user", found.user.clone()),
        ("ports", numbers.join(" ")),
        ("variables", found.env.join("\n")),
        ("layers", found.parts.iter().filter(|part| part.kind == "layer").count().to_string()),
    ])
}
