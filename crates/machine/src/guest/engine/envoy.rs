//! What is in the warden's place where an engine holds the guest: a process beside the supervisor, which has the container
//! made, and speaks for the supervisor to the keeper in it. It ends with the guest's program, and the guest with it.

#[allow(dead_code)] // of these words each side reads one half and writes the other
#[path = "../../../keeper/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    recvmsg, sendmsg, socket_with, sockopt,
};
use rustix::process::{Pid, Signal, WaitOptions, geteuid, set_parent_process_death_signal, waitpid};
use rustix::termios::{Winsize, tcsetwinsize};

use self::words::{BEGAN, ENDED, FAILED, Packet, Program, RUN, SIGNAL};
use super::Container;
use crate::guest::cgroup::Group;
use crate::guest::copy::CopySpec;
use crate::guest::error::{ExecRefusal, StartError};
use crate::guest::exec::ExecSpec;
use crate::guest::image_users;
use crate::guest::oci;
use crate::guest::record::Orders;
use crate::guest::sandbox::{GO, Launch, open_inside};
use crate::guest::settings::Pause;
use crate::guest::spec::GuestSpec;
use crate::guest::sys::{self, Child};
use crate::guest::warden::{HANG_UP, Stdio, exit_code, read_spec, transfer};
use crate::guest::wire::{self, Order, Word};

/// The name of the socket at which keeper and envoy meet.
pub const SOCKET: &str = "s";

/// In the guest's directory: what a runtime's own directory holds elsewhere.
const SCRATCH: &str = "container";

/// In it: the number of the keeper's process.
const KEEPER: &str = "keeper";

/// In it: there as soon as the guest's program runs.
const BEGUN: &str = "pid";

/// How long the keeper may take to call once its container was started.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// The guest's own program; others are numbered by the supervisor.
const MAIN: u32 = 0;

/// Runs in a child of the supervisor, which it never leaves.
pub fn serve(orders: &Orders, container: &Container, channel: OwnedFd, stdio: Stdio) -> ! {
    match Envoy::begin(orders, container, channel.as_fd(), stdio) {
        Ok(mut envoy) => {
            if let Err(error) = envoy.start() {
                envoy.say(&Word::NotStarted(error), None);
                process::exit(1);
            }
            process::exit(envoy.stay())
        }
        Err(error) => {
            let _ = wire::send(channel.as_fd(), &Launch::Err(error), None);
            process::exit(1)
        }
    }
}

/// The number of the keeper's process, for who holds the directory that came with the envoy's first word.
pub fn keeper_in(scratch: &OwnedFd) -> Option<Pid> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(scratch, KEEPER, flags, Mode::empty()).ok()?;
    io::read_to_string(File::from(file)).ok()?.parse().ok().and_then(Pid::from_raw)
}

/// The same, in a guest's directory.
pub fn keeper_of(guest: &Path) -> Option<Pid> {
    let number = fs::read_to_string(guest.join(SCRATCH).join(KEEPER)).ok()?;
    number.parse().ok().and_then(Pid::from_raw)
}

struct Envoy<'a> {
    orders: &'a Orders,
    channel: BorrowedFd<'a>,
    keeper: OwnedFd,
    keeper_pid: Pid,
    /// The keeper's groups, to see what the guest has used before they are gone.
    groups: Option<Group>,
    /// A directory that has the image's files of users.
    users: OwnedFd,
    stdio: Stdio,
    main: Main,
    restarts: u32,
    pause: Pause,
    /// Whether the end of the guest's program is the guest's, whatever was agreed.
    ending: bool,
    tasks: BTreeMap<u32, Task>,
}

/// Where the guest's program stands.
enum Main {
    Runs {
        since: Instant,
    },
    /// It has ended with this code, and is begun again.
    Waits {
        code: i32,
        until: Instant,
    },
}

/// A program beside the guest's own.
struct Task {
    program: String,
    /// Handed over when it has begun.
    terminal: Option<OwnedFd>,
    begun: bool,
    /// Nobody speaks to it any more: it is ended as soon as it has begun.
    unwanted: bool,
    kill_at: Option<Instant>,
    /// If it is none of the guest's programs, but a transfer of ours.
    transfer: Option<Child>,
}

impl Task {
    fn new(program: &str) -> Task {
        let program = program.chars().take(200).collect();
        Task { program, terminal: None, begun: false, unwanted: false, kill_at: None, transfer: None }
    }
}

impl<'a> Envoy<'a> {
    fn begin(
        orders: &'a Orders,
        container: &Container,
        channel: BorrowedFd<'a>,
        stdio: Stdio,
    ) -> Result<Envoy<'a>, StartError> {
        let refused = |said| StartError::Runtime { runtime: orders.runtime.name(), said };
        let (input, outputs) = &stdio;
        let kept: Vec<BorrowedFd<'_>> =
            input.iter().chain(outputs).map(AsFd::as_fd).chain([channel]).collect();
        let_go(&kept).map_err(StartError::sandbox("let go of the supervisor's files"))?;
        let users = users(&orders.spec.layers).map_err(StartError::sandbox("read the image's users"))?;
        image_users::resolve(users.as_fd(), &orders.spec.user)?;
        let place =
            Place::make(&orders.spec).map_err(StartError::sandbox("make a place to meet the keeper"))?;
        container.begin(orders, &place.path).map_err(refused)?;
        let (keeper, pid) = place
            .await_keeper()
            .map_err(|error| refused(format!("the guest's first process did not call: {error}")))?;
        drop(place);
        let scratch = open_scratch(pid).map_err(StartError::sandbox("write down the container's process"))?;
        let groups = Group::around(pid);
        let main = Main::Runs { since: Instant::now() };
        let tasks = BTreeMap::new();
        let (pause, restarts, ending) = (Pause::default(), 0, false);
        let envoy = Envoy {
            orders,
            channel,
            keeper,
            keeper_pid: pid,
            groups,
            users,
            stdio,
            main,
            restarts,
            pause,
            ending,
            tasks,
        };
        wire::send(channel, &Launch::Ok(()), Some(scratch.as_fd()))
            .map_err(StartError::sandbox("speak to the supervisor"))?;
        Ok(envoy)
    }

    /// Begins the guest's program, when the supervisor has done its part.
    fn start(&self) -> Result<(), StartError> {
        if !matches!(wire::receive::<String>(self.channel), Ok(Some((word, _))) if word == GO) {
            return Err(StartError::Stopped);
        }
        self.run_main()?;
        self.await_main()
    }

    /// Stays until the guest's program has ended, and returns its exit code.
    fn stay(&mut self) -> i32 {
        loop {
            // Without its ears it is of no use: the guest ends, and is not left alone.
            let Ok([ordered, told]) = self.wait() else { return -1 };
            self.see_transfers();
            let ended = if told { self.hear() } else { None };
            let ended = ended.or_else(|| if ordered { self.obey() } else { None });
            if let Some(code) = ended.or_else(|| self.keep_time()) {
                if let Some(groups) = &self.groups {
                    self.say(&Word::Used(groups.usage()), None);
                }
                return code;
            }
        }
    }

    fn wait(&self) -> io::Result<[bool; 2]> {
        let main = match self.main {
            Main::Waits { until, .. } => Some(until),
            Main::Runs { .. } => None,
        };
        let next = self.tasks.values().filter_map(|task| task.kill_at).chain(main).min();
        let left = next.map(|at| at.saturating_duration_since(Instant::now()));
        let transfers = self.tasks.values().filter_map(|task| Some(task.transfer.as_ref()?.pidfd.as_fd()));
        let files: Vec<BorrowedFd<'_>> =
            [self.channel, self.keeper.as_fd()].into_iter().chain(transfers).collect();
        let ready = wait_for(&files, left)?;
        Ok([ready[0], ready[1]])
    }

    fn run_main(&self) -> Result<(), StartError> {
        let spec = &self.orders.spec;
        let user = image_users::resolve(self.users.as_fd(), &spec.user)?;
        let (input, outputs) = &self.stdio;
        let null = || File::options().read(true).open("/dev/null").map(OwnedFd::from);
        let begun = input.as_ref().map_or_else(null, OwnedFd::try_clone).and_then(|input| {
            let program = program(spec, &user, spec.run.terminal);
            let files = [input.as_fd(), outputs[0].as_fd(), outputs[1].as_fd()];
            run(&self.keeper, MAIN, &program, &files)
        });
        begun.map_err(StartError::sandbox("speak to the guest's first process"))
    }

    /// Waits until the guest's program runs, or does not.
    fn await_main(&self) -> Result<(), StartError> {
        let spec = &self.orders.spec;
        let answer = wait_for(&[self.keeper.as_fd()], Some(CALL_WITHIN))
            .and_then(|_| receive(&self.keeper))
            .map_err(StartError::sandbox("hear the guest's first process"))?;
        let said = match answer {
            Some(Packet { kind: BEGAN, .. }) => {
                return fs::write(Path::new(SCRATCH).join(BEGUN), [])
                    .map_err(StartError::sandbox("write down that the guest's program runs"));
            }
            Some(Packet { kind: FAILED, value: libc::ENOENT, .. }) => {
                let environment = spec.env.iter().find_map(|entry| entry.strip_prefix("PATH="));
                let searched = environment.unwrap_or(crate::guest::runtime::USUAL_PATH).to_owned();
                return Err(StartError::NoProgram { program: spec.args[0].clone(), searched });
            }
            Some(Packet { kind: FAILED, value, .. }) => io::Error::from_raw_os_error(value).to_string(),
            Some(_) | None => "its first process ended".to_owned(),
        };
        Err(StartError::Runtime { runtime: self.orders.runtime.name(), said })
    }

    /// What the keeper tells.
    fn hear(&mut self) -> Option<i32> {
        let Packet { kind, number, value } = match receive(&self.keeper) {
            Ok(Some(packet)) => packet,
            // Nobody ends it but the kernel, for want of memory, and the engine.
            Ok(None) | Err(_) => return Some(128 + libc::SIGKILL),
        };
        match (kind, number) {
            (BEGAN, MAIN) => {}
            (ENDED, MAIN) => return self.main_ended(value),
            (FAILED, MAIN) => return Some(127),
            (BEGAN, _) => self.task_began(number),
            (FAILED, _) => {
                if let Some(task) = self.tasks.remove(&number) {
                    let said = format!("{}: {}", task.program, io::Error::from_raw_os_error(value));
                    let refused = StartError::Runtime { runtime: self.orders.runtime.name(), said };
                    self.say(&Word::Refused(number, refused.into()), None);
                }
            }
            (ENDED, _) if self.tasks.remove(&number).is_some() => self.say(&Word::Ended(number, value), None),
            _ => {}
        }
        None
    }

    /// The guest's program has ended: for good, if a code is returned.
    fn main_ended(&mut self, code: i32) -> Option<i32> {
        let Main::Runs { since } = self.main else { return Some(code) };
        if self.ending || !self.orders.spec.run.restart.again(code, self.restarts) {
            return Some(code);
        }
        self.main = Main::Waits { code, until: Instant::now() + self.pause.after(since.elapsed()) };
        None
    }

    fn task_began(&mut self, number: u32) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        task.begun = true;
        let (terminal, unwanted) = (task.terminal.take(), task.unwanted);
        self.say(&Word::Began(number), terminal.as_ref());
        if unwanted {
            self.signal(number, libc::SIGKILL);
        }
    }

    /// What the supervisor orders.
    fn obey(&mut self) -> Option<i32> {
        let (order, files) = match wire::receive_with::<Order>(self.channel) {
            Ok(Some(heard)) => heard,
            // The supervisor is gone; we are about to be, too.
            Ok(None) => return Some(-1),
            Err(_) => return None,
        };
        match order {
            Order::Stop(signal) => {
                self.ending = true;
                match self.main {
                    Main::Runs { .. } => self.signal(MAIN, signal),
                    Main::Waits { code, .. } => return Some(code),
                }
            }
            Order::Exec(number) => {
                if let Err(why) = self.exec(number, files) {
                    self.say(&Word::Refused(number, why), None);
                }
            }
            Order::Copy(number) => {
                if let Err(why) = self.copy(number, files) {
                    self.say(&Word::Refused(number, why), None);
                }
            }
            Order::Signal(number, signal) => self.signal(number.unwrap_or(MAIN), signal),
            Order::HangUp(number) => {
                if let Some(task) = self.tasks.get_mut(&number) {
                    task.unwanted = true;
                    if task.begun {
                        task.kill_at.get_or_insert(Instant::now() + HANG_UP);
                        self.signal(number, libc::SIGHUP);
                        self.signal(number, libc::SIGCONT);
                    }
                }
            }
        }
        None
    }

    fn exec(&mut self, number: u32, files: Vec<OwnedFd>) -> Result<(), ExecRefusal> {
        if matches!(self.main, Main::Waits { .. }) {
            return Err(ExecRefusal::NotRunning);
        }
        let mut files = files.into_iter();
        let another: ExecSpec = read_spec(files.next())?;
        let spec = another.within(&self.orders.spec);
        let user = image_users::resolve(self.users.as_fd(), another.user.as_deref().unwrap_or(&spec.user))?;
        let failed = || StartError::sandbox("begin another process in the guest");
        let mut stdio: Vec<OwnedFd> = files.collect();
        let mut terminal = None;
        if let Some(size) = another.terminal {
            let (ours, theirs) = sys::terminal().map_err(failed())?;
            let size = Winsize { ws_col: size.columns, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&ours, size).map_err(io::Error::from).map_err(failed())?;
            (terminal, stdio) = (Some(ours), vec![theirs]);
        }
        let program = program(&spec, &user, terminal.is_some());
        let stdio: Vec<BorrowedFd<'_>> = stdio.iter().map(AsFd::as_fd).collect();
        run(&self.keeper, number, &program, &stdio).map_err(failed())?;
        let begun = Task::new(another.args.first().map_or("", String::as_str));
        self.tasks.insert(number, Task { terminal, ..begun });
        Ok(())
    }

    /// Begins a transfer: a process of ours, under the guest's limits, that sees the guest's root as the guest does.
    fn copy(&mut self, number: u32, files: Vec<OwnedFd>) -> Result<(), ExecRefusal> {
        let mut files = files.into_iter();
        let spec: CopySpec = read_spec(files.next())?;
        let (Some(input), Some(output), Some(error)) = (files.next(), files.next(), files.next()) else {
            return Err(ExecRefusal::Unreadable("nothing to copy from or to".to_owned()));
        };
        let Some(groups) = &self.groups else { return Err(ExecRefusal::NotRunning) };
        let seen = seen_by_guest(self.keeper_pid).map_err(|_| ExecRefusal::NotRunning)?;
        let entrance = groups.entrance().map_err(StartError::sandbox("open the guest's control groups"))?;
        let child = sys::clone_into(0, Some(entrance.born_into.as_fd()))
            .map_err(StartError::sandbox("begin a transfer in the guest"))?;
        let Some(child) = child else {
            let nobody = self.orders.ids.count();
            let limited = entrance.join();
            let Err(_) = limited.and_then(|()| transfer(&spec, seen, nobody, [input, output, error]));
            process::exit(127)
        };
        self.say(&Word::Began(number), None);
        let task = Task { begun: true, transfer: Some(child), ..Task::new("copy") };
        self.tasks.insert(number, task);
        Ok(())
    }

    /// Takes note of transfers that have ended.
    fn see_transfers(&mut self) {
        let code = |task: &Task| {
            let child = task.transfer.as_ref()?;
            let (_, status) = waitpid(Some(child.pid), WaitOptions::NOHANG).ok()??;
            Some(exit_code(status))
        };
        let ended = self.tasks.iter().filter_map(|(number, task)| Some((*number, code(task)?)));
        for (number, code) in ended.collect::<Vec<_>>() {
            self.tasks.remove(&number);
            self.say(&Word::Ended(number, code), None);
        }
    }

    fn keep_time(&mut self) -> Option<i32> {
        let now = Instant::now();
        let overdue = self.tasks.iter_mut().filter(|(_, task)| task.kill_at.is_some_and(|at| at <= now));
        let overdue: Vec<u32> = overdue
            .map(|(number, task)| {
                task.kill_at = None;
                *number
            })
            .collect();
        overdue.into_iter().for_each(|number| self.signal(number, libc::SIGKILL));
        let Main::Waits { code, until } = self.main else { return None };
        if until > now {
            return None;
        }
        if self.run_main().is_err() {
            return Some(code);
        }
        self.restarts += 1;
        self.main = Main::Runs { since: now };
        self.say(&Word::Again(self.restarts), None);
        None
    }

    /// Sends a program a signal. It may have ended.
    fn signal(&self, number: u32, signal: i32) {
        if let Some(child) = self.tasks.get(&number).and_then(|task| task.transfer.as_ref()) {
            let _ = sys::send_signal(child.pid, signal);
            return;
        }
        // A keeper that is gone is about to be heard of.
        let _ = send(&self.keeper, Packet { kind: SIGNAL, number, value: signal }, &[]);
    }

    fn say(&self, word: &Word, file: Option<&OwnedFd>) {
        // If the supervisor does not hear it, it is gone, and so are we.
        let _ = wire::send(self.channel, word, file.map(AsFd::as_fd));
    }
}

/// Closes what the supervisor has open, and dies with it.
fn let_go(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let supervisor = rustix::process::getppid();
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != supervisor {
        process::exit(1);
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    sys::close_all_but(kept)
}

/// What the keeper is to begin.
fn program(spec: &GuestSpec, user: &image_users::User, terminal: bool) -> Program {
    let bytes = |texts: Vec<String>| texts.into_iter().map(String::into_bytes).collect();
    Program {
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        terminal,
        cwd: spec.cwd.clone().into_bytes(),
        args: bytes(spec.args.clone()),
        env: bytes(oci::environment(spec, user)),
    }
}

/// A directory that has the files of users that the uppermost layers have. The container's own root cannot be looked into.
fn users(layers: &[PathBuf]) -> io::Result<OwnedFd> {
    let etc = Path::new(SCRATCH).join("image/etc");
    fs::create_dir_all(&etc)?;
    for name in ["passwd", "group"] {
        if let Some(found) = layers.iter().rev().find_map(|layer| file_in(layer, &format!("etc/{name}"))) {
            io::copy(&mut found.take(image_users::LARGEST), &mut File::create(etc.join(name))?)?;
        }
    }
    Ok(File::open(Path::new(SCRATCH).join("image"))?.into())
}

/// A file of one layer; no link leads out of it.
fn file_in(layer: &Path, path: &str) -> Option<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let layer = rustix::fs::open(layer, flags, Mode::empty()).ok()?;
    let file = open_inside(layer.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).ok()?;
    Some(File::from(file)).filter(|file| file.metadata().is_ok_and(|found| found.is_file()))
}

fn open_scratch(keeper: Pid) -> io::Result<OwnedFd> {
    fs::write(Path::new(SCRATCH).join(KEEPER), keeper.as_raw_pid().to_string())?;
    Ok(File::open(SCRATCH)?.into())
}

/// Files that the engine is to lay over the image's, by their names in its /etc.
pub fn files(spec: &GuestSpec) -> Vec<(&'static str, String)> {
    let has = |layer: &PathBuf| file_in(layer, "etc/hosts").is_some();
    let hosts = format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost\n", spec.hostname);
    let hosts = (!spec.layers.iter().any(has)).then_some(("hosts", hosts));
    let resolver = crate::network::resolv_conf(&spec.network).map(|text| ("resolv.conf", text));
    hosts.into_iter().chain(resolver).collect()
}

/// A directory in which a keeper finds its envoy. Guests can read its path in their list of mounts: it says nothing.
struct Place {
    path: PathBuf,
    socket: OwnedFd,
}

impl Place {
    fn make(spec: &GuestSpec) -> io::Result<Place> {
        let above = match geteuid() {
            user if user.is_root() => PathBuf::from("/run/sublet"),
            user => PathBuf::from(format!("/run/user/{}/sublet", user.as_raw())),
        };
        // Nobody else on this machine comes in; in the container, the directory itself is all that there is.
        DirBuilder::new().recursive(true).mode(0o700).create(&above)?;
        let path = above.join(&spec.id.to_string()[..16]);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let at = path.join(SOCKET);
        bind(&socket, &SocketAddrUnix::new(&at)?)?;
        // The keeper is somebody whom only the engine knows.
        fs::set_permissions(&at, fs::Permissions::from_mode(0o666))?;
        listen(&socket, 1)?;
        for (name, text) in files(spec) {
            fs::write(path.join(name), text)?;
        }
        Ok(Place { path, socket })
    }

    /// The first to call: there is nobody else in the guest yet.
    fn await_keeper(&self) -> io::Result<(OwnedFd, Pid)> {
        if !wait_for(&[self.socket.as_fd()], Some(CALL_WITHIN))?[0] {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let keeper = accept_with(&self.socket, SocketFlags::CLOEXEC)?;
        let pid = sockopt::socket_peercred(&keeper)?.pid;
        Ok((keeper, pid))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Which of these has something to say, after some time at the latest.
fn wait_for(files: &[BorrowedFd<'_>], within: Option<Duration>) -> io::Result<Vec<bool>> {
    let within =
        within.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
    let mut polled: Vec<PollFd<'_>> =
        files.iter().map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN)).collect();
    match poll(&mut polled, within.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {
            Ok(polled.iter().map(|file| !file.revents().is_empty()).collect())
        }
        Err(error) => Err(error.into()),
    }
}

/// The guest's root directory as the guest sees it, with all that is mounted there, and its user namespace.
fn seen_by_guest(keeper: Pid) -> io::Result<[OwnedFd; 2]> {
    let keeper = keeper.as_raw_pid();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{keeper}/root"), flags, Mode::empty())?;
    Ok([root, File::open(format!("/proc/{keeper}/ns/user"))?.into()])
}

fn run(keeper: &OwnedFd, number: u32, program: &Program, stdio: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut spec = File::from(memfd_create("program", MemfdFlags::CLOEXEC)?);
    spec.write_all(&program.encode())?;
    io::Seek::rewind(&mut spec)?;
    let files: Vec<BorrowedFd<'_>> = [spec.as_fd()].into_iter().chain(stdio.iter().copied()).collect();
    send(keeper, Packet { kind: RUN, number, value: 0 }, &files)
}

const MOST_FILES: usize = 4;

fn send(keeper: &OwnedFd, packet: Packet, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A guest that stands still must not hold us up.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(keeper, &[IoSlice::new(&packet.encode())], &mut control, flags)?;
    Ok(())
}

/// The next packet; nothing when the keeper has ended.
fn receive(keeper: &OwnedFd) -> io::Result<Option<Packet>> {
    let mut bytes = [0; Packet::LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(keeper, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)?;
    control.drain().for_each(|message| {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            files.for_each(drop);
        }
    });
    match message.bytes {
        0 => Ok(None),
        _ => Packet::decode(&bytes).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let program = Program {
            uid: 1,
            gid: 2,
            groups: vec![3, 4],
            terminal: true,
            cwd: b"/".to_vec(),
            args: vec![b"sh".to_vec(), Vec::new(), vec![0xff; 70_000]],
            env: vec![b"A=b".to_vec()],
        };
        let bytes = program.encode();
        assert_eq!(Program::decode(&bytes), Some(program));
        assert_eq!(Program::decode(&bytes[..bytes.len() - 1]), None);
        let packet = Packet { kind: RUN, number: 77, value: -5 };
        assert_eq!(Packet::decode(&packet.encode()), Some(packet));
        assert_eq!(Packet::decode(b"R"), None);
    }
}
