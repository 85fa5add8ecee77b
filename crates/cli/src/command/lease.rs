//! Leases: listed, read, ended, made longer, reached into, judged, proven.

use crate::Done;
use crate::command::health;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::parse;
use crate::show::{Table, moment, party, short, time};
use api::node::clock::timestamp;
use api::node::model::resources::bytes;
use api::shapes::{
    Ago, HealthState, Lease, LeaseState, LogsWish, Marks, Moment, More, Network, Port, Protocol, Renewal,
    Seconds, Side, Traffic,
};
use clap::Args;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// Leases, as people read them.
pub fn list(desk: &Desk<'_>, leases: &[Lease]) -> String {
    let mut head = vec!["LEASE", "WITH", "IMAGE", "STANDS", ">AN HOUR", ">OWED", ">LEFT", "PORTS"];
    // Most guests reach nothing outside.
    let reaches = leases.iter().any(|lease| lease.workload.network != Network::None);
    head.extend(reaches.then_some("OUTSIDE"));
    let mut table = Table::new(&head);
    for lease in leases {
        let ports: Vec<String> = lease.ports.iter().map(ports).collect();
        let mut row = vec![
            short(&lease.id),
            with(lease),
            image(lease),
            standing(lease),
            lease.hourly.text.clone(),
            lease.receipt.as_ref().map(|receipt| receipt.amount.text.clone()).unwrap_or_default(),
            left(lease),
            ports.join(" "),
        ];
        row.extend(reaches.then(|| outside(lease)));
        table.row(row);
    }
    table.text(|head| desk.out.head(head))
}

/// The other party, and which of the two it is.
pub fn with(lease: &Lease) -> String {
    match lease.side {
        Side::Host => format!("for {}", party(&lease.other)),
        Side::Tenant => format!("on {}", party(&lease.other)),
    }
}

fn image(lease: &Lease) -> String {
    let workload = &lease.workload;
    if workload.reference.is_empty() { short(&workload.image) } else { workload.reference.clone() }
}

/// What a guest may reach, and what has passed.
fn outside(lease: &Lease) -> String {
    let reach = match &lease.workload.network {
        Network::None => return String::new(),
        Network::Only { destinations } if destinations.len() == 1 => destinations.concat(),
        Network::Only { destinations } => format!("{} destinations", destinations.len()),
        Network::Internet => "internet".to_owned(),
    };
    match lease.tick.as_ref().or(lease.receipt.as_ref()).map(|total| total.traffic) {
        Some(Traffic { received, sent }) => format!("{reach}: {} in, {} out", bytes(received), bytes(sent)),
        None => reach,
    }
}

fn standing(lease: &Lease) -> String {
    let standing = &lease.standing;
    let state = match standing.state {
        LeaseState::Agreed => "agreed",
        LeaseState::Fetching => "fetching",
        LeaseState::Starting => "starting",
        LeaseState::Running => "running",
        LeaseState::Throttled => "throttled",
        LeaseState::Frozen => "frozen",
        LeaseState::Closing => "closing",
        LeaseState::Ended => "ended",
    };
    let code = standing.exit_code.map(|code| format!("exit code {code}"));
    match (&standing.sentence, code, &lease.fetching) {
        (_, Some(code), _) if standing.reason.as_deref() == Some("exited") => format!("{state}: {code}"),
        (Some(sentence), Some(code), _) => format!("{state}: {sentence}, {code}"),
        (Some(sentence), None, _) => {
            let since = standing.since.filter(|_| standing.owner.is_some());
            let until = standing.owner.as_ref().and_then(|reason| reason.until);
            let until = until.map(|until| format!(" until {}", moment(until))).unwrap_or_default();
            let since = since.map(|since| format!(", since {}", moment(since))).unwrap_or_default();
            let blame = lease.blame.as_ref();
            let blame = blame.map(|end| format!("; ends {} and counts against you", moment(end.at)));
            format!("{state}: {sentence}{until}{since}{}", blame.unwrap_or_default())
        }
        (None, None, Some(fetching)) if fetching.total > 0 => {
            format!("{state} {} %", fetching.done * 100 / fetching.total)
        }
        (None, _, _) => match &lease.health {
            Some(health) => format!("{state} ({})", health::word(health.state)),
            None => state.to_owned(),
        },
    }
}

/// As it was asked for.
fn ports(port: &Port) -> String {
    format!("{}:{}", port.local, guest_port(port))
}

/// The guest's port, and what it carries where that is not usual.
pub fn guest_port(port: &Port) -> String {
    match port.protocol {
        Protocol::Tcp => port.guest.to_string(),
        Protocol::Udp => format!("{}/udp", port.guest),
    }
}

/// What is left of its time.
fn left(lease: &Lease) -> String {
    match lease.over {
        Some(Moment(over)) if lease.ended.is_none() => {
            let left = over.since(timestamp(SystemTime::now()));
            let mark = match (lease.renewing, lease.ending) {
                (Some(_), _) => ", more asked",
                (None, true) => ", nearly over",
                (None, false) => "",
            };
            format!("{left}{mark}")
        }
        Some(_) | None => String::new(),
    }
}

/// Whose output to print.
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// Go on as output comes, until the guest ends.
    #[arg(short, long)]
    follow: bool,
    /// Bytes to leave out.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    from: u64,
    /// No line that came before: 2026-07-31T18:30:00Z, or 10m for ten minutes ago.
    #[arg(long, value_name = "TIME", value_parser = clap::value_parser!(Ago))]
    since: Option<Ago>,
    /// No line that came after; with -f, it ends then.
    #[arg(long, value_name = "TIME", value_parser = clap::value_parser!(Ago))]
    until: Option<Ago>,
    /// Of the lines that are there, so many of the last; or `all`.
    #[arg(short = 'n', long, value_name = "LINES", value_parser = parse::tail)]
    tail: Option<parse::Tail>,
    /// Begin each line with the time at which it came, by the host's clock.
    #[arg(short, long)]
    timestamps: bool,
    /// The lease: the first digits of its id are enough.
    lease: String,
}

/// Prints what a guest has printed.
pub async fn logs(desk: &Desk<'_>, args: &LogsArgs) -> Done {
    let moment = |ago: Ago| Moment(ago.moment());
    let wish = LogsWish {
        follow: args.follow,
        from: args.from,
        since: args.since.map(moment),
        until: args.until.map(moment),
        tail: args.tail.and_then(|parse::Tail(lines)| lines),
        timestamps: args.timestamps,
    };
    let mut pieces = desk.client.logs(&args.lease, &wish).await?;
    while let Some(piece) = pieces.next().await? {
        if desk.out.is_json() {
            desk.out.json(&json!({ "text": String::from_utf8_lossy(&piece) }))?;
        } else {
            desk.out.bytes(&piece)?;
        }
    }
    Ok(0)
}

/// Whose end to wait for.
#[derive(Args, Debug)]
pub struct WaitArgs {
    /// Wait until the guest is well instead: it has to be, or the command fails and says why it is not.
    #[arg(long)]
    healthy: bool,
    /// The leases: the first digits of their ids are enough.
    #[arg(required = true)]
    leases: Vec<String>,
}

/// Waits for the end of leases, prints the exit codes of their guests, and passes on that of the last; or until guests are well.
pub async fn wait(desk: &Desk<'_>, args: &WaitArgs) -> Done {
    let mut done = Ok(0);
    for id in &args.leases {
        if let Err(failure) = std::mem::replace(&mut done, Ok(0)) {
            desk.out.fail(&failure);
        }
        done = if args.healthy { healthy(desk, id).await } else { ended(desk, id).await };
    }
    done
}

async fn ended(desk: &Desk<'_>, id: &str) -> Done {
    let lease = loop {
        let lease = desk.client.wait(id).await?;
        if lease.ended.is_some() {
            break lease;
        }
    };
    let standing = &lease.standing;
    let sentence = standing.sentence.as_deref().unwrap_or("it has ended");
    let Some(code) = standing.exit_code else {
        let told = format!("lease {} has no exit code: {sentence}", short(&lease.id));
        return Err(Failure::refused(standing.reason.as_deref().unwrap_or("ended"), told));
    };
    let told = json!({ "lease": lease.id, "exit_code": code, "reason": standing.reason });
    desk.out.either(&told, || code.to_string())?;
    if standing.reason.as_deref() != Some("exited") {
        desk.out.note(format!("lease {} has ended: {sentence}", short(&lease.id)));
    }
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

async fn healthy(desk: &Desk<'_>, id: &str) -> Done {
    loop {
        let lease = desk.client.wait_for_health(id).await?;
        if lease.ended.is_some() {
            let sentence = lease.standing.sentence.as_deref().unwrap_or("it has ended");
            let told = format!("lease {} has ended before its guest was well: {sentence}", short(&lease.id));
            return Err(Failure::refused(lease.standing.reason.as_deref().unwrap_or("ended"), told));
        }
        match lease.health.as_ref().map(|health| (health.state, health)) {
            Some((HealthState::Healthy, health)) => {
                let told = json!({ "lease": lease.id, "health": health });
                return desk.out.either(&told, || format!("{} is healthy", short(&lease.id))).map(|()| 0);
            }
            Some((HealthState::Unhealthy, health)) => {
                let told =
                    format!("the guest of lease {} is not well: {}", short(&lease.id), health::why(health));
                return Err(
                    Failure::refused("unhealthy", told).hint("`sublet logs` shows what it has printed.")
                );
            }
            Some((HealthState::Starting, _)) | None => {}
        }
    }
}

/// Which leases to end.
#[derive(Args, Debug)]
pub struct StopArgs {
    /// The leases: the first digits of their ids are enough.
    #[arg(required = true)]
    leases: Vec<String>,
}

/// How long an end is waited for: a guest has ten seconds to stop by itself.
const END: Duration = Duration::from_secs(30);

/// Ends leases, and waits for the end.
pub async fn stop(desk: &Desk<'_>, args: &StopArgs) -> Done {
    for id in &args.leases {
        let stopping = desk.client.stop(id).await?;
        let ended = until(desk, &stopping.id, END, |lease| lease.ended.is_some()).await?;
        let Some(lease) = ended else {
            desk.out
                .note(format!("lease {} is being ended; its host has not answered yet", short(&stopping.id)));
            continue;
        };
        desk.out.either(&lease, || format!("{} ended", short(&lease.id)))?;
    }
    Ok(0)
}

/// The lease once it is as wanted; none when that takes too long.
async fn until(
    desk: &Desk<'_>,
    id: &str,
    within: Duration,
    wanted: impl Fn(&Lease) -> bool,
) -> Result<Option<Lease>, Failure> {
    let begun = Instant::now();
    loop {
        let lease = desk.client.lease(id).await?;
        if wanted(&lease) {
            return Ok(Some(lease));
        }
        if begun.elapsed() > within {
            return Ok(None);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Which lease to make longer.
#[derive(Args, Debug)]
pub struct RenewArgs {
    /// How much is added.
    #[arg(long, value_name = "TIME", value_parser = parse::time, required_unless_present_any = ["grant", "deny"])]
    time: Option<Seconds>,
    /// As host: grant what the tenant waits for; `sublet renewals` lists who does.
    #[arg(long, conflicts_with_all = ["time", "deny"])]
    grant: bool,
    /// As host: do not grant it.
    #[arg(long, conflicts_with = "time")]
    deny: bool,
    /// The lease: the first digits of its id are enough.
    lease: String,
}

/// How long an answer to a renewal is waited for: two round trips, and some patience.
const ANSWER: Duration = Duration::from_secs(15);

/// Asks for more time, and waits for the host's signature.
pub async fn renew(desk: &Desk<'_>, args: &RenewArgs) -> Done {
    let before = desk.client.lease(&args.lease).await?;
    let Some(more) = args.time else {
        let lease = desk.client.answer_renewal(&before.id, args.grant).await?;
        return tell_renewed(desk, &lease);
    };
    desk.client.renew(&before.id, More { more }).await?;
    let answered = until(desk, &before.id, ANSWER, |lease| lease.renewing.is_none()).await?;
    match answered {
        Some(lease) if lease.renewals > before.renewals => tell_renewed(desk, &lease),
        Some(lease) => {
            let why = if lease.standing.detail.is_empty() {
                "the host has not agreed to more time"
            } else {
                &lease.standing.detail
            };
            Err(Failure::refused("not_renewed", why).hint("`sublet ps` shows the time that is left."))
        }
        None if before.rules.renewal == Renewal::Ask => desk
            .out
            .either(&desk.client.lease(&before.id).await?, || {
                format!(
                    "{} waits for the owner of the machine; `sublet ps` shows the time that is left",
                    short(&before.id)
                )
            })
            .map(|()| 0),
        None => Err(Failure::refused("not_renewed", "the host has not answered")
            .hint("It is asked again until it does: `sublet ps` shows the time that is left.")),
    }
}

/// Lists who waits for the owner's answer.
pub async fn renewals(desk: &Desk<'_>) -> Done {
    let mut leases = desk.client.all_leases(false).await?;
    leases.retain(|lease| lease.side == Side::Host && lease.renewing.is_some_and(|wish| wish.owner_answers));
    desk.out
        .either(&json!({ "leases": leases }), || {
            if leases.is_empty() {
                return "nobody waits for more time".to_owned();
            }
            let mut table = Table::new(&["LEASE", "FOR", ">MORE", ">LEFT"]);
            for lease in &leases {
                let more = lease.renewing.map(|wish| time(wish.more)).unwrap_or_default();
                table.row([short(&lease.id), party(&lease.other), more, left(lease)]);
            }
            table.text(|head| desk.out.head(head))
        })
        .map(|()| 0)
}

fn tell_renewed(desk: &Desk<'_>, lease: &Lease) -> Done {
    desk.out
        .either(lease, || {
            format!(
                "{} runs for {} in all, {} at the most",
                short(&lease.id),
                time(lease.term),
                lease.at_most.text
            )
        })
        .map(|()| 0)
}

/// Which port.
#[derive(Args, Debug)]
pub struct PortArgs {
    /// The lease: the first digits of its id are enough.
    lease: String,
    /// The port to open, and the guest's port it leads to; without it: what is open.
    #[arg(value_name = "LOCAL:GUEST[/udp]", value_parser = parse::port)]
    port: Option<Port>,
}

/// Opens a port, or lists those that are open.
pub async fn port(desk: &Desk<'_>, args: &PortArgs) -> Done {
    let line = |port: &Port| format!("127.0.0.1:{} -> {}", port.local, guest_port(port));
    let Some(port) = args.port else {
        let ports = desk.client.ports(&args.lease).await?;
        return desk
            .out
            .either(&ports, || ports.ports.iter().map(line).collect::<Vec<_>>().join("\n"))
            .map(|()| 0);
    };
    let opened = desk.client.open_port(&args.lease, port).await?;
    desk.out.either(&opened, || line(&opened)).map(|()| 0)
}

/// How to judge.
#[derive(Args, Debug)]
pub struct RateArgs {
    /// Kept what was agreed: from 1, bad, to 5, good.
    #[arg(long, value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
    kept: u8,
    /// As fast as offered, or as gentle as asked.
    #[arg(long, value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
    quality: u8,
    /// Signed, answered and settled in time.
    #[arg(long, value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
    manners: u8,
    /// A few words; everybody may read them.
    #[arg(long, value_name = "TEXT", default_value = "")]
    text: String,
    /// The lease: the first digits of its id are enough.
    lease: String,
}

/// Judges the other party.
pub async fn rate(desk: &Desk<'_>, args: RateArgs) -> Done {
    let marks = Marks { kept: args.kept, quality: args.quality, manners: args.manners, text: args.text };
    let lease = desk.client.rate(&args.lease, &marks).await?;
    desk.out.either(&lease, || format!("{} rated", party(&lease.other))).map(|()| 0)
}

/// What to write where.
#[derive(Args, Debug)]
pub struct PackArgs {
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The lease: the first digits of its id are enough.
    lease: String,
}

/// Writes the dispute pack of a lease.
pub async fn pack(desk: &Desk<'_>, args: &PackArgs) -> Done {
    let pack = desk.client.pack(&args.lease).await?;
    let bytes = serde_json::to_vec(&pack).map_err(std::io::Error::from)?;
    fs::write(&args.output, &bytes)
        .map_err(|error| Failure::fault(format!("cannot write {}: {error}", args.output.display())))?;
    let written = json!({ "lease": pack.lease.to_string(), "file": args.output, "bytes": bytes.len() });
    let shown = args.output.display();
    desk.out
        .either(&written, || format!("{shown} written; `sublet verify {shown}` checks it anywhere"))
        .map(|()| 0)
}
