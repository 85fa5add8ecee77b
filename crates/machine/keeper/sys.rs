//! The C library and the kernel, as far as the keeper needs them.

use std::ffi::{CString, c_char, c_int, c_uint, c_ulong, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::words::{Packet, Program};

pub const SIGKILL: c_int = 9;
const SIGPIPE: c_int = 13;
const SIGCHLD: c_int = 17;

/// As much as a set of signals takes.
type Signals = [c_ulong; 16];

#[repr(C)]
struct Polled {
    file: c_int,
    wanted: i16,
    found: i16,
}

#[repr(C)]
struct Part {
    at: *mut c_void,
    length: usize,
}

#[repr(C)]
struct Message {
    name: *mut c_void,
    name_length: c_uint,
    parts: *mut Part,
    count: usize,
    control: *mut c_void,
    control_length: usize,
    flags: c_int,
}

unsafe extern "C" {
    fn fork() -> c_int;
    fn setsid() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    #[link_name = "kill"]
    fn c_kill(pid: c_int, signal: c_int) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn ioctl(file: c_int, request: c_ulong, ...) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn umask(mode: c_uint) -> c_uint;
    fn chdir(path: *const c_char) -> c_int;
    fn execve(path: *const c_char, args: *const *const c_char, env: *const *const c_char) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn signal(number: c_int, action: usize) -> usize;
    fn sigemptyset(set: *mut Signals) -> c_int;
    fn sigaddset(set: *mut Signals, signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const Signals, old: *mut Signals) -> c_int;
    fn signalfd(file: c_int, set: *const Signals, flags: c_int) -> c_int;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(file: c_int, address: *const c_void, length: c_uint) -> c_int;
    fn poll(polled: *mut Polled, count: c_ulong, timeout: c_int) -> c_int;
    fn recvmsg(file: c_int, message: *mut Message, flags: c_int) -> isize;
    #[link_name = "send"]
    fn c_send(file: c_int, bytes: *const c_void, length: usize, flags: c_int) -> isize;
    fn pipe2(ends: *mut c_int, flags: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

const CLOEXEC: c_int = 0o2_000_000;

fn checked(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(file: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the callers hand over what the kernel has just made for us.
    checked(file).map(|file| unsafe { OwnedFd::from_raw_fd(file) })
}

/// Nobody in the guest can look into this process, or take what it has open.
pub fn hide() -> io::Result<()> {
    const PR_SET_DUMPABLE: c_int = 4;
    // SAFETY: only numbers.
    checked(unsafe { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) }).map(drop)
}

fn set_of_children() -> Signals {
    let mut set: Signals = [0; 16];
    // SAFETY: the set is larger than any that the C library has.
    unsafe {
        sigemptyset(&raw mut set);
        sigaddset(&raw mut set, SIGCHLD);
    }
    set
}

/// A file that can be read when a child has ended.
pub fn children() -> io::Result<OwnedFd> {
    let set = set_of_children();
    // SAFETY: the set outlives the calls. 0 is SIG_BLOCK.
    unsafe {
        checked(sigprocmask(0, &raw const set, std::ptr::null_mut()))?;
        owned(signalfd(-1, &raw const set, CLOEXEC))
    }
}

/// Calls who listens there.
pub fn call(path: &str) -> io::Result<OwnedFd> {
    const SEQPACKET: c_int = 5;
    // SAFETY: only numbers; the descriptor is new.
    let file = unsafe { owned(socket(1, SEQPACKET | CLOEXEC, 0)) }?;
    let mut address = [0_u8; 110];
    address[0] = 1;
    address[2..2 + path.len()].copy_from_slice(path.as_bytes());
    // SAFETY: the address is a sockaddr_un with a nought at its end.
    checked(unsafe { connect(file.as_raw_fd(), address.as_ptr().cast(), address.len() as c_uint) })?;
    Ok(file)
}

/// Waits until one of two files can be read.
pub fn wait_for(files: [RawFd; 2]) -> [bool; 2] {
    let mut polled = files.map(|file| Polled { file, wanted: 1, found: 0 });
    // SAFETY: the array outlives the call.
    unsafe { poll(polled.as_mut_ptr(), 2, -1) };
    polled.map(|one| one.found != 0)
}

/// The most files that come with a packet.
const MOST_FILES: usize = 4;

/// A header (16 bytes), and the files' numbers.
const CONTROL: usize = 16 + MOST_FILES * 4;

/// Where the kernel expects it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// The next packet and its files; nothing at the end.
pub fn receive(from: &OwnedFd) -> io::Result<Option<(Packet, Vec<OwnedFd>)>> {
    let (mut bytes, mut control) = ([0_u8; 64], Control([0; CONTROL]));
    let mut part = Part { at: bytes.as_mut_ptr().cast(), length: bytes.len() };
    let mut message = Message {
        name: std::ptr::null_mut(),
        name_length: 0,
        parts: &raw mut part,
        count: 1,
        control: control.0.as_mut_ptr().cast(),
        control_length: CONTROL,
        flags: 0,
    };
    const CMSG_CLOEXEC: c_int = 0x4000_0000;
    // SAFETY: all that the message points to outlives the call.
    let length = unsafe { recvmsg(from.as_raw_fd(), &raw mut message, CMSG_CLOEXEC) };
    if length <= 0 {
        return if length == 0 { Ok(None) } else { Err(io::Error::last_os_error()) };
    }
    let used = message.control_length.min(CONTROL);
    let files = control.0[..used].get(16..).unwrap_or_default();
    // SAFETY: only files come with packets, and the kernel has just made their numbers for us.
    let files = files.chunks_exact(4).map(|file| unsafe {
        OwnedFd::from_raw_fd(c_int::from_ne_bytes([file[0], file[1], file[2], file[3]]))
    });
    // The header says how many there are; what is after it is nothing.
    let count = u64::from_ne_bytes(control.0[..8].try_into().unwrap_or_default()).saturating_sub(16) / 4;
    let files: Vec<OwnedFd> = files.take(if used == 0 { 0 } else { count as usize }).collect();
    let packet = Packet::decode(&bytes[..length as usize]).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((packet, files)))
}

/// Sends a packet. Waits while nobody reads.
pub fn send(to: &OwnedFd, packet: Packet) -> io::Result<()> {
    const NOSIGNAL: c_int = 0x4000;
    let bytes = packet.encode();
    // SAFETY: the bytes outlive the call.
    let sent = unsafe { c_send(to.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), NOSIGNAL) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A child that has ended, and its code as shells have it.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the status outlives the call. 1 is WNOHANG.
    let pid = unsafe { waitpid(-1, &raw mut status, 1) };
    let signal = status & 0x7f;
    (pid > 0).then_some((pid, if signal == 0 { (status >> 8) & 0xff } else { 128 + signal }))
}

/// Sends a signal. Who is gone does not hear it.
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: only numbers.
    unsafe { c_kill(pid, signal) };
}

/// Begins a program in a process of its own.
pub fn begin(program: &Program, files: &[OwnedFd]) -> io::Result<i32> {
    let text = |text: &Vec<u8>| CString::new(text.clone()).map_err(io::Error::from);
    let texts = |all: &[Vec<u8>]| all.iter().map(text).collect::<io::Result<Vec<CString>>>();
    let (args, env, cwd) = (texts(&program.args)?, texts(&program.env)?, text(&program.cwd)?);
    let paths = texts(&candidates(program))?;
    let pointers = |all: &[CString]| -> Vec<*const c_char> {
        all.iter().map(|one| one.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(&args), pointers(&env));
    let [input, out, error] = match files {
        [terminal] => [terminal; 3],
        [input, out, error] => [input, out, error],
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let mut ends = [0; 2];
    // SAFETY: the array has room for both, which the kernel makes for us.
    let (reader, writer) = unsafe {
        checked(pipe2(ends.as_mut_ptr(), CLOEXEC))?;
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    let become_it = || {
        // SAFETY: numbers, and pointers to what outlives the calls. This process has one thread.
        unsafe {
            checked(setsid())?;
            for (to, from) in [input, out, error].into_iter().enumerate() {
                checked(dup2(from.as_raw_fd(), to as c_int))?;
            }
            if program.terminal {
                const TIOCSCTTY: c_ulong = 0x540e;
                checked(ioctl(0, TIOCSCTTY, 0))?;
            }
            let none = set_of_children();
            sigprocmask(1, &raw const none, std::ptr::null_mut());
            signal(SIGPIPE, 0);
            umask(0o022);
            checked(setgroups(program.groups.len(), program.groups.as_ptr()))?;
            checked(setresgid(program.gid, program.gid, program.gid))?;
            checked(setresuid(program.uid, program.uid, program.uid))?;
            checked(chdir(cwd.as_ptr()))?;
            let mut why = io::Error::from_raw_os_error(2);
            for path in &paths {
                execve(path.as_ptr(), args.as_ptr(), env.as_ptr());
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::NotFound {
                    why = error;
                }
            }
            Err(why)
        }
    };
    // SAFETY: this program has one thread.
    let child = checked(unsafe { fork() })?;
    if child == 0 {
        drop(reader);
        // When memory runs out, it goes before its keeper.
        let _ = std::fs::write("/proc/self/oom_score_adj", "900");
        let become_it: io::Result<()> = become_it();
        let number = become_it.err().and_then(|error| error.raw_os_error()).unwrap_or(5);
        let _ = io::Write::write_all(&mut File::from(writer), &number.to_le_bytes());
        // SAFETY: nothing is to be done at the end.
        unsafe { _exit(127) }
    }
    drop(writer);
    let mut number = [0; 4];
    match io::Read::read_exact(&mut File::from(reader), &mut number) {
        Ok(()) => Err(io::Error::from_raw_os_error(i32::from_le_bytes(number))),
        // Closed when it became another program.
        Err(_) => Ok(child),
    }
}

/// Where its program may be.
fn candidates(program: &Program) -> Vec<Vec<u8>> {
    let Some(name) = program.args.first() else { return Vec::new() };
    if name.contains(&b'/') {
        return vec![name.clone()];
    }
    let path = program.env.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or_default();
    path.split(|byte| *byte == b':').map(|directory| [directory, b"/", name].concat()).collect()
}
