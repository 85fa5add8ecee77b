//! Another program in a guest that runs, from the node's side.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::connection::Connection;
use super::error::{Doing, ExecRefusal, GuestError};
use super::settings::Settings;
use super::spec::{GuestId, GuestSpec};
use super::sys;
use super::watch::Shared;
use super::wire::{Reply, Request};

/// Another program to be run in a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The program and its arguments. A name without a slash is looked up in `PATH`.
    pub args: Vec<String>,
    /// `NAME=value`, instead of or besides those of the guest's own program.
    pub env: Vec<String>,
    /// The directory to start in; none: that of the guest's own program.
    pub cwd: Option<String>,
    /// As in an image's configuration; none: that of the guest's own program.
    pub user: Option<String>,
    /// The size of its terminal, if it has one.
    pub terminal: Option<Size>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// The most that says which program to run: what the kernel takes, and the quotes around it.
pub(super) const LARGEST_SPEC: u64 = 512 << 10;

/// The most that the arguments and the environment may take.
const MOST_TEXT: usize = 128 << 10;

/// A runtime that takes longer was given up by then.
const START_WITHIN: Duration = Duration::from_secs(25);

/// How long the last words of a program are waited for, if one that it left behind keeps its output open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How much is read at once.
const PIECE: usize = 16 << 10;

impl ExecSpec {
    /// As a guest of its own would be described: as this one, but for what was asked for.
    pub(super) fn within(&self, spec: &GuestSpec) -> GuestSpec {
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let given: Vec<String> = self.env.iter().map(|entry| name(entry)).collect();
        let inherited = spec.env.iter().filter(|entry| !given.contains(&name(entry)));
        GuestSpec {
            args: self.args.clone(),
            env: inherited.chain(&self.env).cloned().collect(),
            cwd: self.cwd.clone().unwrap_or_else(|| spec.cwd.clone()),
            run: Settings { terminal: self.terminal.is_some(), ..spec.run.clone() },
            ..spec.clone()
        }
    }

    fn check(&self) -> Result<(), ExecRefusal> {
        let unreadable = |why: &str| Err(ExecRefusal::Unreadable(why.to_owned()));
        let texts = || self.args.iter().chain(&self.env).chain(&self.cwd).chain(&self.user);
        if self.args.first().is_none_or(String::is_empty) {
            return unreadable("there is no program to run");
        }
        if texts().any(|text| text.contains('\0')) {
            return unreadable("arguments, environment and names must not hold a nought byte");
        }
        if texts().map(|text| text.len() + 1).sum::<usize>() > MOST_TEXT {
            return unreadable("arguments and environment take more than 128 KiB");
        }
        if self.env.iter().any(|entry| entry.find('=').is_none_or(|at| at == 0)) {
            return unreadable("an entry of the environment is not NAME=value");
        }
        if self.cwd.as_ref().is_some_and(|cwd| !cwd.starts_with('/')) {
            return unreadable("the working directory is not an absolute path");
        }
        Ok(())
    }
}

/// A program that runs in a guest. It ends when all of this is dropped.
pub struct Exec {
    /// What can be said to it.
    pub input: Input,
    /// What it says.
    pub output: ExecOutput,
}

/// What can be said to a program: a guest's own, or another.
pub struct Input {
    shared: Arc<Shared>,
    id: GuestId,
    /// Which other program.
    number: Option<u32>,
    stdin: Option<Arc<AsyncFd<OwnedFd>>>,
    terminal: bool,
}

/// What a program says.
pub struct ExecOutput {
    line: Connection,
    pipes: [Option<Arc<AsyncFd<OwnedFd>>>; 2],
    code: Option<i32>,
}

/// Something that a program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// On its standard output, or its terminal.
    Out(Vec<u8>),
    /// On its standard error.
    Err(Vec<u8>),
    /// It has ended with this exit code (128 + n for signal n), and this is the last of it.
    Ended(i32),
}

/// Begins a program in a guest.
pub(super) async fn exec(shared: &Arc<Shared>, id: GuestId, spec: &ExecSpec) -> Result<Exec, GuestError> {
    spec.check()?;
    let exec = begin(shared, id, Request::Exec { terminal: spec.terminal.is_some() }, spec).await?;
    if let Some(size) = spec.terminal {
        // The runtime was told as well; not each listens.
        let _ = exec.input.resize(size);
    }
    Ok(exec)
}

/// Begins a program, or a transfer, in a guest.
pub(super) async fn begin(
    shared: &Arc<Shared>,
    id: GuestId,
    request: Request,
    spec: &impl Serialize,
) -> Result<Exec, GuestError> {
    let terminal = matches!(request, Request::Exec { terminal: true });
    let line = shared.call(&id)?.ok_or(GuestError::NotRunning(id))?;
    let file = written(spec).doing("write down what is to be run")?;
    let asked = timeout(START_WITHIN, line.ask_with(request, Some(file.as_fd()))).await;
    let unresponsive =
        |_| GuestError::Unresponsive { id, doing: "begin a program in it", within: START_WITHIN };
    let (reply, files) = match asked.map_err(unresponsive)? {
        Ok(answer) => answer,
        // It ended while we spoke.
        Err(_) => return Err(GuestError::NotRunning(id)),
    };
    let number = match reply {
        Reply::Began(number) => number,
        Reply::Refused(why) => return Err(why.into()),
        Reply::Failed(os) => {
            return Err(io::Error::from_raw_os_error(os)).doing("begin a program in the guest");
        }
        Reply::Done | Reply::Status { .. } | Reply::Ended(_) => {
            return Err(io::Error::from(io::ErrorKind::InvalidData)).doing("begin a program in the guest");
        }
    };
    let mut files = files.into_iter().map(|file| sys::polled_without_blocking(file).map(Arc::new));
    let mut next = || files.next().transpose().doing("open the program's output");
    let (stdin, pipes) = match terminal {
        true => {
            let terminal = next()?;
            (terminal.clone(), [terminal, None])
        }
        false => (next()?, [next()?, next()?]),
    };
    let input = Input { shared: shared.clone(), id, number: Some(number), stdin, terminal };
    Ok(Exec { input, output: ExecOutput { line, pipes, code: None } })
}

/// The input of a guest's own program.
pub(super) async fn input(shared: &Arc<Shared>, id: GuestId) -> Result<Input, GuestError> {
    let terminal = shared.dir(&id).orders().doing("read what the guest is")?.spec.run.terminal;
    let (reply, file) = shared.ask(&id, Request::Input, "hand over the guest's input").await?;
    if let Reply::Refused(why) = reply {
        return Err(why.into());
    }
    let file =
        file.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)).doing("take the guest's input")?;
    let stdin = sys::polled_without_blocking(file).doing("take the guest's input")?;
    Ok(Input { shared: shared.clone(), id, number: None, stdin: Some(Arc::new(stdin)), terminal })
}

/// What is to be run, in a file in memory: longer than a packet can be.
fn written(spec: &impl Serialize) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("exec", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(spec)?)?;
    Ok(file.into())
}

impl Input {
    /// Gives it some input. Waits while it reads none.
    ///
    /// # Errors
    /// When it no longer reads, or its input was closed.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let stdin = self.stdin.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        while !bytes.is_empty() {
            let written =
                stdin.async_io(Interest::WRITABLE, |file| Ok(rustix::io::write(file, bytes)?)).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends its input. A terminal has no end, and is told so by a character.
    ///
    /// # Errors
    /// When the terminal or the guest is gone.
    pub async fn close(&mut self) -> Result<(), GuestError> {
        if self.terminal {
            return self.write(&[4]).await.doing("end the input"); // Ctrl-D
        }
        self.stdin = None;
        match self.number {
            Some(_) => Ok(()),
            // The supervisor keeps it open for whoever attaches next.
            None => self.shared.ask(&self.id, Request::CloseInput, "end the input").await.map(drop),
        }
    }

    /// Gives its terminal another size. The program is told by a signal.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        let Some(terminal) = self.stdin.as_ref().filter(|_| self.terminal) else { return Ok(()) };
        let size = Winsize { ws_col: size.columns, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(terminal.get_ref(), size)?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When the guest has ended.
    pub async fn signal(&self, signal: i32) -> Result<(), GuestError> {
        let request = Request::Signal(self.number, signal);
        self.shared.ask(&self.id, request, "pass a signal on").await.map(drop)
    }
}

impl ExecOutput {
    /// The next thing that it says. After [`Said::Ended`] there is nothing more. Cancelling loses nothing.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn next(&mut self) -> io::Result<Said> {
        loop {
            let [out, err] = &self.pipes;
            let open = out.is_some() || err.is_some();
            if let Some(code) = self.code {
                if !open {
                    return Ok(Said::Ended(code));
                }
                let last = timeout(LAST_WORDS, read_either(out.as_deref(), err.as_deref())).await;
                match last {
                    Ok((stream, piece)) => {
                        if let Some(said) = self.said(stream, piece) {
                            return Ok(said);
                        }
                    }
                    // Somebody whom it left behind still holds its output.
                    Err(_) => self.pipes = [None, None],
                }
                continue;
            }
            tokio::select! {
                biased;
                (stream, piece) = read_either(out.as_deref(), err.as_deref()), if open => {
                    if let Some(said) = self.said(stream, piece) {
                        return Ok(said);
                    }
                }
                reply = self.line.hear() => match reply? {
                    Some(Reply::Ended(code)) => self.code = Some(code),
                    Some(_) => {}
                    None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the guest has ended")),
                },
            }
        }
    }

    fn said(&mut self, stream: usize, piece: io::Result<Vec<u8>>) -> Option<Said> {
        match piece {
            Ok(piece) if !piece.is_empty() => {
                Some(if stream == 0 { Said::Out(piece) } else { Said::Err(piece) })
            }
            // A terminal that nobody holds any more is an error, and no end.
            Ok(_) | Err(_) => {
                self.pipes[stream] = None;
                None
            }
        }
    }
}

async fn read_either(
    out: Option<&AsyncFd<OwnedFd>>,
    err: Option<&AsyncFd<OwnedFd>>,
) -> (usize, io::Result<Vec<u8>>) {
    let read = async |pipe: Option<&AsyncFd<OwnedFd>>| match pipe {
        Some(pipe) => read_some(pipe).await,
        None => std::future::pending().await,
    };
    tokio::select! {
        piece = read(out) => (0, piece),
        piece = read(err) => (1, piece),
    }
}

/// What is there; nothing at the end.
async fn read_some(pipe: &AsyncFd<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE];
    let length = pipe
        .async_io(Interest::READABLE, |file| match rustix::io::read(file, &mut piece) {
            Ok(length) => Ok(length),
            Err(Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        })
        .await?;
    piece.truncate(length);
    Ok(piece)
}
