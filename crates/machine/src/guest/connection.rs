//! The node's end of a supervisor's socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::Pid;
use tokio::io::unix::AsyncFd;

use super::record::GuestDir;
use super::supervisor::CONTROL;
use super::sys;
use super::wire::{self, Reply, Request};

/// A conversation with a supervisor: one question at a time.
pub struct Connection {
    socket: AsyncFd<OwnedFd>,
}

impl Connection {
    /// Calls the supervisor of the guest in `dir`.
    pub fn open(dir: &GuestDir) -> io::Result<Connection> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // A data directory's path can be longer than the 108 bytes that a socket's address may have.
        let dir =
            rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(CONTROL);
        connect(&socket, &SocketAddrUnix::new(&path)?)?;
        Ok(Connection { socket: sys::polled(socket)? })
    }

    /// Asks and waits for the answer, and for the file that comes with it.
    pub async fn ask(&self, request: Request) -> io::Result<(Reply, Option<OwnedFd>)> {
        self.socket
            .async_io(tokio::io::Interest::WRITABLE, |socket| wire::send(socket.as_fd(), &request, None))
            .await?;
        self.receive().await?.ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    /// The same, with a file to go with the question, and with all the files that come with the answer.
    pub async fn ask_with(
        &self,
        request: Request,
        file: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        self.socket
            .async_io(tokio::io::Interest::WRITABLE, |socket| wire::send(socket.as_fd(), &request, file))
            .await?;
        let answer = self
            .socket
            .async_io(tokio::io::Interest::READABLE, |socket| wire::receive_with(socket.as_fd()))
            .await?;
        answer.ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    /// What the supervisor says without being asked; `None` when it has ended.
    pub async fn hear(&self) -> io::Result<Option<Reply>> {
        Ok(self.receive().await?.map(|(reply, _)| reply))
    }

    /// Returns when the supervisor has ended.
    pub async fn closed(&self) {
        while let Ok(Some(_)) = self.receive().await {}
    }

    /// The supervisor's process.
    pub fn supervisor(&self) -> io::Result<Pid> {
        Ok(sockopt::socket_peercred(self.socket.get_ref())?.pid)
    }

    async fn receive(&self) -> io::Result<Option<(Reply, Option<OwnedFd>)>> {
        self.socket.async_io(tokio::io::Interest::READABLE, |socket| wire::receive(socket.as_fd())).await
    }
}
