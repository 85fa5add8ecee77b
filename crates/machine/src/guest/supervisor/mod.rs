//! The process that holds a guest: one per guest, with one thread, started by the node and not ended with it.
//!
//! ```text
//!  node ── socket ── supervisor ── pipes ──┐           (outside the guest's limits, in its network)
//!                        │ dies => SIGKILL │
//!                        └── first process: sandbox, then OCI runtime ── guest's program
//! ```
//!
//! A guest is built, started, runs, is perhaps frozen, and ends. Left without a node past its grace it is frozen, then
//! stopped. How it ended is written down before anybody is told.

mod exec;
mod output;
mod start;
mod stop;
mod talk;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::process::setsid;

use self::exec::Tasks;
use self::output::Allowance;
use self::start::{allow_files, start_first_process};
use self::stop::{Hold, Stop};
use self::talk::{Client, listen_in};
use super::defences::Defences;
use super::error::StartError;
use super::grip::Grip;
use super::log::{LogWriter, Stream};
use super::record::{End, Ending, GuestDir, Orders, Usage};
use super::sys::{self, Child};
use crate::network::Doors;

/// What the supervisor says to the node that started it, on its standard output, when the program runs.
pub const RUNNING: &[u8] = b"running\n";

/// The supervisor's socket in the guest's directory.
pub const CONTROL: &str = "control";

/// A runtime that takes longer hangs.
const START_WITHIN: Duration = Duration::from_secs(20);

/// How long a guest that nobody looks after has between the kind word and the end.
const LAST_WORD: Duration = Duration::from_secs(10);

/// Runs this process as the supervisor of the guest in whose directory it stands.
///
/// Call it first thing in `main`, before there is any thread: it forks. It never returns. Its standard input is the
/// lock on the directory, its standard output a socket to the node, from which come what is in no orders.
pub fn supervise() -> ! {
    supervise_with(Defences::default())
}

/// The same, with a sandbox that lacks the named parts of [`Defences`]. Only to show that the isolation test would notice.
#[doc(hidden)]
pub fn supervise_without(defences: &[&str]) -> ! {
    supervise_with(Defences::without(defences))
}

fn supervise_with(defences: Defences) -> ! {
    // The node's terminal must not end the guest; fails only if we are a session's leader already.
    let _ = setsid();
    let dir = GuestDir::here();
    let outcome = dir.orders().and_then(|mut orders| {
        orders.defences = defences;
        orders.spec.limits = defences.loosen(orders.spec.limits);
        oversee(&dir, &orders)
    });
    if let Err(error) = outcome {
        eprintln!("sublet supervisor: {error}");
        process::exit(1);
    }
    process::exit(0)
}

fn oversee(dir: &GuestDir, orders: &Orders) -> io::Result<()> {
    let grip = orders.held_by.grip(&orders.spec.id);
    let mut supervisor = Supervisor::launch(dir, orders, &grip);
    let (how, usage) = match &mut supervisor {
        Ok(supervisor) => (supervisor.attend()?, supervisor.usage()),
        Err(error) => (Ending::NotStarted(error.clone()), Usage::default()),
    };
    // What cannot be removed now, the node removes with the guest.
    let _ = grip.remove();
    dir.set_end(&End { how, at: now(), usage })?;
    flock(rustix::stdio::stdin(), FlockOperation::Unlock)?;
    // Only now: closed connections are how a node learns that the guest has ended.
    drop(supervisor);
    dir.sync()
}

struct Supervisor<'a> {
    orders: &'a Orders,
    grip: &'a Grip,
    first: Child,
    /// The way to what the first process becomes.
    warden: OwnedFd,
    phase: Phase,
    start_by: Instant,
    started_at: u64,
    control: OwnedFd,
    signals: OwnedFd,
    clients: Vec<Client>,
    alone_since: Option<Instant>,
    hold: Hold,
    stop: Stop,
    /// The guest's input, if it stays open.
    input: Option<OwnedFd>,
    output: Vec<(Stream, File)>,
    /// Kept for the node, which takes copies of them.
    doors: Doors,
    /// What goes on beside the guest's program.
    tasks: Tasks,
    restarts: u32,
    allowance: Allowance,
    log: LogWriter,
    /// Tells of new files of the runtime. The last field but one, since the kernel takes 15 ms to close such a file: by
    /// then everybody knows what they need to.
    changes: OwnedFd,
    /// What the guest writes, to see how much it is. The kernel writes out what is left in memory of it when the last one closes it: that is us, here,
    /// and not the guest's first process, for whose end others wait.
    disk: Option<OwnedFd>,
}

enum Phase {
    /// The first process makes the sandbox, and will say how that went.
    Building,
    /// The runtime is at work; it writes the file `pid` when the program has begun.
    Starting {
        scratch: OwnedFd,
    },
    Running,
    /// The program never ran.
    Failed(StartError),
}

impl<'a> Supervisor<'a> {
    fn launch(dir: &GuestDir, orders: &'a Orders, grip: &'a Grip) -> Result<Supervisor<'a>, StartError> {
        let control = listen_in(dir.path()).map_err(StartError::sandbox("listen for the node"))?;
        let signals = sys::signals_as_file(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
            .map_err(StartError::sandbox("wait for signals"))?;
        let log = LogWriter::create(dir.path(), orders.spec.limits.log_bytes)
            .map_err(StartError::sandbox("begin the guest's log"))?;
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(StartError::sandbox("watch for files"))?;
        allow_files(orders.spec.limits.open_files);
        grip.create(orders)?;
        let (first, warden, ends, doors, disk) = start_first_process(orders, grip)?;
        Ok(Supervisor {
            orders,
            grip,
            first,
            warden,
            phase: Phase::Building,
            start_by: Instant::now() + START_WITHIN,
            started_at: 0,
            control,
            signals,
            clients: Vec::new(),
            alone_since: Some(Instant::now()),
            hold: Hold::default(),
            stop: Stop::No,
            disk,
            input: ends.input,
            output: ends.output,
            doors,
            tasks: Tasks::default(),
            restarts: 0,
            allowance: Allowance::new(Instant::now()),
            log,
            changes,
        })
    }

    /// Serves node and guest until the guest has ended.
    fn attend(&mut self) -> io::Result<Ending> {
        loop {
            let ready = self.wait()?;
            if ready.signals {
                let _ = File::from(self.signals.try_clone()?).read(&mut [0; 128]);
                self.begin_stop(LAST_WORD);
            }
            if ready.changes || ready.warden && matches!(self.phase, Phase::Building) {
                self.advance();
            } else if ready.warden {
                self.hear_warden();
            }
            self.take_output(&ready.output);
            if ready.first_ended {
                return self.finish();
            }
            self.serve(&ready.clients);
            if ready.control {
                self.accept();
            }
            self.keep_time();
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let timeout = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout
            .map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let changes = match &self.phase {
            Phase::Starting { .. } => Some(self.changes.as_fd()),
            Phase::Building | Phase::Running | Phase::Failed(_) => None,
        };
        let reads_output = !self.allowance.is_used_up();
        let fixed =
            [self.first.pidfd.as_fd(), self.control.as_fd(), self.signals.as_fd(), self.warden.as_fd()];
        let output = self.output.iter().filter(|_| reads_output).map(|(_, pipe)| pipe.as_fd());
        let clients = self.clients.iter().map(|client| client.socket.as_fd());
        let mut polled: Vec<PollFd<'_>> = fixed
            .into_iter()
            .chain(changes)
            .chain(output)
            .chain(clients)
            .map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN))
            .collect();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // In the order in which they were chained.
        let mut ready = polled.iter().map(|file| !file.revents().is_empty());
        let mut next = || ready.next().unwrap_or(false);
        Ok(Ready {
            first_ended: next(),
            control: next(),
            signals: next(),
            warden: next(),
            changes: changes.is_some() && next(),
            output: self.output.iter().map(|_| reads_output && next()).collect(),
            clients: self.clients.iter().map(|_| next()).collect(),
        })
    }

    /// The next time at which something is due without anybody asking.
    fn next_deadline(&self) -> Option<Instant> {
        let grace = &self.orders.spec.grace;
        let starting = matches!(self.phase, Phase::Building | Phase::Starting { .. });
        let start_by = (starting && self.hold.since.is_none()).then_some(self.start_by);
        let stop_by = match self.stop {
            Stop::By(at) => Some(at),
            Stop::No | Stop::Killed => None,
        };
        let solitude = self.alone_since.filter(|_| self.stop == Stop::No).map(|since| {
            if self.hold.by_solitude { since + grace.freeze + grace.stop } else { since + grace.freeze }
        });
        let refill = self.allowance.is_used_up().then(|| self.allowance.renewed_at());
        [start_by, stop_by, solitude, refill].into_iter().flatten().min()
    }

    /// Does what is due.
    fn keep_time(&mut self) {
        let now = Instant::now();
        self.allowance.refill(now);
        let grace = self.orders.spec.grace;
        let starting = matches!(self.phase, Phase::Building | Phase::Starting { .. });
        if starting && self.hold.since.is_none() && self.start_by <= now {
            self.phase = Phase::Failed(StartError::TooSlow { seconds: START_WITHIN.as_secs() });
            self.kill();
        }
        if matches!(self.stop, Stop::By(at) if at <= now) {
            self.kill();
        }

        let watched = self.clients.iter().any(|client| client.watches);
        match self.alone_since {
            Some(_) if watched => {
                self.alone_since = None;
                let _ = self.set_hold(|hold| hold.by_solitude = false);
            }
            None if !watched => self.alone_since = Some(now),
            Some(since) if self.stop == Stop::No && since + grace.freeze + grace.stop <= now => {
                self.begin_stop(LAST_WORD);
            }
            Some(since) if self.stop == Stop::No && !self.hold.by_solitude && since + grace.freeze <= now => {
                let _ = self.set_hold(|hold| hold.by_solitude = true);
            }
            Some(_) | None => {}
        }
    }
}

/// What [`Supervisor::wait`] found.
struct Ready {
    first_ended: bool,
    control: bool,
    signals: bool,
    warden: bool,
    changes: bool,
    output: Vec<bool>,
    clients: Vec<bool>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
