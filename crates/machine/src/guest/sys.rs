//! The system calls that no safe crate offers. All the unsafe code of this room is here.

#![allow(unsafe_code)] // each block says why it is sound

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;
use tokio::io::unix::AsyncFd;

/// A child made by [`clone_into`], seen from its parent.
pub struct Child {
    /// Its number in the parent's process namespace.
    pub pid: Pid,
    /// A handle that no other process can ever come to stand for.
    pub pidfd: OwnedFd,
}

/// In libc it is a number that does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks this process, with namespaces of its own for the child (`CLONE_NEW*`), into a control group of version 2 if one
/// is given. `None` is returned in the child.
///
/// # Errors
/// Refused in a process that has threads: their locks would stay locked for ever in the child.
pub fn clone_into(namespaces: libc::c_int, group: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all of clone_args is integers, for which zero is a valid value.
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = (namespaces | libc::CLONE_PIDFD) as u64;
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of the memory, as after fork; the process has one thread (checked
    // above), so that no lock of libc is held by somebody who does not exist in the child.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => {
            let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidData)?;
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Some(Child { pid, pidfd }))
        }
    }
}

/// Makes a detached mount read-only, without devices and setuid programs, and shows its files under the ids that
/// `user_namespace` maps them to.
pub fn seal_and_map(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    lend_and_map(mount, user_namespace, true)
}

/// The same for a mount that may be written.
pub fn lend_and_map(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
    read_only: bool,
) -> io::Result<()> {
    let sealed = if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: sealed | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd() as u64,
    };
    // SAFETY: the path is a C string, the structure lives through the call and its size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal by its number: real-time signals have no names in rustix.
pub fn send_signal(to: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes two numbers, and the kernel judges them.
    if unsafe { libc::kill(to.as_raw_pid(), signal) } == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Brings the loopback device of this network namespace up.
pub fn raise_loopback(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: ifreq is a C structure of integers and arrays of them, for which zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Blocks `signals` for this process; they are read from the returned descriptor instead.
pub fn signals_as_file(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    // SAFETY: sigemptyset makes the set valid before it is read; the other calls get valid pointers to it.
    let file = unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) == -1 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if file == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Closes every file of this process but the standard ones and these. A process that goes on after a fork, and runs no
/// other program, would keep all that its parent had.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let kept: Vec<i32> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    let open =
        fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // Read to its end first: the directory itself is among them.
    let open: Vec<i32> = open.filter(|file| *file > 2 && !kept.contains(file)).collect();
    for file in open {
        // SAFETY: whoever holds one of these in this copy of the memory never uses or closes it: the caller's branch of
        // the fork leads to nothing but `exit`.
        unsafe { libc::close(file) };
    }
    Ok(())
}

/// Receives a file over a Unix socket, with whatever words come with it.
pub fn receive_file(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut words = [0; 4096];
    recvmsg(socket, &mut [io::IoSliceMut::new(&mut words)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    }))
}

/// A new terminal: the end that reads and writes, and the end that programs see.
pub fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let ours = rustix::fs::open("/dev/ptmx", flags, Mode::empty())?;
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an int, which lives through the call.
    if unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let theirs = terminal_peer(ours.as_fd())?;
    Ok((ours, theirs))
}

/// The end of a terminal that programs see, whatever file system its name is in.
pub fn terminal_peer(ours: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags for open(2) and no pointer.
    let theirs = unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if theirs == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(theirs) })
}

/// Lets tokio wait for a file, which from now on does not block.
pub fn polled_without_blocking(file: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags | rustix::fs::OFlags::NONBLOCK)?;
    polled(file)
}

/// Lets tokio wait for a file that does not block.
pub fn polled(file: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open file until it is dropped, and AsyncFd gives up before it drops it.
    Ok(unsafe { AsyncFd::register(file) }?)
}
