//! Other programs beside the guest's own: begun by the runtime in all of the guest's namespaces, under its limits, its
//! seccomp list and its `no_new_privs`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, fchown};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::{Pid, Signal, Uid, getpgid, ioctl_tiocsctty, kill_process, kill_process_group, setsid};
use rustix::termios::{Winsize, tcsetwinsize};
use serde::de::DeserializeOwned;

use super::{Main, Warden, runtime_command, start};
use crate::guest::error::{ExecRefusal, StartError};
use crate::guest::exec::{ExecSpec, LARGEST_SPEC, Size};
use crate::guest::image_users;
use crate::guest::oci;
use crate::guest::own_kernel;
use crate::guest::runtime::{INNER, complaint};
use crate::guest::sandbox::{STAGE, give_to_guest_root, open_files};
use crate::guest::sys;
use crate::guest::wire::Word;

/// A runtime that takes longer hangs.
const START_WITHIN: Duration = Duration::from_secs(20);

/// How often it is looked whether a runtime that stays has begun its program.
const LOOK_EACH: Duration = Duration::from_millis(10);

/// A program that was begun beside the guest's own.
pub(super) struct Task {
    state: State,
    /// What runs, for people.
    program: String,
    /// Whose its terminal is.
    owner: Uid,
    /// Nobody speaks to it any more: it is ended as soon as it has begun.
    unwanted: bool,
    kill_at: Option<Instant>,
}

enum State {
    /// The runtime begins it.
    Starting { runtime: Pid, console: Option<OwnedFd>, by: Instant },
    /// The runtime begins it, and then stays to speak for it: only the guest's own kernel has such a process.
    Attaching { runtime: Pid, terminal: Option<OwnedFd>, by: Instant },
    /// It runs, as this process; and has this number for a kernel of the guest's own, where this one speaks for it.
    Running(Pid, Option<u32>),
}

/// Files of the task of a number.
fn file_of(number: u32, ending: &str) -> PathBuf {
    Path::new(STAGE).join(format!("exec-{number}.{ending}"))
}

impl Task {
    /// A transfer, which runs at once.
    pub(super) fn transfer(process: Pid) -> Task {
        let (state, program) = (State::Running(process, None), String::new());
        Task { state, program, owner: Uid::ROOT, unwanted: false, kill_at: None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting { by, .. } => Some(by),
            State::Attaching { by, .. } => Some(by.min(Instant::now() + LOOK_EACH)),
            State::Running(..) => self.kill_at,
        }
    }

    /// Asks it to end, and has it killed at `then`.
    fn hang_up(&mut self, then: Instant) -> bool {
        self.unwanted = true;
        let runs = matches!(self.state, State::Running(..));
        if runs {
            self.kill_at.get_or_insert(then);
        }
        runs
    }

    fn is_overdue(&self, now: Instant) -> bool {
        match self.state {
            State::Starting { by, .. } | State::Attaching { by, .. } => by <= now,
            State::Running(..) => self.kill_at.is_some_and(|at| at <= now),
        }
    }
}

impl Warden<'_> {
    /// Has the runtime begin a program. `files`: what says which, then input and outputs, unless it has a terminal.
    pub(super) fn start_exec(&mut self, number: u32, files: Vec<OwnedFd>) -> Result<(), ExecRefusal> {
        let mut files = files.into_iter();
        let spec: ExecSpec = read_spec(files.next())?;
        let stdio: Vec<OwnedFd> = files.collect();
        let user = spec.user.as_deref().unwrap_or(&self.orders.spec.user);
        let user = image_users::resolve(self.root.as_fd(), user)?;
        if user.uid >= self.orders.ids.count() || user.gid >= self.orders.ids.count() {
            return Err(StartError::NoUser { user: spec.user.unwrap_or_default() }.into());
        }
        let process = oci::another_process(&self.orders.spec, &spec, &user, open_files(&self.orders.spec));
        fs::write(file_of(number, "json"), process.to_string())
            .map_err(StartError::sandbox("write the runtime's configuration"))?;
        // The guest's user 0 is 1 in our namespace.
        let owner = Uid::from_raw(user.uid + 1);
        let begun = match self.orders.runtime.has_own_kernel() {
            true => self.attach_exec(number, stdio, spec.terminal, owner),
            false => self.run_exec(number, stdio, spec.terminal.is_some()),
        };
        let begun = begun.map_err(StartError::sandbox("begin another process in the guest"));
        if begun.is_err() {
            forget(number);
        }
        let state = begun?;
        let program = spec.args.into_iter().next().unwrap_or_default();
        self.tasks.insert(number, Task { state, program, owner, unwanted: false, kill_at: None });
        Ok(())
    }

    fn run_exec(&self, number: u32, stdio: Vec<OwnedFd>, terminal: bool) -> io::Result<State> {
        let at = file_of(number, "sock");
        let console = terminal.then(|| listen_at(&at)).transpose()?;
        let mut command = self.exec_command(number, stdio, terminal.then_some(&at));
        let child = start(|| {
            setsid()?;
            Err(command.exec())
        })?;
        Ok(State::Starting { runtime: child.pid, console, by: Instant::now() + START_WITHIN })
    }

    fn attach_exec(
        &self,
        number: u32,
        stdio: Vec<OwnedFd>,
        size: Option<Size>,
        owner: Uid,
    ) -> io::Result<State> {
        let Main::Runs { runtime, .. } = self.runtime else { return Err(io::ErrorKind::NotFound.into()) };
        let (terminal, stdio) = match size {
            Some(size) => {
                let (ours, theirs) = sys::terminal()?;
                let size = Winsize { ws_col: size.columns, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 };
                tcsetwinsize(&ours, size)?;
                fchown(&theirs, Some(owner), None)?;
                (Some(ours), vec![theirs.try_clone()?, theirs.try_clone()?, theirs])
            }
            None => (None, stdio),
        };
        let control = stdio.first().filter(|_| terminal.is_some()).map(OwnedFd::try_clone).transpose()?;
        let mut command = self.exec_command(number, stdio, None);
        let child = start(|| {
            setsid()?;
            if let Some(control) = &control {
                // The runtime then hears when the terminal's size changes.
                ioctl_tiocsctty(control)?;
            }
            own_kernel::become_runtime(runtime)?;
            Err(command.exec())
        })?;
        Ok(State::Attaching { runtime: child.pid, terminal, by: Instant::now() + START_WITHIN })
    }

    fn exec_command(&self, number: u32, stdio: Vec<OwnedFd>, console: Option<&PathBuf>) -> Command {
        let file = |ending| file_of(number, ending);
        let mut command = runtime_command(self.orders);
        command.args(self.orders.runtime.exec_arguments(
            Path::new(STAGE),
            &file("log"),
            &file("json"),
            &file("pid"),
            console.map(PathBuf::as_path),
        ));
        let mut stdio = stdio.into_iter().map(Stdio::from);
        let mut next = || stdio.next().unwrap_or_else(Stdio::null);
        command.stdin(next()).stdout(next()).stderr(next());
        command
    }

    /// Takes note of programs that their runtimes have begun, and speak for from now on.
    pub(super) fn see_attached(&mut self) {
        let began = |(number, task): (&u32, &Task)| match task.state {
            State::Attaching { runtime, .. } => {
                file_of(*number, "pid").exists().then_some((*number, runtime))
            }
            State::Starting { .. } | State::Running(..) => None,
        };
        let began: Vec<(u32, Pid)> = self.tasks.iter().filter_map(began).collect();
        for (number, runtime) in began {
            let terminal = match self.tasks.get_mut(&number).map(|task| &mut task.state) {
                Some(State::Attaching { terminal, .. }) => terminal.take(),
                Some(State::Starting { .. } | State::Running(..)) | None => None,
            };
            self.task_began(number, runtime, number_in(number, INNER), terminal);
            forget(number);
        }
    }

    /// Sends a program a signal. It may have ended.
    pub(super) fn signal_task(&self, number: u32, signal: Signal) {
        match self.tasks.get(&number).map(|task| &task.state) {
            Some(State::Running(_, Some(inner))) => self.signal_inside(Some(*inner), signal.as_raw()),
            // It was begun in a session of its own, so that its group is never ours.
            Some(State::Running(pid, None)) => {
                if let Ok(group) = getpgid(Some(*pid)) {
                    let _ = kill_process_group(group, signal);
                }
            }
            Some(State::Starting { .. } | State::Attaching { .. }) | None => {}
        }
    }

    /// Sends a signal to a process that only a kernel of the guest's own knows: the guest's first, if no number is given.
    pub(super) fn signal_inside(&self, inner: Option<u32>, signal: i32) {
        let Main::Runs { runtime, .. } = self.runtime else { return };
        let mut command = runtime_command(self.orders);
        command.args(self.orders.runtime.signal_arguments(Path::new(STAGE), inner, signal));
        // Not waited for, and reaped as all are.
        let _ = start(|| {
            own_kernel::become_runtime(runtime)?;
            Err(command.stdin(Stdio::null()).exec())
        });
    }

    /// Asks a program to end, and ends it at `then`.
    pub(super) fn hang_up(&mut self, number: u32, then: Instant) {
        if self.tasks.get_mut(&number).is_some_and(|task| task.hang_up(then)) {
            self.signal_task(number, Signal::HUP);
            self.signal_task(number, Signal::CONT);
        }
    }

    /// Ends the programs that had time enough to begin, or to end.
    pub(super) fn end_overdue(&mut self, now: Instant) {
        let overdue = self.tasks.iter_mut().filter(|(_, task)| task.is_overdue(now));
        let overdue: Vec<u32> = overdue
            .map(|(number, task)| {
                task.kill_at = None;
                *number
            })
            .collect();
        for number in overdue {
            match self.tasks.get(&number).map(|task| &task.state) {
                Some(State::Starting { runtime, .. } | State::Attaching { runtime, .. }) => {
                    let _ = kill_process(*runtime, Signal::KILL);
                }
                Some(State::Running(..)) => self.signal_task(number, Signal::KILL),
                None => {}
            }
        }
    }

    /// A process has ended that is not the guest's own program.
    pub(super) fn task_ended(&mut self, pid: Pid, code: i32) {
        // One that was short has begun all the same.
        self.see_attached();
        let is_it = |task: &Task| match task.state {
            State::Starting { runtime: process, .. }
            | State::Attaching { runtime: process, .. }
            | State::Running(process, _) => process == pid,
        };
        let Some((number, task)) = self.tasks.iter_mut().find(|(_, task)| is_it(task)) else {
            // Perhaps a program whose runtime is about to say which it is.
            if self.tasks.values().any(|task| matches!(task.state, State::Starting { .. })) {
                self.strangers.push((pid, code));
            }
            return;
        };
        let number = *number;
        match &mut task.state {
            State::Running(..) => {
                self.tasks.remove(&number);
                self.say(&Word::Ended(number, code), None);
            }
            State::Attaching { .. } => {
                self.refuse(number, &complaint_of(number, code));
                forget(number);
            }
            State::Starting { console, .. } => {
                let console = console.take();
                let owner = task.owner;
                match begun(number, code, console, owner) {
                    Ok((pid, terminal)) => self.task_began(number, pid, None, terminal),
                    Err(said) => self.refuse(number, &said),
                }
                forget(number);
                if !self.tasks.values().any(|task| matches!(task.state, State::Starting { .. })) {
                    self.strangers.clear();
                }
            }
        }
    }

    fn refuse(&mut self, number: u32, said: &str) {
        let Some(task) = self.tasks.remove(&number) else { return };
        let program: String = task.program.chars().take(200).collect();
        let (runtime, said) = (self.orders.runtime.name(), format!("{program}: {said}"));
        self.say(&Word::Refused(number, StartError::Runtime { runtime, said }.into()), None);
    }

    fn task_began(&mut self, number: u32, pid: Pid, inner: Option<u32>, terminal: Option<OwnedFd>) {
        self.say(&Word::Began(number), terminal.as_ref());
        if let Some(at) = self.strangers.iter().position(|(stranger, _)| *stranger == pid) {
            let (_, code) = self.strangers.swap_remove(at);
            self.tasks.remove(&number);
            self.say(&Word::Ended(number, code), None);
        } else if let Some(task) = self.tasks.get_mut(&number) {
            task.state = State::Running(pid, inner);
            if task.unwanted {
                self.hang_up(number, Instant::now());
            }
        }
    }
}

pub fn read_spec<T: DeserializeOwned>(file: Option<OwnedFd>) -> Result<T, ExecRefusal> {
    let unreadable = |error: io::Error| ExecRefusal::Unreadable(error.to_string());
    let file = file.ok_or_else(|| unreadable(io::ErrorKind::NotFound.into()))?;
    let mut bytes = Vec::new();
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).map_err(|error| unreadable(error.into()))?;
    File::from(file).take(LARGEST_SPEC).read_to_end(&mut bytes).map_err(unreadable)?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(error.into()))
}

pub(super) fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    // The runtime may be the guest's root.
    give_to_guest_root(CWD, path)?;
    listen(&socket, 1)?;
    Ok(socket)
}

/// The runtime has done its part, with this exit code: which process it began, and its terminal; or what it said.
fn begun(
    number: u32,
    code: i32,
    console: Option<OwnedFd>,
    owner: Uid,
) -> Result<(Pid, Option<OwnedFd>), String> {
    if code != 0 {
        return Err(complaint_of(number, code));
    }
    let pid =
        number_in(number, "pid").and_then(Pid::from_raw).ok_or("it did not say which process it began")?;
    let Some(console) = console else { return Ok((pid, None)) };
    match take_terminal(&console, owner) {
        Ok(terminal) => Ok((pid, Some(terminal))),
        Err(error) => Err(format!("it gave the program no terminal: {error}")),
    }
}

fn complaint_of(number: u32, code: i32) -> String {
    let said = File::open(file_of(number, "log")).ok().and_then(complaint);
    said.unwrap_or_else(|| format!("it ended with code {code}"))
}

fn number_in<T: FromStr>(number: u32, ending: &str) -> Option<T> {
    fs::read_to_string(file_of(number, ending)).ok()?.trim().parse().ok()
}

/// Takes the terminal that a runtime has sent, and gives its other end to its user: runtimes leave it to root, and a
/// user could not open it again.
pub(super) fn take_terminal(console: &OwnedFd, owner: Uid) -> io::Result<OwnedFd> {
    let sender = accept_with(console, SocketFlags::CLOEXEC)?;
    let terminal = sys::receive_file(sender.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
    fchown(sys::terminal_peer(terminal.as_fd())?, Some(owner), None)?;
    Ok(terminal)
}

fn forget(number: u32) {
    for ending in ["json", "sock", "log", "pid", INNER] {
        // Not each of them was made.
        let _ = fs::remove_file(file_of(number, ending));
    }
}
