//! Other programs beside the guest's own: begun by the runtime in all of the guest's namespaces, under its limits, its
//! seccomp list and its `no_new_privs`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::fchown;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::{Pid, Signal, Uid, getpgid, kill_process, kill_process_group, setsid};
use serde::de::DeserializeOwned;

use super::{Warden, runtime_command, start};
use crate::guest::error::{ExecRefusal, StartError};
use crate::guest::exec::{ExecSpec, LARGEST_SPEC};
use crate::guest::image_users;
use crate::guest::oci;
use crate::guest::runtime::complaint;
use crate::guest::sandbox::{STAGE, open_files};
use crate::guest::sys;
use crate::guest::wire::Word;

/// A runtime that takes longer hangs.
const START_WITHIN: Duration = Duration::from_secs(20);

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
    /// It runs, as this process.
    Running(Pid),
}

/// Files of the task of a number.
fn file_of(number: u32, ending: &str) -> PathBuf {
    Path::new(STAGE).join(format!("exec-{number}.{ending}"))
}

impl Task {
    /// A transfer, which runs at once.
    pub(super) fn transfer(process: Pid) -> Task {
        let (state, program) = (State::Running(process), String::new());
        Task { state, program, owner: Uid::ROOT, unwanted: false, kill_at: None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting { by, .. } => Some(by),
            State::Running(_) => self.kill_at,
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It was begun in a session of its own, so that its group is never ours. It may have ended.
        if let State::Running(pid) = self.state
            && let Ok(group) = getpgid(Some(pid))
        {
            let _ = kill_process_group(group, signal);
        }
    }

    /// Asks it to end, and ends it at `then`.
    pub(super) fn hang_up(&mut self, then: Instant) {
        self.unwanted = true;
        if let State::Running(_) = self.state {
            self.signal(Signal::HUP);
            self.signal(Signal::CONT);
            self.kill_at.get_or_insert(then);
        }
    }

    pub(super) fn keep_time(&mut self, now: Instant) {
        match self.state {
            State::Starting { runtime, by, .. } if by <= now => {
                let _ = kill_process(runtime, Signal::KILL);
            }
            State::Running(_) if self.kill_at.is_some_and(|at| at <= now) => {
                self.kill_at = None;
                self.signal(Signal::KILL);
            }
            State::Starting { .. } | State::Running(_) => {}
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
        let console = match spec.terminal {
            Some(_) => Some(
                listen_at(&file_of(number, "sock"))
                    .map_err(StartError::sandbox("listen for the program's terminal"))?,
            ),
            None => None,
        };
        let runtime = self.run_exec(number, stdio, console.is_some());
        let runtime = runtime.map_err(StartError::sandbox("begin another process in the guest"));
        if runtime.is_err() {
            forget(number);
        }
        let state = State::Starting { runtime: runtime?, console, by: Instant::now() + START_WITHIN };
        // The guest's user 0 is 1 in our namespace.
        let owner = Uid::from_raw(user.uid + 1);
        let program = spec.args.into_iter().next().unwrap_or_default();
        self.tasks.insert(number, Task { state, program, owner, unwanted: false, kill_at: None });
        Ok(())
    }

    fn run_exec(&self, number: u32, stdio: Vec<OwnedFd>, terminal: bool) -> io::Result<Pid> {
        let file = |ending| file_of(number, ending);
        let mut command = runtime_command(self.orders);
        let console = terminal.then(|| file("sock"));
        command.args(self.orders.runtime.exec_arguments(
            Path::new(STAGE),
            &file("log"),
            &file("json"),
            &file("pid"),
            console.as_deref(),
        ));
        let mut stdio = stdio.into_iter().map(Stdio::from);
        let mut next = || stdio.next().unwrap_or_else(Stdio::null);
        command.stdin(next()).stdout(next()).stderr(next());
        Ok(start(|| {
            setsid()?;
            Err(command.exec())
        })?
        .pid)
    }

    /// A process has ended that is not the guest's own program.
    pub(super) fn task_ended(&mut self, pid: Pid, code: i32) {
        let is_it = |task: &Task| match task.state {
            State::Starting { runtime: process, .. } | State::Running(process) => process == pid,
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
            State::Running(_) => {
                self.tasks.remove(&number);
                self.say(&Word::Ended(number, code), None);
            }
            State::Starting { console, .. } => {
                let console = console.take();
                let owner = task.owner;
                match begun(number, code, console, owner) {
                    Ok((pid, terminal)) => self.task_began(number, pid, terminal),
                    Err(said) => {
                        let program: String = task.program.chars().take(200).collect();
                        let (runtime, said) = (self.orders.runtime.name(), format!("{program}: {said}"));
                        let why = ExecRefusal::Start(StartError::Runtime { runtime, said });
                        self.tasks.remove(&number);
                        self.say(&Word::Refused(number, why), None);
                    }
                }
                forget(number);
                if !self.tasks.values().any(|task| matches!(task.state, State::Starting { .. })) {
                    self.strangers.clear();
                }
            }
        }
    }

    fn task_began(&mut self, number: u32, pid: Pid, terminal: Option<OwnedFd>) {
        self.say(&Word::Began(number), terminal.as_ref());
        if let Some(at) = self.strangers.iter().position(|(stranger, _)| *stranger == pid) {
            let (_, code) = self.strangers.swap_remove(at);
            self.tasks.remove(&number);
            self.say(&Word::Ended(number, code), None);
        } else if let Some(task) = self.tasks.get_mut(&number) {
            task.state = State::Running(pid);
            if task.unwanted {
                task.hang_up(Instant::now());
            }
        }
    }
}

pub(super) fn read_spec<T: DeserializeOwned>(file: Option<OwnedFd>) -> Result<T, ExecRefusal> {
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
        let said = File::open(file_of(number, "log")).ok().and_then(complaint);
        return Err(said.unwrap_or_else(|| format!("it ended with code {code}")));
    }
    let pid = fs::read_to_string(file_of(number, "pid")).ok().and_then(|pid| pid.trim().parse().ok());
    let pid = pid.and_then(Pid::from_raw).ok_or("it did not say which process it began")?;
    let Some(console) = console else { return Ok((pid, None)) };
    match take_terminal(&console, owner) {
        Ok(terminal) => Ok((pid, Some(terminal))),
        Err(error) => Err(format!("it gave the program no terminal: {error}")),
    }
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
    for ending in ["json", "sock", "log", "pid"] {
        // Not each of them was made.
        let _ = fs::remove_file(file_of(number, ending));
    }
}
