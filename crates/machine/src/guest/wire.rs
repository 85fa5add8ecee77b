//! The words between node and supervisor: one packet each way over a Unix socket, with a file where one is handed over.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{ExecRefusal, StartError};
use super::record::Usage;
use crate::network::Door;

/// What a node asks of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// "I look after this guest for as long as this connection is open." The connection closes when the guest has ended.
    Watch,
    /// How is it?
    Status,
    /// A socket of the guest's network, which the node then connects or binds as it likes.
    Socket(Family),
    /// The same for UDP.
    Datagrams(Family),
    /// One of the sockets at which the outside begins for the guest.
    Door(Door),
    /// Hold all its processes.
    Freeze,
    /// Let them go on.
    Thaw,
    /// Give it so many thousandths of a core from now on.
    Pace(u32),
    /// End it: kindly, and after so long by force. Answered at once; the connection closes when the guest has ended.
    Stop(Duration),
    /// Answer when the log has grown past this offset.
    LogPast(u64),
    /// Run another program beside the guest's own; with it comes a file that says which. It ends when this connection
    /// is closed.
    Exec {
        /// Whether it has a terminal.
        terminal: bool,
    },
    /// Copy files into the guest or out of it; with it comes a file that says which. It is answered, and goes on, as a
    /// program does, and its input and output are an archive.
    Copy,
    /// Send this signal to a program that was begun so, or to the guest's own.
    Signal(Option<u32>, i32),
    /// The guest's input, or its terminal.
    Input,
    /// End the guest's input, for good.
    CloseInput,
}

/// Which loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// 127.0.0.1
    V4,
    /// ::1
    V6,
}

/// What a supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// To [`Request::Status`].
    Status {
        /// Where the guest stands.
        state: LiveState,
        /// What it has used until now.
        usage: Usage,
    },
    /// The system refused; an error number.
    Failed(i32),
    /// To [`Request::Exec`]: it runs, and is known by this number. With it come its terminal, or its input and outputs.
    Began(u32),
    /// To [`Request::Exec`]: it will not run.
    Refused(ExecRefusal),
    /// After [`Reply::Began`]: it has ended, with this exit code.
    Ended(i32),
}

/// What a supervisor tells the guest's first process, once the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Pass this signal to the guest's program, whose end is then the guest's.
    Stop(i32),
    /// Begin another program; with it come the file that says which, and its input and outputs unless it has a terminal.
    Exec(u32),
    /// Copy files; with it come the file that says which, an input and two outputs.
    Copy(u32),
    /// Send it, or the guest's own program, a signal.
    Signal(Option<u32>, i32),
    /// End it: nobody speaks to it any more.
    HangUp(u32),
}

/// What the first process tells, once the guest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// The program of this number runs. With it comes its terminal, if it has one.
    Began(u32),
    /// It will not run.
    Refused(u32, ExecRefusal),
    /// It has ended, with this exit code.
    Ended(u32, i32),
    /// With it comes the terminal of the guest's own program.
    Terminal,
    /// The guest's own program was begun again, for the so-many-eth time.
    Again(u32),
    /// The guest has ended, and had used so much.
    Used(Usage),
    /// The guest's own program will not run.
    NotStarted(StartError),
}

/// Where a living guest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveState {
    /// The runtime prepares it.
    Starting,
    /// Its program runs.
    Running,
    /// Its program is held.
    Frozen,
}

/// Far above every packet of ours.
const LARGEST: usize = 4096;

/// A program's input, its two outputs, and what says which program.
const MOST_FILES: usize = 4;

/// Sends one packet, with a file if there is one.
pub fn send(socket: BorrowedFd<'_>, packet: &impl Serialize, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    send_with(socket, packet, file.as_slice())
}

/// Sends one packet, with some files.
pub fn send_with(
    socket: BorrowedFd<'_>,
    packet: &impl Serialize,
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(packet)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one packet and the file that came with it; `None` when the other side has closed.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let received = receive_with(socket)?;
    Ok(received.map(|(packet, files)| (packet, files.into_iter().next())))
}

/// Receives one packet and the files that came with it; `None` when the other side has closed.
pub fn receive_with<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = [0; LARGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let files = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => Vec::new(),
    });
    let files = files.collect();
    if message.bytes == 0 {
        return Ok(None);
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let packet = serde_json::from_slice(&bytes[..message.bytes])?;
    Ok(Some((packet, files)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_packet_brings_its_file() {
        let (here, there) = pair();
        let null = File::open("/dev/null").unwrap();
        send(here.as_fd(), &Reply::Done, Some(null.as_fd())).unwrap();
        let (reply, file) = receive::<Reply>(there.as_fd()).unwrap().unwrap();
        assert_eq!(reply, Reply::Done);
        assert_eq!(File::from(file.unwrap()).read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn rubbish_and_overlong_packets_are_errors_and_a_closed_socket_is_the_end() {
        let (here, there) = pair();
        rustix::net::send(&here, b"rubbish", SendFlags::empty()).unwrap();
        assert!(receive::<Request>(there.as_fd()).is_err());
        rustix::net::send(&here, &[b' '; LARGEST + 1], SendFlags::empty()).unwrap();
        assert!(receive::<Request>(there.as_fd()).is_err());
        drop(here);
        assert!(receive::<Request>(there.as_fd()).unwrap().is_none());
    }
}
