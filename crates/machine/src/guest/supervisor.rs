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

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, fcntl_setfl, flock, openat};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    socketpair, sockopt,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Resource, Rlimit, Signal, WaitId, WaitIdOptions, geteuid, getrlimit, pidfd_send_signal, setrlimit,
    setsid, waitid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, move_into_link_name_space, set_capabilities,
    set_no_new_privs,
};

use super::cgroup::Group;
use super::error::StartError;
use super::ids::Ids;
use super::log::{LARGEST_PIECE, LogWriter, Stream};
use super::record::{End, Ending, GuestDir, Orders, Usage};
use super::sandbox::{self, Inheritance, Launch};
use super::sys::{self, Child};
use super::wire::{self, Family, LiveState, Reply, Request};

/// What the supervisor says to the node that started it, on its standard output, when the program runs.
pub const RUNNING: &[u8] = b"running\n";

/// The supervisor's socket in the guest's directory.
pub const CONTROL: &str = "control";

/// A runtime that takes longer hangs.
const START_WITHIN: Duration = Duration::from_secs(20);

/// How long a guest that nobody looks after has between the kind word and the end.
const LAST_WORD: Duration = Duration::from_secs(10);

/// A process in the middle of a disk access is frozen when that is over.
const FREEZE_WITHIN: Duration = Duration::from_secs(1);

/// Bytes of output per second that are taken from a guest. Whoever prints faster waits: taking it costs time that no
/// limit of the guest accounts for.
const OUTPUT_RATE: u64 = 8 << 20;

/// More connections than a node has use for.
const MOST_CLIENTS: usize = 64;

/// Runs this process as the supervisor of the guest in whose directory it stands.
///
/// Call it first thing in `main`, before there is any thread: it forks. It never returns. Its standard input is the
/// lock on the directory, its standard output a pipe to the node.
pub fn supervise() -> ! {
    // The node's terminal must not end the guest; fails only if we are a session's leader already.
    let _ = setsid();
    let dir = GuestDir::here();
    let outcome = dir.orders().and_then(|orders| oversee(&dir, &orders));
    if let Err(error) = outcome {
        eprintln!("sublet supervisor: {error}");
        process::exit(1);
    }
    process::exit(0)
}

fn oversee(dir: &GuestDir, orders: &Orders) -> io::Result<()> {
    let group = orders.hierarchy.group(&orders.spec.id);
    let mut supervisor = Supervisor::launch(dir, orders, &group);
    let (how, usage) = match &mut supervisor {
        Ok(supervisor) => (supervisor.attend()?, supervisor.usage()),
        Err(error) => (Ending::NotStarted(error.clone()), Usage::default()),
    };
    // What cannot be removed now, the node removes with the guest.
    let _ = group.remove();
    dir.set_end(&End { how, at: now(), usage })?;
    flock(rustix::stdio::stdin(), FlockOperation::Unlock)?;
    // Only now: closed connections are how a node learns that the guest has ended.
    drop(supervisor);
    dir.sync()
}

struct Supervisor<'a> {
    orders: &'a Orders,
    group: &'a Group,
    first: Child,
    phase: Phase,
    start_by: Instant,
    started_at: u64,
    control: OwnedFd,
    signals: OwnedFd,
    clients: Vec<Client>,
    alone_since: Option<Instant>,
    hold: Hold,
    stop: Stop,
    output: Vec<(Stream, File)>,
    allowance: Allowance,
    log: LogWriter,
    /// Tells of new files of the runtime. The last field, since the kernel takes 15 ms to close such a file: by then
    /// everybody knows what they need to.
    changes: OwnedFd,
}

enum Phase {
    /// The first process makes the sandbox, and will say how that went.
    Building {
        channel: OwnedFd,
    },
    /// The runtime is at work; it writes the file `pid` when the program has begun.
    Starting {
        scratch: OwnedFd,
    },
    Running,
    /// The program never ran.
    Failed(StartError),
}

struct Client {
    socket: OwnedFd,
    watches: bool,
    waits_for_log: Option<u64>,
}

/// Who wants the guest frozen, and since when it is.
#[derive(Default)]
struct Hold {
    by_node: bool,
    by_solitude: bool,
    since: Option<Instant>,
    before: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// It was asked to end; by then it is ended.
    By(Instant),
    Killed,
}

impl<'a> Supervisor<'a> {
    fn launch(dir: &GuestDir, orders: &'a Orders, group: &'a Group) -> Result<Supervisor<'a>, StartError> {
        let control = listen_in(dir.path()).map_err(StartError::sandbox("listen for the node"))?;
        let signals = sys::signals_as_file(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
            .map_err(StartError::sandbox("wait for signals"))?;
        let log = LogWriter::create(dir.path(), orders.spec.limits.log_bytes)
            .map_err(StartError::sandbox("begin the guest's log"))?;
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(StartError::sandbox("watch for files"))?;
        allow_files(orders.spec.limits.open_files);
        group.create(&orders.spec.limits)?;
        let (first, channel, output) = start_first_process(orders, group)?;
        Ok(Supervisor {
            orders,
            group,
            first,
            phase: Phase::Building { channel },
            start_by: Instant::now() + START_WITHIN,
            started_at: 0,
            control,
            signals,
            clients: Vec::new(),
            alone_since: Some(Instant::now()),
            hold: Hold::default(),
            stop: Stop::No,
            output,
            allowance: Allowance { bytes: OUTPUT_RATE, at: Instant::now() },
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
            if ready.phase {
                self.advance();
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
        let phase = match &self.phase {
            Phase::Building { channel } => Some(channel.as_fd()),
            Phase::Starting { .. } => Some(self.changes.as_fd()),
            Phase::Running | Phase::Failed(_) => None,
        };
        let reads_output = self.allowance.left() > 0;
        let fixed = [self.first.pidfd.as_fd(), self.control.as_fd(), self.signals.as_fd()];
        let output = self.output.iter().filter(|_| reads_output).map(|(_, pipe)| pipe.as_fd());
        let clients = self.clients.iter().map(|client| client.socket.as_fd());
        let mut polled: Vec<PollFd<'_>> = fixed
            .into_iter()
            .chain(phase)
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
            phase: phase.is_some() && next(),
            output: self.output.iter().map(|_| reads_output && next()).collect(),
            clients: self.clients.iter().map(|_| next()).collect(),
        })
    }

    /// The next time at which something is due without anybody asking.
    fn next_deadline(&self) -> Option<Instant> {
        let grace = &self.orders.spec.grace;
        let starting = matches!(self.phase, Phase::Building { .. } | Phase::Starting { .. });
        let start_by = (starting && self.hold.since.is_none()).then_some(self.start_by);
        let stop_by = match self.stop {
            Stop::By(at) => Some(at),
            Stop::No | Stop::Killed => None,
        };
        let solitude = self.alone_since.filter(|_| self.stop == Stop::No).map(|since| {
            if self.hold.by_solitude { since + grace.freeze + grace.stop } else { since + grace.freeze }
        });
        let refill = (self.allowance.left() == 0).then(|| self.allowance.at + Duration::from_millis(50));
        [start_by, stop_by, solitude, refill].into_iter().flatten().min()
    }

    /// Does what is due.
    fn keep_time(&mut self) {
        let now = Instant::now();
        self.allowance.refill(now);
        let grace = self.orders.spec.grace;
        let starting = matches!(self.phase, Phase::Building { .. } | Phase::Starting { .. });
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

    /// The sandbox is built, the program has begun, or neither will ever be.
    fn advance(&mut self) {
        match &self.phase {
            Phase::Building { channel } => {
                let said = wire::receive::<Launch>(channel.as_fd());
                self.phase = match said {
                    Ok(Some((Ok(()), Some(scratch)))) => {
                        self.watch_runtime(scratch).unwrap_or_else(Phase::Failed)
                    }
                    Ok(Some((Err(error), _))) => Phase::Failed(error),
                    Ok(Some((Ok(()), None)) | None) => Phase::Failed(self.without_a_word("it ended early")),
                    Err(error) => Phase::Failed(StartError::sandbox("understand the first process")(error)),
                };
                if matches!(self.phase, Phase::Failed(_)) {
                    self.kill();
                }
            }
            Phase::Starting { scratch } => {
                // Only that something changed matters; the file tells what.
                let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
                let mut reader = inotify::Reader::new(&self.changes, &mut buffer);
                while reader.next().is_ok() {}
                if has_begun(scratch) {
                    self.begin_running();
                }
            }
            Phase::Running | Phase::Failed(_) => {}
        }
    }

    /// Joins the guest's network, gives up every power that is no longer needed, and waits for the runtime.
    fn watch_runtime(&self, scratch: OwnedFd) -> Result<Phase, StartError> {
        self.join_network().map_err(StartError::sandbox("join the guest's network"))?;
        give_up_powers().map_err(StartError::sandbox("give up root's powers"))?;
        let path = format!("/proc/self/fd/{}", scratch.as_raw_fd());
        inotify::add_watch(&self.changes, path, WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO)
            .map_err(StartError::sandbox("wait for the runtime"))?;
        Ok(Phase::Starting { scratch })
    }

    fn join_network(&self) -> io::Result<()> {
        let namespaces = format!("/proc/{}/ns", self.first.pid.as_raw_pid());
        let open = |kind: &str| File::open(format!("{namespaces}/{kind}"));
        let network = open("net")?;
        // Only root has power over a network without being in the user namespace that owns it.
        if let Ids::Subordinate { .. } = self.orders.ids {
            move_into_link_name_space(open("user")?.as_fd(), Some(LinkNameSpaceType::User))?;
        }
        Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    fn begin_running(&mut self) {
        self.phase = Phase::Running;
        self.started_at = now();
        // The node may be gone. With this the pipe is closed, too.
        let _ = rustix::io::write(rustix::stdio::stdout(), RUNNING);
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
        }
    }

    /// The first process has ended, and all others of the guest with it.
    fn finish(&mut self) -> io::Result<Ending> {
        let status = waitid(WaitId::PidFd(self.first.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        let code = status.map_or(-1, |status| {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            status.exit_status().or(signal).unwrap_or(-1)
        });
        self.allowance.bytes = u64::MAX;
        while !self.output.is_empty() {
            let all = vec![true; self.output.len()];
            self.take_output(&all);
        }
        // A short program can end before we learn that it began.
        if let Phase::Starting { scratch, .. } = &self.phase {
            if has_begun(scratch) {
                self.begin_running();
            } else if self.stop == Stop::No {
                let said = runtime_complaint(scratch).unwrap_or_else(|| format!("it ended with code {code}"));
                self.phase = Phase::Failed(self.without_a_word(&said));
            }
        }
        Ok(match &self.phase {
            Phase::Running => Ending::Exited(code),
            Phase::Failed(error) => Ending::NotStarted(error.clone()),
            Phase::Building { .. } | Phase::Starting { .. } if self.stop != Stop::No => {
                Ending::NotStarted(StartError::Stopped)
            }
            Phase::Building { .. } | Phase::Starting { .. } => {
                Ending::NotStarted(self.without_a_word(&format!("it ended with code {code}")))
            }
        })
    }

    fn without_a_word(&self, said: &str) -> StartError {
        StartError::Runtime { runtime: self.orders.runtime.name(), said: said.to_owned() }
    }

    fn take_output(&mut self, ready: &[bool]) {
        let mut i = 0;
        let (log, allowance) = (&mut self.log, &mut self.allowance);
        let before = log.end();
        self.output.retain_mut(|(stream, pipe)| {
            let is_ready = ready.get(i).is_some_and(|ready| *ready);
            i += 1;
            !is_ready || pump(*stream, pipe, log, allowance)
        });
        if self.log.end() > before {
            let end = self.log.end();
            for client in &mut self.clients {
                if client.waits_for_log.is_some_and(|past| past < end) {
                    client.waits_for_log = None;
                    // One that does not listen is found out when it next speaks, or hangs up.
                    let _ = wire::send(client.socket.as_fd(), &Reply::Done, None);
                }
            }
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(&self.control, flags) else { return };
        // The directory is closed to others already; this holds should it once not be.
        let is_ours = sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid == geteuid());
        if is_ours && self.clients.len() < MOST_CLIENTS {
            self.clients.push(Client { socket, watches: false, waits_for_log: None });
        }
    }

    fn serve(&mut self, ready: &[bool]) {
        let ready: Vec<usize> =
            ready.iter().enumerate().filter(|(_, ready)| **ready).map(|(i, _)| i).collect();
        // From the last to the first, so that removing one does not shift those still to come.
        for i in ready.into_iter().rev() {
            let request = wire::receive::<Request>(self.clients[i].socket.as_fd());
            let answered = match request {
                Ok(Some((request, _))) => self.answer(i, request),
                Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(error),
            };
            if answered.is_err() {
                self.clients.swap_remove(i);
            }
        }
    }

    fn answer(&mut self, client: usize, request: Request) -> io::Result<()> {
        let mut handed_over = None;
        let done = match request {
            Request::Watch => {
                self.clients[client].watches = true;
                Ok(())
            }
            Request::Status => {
                let reply = Reply::Status { state: self.state(), usage: self.usage() };
                return wire::send(self.clients[client].socket.as_fd(), &reply, None);
            }
            Request::Socket(family) => self.make_socket(family).map(|socket| handed_over = Some(socket)),
            Request::Freeze => self.set_hold(|hold| hold.by_node = true),
            Request::Thaw => self.set_hold(|hold| hold.by_node = false),
            Request::Stop(within) => {
                self.begin_stop(within);
                Ok(())
            }
            Request::LogPast(offset) if self.log.end() > offset => Ok(()),
            Request::LogPast(offset) => {
                self.clients[client].waits_for_log = Some(offset);
                return Ok(());
            }
        };
        let reply = match done {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(error.raw_os_error().unwrap_or(libc::ETIMEDOUT)),
        };
        let file = handed_over.as_ref().map(|socket: &OwnedFd| socket.as_fd());
        wire::send(self.clients[client].socket.as_fd(), &reply, file)
    }

    /// Unconnected: whoever holds it may connect or bind it, and is still inside the guest's network.
    fn make_socket(&self, family: Family) -> io::Result<OwnedFd> {
        if !matches!(self.phase, Phase::Starting { .. } | Phase::Running) {
            return Err(io::Error::from_raw_os_error(libc::ENETDOWN));
        }
        let family = match family {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
        };
        Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
    }

    fn set_hold(&mut self, change: impl FnOnce(&mut Hold)) -> io::Result<()> {
        if self.stop != Stop::No {
            return Err(io::Error::from_raw_os_error(libc::ESHUTDOWN));
        }
        change(&mut self.hold);
        self.apply_hold()
    }

    fn apply_hold(&mut self) -> io::Result<()> {
        match (self.hold.by_node || self.hold.by_solitude, self.hold.since) {
            (true, None) => {
                self.hold.since = Some(Instant::now());
                self.group.set_frozen(true, FREEZE_WITHIN)
            }
            (false, Some(since)) => {
                let held = since.elapsed();
                self.hold.since = None;
                self.hold.before += held;
                self.start_by += held;
                self.group.set_frozen(false, FREEZE_WITHIN)
            }
            (true, Some(_)) | (false, None) => Ok(()),
        }
    }

    /// Asks the guest to end, and ends it after `within`. A second call can only bring the end nearer.
    fn begin_stop(&mut self, within: Duration) {
        let at = Instant::now() + within.min(Duration::from_secs(24 * 3600));
        match self.stop {
            Stop::Killed => return,
            Stop::By(earlier) => self.stop = Stop::By(at.min(earlier)),
            Stop::No => {
                // A frozen guest would not hear it.
                self.hold.by_node = false;
                self.hold.by_solitude = false;
                self.stop = Stop::By(at);
                if !within.is_zero() {
                    let _ = self.apply_hold();
                    // The runtime passes it on.
                    let _ = pidfd_send_signal(&self.first.pidfd, Signal::TERM);
                }
            }
        }
        if !matches!(self.phase, Phase::Running) {
            self.kill();
        }
    }

    fn kill(&mut self) {
        self.stop = Stop::Killed;
        // Either is enough; fails if it has ended.
        let _ = pidfd_send_signal(&self.first.pidfd, Signal::KILL);
        let _ = self.group.kill();
    }

    fn state(&self) -> LiveState {
        match self.phase {
            _ if self.hold.since.is_some() => LiveState::Frozen,
            Phase::Building { .. } | Phase::Starting { .. } | Phase::Failed(_) => LiveState::Starting,
            Phase::Running => LiveState::Running,
        }
    }

    fn usage(&self) -> Usage {
        let frozen = self.hold.before + self.hold.since.map_or(Duration::ZERO, |since| since.elapsed());
        Usage {
            started_at: self.started_at,
            frozen_ms: frozen.as_millis() as u64,
            log_bytes: self.log.end(),
            ..self.group.usage()
        }
    }
}

/// What [`Supervisor::wait`] found.
struct Ready {
    first_ended: bool,
    control: bool,
    signals: bool,
    phase: bool,
    output: Vec<bool>,
    clients: Vec<bool>,
}

/// How much output may still be taken, filled up at [`OUTPUT_RATE`].
struct Allowance {
    bytes: u64,
    at: Instant,
}

impl Allowance {
    fn left(&self) -> u64 {
        self.bytes
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_millis() as u64;
        if since >= 20 {
            self.bytes = self.bytes.saturating_add(since * OUTPUT_RATE / 1000).min(OUTPUT_RATE);
            self.at = now;
        }
    }
}

/// Whether the pipe is still open.
fn pump(stream: Stream, pipe: &mut File, log: &mut LogWriter, allowance: &mut Allowance) -> bool {
    let mut buffer = [0; LARGEST_PIECE];
    match pipe.read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => {
            allowance.bytes = allowance.bytes.saturating_sub(length as u64);
            // If the owner's disk is full, the guest goes on and its words are lost.
            let _ = log.append(stream, now(), &buffer[..length]);
            true
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

/// Makes the supervisor's socket. The path is relative, so that its length does not matter.
fn listen_in(dir: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let path = dir.join(CONTROL);
    bind(&socket, &SocketAddrUnix::new(&path)?)?;
    rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR)?;
    listen(&socket, 64)?;
    Ok(socket)
}

/// Children inherit the limit, and those of the guest cannot raise it.
fn allow_files(wanted: u64) {
    let now = getrlimit(Resource::Nofile);
    if now.maximum.is_some_and(|maximum| maximum < wanted) {
        // Without the right to, the guest gets what there is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.current, maximum: Some(wanted) });
    }
}

type FirstProcess = (Child, OwnedFd, Vec<(Stream, File)>);

fn start_first_process(orders: &Orders, group: &Group) -> Result<FirstProcess, StartError> {
    let layers = sandbox::open_layers(&orders.spec, &orders.ids)?;
    let (channel, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(StartError::sandbox("make a channel to the first process"))?;
    let (out, their_out) =
        output_pipe().map_err(StartError::sandbox("make a pipe for the guest's output"))?;
    let (err, their_err) =
        output_pipe().map_err(StartError::sandbox("make a pipe for the guest's output"))?;
    let entrance = group.entrance().map_err(StartError::sandbox("open the guest's control groups"))?;
    let first = sys::clone_into(sandbox::NAMESPACES, Some(entrance.born_into.as_fd()))
        .map_err(StartError::sandbox("make namespaces for the guest"))?;
    let Some(first) = first else {
        drop((channel, out, err));
        sandbox::enter(
            orders,
            Inheritance { entrance, channel: theirs, layers, output: [their_out, their_err] },
        );
    };
    let ready = orders.ids.map(first.pid).and_then(|()| {
        wire::send(channel.as_fd(), &sandbox::GO, None)
            .map_err(StartError::sandbox("speak to the first process"))
    });
    if let Err(error) = ready {
        let _ = pidfd_send_signal(&first.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(first.pidfd.as_fd()), WaitIdOptions::EXITED);
        return Err(error);
    }
    Ok((first, channel, vec![(Stream::Out, out), (Stream::Err, err)]))
}

/// Our end does not block; the guest's end does, and can be opened again by whoever runs inside (`/dev/stdout`).
fn output_pipe() -> io::Result<(File, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    fchmod(&theirs, Mode::from_raw_mode(0o622))?;
    Ok((ours.into(), theirs))
}

/// From here on the supervisor only talks, counts and kills.
fn give_up_powers() -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    let kill = CapabilitySet::KILL;
    set_capabilities(
        None,
        CapabilitySets { effective: kill, permitted: kill, inheritable: CapabilitySet::empty() },
    )
}

fn has_begun(scratch: &OwnedFd) -> bool {
    rustix::fs::accessat(scratch, "pid", rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()).is_ok()
}

/// The last thing that the runtime wrote into its log.
fn runtime_complaint(scratch: &OwnedFd) -> Option<String> {
    let log = openat(scratch, "log", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(log).take(64 * 1024).read_to_string(&mut text).ok()?;
    let last = text.lines().rfind(|line| !line.trim().is_empty())?;
    let entry: serde_json::Value = serde_json::from_str(last).ok()?;
    Some(entry.get("msg")?.as_str()?.trim().to_owned())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
