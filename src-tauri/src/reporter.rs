//! Asks the node for what is news, and has it told. What is slow or fails here, the tray does not wait for.

use crate::desk::{Desk, LOOK_AGAIN, Look, clock};
use crate::news::{News, Sight};
use api::shapes::{Notice, Update, UpdateDecision};
use api::{Client, ClientError};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{fs, io};
use tauri::{AppHandle, Manager};
use tokio::time::{Instant, sleep, timeout};

/// No two questions are closer together: nobody reads as fast as nodes deal.
const AGAIN: Duration = Duration::from_secs(2);

/// How long the node may take over its answers.
const WITHIN: Duration = Duration::from_secs(10);

/// The packages of a release are held to their digests each time: that is not for each look.
const UPDATE_AGAIN: Duration = Duration::from_secs(3_600);

/// When that was asked last which costs the node some work.
#[derive(Default)]
struct Asked {
    disk: Option<Instant>,
    update: Option<Instant>,
}

/// Tells what is news, for as long as the program runs.
pub async fn report(app: AppHandle) {
    let desk = app.state::<Desk>();
    let (mut news, mut asked, mut looks) = (News::default(), Asked::default(), desk.looks.subscribe());
    while looks.changed().await.is_ok() {
        let Some(look) = looks.borrow_and_update().clone() else { continue };
        match timeout(WITHIN, tell(&app, &look, &mut news, &mut asked)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("the node cannot be asked for news: {error}"),
            Err(_) => eprintln!("the node takes too long to say what is new"),
        }
        sleep(AGAIN).await;
    }
}

async fn tell(app: &AppHandle, look: &Look, news: &mut News, asked: &mut Asked) -> Result<(), ClientError> {
    let desk = app.state::<Desk>();
    let client = desk.house.client();
    // Nobody is told what they may not want to hear: without an answer it stays news.
    let silent = client.settings().await?.silent;
    let payments = client.payments().await.ok();
    let disk = if is_due(&mut asked.disk, LOOK_AGAIN) { client.inventory().await.ok() } else { None };
    if desk.released.swap(false, Ordering::Relaxed) {
        asked.update = None;
    }
    let update = if is_due(&mut asked.update, UPDATE_AGAIN) { offered(&client).await } else { None };
    // Each version is told of once, however often the app starts.
    let known = told(app);
    let is_new = |version: &String| fs::read_to_string(&known).ok().as_ref() != Some(version);
    let update = update.map(|version| version.filter(is_new));
    let sight = Sight::of(&look.status, &look.owner, &look.leases, payments.as_ref(), disk.as_ref(), clock)
        .with_update(update.as_ref().map(Option::as_deref));
    for telling in news.look(std::time::Instant::now(), sight, &silent, desk.language) {
        desk.teller.tell(telling);
    }
    if let Some(version) = update.flatten().filter(|_| !silent.contains(&Notice::Update))
        && let Err(error) = note(&known, &version)
    {
        eprintln!("that an update was told of is not remembered: {error}");
    }
    Ok(())
}

/// Whether it is to be asked now; then it is taken to be.
fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|at| at.elapsed() >= every);
    if due {
        *last = Some(Instant::now());
    }
    due
}

/// The version that can be had, if there is one; none where the node cannot say.
async fn offered(client: &Client) -> Option<Option<String>> {
    let can_be_had =
        |update: &Update| matches!(update.decision, UpdateDecision::Fetch | UpdateDecision::Install);
    let offered = client.updates().await.ok()?.offered;
    Some(offered.filter(can_be_had).map(|update| update.version.to_string()))
}

/// A file that names the last version that was told of.
fn told(app: &AppHandle) -> PathBuf {
    app.path().app_config_dir().unwrap_or_default().join("told-of-update")
}

fn note(file: &std::path::Path, version: &str) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(file, version)
}
