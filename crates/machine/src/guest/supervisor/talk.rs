//! What nodes ask, and what they get.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt,
};
use rustix::process::geteuid;

use super::exec::Task;
use super::{CONTROL, Phase, Supervisor};
use crate::guest::error::ExecRefusal;
use crate::guest::grip::Grip;
use crate::guest::processes;
use crate::guest::record::Usage;
use crate::guest::wire::{self, Family, LiveState, Order, Reply, Request};
use crate::guest::writable::Writable;

/// More connections than a node has use for.
const MOST_CLIENTS: usize = 64;

/// A connection, of a node as a rule.
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    /// It looks after the guest for as long as it is open.
    pub(super) watches: bool,
    waits_for_log: Option<u64>,
    /// What it has begun in the guest; ended when it hangs up.
    pub(super) task: Option<Task>,
}

/// Makes the supervisor's socket. The path is relative, so that its length does not matter.
pub(super) fn listen_in(dir: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let path = dir.join(CONTROL);
    bind(&socket, &SocketAddrUnix::new(&path)?)?;
    rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR)?;
    listen(&socket, 64)?;
    Ok(socket)
}

impl Supervisor<'_> {
    pub(super) fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(&self.control, flags) else { return };
        // The directory is closed to others already; this holds should it once not be.
        let is_ours = sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid == geteuid());
        if is_ours && self.clients.len() < MOST_CLIENTS {
            self.clients.push(Client { socket, watches: false, waits_for_log: None, task: None });
        }
    }

    pub(super) fn serve(&mut self, ready: &[bool]) {
        let ready: Vec<usize> =
            ready.iter().enumerate().filter(|(_, ready)| **ready).map(|(i, _)| i).collect();
        // From the last to the first, so that removing one does not shift those still to come.
        for i in ready.into_iter().rev() {
            let request = wire::receive::<Request>(self.clients[i].socket.as_fd());
            let answered = match request {
                Ok(Some((request, file))) => self.answer(i, request, file),
                Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(error),
            };
            if answered.is_err() {
                let client = self.clients.swap_remove(i);
                self.hang_up(client.task);
            }
        }
    }

    fn answer(&mut self, client: usize, request: Request, file: Option<OwnedFd>) -> io::Result<()> {
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
            Request::Socket(family) => {
                make_socket(family, SocketType::STREAM).map(|socket| handed_over = Some(socket))
            }
            Request::Datagrams(family) => {
                make_socket(family, SocketType::DGRAM).map(|socket| handed_over = Some(socket))
            }
            Request::Door(door) => match self.doors.get(door) {
                Some(socket) => socket.try_clone_to_owned().map(|socket| handed_over = Some(socket)),
                None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
            },
            Request::Freeze => self.set_hold(|hold| hold.by_node = true),
            Request::Thaw => self.set_hold(|hold| hold.by_node = false),
            Request::Pace(millis) => self.grip.set_cpu(millis),
            Request::Stop(within) => {
                self.begin_stop(within);
                Ok(())
            }
            Request::Exec { .. } | Request::Copy => {
                let terminal = matches!(request, Request::Exec { terminal: true });
                let order = if request == Request::Copy { Order::Copy } else { Order::Exec };
                return match self.begin_task(client, terminal, order, file) {
                    Ok(()) => Ok(()),
                    Err(why) => wire::send(self.clients[client].socket.as_fd(), &Reply::Refused(why), None),
                };
            }
            Request::Signal(number, signal) => self.order(Order::Signal(number, signal)),
            Request::Input => match &self.input {
                Some(input) => input.try_clone().map(|input| handed_over = Some(input)),
                None => {
                    let refused = Reply::Refused(ExecRefusal::NoInput);
                    return wire::send(self.clients[client].socket.as_fd(), &refused, None);
                }
            },
            Request::CloseInput => {
                self.input = None;
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

    /// Answers those who wait for the log to grow.
    pub(super) fn tell_of_output(&mut self) {
        let end = self.log.end();
        for client in &mut self.clients {
            if client.waits_for_log.is_some_and(|past| past < end) {
                client.waits_for_log = None;
                // One that does not listen is found out when it next speaks, or hangs up.
                let _ = wire::send(client.socket.as_fd(), &Reply::Done, None);
            }
        }
    }

    fn state(&self) -> LiveState {
        match self.phase {
            _ if self.hold.since.is_some() => LiveState::Frozen,
            Phase::Building | Phase::Starting { .. } | Phase::Failed(_) => LiveState::Starting,
            Phase::Running => LiveState::Running,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let group = self.grip.usage();
        let disk_bytes = self.disk.as_ref().map_or(0, on_disk);
        let in_memory = if self.orders.writable == Writable::Memory { disk_bytes } else { 0 };
        let frozen = self.hold.before + self.hold.since.map_or(Duration::ZERO, |since| since.elapsed());
        Usage {
            started_at: self.started_at,
            frozen_ms: frozen.as_millis() as u64,
            log_bytes: self.log.end(),
            restarts: self.restarts,
            disk_bytes,
            cache_bytes: group.cache_bytes + in_memory,
            // A runtime with a kernel of its own shows nothing of what goes on in it.
            pids: match self.grip {
                Grip::Groups(_) if self.orders.runtime.has_own_kernel() => group.pids,
                Grip::Groups(_) => group.pids.saturating_sub(processes::of_the_runtime(self.first.pid)),
                // The keeper.
                Grip::Container(_) => group.pids.saturating_sub(1),
            },
            ..group
        }
    }
}

/// Bytes in a file system that is the guest's alone.
fn on_disk(disk: &OwnedFd) -> u64 {
    let seen = rustix::fs::fstatfs(disk);
    seen.map_or(0, |seen| (seen.f_blocks - seen.f_bfree).saturating_mul(seen.f_bsize.unsigned_abs()))
}

/// Unconnected: whoever holds it may connect or bind it, and is still inside the guest's network.
fn make_socket(family: Family, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}
