//! Does what is wanted, each thing in a task of its own, and brings back what came of it.

use crate::fetch::{FetchError, digest, fetch, for_tenant, is_bad_image};
use crate::logs::{LocalLog, LogReader, LogWish, Searches};
use crate::neighbours::Neighbours;
use crate::run::Command;
use crate::secrets::{self, Sealed};
use crate::serve::guest;
use crate::stats::Sampler;
use crate::volumes::{self, NotReady};
use engine::effect::Start;
use engine::input::{Machine, Meter};
use engine::{Effect, Input, Topic};
use machine::device::{Devices, resolve};
use machine::guest::{Grace, GuestError, GuestId, GuestSpec, GuestState, Guests, Limits, Settings, Usage};
use machine::image::{Images, RunConfig};
use machine::network::{Internet, Network};
use machine::volume::Volumes;
use model::document::{LentDevice, Restart, RunOptions, volumes_room};
use model::{Id, Lease, PeerKey, Request, Resources, Response, Span, Timestamp, Workload};
use net::Net;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a guest that is asked to stop may take before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Output that is kept of one guest, in bytes.
const LOG_BYTES: u64 = 8 << 20;

/// The least that a guest may write: tools expect to be able to write a little.
const LEAST_DISK: u64 = 1 << 20;

/// The most processes and threads of a guest.
pub const PIDS: u32 = 512;

/// What tasks work with.
#[derive(Clone)]
pub struct Hands {
    pub net: Net,
    pub guests: Arc<Guests>,
    pub internet: Arc<Internet>,
    pub images: Images,
    pub commands: mpsc::Sender<Command>,
    pub neighbours: Arc<Neighbours>,
    pub volumes: Volumes,
    pub sampler: Arc<Sampler>,
    pub searches: Arc<Searches>,
    /// Where the keys of our own volumes on other computers are.
    pub volume_keys: PathBuf,
    /// The values of our guests' secrets on other computers.
    pub sealed: Sealed,
}

impl Hands {
    /// Reads the output of a guest here.
    pub fn log(&self, id: GuestId, wish: LogWish) -> LogReader {
        LogReader::Local(Box::new(LocalLog::new(self.guests.clone(), self.searches.clone(), id, wish)))
    }
}

/// What came of an effect.
#[derive(Debug)]
pub enum Outcome {
    /// Done; this is the news, if any.
    Done(Option<Input>),
    /// Not done, to be tried again; this is the news, if any.
    Again(Option<Input>),
    /// A peer has answered.
    Answered(Topic, Response),
    /// A peer could not be reached.
    Unreachable(PeerKey, Topic),
}

/// Does one thing. The outcome goes back to the loop.
pub async fn execute(hands: Hands, effect: Effect) {
    let key = effect.key();
    let outcome = match effect {
        Effect::Send { to, topic, request } => send(&hands, to, topic, request).await,
        Effect::Fetch { lease, workload, tenant } => fetch_image(&hands, lease, &workload, tenant).await,
        Effect::Start(wanted) => start(&hands, &wanted).await,
        Effect::Freeze(lease, _) => done_or_again(hands.guests.freeze(guest(lease)).await),
        Effect::Thaw(lease, _) => done_or_again(hands.guests.thaw(guest(lease)).await),
        Effect::Pace(lease, _, millis) => done_or_again(hands.guests.pace(guest(lease), millis).await),
        Effect::Stop(lease) => stop(&hands, lease).await,
        Effect::Remove(lease) => done_or_again(hands.guests.remove(guest(lease)).await),
        Effect::Meter(lease, _) => meter(&hands, lease).await,
        // The loop does it at once.
        Effect::Share(..) => Outcome::Done(None),
    };
    // The loop is gone only when the node stops.
    let _ = hands.commands.send(Command::Finished(key, outcome)).await;
}

async fn send(hands: &Hands, to: PeerKey, topic: Topic, request: Request) -> Outcome {
    match hands.net.request(to, request).await {
        Ok(response) => Outcome::Answered(topic, response),
        Err(error) => {
            tracing::debug!(peer = %to, ?topic, %error, "not said");
            Outcome::Unreachable(to, topic)
        }
    }
}

async fn fetch_image(hands: &Hands, lease: Id<Lease>, workload: &Workload, tenant: PeerKey) -> Outcome {
    let report = |done, total| {
        // Progress is not worth waiting for.
        let _ = hands.commands.try_send(Command::Progress(lease, done, total));
    };
    let error = match fetch(hands, lease, workload, tenant, report).await {
        Ok(()) => return Outcome::Done(Some(Input::Machine(Machine::Fetched(lease)))),
        Err(error) => error,
    };
    let detail = error.for_tenant();
    if error.is_workload() || error.is_want_of_room() {
        let failed = Machine::Failed { lease, workload: error.is_workload(), detail };
        return Outcome::Done(Some(Input::Machine(failed)));
    }
    if matches!(error, FetchError::Stopped) {
        return Outcome::Again(None);
    }
    // The lease's own time limit ends this.
    tracing::info!(lease = %lease.short(), %error, "the image is not here yet");
    Outcome::Again(Some(Input::Machine(Machine::Hindered { lease, detail })))
}

async fn start(hands: &Hands, wanted: &Start) -> Outcome {
    let Start { lease, workload, resources, network_rate, io_rate, devices: lent, tenant, grace } = wanted;
    let lease = *lease;
    let failed = |workload, detail: String| {
        Outcome::Done(Some(Input::Machine(Machine::Failed { lease, workload, detail })))
    };
    // A node that died after it had begun the guest does not ask for anything again.
    let begun = hands.guests.look(guest(lease)).await;
    if begun.is_ok_and(|seen| !matches!(seen.state, GuestState::Lost { .. })) {
        return Outcome::Done(Some(Input::Machine(Machine::Started(lease))));
    }
    let prepared = hands.images.prepare(&digest(&workload.image), &|_| {}, &CancellationToken::new()).await;
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            tracing::info!(lease = %lease.short(), %error, "the image cannot be prepared");
            return failed(is_bad_image(&error), for_tenant(&error));
        }
    };
    let options = &workload.options;
    // Mounted here until the guest has them: it keeps them by itself then.
    let (_mounted, mounts) = match volumes::ready(hands, lease, &workload.volumes).await {
        Ok(ready) => ready,
        Err(NotReady::Later(why)) => {
            tracing::info!(lease = %lease.short(), why, "the guest waits for its volumes");
            return Outcome::Again(None);
        }
        Err(NotReady::Never(workload, detail)) => return failed(workload, detail),
    };
    let devices = match given(lent, &workload.devices) {
        Ok(devices) => devices,
        Err(detail) => return failed(false, detail),
    };
    let secrets = match secrets::ask(hands, lease, *tenant, workload.secrets.as_ref()).await {
        Ok(secrets) => secrets,
        Err(NotReady::Later(why)) => {
            tracing::info!(lease = %lease.short(), why, "the guest waits for its secrets");
            return Outcome::Again(None);
        }
        Err(NotReady::Never(workload, detail)) => return failed(workload, detail),
    };
    let scratch = resources.disk.saturating_sub(volumes_room(&workload.volumes));
    let spec = GuestSpec {
        id: guest(lease),
        layers: prepared.layers,
        args: command(&prepared.config, &workload.options, &workload.command),
        env: prepared.config.env.iter().chain(&workload.env).cloned().collect(),
        cwd: options.cwd.clone().unwrap_or_else(|| prepared.config.cwd.clone()),
        user: options.user.clone().unwrap_or_else(|| prepared.config.user.clone()),
        hostname: options.hostname.clone().unwrap_or_else(|| format!("guest-{}", lease.short())),
        limits: limits(&Resources { disk: scratch, ..*resources }, *io_rate),
        mounts,
        devices,
        secrets,
        network: Network { policy: workload.network.clone(), rate: *network_rate },
        grace: Grace { freeze: Grace::default().freeze, stop: (*grace).into() },
        run: settings(options, &prepared.config),
    };
    match hands.guests.start(&spec).await {
        Ok(()) => Outcome::Done(Some(Input::Machine(Machine::Started(lease)))),
        Err(error) => failed(is_workload(&error), error.to_string()),
    }
}

/// What the guest gets for its devices, as they are on this machine now.
fn given(lent: &[LentDevice], wanted: &[String]) -> Result<Devices, String> {
    let mut devices = Devices::default();
    for name in wanted {
        let device = lent
            .iter()
            .find(|lent| lent.name == *name)
            .ok_or_else(|| format!("the device {name} is lent no longer"))?;
        let found = resolve(&device.source).and_then(|found| found.can_be_opened().map(|()| found));
        devices.add(found.map_err(|error| format!("the device {name} cannot be had: {error}"))?);
    }
    Ok(devices)
}

/// As docker does: a command replaces the image's own, and follows its entrypoint; another entrypoint replaces both.
fn command(image: &RunConfig, options: &RunOptions, given: &[String]) -> Vec<String> {
    let (entrypoint, cmd) = match &options.entrypoint {
        Some(entrypoint) => (entrypoint, &[][..]),
        None => (&image.entrypoint, image.cmd.as_slice()),
    };
    let arguments = if given.is_empty() { cmd } else { given };
    entrypoint.iter().chain(arguments).cloned().collect()
}

fn settings(options: &RunOptions, image: &RunConfig) -> Settings {
    use machine::guest::{Restart as Again, Tmpfs};
    let tmpfs = |tmpfs: &model::document::Tmpfs| Tmpfs { path: tmpfs.path.clone(), size: tmpfs.size };
    Settings {
        stdin: options.stdin,
        terminal: options.terminal,
        restart: match options.restart {
            Restart::No => Again::No,
            Restart::OnFailure { most } => Again::OnFailure(most),
            Restart::Always => Again::Always,
        },
        // One that the image names and nobody knows is as none.
        stop_signal: options
            .stop_signal
            .map(i32::from)
            .or_else(|| image.stop_signal.as_deref().and_then(machine::guest::signal_number)),
        stop_within: options.stop_within.map(Into::into),
        shm: options.shm,
        tmpfs: options.tmpfs.iter().map(tmpfs).collect(),
        read_only: options.read_only,
    }
}

fn limits(resources: &Resources, io_rate: u64) -> Limits {
    Limits {
        cpu_millis: resources.cpu_millis,
        memory: resources.memory,
        disk: resources.disk.max(LEAST_DISK),
        // A file for each 16 KiB, as ext4 has it by default; and enough for small disks.
        inodes: (resources.disk / 16_384).max(4_096),
        pids: PIDS,
        open_files: 4_096,
        log_bytes: LOG_BYTES,
        io_rate,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all else is this machine's doing")]
fn is_workload(error: &GuestError) -> bool {
    use machine::guest::StartError;
    match error {
        GuestError::Spec(_) => true,
        GuestError::Start(start) => matches!(
            start,
            StartError::NoProgram { .. } | StartError::NoUser { .. } | StartError::Runtime { .. }
        ),
        _ => false,
    }
}

async fn stop(hands: &Hands, lease: Id<Lease>) -> Outcome {
    let within = hands.guests.stop_time(guest(lease)).unwrap_or(STOP_WITHIN);
    if let Err(error) = hands.guests.stop(guest(lease), within).await {
        tracing::warn!(lease = %lease.short(), %error, "the guest does not stop");
        return Outcome::Again(None);
    }
    match hands.guests.seen().await {
        Ok(seen) => {
            let state = seen.into_iter().find(|seen| seen.id == guest(lease));
            let gone = Machine::Gone { lease, detail: String::new() };
            Outcome::Done(Some(Input::Machine(
                state.and_then(|seen| ended(lease, &seen.state, &seen.usage)).unwrap_or(gone),
            )))
        }
        Err(error) => {
            tracing::warn!(lease = %lease.short(), %error, "the guests cannot be seen");
            Outcome::Again(None)
        }
    }
}

async fn meter(hands: &Hands, lease: Id<Lease>) -> Outcome {
    let seen = match hands.guests.seen().await {
        Ok(seen) => seen,
        Err(error) => {
            tracing::warn!(lease = %lease.short(), %error, "the guests cannot be seen");
            return Outcome::Again(None);
        }
    };
    let Some(seen) = seen.into_iter().find(|seen| seen.id == guest(lease)) else {
        return Outcome::Done(Some(Input::Machine(Machine::Gone {
            lease,
            detail: "no guest runs under this lease".to_owned(),
        })));
    };
    let news = ended(lease, &seen.state, &seen.usage)
        .unwrap_or(Machine::Metered { lease, meter: metered(&seen.usage) });
    Outcome::Done(Some(Input::Machine(news)))
}

/// What a guest that no longer runs tells; none while it does.
pub fn ended(lease: Id<Lease>, state: &GuestState, usage: &Usage) -> Option<Machine> {
    match state {
        GuestState::Exited { code, at } => {
            let at = Timestamp(i64::try_from(*at).unwrap_or(i64::MAX));
            Some(Machine::Exited { lease, code: *code, at, meter: metered(usage) })
        }
        GuestState::Failed { error, .. } => Some(Machine::Gone { lease, detail: error.to_string() }),
        GuestState::Lost { why } => Some(Machine::Gone { lease, detail: why.to_string() }),
        GuestState::Starting | GuestState::Running | GuestState::Frozen => None,
    }
}

fn metered(usage: &Usage) -> Meter {
    Meter {
        cpu: Span(usage.cpu_ms),
        memory_peak: usage.memory_peak,
        frozen: Span(usage.frozen_ms),
        traffic: usage.traffic,
    }
}

fn done_or_again(result: Result<(), GuestError>) -> Outcome {
    match result {
        // It ended meanwhile, and the loop hears of that by itself.
        Ok(()) | Err(GuestError::NotRunning(_)) => Outcome::Done(None),
        Err(error) => {
            tracing::warn!(%error, "the guest does not follow");
            Outcome::Again(None)
        }
    }
}
