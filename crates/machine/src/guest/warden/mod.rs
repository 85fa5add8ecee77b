//! The guest's first process, once the sandbox is built: it starts the runtime, begins other programs beside the
//! guest's own, reaps, and ends with the guest's program.
//!
//! ```text
//!  supervisor ── orders, words ── warden ── runtime ── guest's program      (all below is the guest's namespaces)
//!                                   ├────── another program (exec)
//!                                   └────── a transfer (copy)
//! ```
//!
//! It is root of the outer user namespace and the init of the outer process namespace, as the runtime would be in its
//! place: it has no power over this machine, it is under the guest's limits, and nothing of the guest outlives it. The
//! guest does not see it.

mod copy;
mod exec;

pub(super) use self::copy::run as transfer;
pub(super) use self::exec::read_spec;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Signal, Uid, WaitOptions, WaitStatus, ioctl_tiocsctty, kill_process, setsid, wait,
};

use self::exec::Task;
use super::error::{ExecRefusal, StartError};
use super::image_users;
use super::own_kernel;
use super::record::Orders;
use super::runtime::USUAL_PATH;
use super::sandbox::STAGE;
use super::settings::Pause;
use super::sys::{self, Child};
use super::wire::{self, Order, Word};

/// A program that was begun beside the guest's, and is asked to end, has so long.
pub const HANG_UP: Duration = Duration::from_secs(2);

/// Input (none: nothing) and the two outputs of the guest's program.
pub type Stdio = (Option<OwnedFd>, [OwnedFd; 2]);

/// What the warden works with.
pub struct Warden<'a> {
    orders: &'a Orders,
    channel: BorrowedFd<'a>,
    /// The guest's root directory.
    root: OwnedFd,
    stdio: Stdio,
    children: OwnedFd,
    /// Where the runtime sends the terminal of the guest's program.
    console: Option<OwnedFd>,
    runtime: Main,
    restarts: u32,
    pause: Pause,
    /// Whether the end of the guest's program is the guest's, whatever was agreed.
    ending: bool,
    tasks: BTreeMap<u32, Task>,
    /// Ends of processes that nobody has asked for yet: a program can end before its runtime has said which it is.
    strangers: Vec<(Pid, i32)>,
}

/// Where the guest's program stands.
enum Main {
    Runs {
        runtime: Pid,
        since: Instant,
    },
    /// It has ended with this code, and is begun again.
    Waits {
        code: i32,
        until: Instant,
    },
}

/// The exit code as shells have it.
pub fn exit_code(status: WaitStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).unwrap_or(-1)
}

impl<'a> Warden<'a> {
    /// Starts the runtime with the guest's program.
    pub fn begin(
        orders: &'a Orders,
        channel: BorrowedFd<'a>,
        root: OwnedFd,
        stdio: Stdio,
    ) -> Result<Warden<'a>, StartError> {
        let children = sys::signals_as_file(&[libc::SIGCHLD])
            .map_err(StartError::sandbox("wait for the guest's processes"))?;
        let (runtime, console) = start_runtime(orders, &stdio)
            .map_err(StartError::sandbox(format!("run {}", orders.runtime.program().display())))?;
        Ok(Warden {
            orders,
            channel,
            root,
            stdio,
            children,
            console,
            runtime: Main::Runs { runtime, since: Instant::now() },
            restarts: 0,
            pause: Pause::default(),
            ending: false,
            tasks: BTreeMap::new(),
            strangers: Vec::new(),
        })
    }

    /// Stays until the guest's program has ended, and returns its exit code.
    pub fn stay(&mut self) -> i32 {
        loop {
            let [ordered, ended, console] = match self.wait() {
                Ok(ready) => ready,
                // Without its ears it is of no use: the guest ends, and is not left alone.
                Err(_) => return -1,
            };
            if console {
                self.take_terminal();
            }
            if ended && let Some(code) = self.reap() {
                return code;
            }
            if ordered {
                match wire::receive_with::<Order>(self.channel) {
                    Ok(Some((order, files))) => {
                        if let Some(code) = self.obey(order, files) {
                            return code;
                        }
                    }
                    // The supervisor is gone; we are about to be, too.
                    Ok(None) => return -1,
                    Err(_) => {}
                }
            }
            if let Some(code) = self.keep_time() {
                return code;
            }
        }
    }

    fn wait(&self) -> io::Result<[bool; 3]> {
        let main = match &self.runtime {
            Main::Waits { until, .. } => Some(*until),
            Main::Runs { .. } => None,
        };
        let next = self.tasks.values().filter_map(Task::deadline).chain(main).min();
        let left = next.map(|at| at.saturating_duration_since(Instant::now()));
        let left =
            left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let files = [Some(self.channel), Some(self.children.as_fd()), self.console.as_ref().map(AsFd::as_fd)];
        let mut polled: Vec<PollFd<'_>> =
            files.iter().flatten().map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN)).collect();
        match poll(&mut polled, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // In the order in which they were chained.
        let mut ready = polled.iter().map(|file| !file.revents().is_empty());
        Ok(files.map(|file| file.is_some() && ready.next().unwrap_or(false)))
    }

    /// The runtime has sent the terminal of the guest's program.
    fn take_terminal(&mut self) {
        let Some(console) = self.console.take() else { return };
        let owner = image_users::resolve(self.root.as_fd(), &self.orders.spec.user);
        let owner = owner.map_or(Uid::from_raw(1), |user| Uid::from_raw(user.uid + 1));
        // Without it the program still runs, and nobody can speak to it.
        if let Ok(terminal) = exec::take_terminal(&console, owner) {
            self.say(&Word::Terminal, Some(&terminal));
        }
    }

    /// Takes note of each process that has ended.
    fn reap(&mut self) -> Option<i32> {
        if let Ok(file) = self.children.try_clone() {
            let _ = File::from(file).read(&mut [0; 512]);
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let code = exit_code(status);
            match self.runtime {
                Main::Runs { runtime, since } if runtime == pid => {
                    if let Some(code) = self.main_ended(code, since.elapsed()) {
                        return Some(code);
                    }
                }
                Main::Runs { .. } | Main::Waits { .. } => self.task_ended(pid, code),
            }
        }
        None
    }

    /// The guest's program has ended: for good, if a code is returned.
    fn main_ended(&mut self, code: i32, ran: Duration) -> Option<i32> {
        let begun = Path::new(STAGE).join("pid").exists();
        let again = self.orders.spec.run.restart.again(code, self.restarts);
        // What could not even begin is the supervisor's to tell.
        if self.ending || !again || !begun && self.restarts == 0 {
            return Some(code);
        }
        // Programs beside it were in its namespaces, which are gone; each tells its end by itself.
        self.runtime = Main::Waits { code, until: Instant::now() + self.pause.after(ran) };
        None
    }

    fn obey(&mut self, order: Order, files: Vec<OwnedFd>) -> Option<i32> {
        match order {
            Order::Stop(signal) => {
                self.ending = true;
                match self.runtime {
                    Main::Runs { .. } if self.orders.runtime.has_own_kernel() => {
                        self.signal_inside(None, signal)
                    }
                    Main::Runs { runtime, .. } => {
                        // The runtime passes it on.
                        let _ = sys::send_signal(runtime, signal);
                    }
                    Main::Waits { code, .. } => return Some(code),
                }
            }
            Order::Exec(number) | Order::Copy(number) => {
                let begun = match (&self.runtime, order) {
                    (Main::Waits { .. }, _) => Err(ExecRefusal::NotRunning),
                    (Main::Runs { .. }, Order::Copy(_)) => self.start_copy(number, files),
                    (Main::Runs { .. }, _) => self.start_exec(number, files),
                };
                if let Err(why) = begun {
                    self.say(&Word::Refused(number, why), None);
                }
            }
            Order::Signal(number, signal) => {
                let signal = Signal::from_named_raw(signal)?;
                match (number, &self.runtime) {
                    (Some(number), _) => self.signal_task(number, signal),
                    (None, Main::Runs { .. }) if self.orders.runtime.has_own_kernel() => {
                        self.signal_inside(None, signal.as_raw())
                    }
                    (None, Main::Runs { runtime, .. }) => drop(kill_process(*runtime, signal)),
                    (None, Main::Waits { .. }) => {}
                }
            }
            Order::HangUp(number) => self.hang_up(number, Instant::now() + HANG_UP),
        }
        None
    }

    fn keep_time(&mut self) -> Option<i32> {
        let now = Instant::now();
        self.see_attached();
        self.end_overdue(now);
        let Main::Waits { code, until } = self.runtime else { return None };
        if until > now {
            return None;
        }
        // Left behind by a program that was killed together with its runtime.
        let _ = fs::remove_file(Path::new(STAGE).join("pid"));
        let _ = fs::remove_dir_all(Path::new(STAGE).join("state"));
        match start_runtime(self.orders, &self.stdio) {
            Ok((runtime, console)) => {
                self.console = console;
                self.restarts += 1;
                self.runtime = Main::Runs { runtime, since: now };
                self.say(&Word::Again(self.restarts), None);
                None
            }
            Err(_) => Some(code),
        }
    }

    fn say(&self, word: &Word, file: Option<&OwnedFd>) {
        // If the supervisor does not hear it, it is gone, and so are we.
        let _ = wire::send(self.channel, word, file.map(|file| file.as_fd()));
    }
}

/// Its process, and where it will send the terminal of the guest's program.
fn start_runtime(orders: &Orders, stdio: &Stdio) -> io::Result<(Pid, Option<OwnedFd>)> {
    let (input, [out, err]) = stdio;
    let input = input.as_ref().map(OwnedFd::try_clone).transpose()?;
    let (out, err) = (out.try_clone()?, err.try_clone()?);
    let stage = Path::new(STAGE);
    let at = stage.join("console");
    let handed_over = orders.spec.run.terminal && orders.runtime.hands_over_terminal();
    let console = handed_over
        .then(|| {
            let _ = fs::remove_file(&at);
            exec::listen_at(&at)
        })
        .transpose()?;
    let arguments = orders.runtime.arguments(stage, stage, handed_over.then_some(at.as_path()));
    let mut command = runtime_command(orders);
    command.args(arguments).stdout(out).stderr(err);
    command.stdin(input.map_or_else(process::Stdio::null, process::Stdio::from));
    let copied = orders.spec.run.terminal && !handed_over;
    let run = || {
        if copied {
            // The runtime then hears when the terminal's size changes.
            setsid()?;
            ioctl_tiocsctty(stdio.1[0].as_fd())?;
        }
        Err(command.exec())
    };
    let child = match orders.runtime.has_own_kernel() {
        true => own_kernel::start(orders.ids.count(), run)?,
        false => start(run)?,
    };
    Ok((child.pid, console))
}

fn runtime_command(orders: &Orders) -> Command {
    let mut command = Command::new(orders.runtime.program());
    command.env_clear().env("PATH", USUAL_PATH).env("XDG_RUNTIME_DIR", STAGE);
    command
}

/// Starts a process that does this.
fn start(work: impl FnOnce() -> io::Result<Infallible>) -> io::Result<Child> {
    match sys::clone_into(0, None)? {
        Some(child) => Ok(child),
        None => {
            let Err(_) = work();
            process::exit(127)
        }
    }
}
