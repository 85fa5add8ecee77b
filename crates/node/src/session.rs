//! Programs in guests that somebody speaks to: begun there by the tenant, or the guest's own.
//!
//! The tenant alone. The owner of a host can end a guest, freeze it and see what it takes; there is no way here by
//! which an owner would come into a stranger's guest, by accident or otherwise.

use crate::Error;
use crate::execute::Hands;
use crate::frames;
use crate::handle::NodeHandle;
use machine::guest::{CopySpec, ExecRefusal, ExecSpec, GuestError, GuestId, GuestState, Input, Said, Stream};
use model::message::StreamHead;
use model::session::{CopyWish, ExecWish, Frame, MAX_FRAME, MAX_PIECE, Size};
use model::{Denial, Id, Lease, PeerKey, Side, plain};
use net::IncomingStream;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Frames that wait to be used. A tenant that sends more waits.
const WAITING: usize = 8;

/// How long a tenant may take to say what to begin.
const WISH_WITHIN: Duration = Duration::from_secs(10);

/// How often a silent program's tenant is written to: whoever writes to nobody learns of it.
const BEAT: Duration = Duration::from_secs(10);

/// How long a host may take to begin a program: longer than it tries itself.
const BEGIN_WITHIN: Duration = Duration::from_secs(35);

/// The most that is heard of why a transfer failed.
const LONGEST_WHY: usize = 16 << 10;

/// How long a log is waited for at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that this node's tenant speaks to. It ends when either half is dropped, if it was begun for this.
pub struct Session {
    /// What can be said.
    pub say: Say,
    /// What is heard.
    pub hear: Hear,
}

/// What can be said to a program.
pub struct Say(WriteHalf<net::Stream>);

/// What is heard of a program.
pub struct Hear(mpsc::Receiver<Frame>);

impl Say {
    /// Says something. Waits while the program does not read.
    ///
    /// # Errors
    /// When the host is gone.
    pub async fn say(&mut self, frame: &Frame) -> io::Result<()> {
        write(&mut self.0, frame).await
    }

    /// Gives it input of any length.
    ///
    /// # Errors
    /// When the host is gone.
    pub async fn input(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(MAX_PIECE) {
            self.say(&Frame::Input(piece.to_vec())).await?;
        }
        Ok(())
    }
}

impl Hear {
    /// The next thing; none when the stream has broken. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.0.recv().await?;
            if !matches!(frame, Frame::Here) {
                return Some(frame);
            }
        }
    }
}

impl Hear {
    /// The next piece of what is copied; none at its good end.
    ///
    /// # Errors
    /// Why it was not copied, or not all of it.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.next().await {
                Some(Frame::Out(bytes)) => return Ok(Some(bytes)),
                Some(Frame::Ended(0)) => return Ok(None),
                Some(Frame::Refused(denial)) => return Err(denied(&denial)),
                Some(Frame::Ended(_)) | None => {
                    return Err(Error::Denied {
                        code: "stream_broke".to_owned(),
                        sentence: "the copy broke off: the host is gone, or the guest has ended".to_owned(),
                    });
                }
                Some(_) => {}
            }
        }
    }
}

impl NodeHandle {
    /// Begins a program in the guest of a lease, as its tenant.
    ///
    /// # Errors
    /// When the lease is not ours to use, its host is out of reach, or the program did not begin.
    pub async fn exec(&self, lease: Id<Lease>, wish: ExecWish) -> Result<Session, Error> {
        self.begin(lease, Frame::Begin(wish)).await
    }

    /// Copies files into the guest of a lease, or out of it, as its tenant: the archive is said, or heard.
    ///
    /// # Errors
    /// When the lease is not ours to use, its host is out of reach, or the copy did not begin.
    pub async fn copy(&self, lease: Id<Lease>, wish: CopyWish) -> Result<Session, Error> {
        self.begin(lease, Frame::Copy(wish)).await
    }

    /// Speaks to the guest's own program, as its tenant: hears its output from an offset on, or what it says from now on.
    ///
    /// # Errors
    /// When the lease is not ours to use, or its host is out of reach.
    pub async fn attach(&self, lease: Id<Lease>, from: Option<u64>) -> Result<Session, Error> {
        // One that has ended may have last words.
        let peer = self.guest_of_ours(lease, |lease| lease.started.is_some()).await?;
        let session = self.session(peer, StreamHead::Attach { lease, from }).await?;
        begun(session, lease).await
    }

    async fn begin(&self, lease: Id<Lease>, wish: Frame) -> Result<Session, Error> {
        let peer = self.guest_of_ours(lease, |lease| lease.phase.is_live()).await?;
        let mut session = self.session(peer, StreamHead::Exec { lease }).await?;
        session.say.say(&wish).await.map_err(|_| Error::no_answer(lease))?;
        begun(session, lease).await
    }

    async fn session(&self, host: PeerKey, head: StreamHead) -> Result<Session, Error> {
        let (read, say) = split(self.net().open(host, head).await?);
        Ok(Session { say: Say(say), hear: Hear(frames(read)) })
    }

    /// The host of a guest that is this node's to use, and stands as wanted.
    pub(crate) async fn guest_of_ours(
        &self,
        id: Id<Lease>,
        wanted: fn(&engine::lease::Lease) -> bool,
    ) -> Result<PeerKey, Error> {
        let (side, peer, phase, stands) =
            self.lease(id, move |lease| (lease.side, lease.peer, lease.phase, wanted(lease))).await?;
        match side {
            Side::Host => Err(Error::NotOurGuest(id)),
            Side::Tenant if stands => Ok(peer),
            Side::Tenant => Err(Error::NotRunning { lease: id, phase: phase.to_string() }),
        }
    }
}

async fn begun(mut session: Session, lease: Id<Lease>) -> Result<Session, Error> {
    match timeout(BEGIN_WITHIN, session.hear.next()).await {
        Ok(Some(Frame::Began)) => Ok(session),
        Ok(Some(Frame::Refused(denial))) => Err(denied(&denial)),
        Ok(Some(_) | None) | Err(_) => Err(Error::no_answer(lease)),
    }
}

fn denied(denial: &Denial) -> Error {
    Error::Denied { code: plain(&denial.code, 64), sentence: plain(&denial.sentence, 500) }
}

/// As host: begins the program, or the copy, that the tenant names, and carries what is said both ways.
pub async fn serve_exec(hands: &Hands, stream: IncomingStream, id: GuestId) -> io::Result<()> {
    let (read, mut write_half) = split(stream.accept().await?);
    let mut frames = frames(read);
    let (begun, copies) = match timeout(WISH_WITHIN, frames.recv()).await {
        Ok(Some(Frame::Begin(wish))) => (hands.guests.exec(id, &exec_spec(wish)).await, false),
        Ok(Some(Frame::Copy(wish))) => (hands.guests.copy(id, &copy_spec(wish)).await, true),
        Ok(Some(_) | None) | Err(_) => return Err(io::ErrorKind::InvalidData.into()),
    };
    let exec = match begun {
        Ok(exec) => exec,
        Err(error) => return refuse(&mut write_half, &error).await,
    };
    write(&mut write_half, &Frame::Began).await?;
    let (mut output, input) = (exec.output, exec.input);
    let say = async {
        // What a copy says beside its archive is why it failed.
        let mut why = Vec::new();
        loop {
            let frame = match timeout(BEAT, output.next()).await {
                Ok(said) => match said? {
                    Said::Out(bytes) => Frame::Out(bytes),
                    Said::Err(bytes) if copies => {
                        why.extend(bytes.into_iter().take(LONGEST_WHY - why.len().min(LONGEST_WHY)));
                        continue;
                    }
                    Said::Err(bytes) => Frame::Err(bytes),
                    Said::Ended(code) => {
                        let last =
                            if copies && code != 0 { not_copied(code, &why) } else { Frame::Ended(code) };
                        write(&mut write_half, &last).await?;
                        return write_half.shutdown().await;
                    }
                },
                Err(_) => Frame::Here,
            };
            write(&mut write_half, &frame).await?;
        }
    };
    tokio::select! {
        said = say => said,
        // The tenant is gone, and what it had begun goes with it.
        () = feed(frames, Some(input)) => Ok(()),
    }
}

fn not_copied(code: i32, why: &[u8]) -> Frame {
    let error = machine::guest::why(code, why);
    refused(error.code(), &error)
}

/// As host: lets the tenant speak to its guest's own program.
pub async fn serve_attach(
    hands: &Hands,
    stream: IncomingStream,
    id: GuestId,
    from: Option<u64>,
) -> io::Result<()> {
    let (read, mut write_half) = split(stream.accept().await?);
    let frames = frames(read);
    let input = match hands.guests.input(id).await {
        Ok(input) => Some(input),
        // It can still be listened to; and it may have ended with its last words unheard.
        Err(GuestError::Exec(ExecRefusal::NoInput) | GuestError::NotRunning(_)) => None,
        Err(error) => return refuse(&mut write_half, &error).await,
    };
    let mut offset = match from {
        Some(from) => from,
        None => seen(hands, id).await?.map_or(0, |(_, printed)| printed),
    };
    write(&mut write_half, &Frame::Began).await?;
    let say = async {
        loop {
            let chunk = hands.guests.logs(id, offset, PATIENCE).await.map_err(io::Error::other)?;
            offset = chunk.next;
            for piece in chunk.pieces {
                let frame = match piece.stream {
                    Stream::Out => Frame::Out(piece.bytes),
                    Stream::Err => Frame::Err(piece.bytes),
                };
                write(&mut write_half, &frame).await?;
            }
            if chunk.ended {
                let code = seen(hands, id).await?.and_then(|(code, _)| code);
                write(&mut write_half, &Frame::Ended(code.unwrap_or(137))).await?;
                return write_half.shutdown().await;
            }
            write(&mut write_half, &Frame::Here).await?;
        }
    };
    tokio::select! {
        said = say => said,
        () = feed(frames, input) => Ok(()),
    }
}

/// How a guest ended, if it has, and how far its log goes.
async fn seen(hands: &Hands, id: GuestId) -> io::Result<Option<(Option<i32>, u64)>> {
    let seen = hands.guests.seen().await.map_err(io::Error::other)?;
    Ok(seen.into_iter().find(|seen| seen.id == id).map(|seen| {
        let code = match seen.state {
            GuestState::Exited { code, .. } => Some(code),
            GuestState::Starting
            | GuestState::Running
            | GuestState::Frozen
            | GuestState::Failed { .. }
            | GuestState::Lost { .. } => None,
        };
        (code, seen.usage.log_bytes)
    }))
}

fn exec_spec(wish: ExecWish) -> ExecSpec {
    ExecSpec {
        args: wish.command,
        env: wish.env,
        cwd: wish.cwd,
        user: wish.user,
        terminal: wish.terminal.map(size),
    }
}

fn copy_spec(wish: CopyWish) -> CopySpec {
    match wish {
        CopyWish::Out { path, follow, limit } => CopySpec::Out { path: path.into(), follow, limit },
        CopyWish::In { path, place, owners } => CopySpec::In { path: path.into(), place, owners },
    }
}

fn size(size: Size) -> machine::guest::Size {
    machine::guest::Size { columns: size.columns, rows: size.rows }
}

/// Gives a program what its tenant says, until the tenant is gone.
async fn feed(mut frames: mpsc::Receiver<Frame>, mut input: Option<Input>) {
    while let Some(frame) = frames.recv().await {
        let Some(input) = &mut input else { continue };
        // What the program no longer takes is lost, as it is in a pipe; its end tells the tenant more.
        let taken = match frame {
            Frame::Input(bytes) => input.write(&bytes).await.map_err(io::Error::other),
            Frame::InputEnds => input.close().await.map_err(io::Error::other),
            Frame::Resize(to) => input.resize(size(to)),
            Frame::Signal(signal) => input.signal(signal).await.map_err(io::Error::other),
            Frame::Begin(_)
            | Frame::Copy(_)
            | Frame::Began
            | Frame::Refused(_)
            | Frame::Out(_)
            | Frame::Err(_)
            | Frame::Ended(_)
            | Frame::Here => Ok(()),
        };
        if let Err(error) = taken {
            tracing::debug!(%error, "a program takes nothing more");
        }
    }
}

async fn refuse(stream: &mut (impl AsyncWrite + Unpin), error: &GuestError) -> io::Result<()> {
    write(stream, &refused(code(error), error)).await?;
    stream.shutdown().await
}

fn refused(code: &str, error: &impl ToString) -> Frame {
    Frame::Refused(Denial { code: code.to_owned(), sentence: plain(&error.to_string(), 400) })
}

/// For programs.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these are told apart by programs")]
fn code(error: &GuestError) -> &'static str {
    use machine::guest::StartError;
    match error {
        GuestError::NotRunning(_) | GuestError::Exec(ExecRefusal::NotRunning) => "guest_not_running",
        GuestError::Exec(ExecRefusal::Frozen) => "guest_frozen",
        GuestError::Exec(ExecRefusal::TooMany { .. }) => "too_many",
        GuestError::Exec(ExecRefusal::Unreadable(_)) => "bad_command",
        GuestError::Exec(ExecRefusal::Start(StartError::NoUser { .. })) => "no_user",
        GuestError::Exec(ExecRefusal::Start(StartError::NoProgram { .. })) => "no_program",
        GuestError::Exec(ExecRefusal::Start(StartError::Runtime { said, .. })) => {
            let missing = said.contains("not found") || said.contains("No such file");
            if missing { "no_program" } else { "not_begun" }
        }
        _ => "not_begun",
    }
}

/// The frames of a stream, until it ends or breaks.
fn frames(mut stream: ReadHalf<net::Stream>) -> mpsc::Receiver<Frame> {
    let (sender, frames) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let read_all = async {
            while let Some(frame) = read(&mut stream).await? {
                if sender.send(frame).await.is_err() {
                    break;
                }
            }
            Ok::<(), io::Error>(())
        };
        tokio::select! {
            done = read_all => {
                if let Err(error) = done {
                    tracing::debug!(%error, "a session's stream broke");
                }
            }
            // Nobody listens any more.
            () = sender.closed() => {}
        }
    });
    frames
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    frames::read(stream, MAX_FRAME).await
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    frames::write(stream, frame, MAX_FRAME).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_as_they_went_and_rubbish_is_refused() {
        let mut bytes = Vec::new();
        for frame in [Frame::Input(vec![0, 255]), Frame::Ended(-1), Frame::Here] {
            write(&mut bytes, &frame).await.unwrap();
        }
        let mut read_from = bytes.as_slice();
        assert_eq!(read(&mut read_from).await.unwrap(), Some(Frame::Input(vec![0, 255])));
        assert_eq!(read(&mut read_from).await.unwrap(), Some(Frame::Ended(-1)));
        assert_eq!(read(&mut read_from).await.unwrap(), Some(Frame::Here));
        assert_eq!(read(&mut read_from).await.unwrap(), None);
        assert!(read(&mut [255_u8; 64].as_slice()).await.is_err(), "longer than any frame");
        assert!(read(&mut [0_u8, 0, 0, 2, 255, 255].as_slice()).await.is_err(), "no frame");
        assert!(write(&mut Vec::new(), &Frame::Input(vec![0; MAX_FRAME])).await.is_err());
    }
}
