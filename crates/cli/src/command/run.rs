//! `sublet run`: a place for an image, found, agreed, and followed to the end.

use crate::Done;
use crate::args::Size;
use crate::command::exec::speak;
use crate::command::image;
use crate::command::lease::guest_port;
use crate::command::market::PayMode;
use crate::command::run_options::OptionArgs;
use crate::command::secret::secrets;
use crate::desk::Desk;
use crate::fail::{Failure, INTERRUPTED};
use crate::interrupt::Interrupt;
use crate::parse;
use crate::show::{byte_bar, party, short, spinner, time};
use crate::terminal;
use api::shapes::{Event, Lease, LeaseState, LogsWish, Money, Network, Port, RentWish, Seconds, Volume};
use api::{Events, Pieces};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What to run, and where.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    size: Size,
    /// For how long at the most.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse::time)]
    time: Seconds,
    /// The most that an hour may cost, such as "0.05 EUR"; none: whatever the cheapest costs.
    #[arg(long, value_name = "AMOUNT", value_parser = parse::price)]
    max_price: Option<Money>,
    /// Only this way of paying.
    #[arg(long, value_name = "MODE")]
    mode: Option<PayMode>,
    /// A port of this computer that shall lead into the guest; GUEST alone takes a free one. May be given several times.
    #[arg(short, long = "port", value_name = "LOCAL:GUEST[/udp]", value_parser = parse::port)]
    ports: Vec<Port>,
    /// A disk that outlives the guest: NAME:/PATH[:ro],size=1G, and keep=7d to keep it after the lease, snapshots=2, encrypted. May
    /// be given several times.
    #[arg(short, long = "volume", value_name = "VOLUME", value_parser = crate::command::volume::volume)]
    volumes: Vec<Volume>,
    /// A device of the host that the guest is to have, by its name in the offer; may be given several times.
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// What the guest may reach outside: `none`, `internet` (all that is public but mail servers), or a list such as
    /// `allow:example.org:443,*.example.org:80`.
    #[arg(long, value_name = "POLICY", default_value = "none", value_parser = parse::network)]
    net: Network,
    /// A variable for the guest; NAME alone passes on the value here. May be given several times.
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = parse::variable)]
    env: Vec<String>,
    /// A file that the guest alone may read, as /run/secrets/NAME: id=NAME,src=FILE (- for the standard input) or
    /// id=NAME,env=VARIABLE; and mode=0444 for every user of the guest, not only its program's. Its value stands in no lease, no
    /// record and no log, and is sealed here until the lease has ended. May be given several times.
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Only this host: its name, or the first digits of its device, person or peer.
    #[arg(long, value_name = "HOST")]
    on: Option<String>,
    /// The least score of the host, in per cent.
    #[arg(long, value_name = "SCORE", default_value = "0", value_parser = parse::per_cent)]
    min_trust: u32,
    #[command(flatten)]
    run: OptionArgs,
    /// Print the lease's id and leave, instead of following the guest's output.
    #[arg(short, long)]
    detach: bool,
    /// An image here, a file or directory with one, or its name at a registry.
    image: String,
    /// The command, and its arguments; none for the image's own.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Rents, runs, follows.
pub async fn run(desk: &Desk<'_>, args: RunArgs) -> Done {
    let secrets = secrets(&args.secrets, args.run.interactive)?;
    let image = image::have(desk, &args.image).await?;
    let mut interrupt = Interrupt::listen()?;
    // Before the lease is there, so that nothing of it is missed.
    let events = desk.client.events().await?;
    let wish = RentWish {
        image: image.digest,
        command: args.command,
        env: args.run.variables()?.into_iter().chain(args.env).collect(),
        options: args.run.options(),
        cpu_millis: args.size.cpus,
        memory_bytes: args.size.memory,
        disk_bytes: args.size.disk,
        term: args.time,
        max_price: args.max_price,
        mode: args.mode.map(Into::into),
        on: args.on,
        min_trust: args.min_trust,
        volumes: args.volumes,
        devices: args.devices,
        secrets,
        ports: args.ports,
        network: args.net,
    };
    let asking = spinner("looking for a host");
    let lease = tokio::select! {
        lease = desk.client.rent(&wish) => lease,
        // The node ends what comes of an answer that nobody waits for.
        () = interrupt.asked() => return Err(Failure::Interrupted),
    };
    asking.finish_and_clear();
    let lease = lease?;
    tell_agreed(desk, &lease)?;
    if args.detach {
        return if desk.out.is_json() { Ok(0) } else { desk.out.line(&lease.id).map(|()| 0) };
    }
    let talks = args.run.interactive || args.run.tty;
    if talks && until_it_runs(desk, &lease, &mut interrupt).await? {
        drop(interrupt);
        return converse(desk, &lease, args.run.interactive, args.run.tty).await;
    }
    let bar = byte_bar();
    let mut attached = Attached {
        desk,
        lease,
        events,
        interrupt,
        output: Output::NotYet,
        bar,
        ended: None,
        stopping: false,
    };
    let done = attached.follow().await;
    if matches!(done, Err(Failure::Unread)) && attached.ended.is_none() {
        // A guest whose output nobody wants is not worth its price.
        attached.stop().await?;
    }
    done
}

/// Whether the guest runs at last; not if the lease has ended before, or somebody wants to stop it.
async fn until_it_runs(desk: &Desk<'_>, lease: &Lease, interrupt: &mut Interrupt) -> Result<bool, Failure> {
    let waiting = spinner("the host prepares the guest");
    let mut look = interval(Duration::from_millis(50));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = interrupt.asked() => {
                desk.client.stop(&lease.id).await?;
                return Err(Failure::Interrupted);
            }
        }
        let lease = desk.client.lease(&lease.id).await?;
        if lease.started.is_some() || lease.standing.state == LeaseState::Ended {
            waiting.finish_and_clear();
            return Ok(lease.started.is_some());
        }
    }
}

/// Speaks to the guest's program until it ends or is left alone, and tells what is owed.
async fn converse(desk: &Desk<'_>, lease: &Lease, typed: bool, tty: bool) -> Done {
    let session = desk.client.attach(&lease.id, Some(0)).await?;
    let done = speak(desk, lease.id.clone(), session, typed, tty && typed && terminal::is_here()).await;
    if matches!(done, Err(Failure::Unread)) {
        desk.client.stop(&lease.id).await?;
    }
    done
}

fn tell_agreed(desk: &Desk<'_>, lease: &Lease) -> Result<(), Failure> {
    if desk.out.is_json() {
        return desk.out.json(&json!({ "event": "agreed", "lease": lease }));
    }
    let price = match lease.hourly.micros {
        0 => "as a gift".to_owned(),
        _ => format!("for {} an hour, {} at the most", lease.hourly.text, lease.at_most.text),
    };
    desk.out.note(format!(
        "lease {} agreed with {}, {price}, for up to {}",
        short(&lease.id),
        party(&lease.other),
        time(lease.term)
    ));
    if let Some(loss) = lease.loss.as_ref().filter(|_| lease.hourly.micros != 0) {
        desk.out.note(format!(
            "it is paid for afterwards: at most {} can be lost by you, and {} by the host",
            loss.tenant.text, loss.host.text
        ));
    }
    if let (Some(kept), Some(keeping)) =
        (crate::command::volume::kept(&lease.workload.volumes), &lease.keeping)
    {
        desk.out.note(format!("keeping {kept} after the lease costs {}", keeping.text));
    }
    for port in &lease.ports {
        desk.out.note(format!("127.0.0.1:{} leads to port {} of the guest", port.local, guest_port(port)));
    }
    Ok(())
}

/// Events can be missed; so often the lease is looked at by itself.
const LOOK: Duration = Duration::from_secs(5);

/// How long after the end the rest of the output is waited for.
const REST: Duration = Duration::from_secs(10);

/// A guest whose output is followed.
struct Attached<'a> {
    desk: &'a Desk<'a>,
    lease: Lease,
    events: Events,
    interrupt: Interrupt,
    output: Output,
    bar: ProgressBar,
    /// When it was seen that it has ended.
    ended: Option<Instant>,
    /// Whether we have asked for the end.
    stopping: bool,
}

/// Where the output stands.
enum Output {
    /// The guest has not started.
    NotYet,
    /// It comes.
    Open(Pieces),
    /// There will be no more.
    Over,
}

/// What happens next.
enum Next {
    Event(Option<Event>),
    Output(Option<Vec<u8>>),
    Look,
    Interrupt,
}

impl Attached<'_> {
    async fn follow(&mut self) -> Done {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = tokio::select! {
                event = self.events.next() => Next::Event(event?),
                output = self.output.next() => Next::Output(output?),
                _ = look.tick() => Next::Look,
                () = self.interrupt.asked() => Next::Interrupt,
            };
            match next {
                Next::Event(Some(event)) => self.happened(event).await?,
                Next::Event(None) => {
                    return Err(Failure::fault("the node stopped; the guest goes on")
                        .hint("Start it again: `sublet host`."));
                }
                Next::Output(Some(bytes)) => self.print(&bytes)?,
                Next::Output(None) => self.output = Output::Over,
                Next::Look => self.look().await?,
                Next::Interrupt if self.stopping => {
                    self.desk.out.note(format!(
                        "the lease is being ended; `sublet ps` shows it ({})",
                        short(&self.lease.id)
                    ));
                    return Ok(INTERRUPTED);
                }
                Next::Interrupt => self.stop().await?,
            }
            let rest_is_late = self.ended.is_some_and(|ended| ended.elapsed() > REST);
            if self.ended.is_some() && (!matches!(self.output, Output::Open(_)) || rest_is_late) {
                // With the exit code of a program that was stopped.
                self.lease = self.desk.client.wait(&self.lease.id).await?;
                return self.end();
            }
        }
    }

    async fn happened(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Lease { lease, .. } | Event::Receipt { lease, .. } if lease == self.lease.id => {
                self.look().await
            }
            Event::Fetching { lease, done, total } if lease == self.lease.id => {
                self.bar.set_message("the host fetches");
                self.bar.set_length(total);
                self.bar.set_position(done);
                Ok(())
            }
            Event::Ending { lease, .. } if lease == self.lease.id => {
                self.desk.out.note(format!(
                    "the lease is nearly over; for more time: sublet renew {} --time 1h",
                    short(&self.lease.id)
                ));
                self.look().await
            }
            Event::Renewal { lease, .. } if lease == self.lease.id => self.look().await,
            Event::Missed { .. } => self.look().await,
            Event::Lease { .. }
            | Event::Receipt { .. }
            | Event::Fetching { .. }
            | Event::Health { .. }
            | Event::Refused { .. }
            | Event::Ending { .. }
            | Event::Renewal { .. }
            | Event::Rated { .. }
            | Event::Offered
            | Event::Owner
            | Event::Market
            | Event::People
            | Event::Payment
            | Event::Update
            | Event::PeerUp { .. }
            | Event::PeerDown { .. } => Ok(()),
        }
    }

    /// Looks where the lease stands, and opens the output once there can be any.
    async fn look(&mut self) -> Result<(), Failure> {
        let lease = self.desk.client.lease(&self.lease.id).await?;
        if lease.standing != self.lease.standing {
            self.tell_standing(&lease)?;
        }
        self.lease = lease;
        let ended = self.lease.standing.state == LeaseState::Ended;
        // Of a short guest the end may be heard of before the start.
        if (self.lease.started.is_some() || ended) && matches!(self.output, Output::NotYet) {
            self.bar.finish_and_clear();
            let follow = LogsWish { follow: true, ..LogsWish::default() };
            self.output = match self.desk.client.logs(&self.lease.id, &follow).await {
                Ok(pieces) => Output::Open(pieces),
                Err(error) => {
                    self.desk.out.note(format!("the output cannot be read: {error}"));
                    Output::Over
                }
            };
        }
        if ended {
            self.ended.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn tell_standing(&self, lease: &Lease) -> Result<(), Failure> {
        if self.desk.out.is_json() {
            return self.desk.out.json(&json!({ "event": "standing", "standing": lease.standing }));
        }
        let sentence = lease.standing.sentence.as_deref().unwrap_or_default();
        if lease.standing.state == LeaseState::Frozen {
            self.desk.out.note(format!("the guest stands still, which is free: {sentence}"));
        }
        if lease.standing.state == LeaseState::Fetching && !lease.standing.detail.is_empty() {
            self.desk.out.note(format!("the host tries again to fetch the image: {}", lease.standing.detail));
        }
        if let (LeaseState::Throttled, Some(percent)) = (lease.standing.state, lease.standing.percent) {
            self.desk.out.note(format!("the guest runs at {percent} %, which is free: {sentence}"));
        }
        Ok(())
    }

    fn print(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.desk.out.is_json() {
            return self.desk.out.json(&json!({ "event": "output", "text": String::from_utf8_lossy(bytes) }));
        }
        self.desk.out.bytes(bytes)
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        self.desk.out.note("ending the lease; Ctrl-C once more does not wait for it");
        self.stopping = true;
        match self.desk.client.stop(&self.lease.id).await.map_err(Failure::from) {
            // It has ended by itself meanwhile.
            Err(failure) if failure.is("wrong_phase") || failure.is("unknown_lease") => Ok(()),
            other => other.map(drop),
        }
    }

    fn end(&self) -> Done {
        self.bar.finish_and_clear();
        let Lease { standing, receipt, .. } = &self.lease;
        if self.desk.out.is_json() {
            self.desk.out.json(&json!({ "event": "ended", "lease": self.lease }))?;
        }
        let sentence = standing.sentence.clone().unwrap_or_default();
        let billed = receipt.as_ref().filter(|receipt| receipt.amount.micros != 0);
        let owed =
            billed.map(|receipt| format!("; {} owed for {}", receipt.amount.text, time(receipt.billed)));
        let owed = owed.unwrap_or_default();
        if standing.reason.as_deref() == Some("exited") || self.stopping {
            self.desk.out.note(format!("lease {} has ended: {sentence}{owed}", short(&self.lease.id)));
            return Ok(standing.exit_code.map_or(INTERRUPTED, |code| u8::try_from(code).unwrap_or(u8::MAX)));
        }
        let detail =
            if standing.detail.is_empty() { String::new() } else { format!(": {}", standing.detail) };
        let ran = if self.lease.started.is_some() { "was ended" } else { "never ran" };
        let told = format!("the guest {ran}: {sentence}{detail}{owed}");
        Err(Failure::refused(standing.reason.as_deref().unwrap_or("ended"), told))
    }
}

impl Output {
    /// The next piece; none after the last. While there can be none, for ever.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Output::Open(pieces) => Ok(pieces.next().await?.map(|piece| piece.to_vec())),
            Output::NotYet | Output::Over => std::future::pending().await,
        }
    }
}
