//! `sublet stats` and `sublet top`: what guests take, and what goes on in one.

use crate::Done;
use crate::command::lease::with;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::show::{Table, bytes, per_cent, short, time};
use crate::terminal;
use api::ClientError;
use api::shapes::{Lease, LeaseState, Stats, StatsLimits, StatsSample};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use unicode_width::UnicodeWidthStr;

/// Whose guests to look at.
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// Look once, and do not go on.
    #[arg(long)]
    no_stream: bool,
    /// The leases: the first digits of their ids are enough. None: all that run, of ours and of others here.
    leases: Vec<String>,
}

/// What is shown of a guest.
#[derive(Serialize)]
struct Row {
    lease: String,
    #[serde(skip)]
    with: String,
    limits: StatsLimits,
    now: StatsSample,
}

/// From one table to the next.
const BEAT: Duration = Duration::from_secs(1);

/// How often new guests are looked for.
const BEATS_TO_LOOK: u32 = 5;

/// Shows what guests take.
pub async fn stats(desk: &Desk<'_>, args: &StatsArgs) -> Done {
    let leases = wanted(desk, &args.leases).await?;
    let mut rows = BTreeMap::new();
    for lease in &leases {
        match desk.client.stats(&lease.id).await {
            Ok(stats) => match row(lease, stats) {
                Some(row) => drop(rows.insert(lease.id.clone(), row)),
                None if args.leases.is_empty() => {}
                None => {
                    let sentence = format!("the guest of lease {} does not run", short(&lease.id));
                    return Err(Failure::refused("wrong_phase", sentence));
                }
            },
            // Of all, one may have ended meanwhile, or be out of reach.
            Err(error) if args.leases.is_empty() => desk.out.note(format!("{}: {error}", short(&lease.id))),
            Err(error) => return Err(error.into()),
        }
    }
    if args.no_stream {
        let list: Vec<&Row> = rows.values().collect();
        return desk.out.either(&json!({ "stats": list }), || table(desk, &rows)).map(|()| 0);
    }
    go_on(desk, rows, args.leases.is_empty()).await
}

/// None for a guest that does not run.
fn row(lease: &Lease, stats: Stats) -> Option<Row> {
    Some(Row { lease: stats.lease, with: with(lease), limits: stats.limits, now: stats.now? })
}

async fn wanted(desk: &Desk<'_>, named: &[String]) -> Result<Vec<Lease>, Failure> {
    if named.is_empty() {
        return running(desk).await;
    }
    let mut leases = Vec::new();
    for id in named {
        leases.push(desk.client.lease(id).await?);
    }
    Ok(leases)
}

async fn running(desk: &Desk<'_>) -> Result<Vec<Lease>, Failure> {
    let mut leases = desk.client.all_leases(false).await?;
    leases.retain(|lease| {
        matches!(lease.standing.state, LeaseState::Running | LeaseState::Throttled | LeaseState::Frozen)
    });
    Ok(leases)
}

/// Something new of a guest: a sample, or why there are no more.
type News = (String, Result<StatsSample, Option<ClientError>>);

async fn go_on(desk: &Desk<'_>, mut rows: BTreeMap<String, Row>, all_of_them: bool) -> Done {
    // What is not taken waits there, and so does the node.
    let (tell, mut news) = mpsc::channel(64);
    rows.keys().for_each(|id| follow(desk, id.clone(), tell.clone()));
    let (mut beat, mut beats, mut drawn) = (interval(BEAT), 0_u32, 0);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            Some((id, sample)) = news.recv() => {
                match (sample, rows.get_mut(&id)) {
                    (Ok(sample), Some(row)) => row.now = sample,
                    (Err(why), Some(_)) => {
                        rows.remove(&id);
                        if let Some(error) = why {
                            desk.out.note(format!("{}: {error}", short(&id)));
                        }
                    }
                    (_, None) => {}
                }
                if rows.is_empty() && !all_of_them {
                    return Ok(0);
                }
                continue;
            }
        }
        if all_of_them && beats % BEATS_TO_LOOK == BEATS_TO_LOOK - 1 {
            for lease in running(desk).await? {
                if !rows.contains_key(&lease.id)
                    && let Ok(stats) = desk.client.stats(&lease.id).await
                    && let Some(row) = row(&lease, stats)
                {
                    rows.insert(lease.id.clone(), row);
                    follow(desk, lease.id, tell.clone());
                }
            }
        }
        beats = beats.wrapping_add(1);
        if desk.out.is_json() {
            let list: Vec<&Row> = rows.values().collect();
            desk.out.json(&json!({ "stats": list }))?;
        } else {
            drawn = draw(desk, &table(desk, &rows), drawn)?;
        }
    }
}

/// Listens to one guest until it ends.
fn follow(desk: &Desk<'_>, id: String, tell: mpsc::Sender<News>) {
    let client = desk.client.clone();
    tokio::spawn(async move {
        let mut samples = match client.live_stats(&id).await {
            Ok(samples) => samples,
            Err(error) => return drop(tell.send((id, Err(Some(error)))).await),
        };
        loop {
            let (sample, ends) = match samples.next().await {
                Ok(Some(sample)) => (Ok(sample), false),
                Ok(None) => (Err(None), true),
                Err(error) => (Err(Some(error)), true),
            };
            if tell.send((id.clone(), sample)).await.is_err() || ends {
                return;
            }
        }
    });
}

/// Draws a table over the last one, of so many lines. Returns how many lines this one has.
fn draw(desk: &Desk<'_>, table: &str, last: usize) -> Result<usize, Failure> {
    if stdout().is_terminal() && last > 0 {
        desk.out.bytes(format!("\x1b[{last}A\x1b[J").as_bytes())?;
    }
    desk.out.line(table)?;
    // One that is wider than the terminal takes several lines of it.
    let columns = usize::from(terminal::size().columns);
    Ok(table.lines().map(|line| line.width().saturating_sub(1) / columns + 1).sum())
}

fn table(desk: &Desk<'_>, rows: &BTreeMap<String, Row>) -> String {
    let mut table =
        Table::new(&["LEASE", "WITH", ">CPU", ">MEMORY", ">DISK", ">PROCESSES", ">IN", ">OUT", "STANDS"]);
    for row in rows.values() {
        let (now, most) = (&row.now, &row.limits);
        table.row([
            short(&row.lease),
            row.with.clone(),
            per_cent(now.cpu_millis),
            format!("{} of {}", bytes(now.memory_bytes), bytes(most.memory_bytes)),
            format!("{} of {}", bytes(now.disk_bytes), bytes(most.disk_bytes)),
            now.pids.to_string(),
            bytes(now.received_bytes),
            bytes(now.sent_bytes),
            if now.frozen { "frozen" } else { "runs" }.to_owned(),
        ]);
    }
    table.text(|head| desk.out.head(head))
}

/// Whose processes to list.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// The lease: the first digits of its id are enough.
    lease: String,
}

/// Lists what goes on in a guest.
pub async fn top(desk: &Desk<'_>, args: &TopArgs) -> Done {
    let seen = desk.client.processes(&args.lease).await?;
    desk.out
        .either(&seen, || {
            let mut table = Table::new(&[">PID", ">PARENT", ">USER", "STATE", ">TIME", ">MEMORY", "COMMAND"]);
            for process in &seen.processes {
                table.row([
                    process.pid.to_string(),
                    process.parent.to_string(),
                    process.user.to_string(),
                    process.state.clone(),
                    time(process.cpu),
                    bytes(process.memory_bytes),
                    process.command.clone(),
                ]);
            }
            let more =
                if seen.left_out > 0 { format!("\nand {} more", seen.left_out) } else { String::new() };
            table.text(|head| desk.out.head(head)) + &more
        })
        .map(|()| 0)
}
