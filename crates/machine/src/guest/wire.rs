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

/// Sends one packet, with a file if there is one.
pub fn send(socket: BorrowedFd<'_>, packet: &impl Serialize, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = serde_json::to_vec(packet)?;
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one packet and the file that came with it; `None` when the other side has closed.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = [0; LARGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    if message.bytes == 0 {
        return Ok(None);
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let packet = serde_json::from_slice(&bytes[..message.bytes])?;
    Ok(Some((packet, file)))
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
