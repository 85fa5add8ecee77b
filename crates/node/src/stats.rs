//! What guests take, now and in the last minutes: read here, or asked of a host.
//!
//! Each guest here is read every few seconds, and oftener only while somebody looks; however many look, it is read no
//! oftener than twice a second.

use crate::Error;
use crate::clock::Clock;
use crate::execute::{Hands, PIDS};
use crate::frames;
use crate::handle::NodeHandle;
use crate::serve::guest;
use machine::guest::{GuestError, GuestId, GuestSeen, GuestState, Guests};
use model::document::volumes_room;
use model::message::{StreamAnswer, StreamHead};
use model::stats::{MAX_FRAME, MOST_READINGS, Process, Processes, Reading, STEP};
use model::{Id, Lease, Side, Span, Timestamp, plain};
use net::{IncomingStream, NetError};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

/// Readings that are kept of each guest: ten minutes.
const KEPT: usize = 120;

/// Who asks again within this gets the same answer.
const FRESH: Duration = Duration::from_millis(500);

/// From one reading of a live stream to the next.
const BEAT: Duration = Duration::from_secs(1);

/// A host may say nothing for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a host's first answer may take: it looks at a guest, and waits for nothing.
const ANSWER: Duration = Duration::from_secs(15);

/// A host that says more is listened to no faster.
const LEAST_PAUSE: Duration = Duration::from_millis(250);

/// Reads guests here, and remembers.
pub struct Sampler {
    clock: Clock,
    guests: Mutex<BTreeMap<GuestId, Arc<Kept>>>,
}

#[derive(Default)]
struct Kept {
    /// Locked while the guest is read, so that others wait for that answer.
    newest: tokio::sync::Mutex<Option<(Instant, Reading)>>,
    ring: Mutex<VecDeque<Reading>>,
}

impl Sampler {
    /// Remembers nothing yet.
    pub fn new(clock: Clock) -> Sampler {
        Sampler { clock, guests: Mutex::default() }
    }

    /// What a guest takes now.
    async fn now(&self, guests: &Guests, id: GuestId) -> Result<Reading, GuestError> {
        let kept = locked(&self.guests).entry(id).or_default().clone();
        let mut newest = kept.newest.lock().await;
        if let Some((at, reading)) = *newest
            && at.elapsed() < FRESH
        {
            return Ok(reading);
        }
        let seen = guests.look(id).await?;
        let reading = self.reading(&seen).ok_or(GuestError::NotRunning(id))?;
        *newest = Some((Instant::now(), reading));
        Ok(reading)
    }

    /// What it has taken in the last minutes, the oldest first.
    fn history(&self, id: GuestId) -> Vec<Reading> {
        let kept = locked(&self.guests).get(&id).cloned();
        kept.map(|kept| locked(&kept.ring).iter().copied().collect()).unwrap_or_default()
    }

    /// Reads all guests that run, and forgets the others.
    fn take(&self, seen: &[GuestSeen]) {
        let readings: BTreeMap<GuestId, Reading> =
            seen.iter().filter_map(|seen| Some((seen.id, self.reading(seen)?))).collect();
        let mut guests = locked(&self.guests);
        guests.retain(|id, _| readings.contains_key(id));
        for (id, reading) in readings {
            let kept = guests.entry(id).or_default();
            let mut ring = locked(&kept.ring);
            if ring.len() == KEPT {
                ring.pop_front();
            }
            ring.push_back(reading);
        }
    }

    /// None when it does not run.
    fn reading(&self, seen: &GuestSeen) -> Option<Reading> {
        let frozen = match seen.state {
            GuestState::Running => false,
            GuestState::Frozen => true,
            GuestState::Starting
            | GuestState::Exited { .. }
            | GuestState::Failed { .. }
            | GuestState::Lost { .. } => return None,
        };
        let usage = &seen.usage;
        Some(Reading {
            at: self.clock.now(),
            cpu: Span(usage.cpu_ms),
            memory: usage.working_memory(),
            disk: usage.disk_bytes,
            pids: usage.pids,
            traffic: usage.traffic,
            frozen,
        })
    }
}

/// Reads guests for as long as the node runs.
pub async fn sample(hands: Hands) {
    let mut step = interval(STEP.into());
    step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = step.tick() => {}
            () = hands.commands.closed() => return,
        }
        match hands.guests.seen().await {
            Ok(seen) => hands.sampler.take(&seen),
            Err(error) => tracing::warn!(%error, "the guests cannot be seen"),
        }
    }
}

/// What a guest takes, with the rates since the reading before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// As it was read.
    pub reading: Reading,
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Bytes a second to the guest.
    pub receiving: u64,
    /// Bytes a second from the guest.
    pub sending: u64,
}

impl Sample {
    /// A reading beside one before it.
    pub fn after(before: &Reading, reading: Reading) -> Sample {
        let passed = reading.at.since(before.at).0;
        let rate = |now: u64, before: u64| {
            now.saturating_sub(before).saturating_mul(1_000).checked_div(passed).unwrap_or(0)
        };
        Sample {
            reading,
            cpu_millis: u32::try_from(rate(reading.cpu.0, before.cpu.0)).unwrap_or(u32::MAX),
            receiving: rate(reading.traffic.received, before.traffic.received),
            sending: rate(reading.traffic.sent, before.traffic.sent),
        }
    }

    /// Readings of a guest that began at `started`, each beside the one before.
    fn of(readings: &[Reading], started: Timestamp) -> Vec<Sample> {
        // Before the first that is kept lies the beginning, or what is no longer known.
        let near = |first: &Reading| readings.len() == 1 || first.at.since(started) <= Span(2 * STEP.0);
        let begun = Reading { at: started, ..Reading::default() };
        let before = readings.first().filter(|first| near(first)).map(|_| begun);
        let befores = before.iter().chain(readings);
        let from = usize::from(before.is_none());
        befores.zip(readings.iter().skip(from)).map(|(before, now)| Sample::after(before, *now)).collect()
    }
}

/// What a guest may take at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes that it may write over its image.
    pub disk: u64,
    /// Processes and threads.
    pub pids: u32,
}

/// What a guest takes, as it goes on.
pub struct Stats {
    /// What it may take.
    pub most: Most,
    /// What it has taken in the last minutes, the oldest first; the last is now. None while it does not run.
    pub samples: Vec<Sample>,
    source: Source,
}

enum Source {
    Remote {
        stream: Box<net::Stream>,
        heard: Instant,
    },
    Local {
        hands: Box<Hands>,
        id: GuestId,
    },
    /// It does not run: nothing comes.
    Rests,
}

impl Stats {
    /// The next, about a second after the last; none when the guest has ended, or only what there is was asked for.
    ///
    /// # Errors
    /// When the host is gone, or makes no sense.
    pub async fn next(&mut self) -> io::Result<Option<Sample>> {
        let reading = match &mut self.source {
            Source::Remote { stream, heard } => {
                sleep_until(*heard + LEAST_PAUSE).await;
                *heard = Instant::now();
                timeout(PATIENCE, read(stream)).await??.and_then(|readings| readings.last().copied())
            }
            Source::Local { hands, id } => {
                sleep(BEAT).await;
                hands.sampler.now(&hands.guests, *id).await.ok()
            }
            Source::Rests => None,
        };
        let Some(reading) = reading else { return Ok(None) };
        let sample = match self.samples.last() {
            Some(last) => Sample::after(&last.reading, reading),
            None => Sample::after(&reading, reading),
        };
        self.samples = vec![sample];
        Ok(Some(sample))
    }
}

impl NodeHandle {
    /// What the guest of a lease takes: of ours elsewhere, or of somebody's here. Nothing while it does not run: whoever asks
    /// cannot know of its end before we do.
    ///
    /// # Errors
    /// When its host cannot be reached.
    pub async fn stats(&self, id: Id<Lease>, follow: bool) -> Result<Stats, Error> {
        let lease = self.lease(id, |lease| {
            let workload = &lease.contract.workload;
            let resources = lease.contract.resources;
            let most = Most {
                cpu_millis: resources.cpu_millis,
                memory: resources.memory,
                disk: resources.disk.saturating_sub(volumes_room(&workload.volumes)),
                pids: PIDS,
            };
            (lease.side, lease.peer, lease.phase, lease.started, most)
        });
        let (side, peer, phase, started, most) = lease.await?;
        let rests = Stats { most, samples: Vec::new(), source: Source::Rests };
        let Some(started) = started.filter(|_| phase.is_live()) else { return Ok(rests) };
        let (readings, source) = match side {
            Side::Host => {
                let hands = self.hands().clone();
                match readings(&hands, guest(id)).await {
                    Ok(readings) => (readings, Source::Local { hands: Box::new(hands), id: guest(id) }),
                    Err(GuestError::NotRunning(_)) => return Ok(rests),
                    Err(error) => return Err(error.into()),
                }
            }
            Side::Tenant => {
                let mut stream = match self.net().open(peer, StreamHead::Stats { lease: id, follow }).await {
                    Ok(stream) => stream,
                    // Its host knows earlier that it has ended.
                    Err(NetError::Refused {
                        answer: StreamAnswer::NotYours | StreamAnswer::Closed, ..
                    }) => {
                        return Ok(rests);
                    }
                    Err(error) => return Err(error.into()),
                };
                let first = timeout(ANSWER, read(&mut stream)).await;
                let Ok(Ok(Some(readings))) = first else { return Err(Error::no_answer(id)) };
                (readings, Source::Remote { stream: Box::new(stream), heard: Instant::now() })
            }
        };
        Ok(Stats { most, samples: Sample::of(&readings, started), source })
    }

    /// What goes on in the guest of a lease, as its tenant.
    ///
    /// # Errors
    /// When it does not run, is not ours, or its host cannot be reached.
    pub async fn top(&self, id: Id<Lease>) -> Result<Processes, Error> {
        let peer = self.guest_of_ours(id, |lease| lease.phase.is_live()).await?;
        let mut stream = self.net().open(peer, StreamHead::Top { lease: id }).await?;
        let answer = timeout(ANSWER, frames::read::<Processes>(&mut stream, MAX_FRAME)).await;
        let Ok(Ok(Some(mut processes))) = answer else { return Err(Error::no_answer(id)) };
        processes.listed.truncate(model::stats::MOST_PROCESSES);
        for process in &mut processes.listed {
            process.command = plain(&process.command, 256);
            process.state = Some(process.state).filter(char::is_ascii_alphabetic).unwrap_or('?');
        }
        Ok(processes)
    }
}

/// What is kept of a guest here, and what it takes now.
async fn readings(hands: &Hands, id: GuestId) -> Result<Vec<Reading>, GuestError> {
    let now = hands.sampler.now(&hands.guests, id).await?;
    let mut readings = hands.sampler.history(id);
    readings.retain(|reading| reading.at < now.at);
    readings.push(now);
    Ok(readings)
}

/// As host: tells the tenant what its guest takes.
pub async fn serve_stats(hands: &Hands, stream: IncomingStream, id: GuestId, follow: bool) -> io::Result<()> {
    let Ok(readings) = readings(hands, id).await else { return stream.refuse(StreamAnswer::Closed).await };
    let mut stream = stream.accept().await?;
    frames::write(&mut stream, &readings, MAX_FRAME).await?;
    if follow {
        loop {
            sleep(BEAT).await;
            let Ok(reading) = hands.sampler.now(&hands.guests, id).await else { break };
            frames::write(&mut stream, &[reading], MAX_FRAME).await?;
        }
    }
    stream.shutdown().await
}

/// As host: tells the tenant what goes on in its guest.
pub async fn serve_top(hands: &Hands, stream: IncomingStream, id: GuestId) -> io::Result<()> {
    let Ok(seen) = hands.guests.processes(id).await else {
        return stream.refuse(StreamAnswer::Closed).await;
    };
    let listed = seen.listed.into_iter().map(|process| Process {
        pid: process.pid,
        parent: process.parent,
        user: process.user,
        state: process.state,
        cpu: Span(process.cpu_ms),
        memory: process.memory_bytes,
        command: process.command,
    });
    let processes = Processes { listed: listed.collect(), left_out: seen.left_out };
    let mut stream = stream.accept().await?;
    // 256 processes with the longest commands of the widest characters would not fit.
    frames::write(&mut stream, &fitting(processes), MAX_FRAME).await?;
    stream.shutdown().await
}

fn fitting(mut processes: Processes) -> Processes {
    while model::to_bytes(&processes).len() > MAX_FRAME && processes.listed.pop().is_some() {
        processes.left_out = processes.left_out.saturating_add(1);
    }
    processes
}

async fn read(stream: &mut net::Stream) -> io::Result<Option<Vec<Reading>>> {
    let readings: Option<Vec<Reading>> = frames::read(stream, MAX_FRAME).await?;
    let fits = readings.as_ref().is_none_or(|readings| (1..=MOST_READINGS).contains(&readings.len()));
    if fits { Ok(readings) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The data stays whole if a thread panics while it holds the lock: each change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::guest::Usage;
    use model::Traffic;

    fn reading(at: i64, cpu: u64) -> Reading {
        Reading { at: Timestamp(at), cpu: Span(cpu), ..Reading::default() }
    }

    #[test]
    fn rates_are_those_since_the_reading_before() {
        let before = Reading { traffic: Traffic { received: 1_000, sent: 0 }, ..reading(10_000, 500) };
        let now = Reading { traffic: Traffic { received: 3_000, sent: 50 }, ..reading(12_000, 1_500) };
        let sample = Sample::after(&before, now);
        assert_eq!((sample.cpu_millis, sample.receiving, sample.sending), (500, 1_000, 25));
    }

    #[test]
    fn a_host_that_makes_no_sense_makes_no_panic() {
        let (early, late) = (reading(i64::MIN, 0), reading(i64::MAX, u64::MAX));
        for (before, now) in
            [(late, early), (early, late), (late, late), (reading(0, 0), reading(1, u64::MAX))]
        {
            Sample::after(&before, now);
        }
        assert_eq!(Sample::after(&late, late).cpu_millis, 0);
        assert_eq!(Sample::after(&reading(0, 0), reading(1, u64::MAX)).cpu_millis, u32::MAX);
    }

    #[test]
    fn the_first_reading_stands_beside_the_guest_s_beginning_where_that_is_near() {
        let near = Sample::of(&[reading(6_000, 500), reading(11_000, 1_000)], Timestamp(5_000));
        assert_eq!(near.iter().map(|sample| sample.cpu_millis).collect::<Vec<_>>(), [500, 100]);
        let far = Sample::of(&[reading(600_000, 500), reading(605_000, 1_000)], Timestamp(5_000));
        assert_eq!(far.iter().map(|sample| sample.cpu_millis).collect::<Vec<_>>(), [100]);
        assert_eq!(Sample::of(&[reading(600_000, 500)], Timestamp(0)).len(), 1);
        assert_eq!(Sample::of(&[], Timestamp(0)), []);
    }

    #[test]
    fn ten_minutes_are_kept_and_a_guest_that_ended_is_forgotten() {
        let sampler = Sampler::new(Clock::start());
        let id = GuestId::new([1; 32]);
        let seen = |state, cpu_ms| GuestSeen { id, state, usage: Usage { cpu_ms, ..Usage::default() } };
        for cpu in 0..=KEPT as u64 {
            sampler.take(&[seen(GuestState::Running, cpu)]);
        }
        let history = sampler.history(id);
        assert_eq!(history.len(), KEPT);
        assert_eq!((history[0].cpu, history[KEPT - 1].cpu), (Span(1), Span(KEPT as u64)));
        sampler.take(&[seen(GuestState::Frozen, 0)]);
        assert!(sampler.history(id).last().unwrap().frozen);
        sampler.take(&[seen(GuestState::Exited { code: 0, at: 0 }, 0)]);
        assert_eq!(sampler.history(id), []);
    }

    #[test]
    fn what_a_guest_shows_always_fits_into_a_frame() {
        let process = Process {
            pid: u32::MAX,
            parent: u32::MAX,
            user: u32::MAX,
            state: 'R',
            cpu: Span(u64::MAX),
            memory: u64::MAX,
            command: "\u{10ffff}".repeat(256),
        };
        let all = Processes { listed: vec![process; model::stats::MOST_PROCESSES], left_out: 0 };
        let fit = fitting(all);
        assert!(model::to_bytes(&fit).len() <= MAX_FRAME);
        assert_eq!(fit.listed.len() + fit.left_out as usize, model::stats::MOST_PROCESSES);
        assert!(fit.listed.len() > 200);
        let full = vec![reading(i64::MAX, u64::MAX); MOST_READINGS];
        assert!(model::to_bytes(&full).len() <= MAX_FRAME);
    }
}
