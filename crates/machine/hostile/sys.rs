//! The C library and the kernel, as far as the probes need them. Built by `rustc` alone, without any crate.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

pub const EPERM: i32 = 1;
pub const EBADF: i32 = 9;
pub const EAGAIN: i32 = 11;
pub const EACCES: i32 = 13;
pub const ENOSYS: i32 = 38;

pub const SIGKILL: i32 = 9;
pub const SIGSYS: i32 = 31;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "fork"]
    fn c_fork() -> c_int;
    #[link_name = "pipe"]
    fn c_pipe(ends: *mut c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn setpgid(pid: c_int, group: c_int) -> c_int;
    #[link_name = "alarm"]
    fn c_alarm(seconds: c_uint) -> c_uint;
    #[link_name = "pause"]
    fn c_pause() -> c_int;
    fn geteuid() -> c_uint;
    fn prctl(option: c_int, ...) -> c_int;
    #[link_name = "socket"]
    fn c_socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    #[link_name = "ioctl"]
    fn c_ioctl(file: c_int, request: c_long, ...) -> c_int;
    fn shmat(id: c_int, at: *const c_void, flags: c_int) -> *mut c_void;
    fn setxattr(
        path: *const c_char,
        name: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn getrusage(who: c_int, usage: *mut [c_long; 18]) -> c_int;
    fn setrlimit(resource: c_int, limit: *const [u64; 2]) -> c_int;
    fn getrlimit(resource: c_int, limit: *mut [u64; 2]) -> c_int;
}

fn checked(result: i64) -> io::Result<usize> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// Any system call. The arguments must be what the call wants: numbers, or addresses of what outlives it.
pub fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> io::Result<usize> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the callers hand over numbers and addresses of live values, as the calls' manuals have them.
    checked(unsafe { syscall(number, a, b, c, d, e, f) })
}

pub fn fork() -> io::Result<i32> {
    // SAFETY: this program has one thread wherever it forks.
    checked(unsafe { c_fork() }.into()).map(|pid| pid as i32)
}

pub fn pipe() -> io::Result<(File, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for both; the kernel has just made them for us.
    unsafe {
        checked(c_pipe(ends.as_mut_ptr()).into())?;
        Ok((File::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Whether no program that this process becomes can have more power than it.
pub fn no_new_privileges() -> bool {
    const PR_GET_NO_NEW_PRIVS: c_int = 39;
    // SAFETY: only numbers.
    unsafe { prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

#[derive(Debug)]
pub enum End {
    Code(i32),
    Signal(i32),
}

pub fn wait(pid: i32) -> io::Result<End> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    checked(unsafe { waitpid(pid, &raw mut status, 0) }.into())?;
    let signal = status & 0x7f;
    Ok(if signal == 0 { End::Code((status >> 8) & 0xff) } else { End::Signal(signal) })
}

pub fn adopt_orphans() {
    const PR_SET_CHILD_SUBREAPER: c_int = 36;
    // SAFETY: only numbers.
    unsafe { prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

pub fn lead_group() {
    // SAFETY: only numbers.
    unsafe { setpgid(0, 0) };
}

pub fn kill_group(leader: i32) {
    // SAFETY: only numbers.
    unsafe { kill(-leader, SIGKILL) };
}

pub fn signal(pid: i32, signal: i32) -> io::Result<usize> {
    // SAFETY: only numbers.
    checked(unsafe { kill(pid, signal) }.into())
}

pub fn alarm(after: Duration) {
    // SAFETY: only a number.
    unsafe { c_alarm(after.as_secs() as c_uint) };
}

pub fn pause() -> ! {
    loop {
        // SAFETY: no arguments.
        unsafe { c_pause() };
    }
}

pub fn effective_user() -> u32 {
    // SAFETY: no arguments.
    unsafe { geteuid() }
}

pub fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: only numbers; the descriptor is new.
    let file = checked(unsafe { c_socket(family, kind, protocol) }.into())?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(file as i32) })
}

pub fn ioctl(file: i32, request: u32, argument: usize) -> io::Result<usize> {
    // SAFETY: the argument is a number, or the address of a live value.
    checked(unsafe { c_ioctl(file, c_long::from(request), argument) }.into())
}

/// Attaches a segment of shared memory and returns where it is.
pub fn attach(id: usize) -> io::Result<*mut u8> {
    // SAFETY: the kernel chooses the place.
    let at = unsafe { shmat(id as c_int, std::ptr::null(), 0) };
    if at as isize == -1 { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}

pub fn set_attribute(path: &std::ffi::CStr, name: &std::ffi::CStr, value: &[u8]) -> io::Result<usize> {
    // SAFETY: both are C strings; the value's length is given.
    checked(unsafe { setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) }.into())
}

pub fn become_user(id: u32) -> io::Result<usize> {
    // SAFETY: only numbers, and an empty list.
    unsafe {
        checked(setgroups(0, std::ptr::null()).into())?;
        checked(setresgid(id, id, id).into())?;
        checked(setresuid(id, id, id).into())
    }
}

/// Processor time of this process's children that have been waited for.
pub fn children_time() -> Duration {
    let mut usage = [0; 18];
    // SAFETY: `struct rusage` is two pairs of seconds and microseconds, and fourteen numbers.
    unsafe { getrusage(-1, &raw mut usage) };
    let [user, user_micros, system, system_micros, ..] = usage.map(|number| number as u64);
    Duration::from_secs(user + system) + Duration::from_micros(user_micros + system_micros)
}

pub fn limit_files(limit: u64) -> io::Result<usize> {
    // SAFETY: the pair outlives the call.
    checked(unsafe { setrlimit(7, &raw const *&[limit, limit]) }.into())
}

pub fn most_files() -> u64 {
    let mut limit = [0; 2];
    // SAFETY: the pair outlives the call.
    unsafe { getrlimit(7, &raw mut limit) };
    limit[1]
}

/// Numbers of system calls, by architecture.
#[rustfmt::skip] // a table
#[cfg(target_arch = "x86_64")]
pub mod number {
    pub const SHMGET: i64 = 29; pub const SHMCTL: i64 = 31; pub const CLONE: i64 = 56; pub const MSGGET: i64 = 68; pub const PTRACE: i64 = 101;
    pub const SYSLOG: i64 = 103; pub const PERSONALITY: i64 = 135; pub const SETPRIORITY: i64 = 141;
    pub const SCHED_SETSCHEDULER: i64 = 144; pub const PIVOT_ROOT: i64 = 155; pub const ADJTIMEX: i64 = 159;
    pub const CHROOT: i64 = 161; pub const ACCT: i64 = 163; pub const MOUNT: i64 = 165; pub const UMOUNT2: i64 = 166;
    pub const SWAPON: i64 = 167; pub const SWAPOFF: i64 = 168; pub const REBOOT: i64 = 169;
    pub const SETHOSTNAME: i64 = 170; pub const SETDOMAINNAME: i64 = 171; pub const INIT_MODULE: i64 = 175;
    pub const QUOTACTL: i64 = 179; pub const CLOCK_SETTIME: i64 = 227; pub const MBIND: i64 = 237;
    pub const SET_MEMPOLICY: i64 = 238; pub const KEXEC_LOAD: i64 = 246; pub const ADD_KEY: i64 = 248;
    pub const REQUEST_KEY: i64 = 249; pub const KEYCTL: i64 = 250; pub const IOPRIO_SET: i64 = 251;
    pub const MIGRATE_PAGES: i64 = 256; pub const MKNODAT: i64 = 259; pub const UNSHARE: i64 = 272;
    pub const VMSPLICE: i64 = 278; pub const MOVE_PAGES: i64 = 279; pub const PERF_EVENT_OPEN: i64 = 298;
    pub const FANOTIFY_INIT: i64 = 300; pub const NAME_TO_HANDLE_AT: i64 = 303; pub const OPEN_BY_HANDLE_AT: i64 = 304;
    pub const SETNS: i64 = 308; pub const PROCESS_VM_READV: i64 = 310; pub const KCMP: i64 = 312;
    pub const FINIT_MODULE: i64 = 313; pub const MEMFD_CREATE: i64 = 319; pub const KEXEC_FILE_LOAD: i64 = 320;
    pub const BPF: i64 = 321; pub const USERFAULTFD: i64 = 323;
}
/// Numbers of system calls, by architecture.
#[rustfmt::skip] // a table
#[cfg(target_arch = "aarch64")]
pub mod number {
    pub const SHMGET: i64 = 194; pub const SHMCTL: i64 = 195; pub const CLONE: i64 = 220; pub const MSGGET: i64 = 186; pub const PTRACE: i64 = 117;
    pub const SYSLOG: i64 = 116; pub const PERSONALITY: i64 = 92; pub const SETPRIORITY: i64 = 140;
    pub const SCHED_SETSCHEDULER: i64 = 119; pub const PIVOT_ROOT: i64 = 41; pub const ADJTIMEX: i64 = 171;
    pub const CHROOT: i64 = 51; pub const ACCT: i64 = 89; pub const MOUNT: i64 = 40; pub const UMOUNT2: i64 = 39;
    pub const SWAPON: i64 = 224; pub const SWAPOFF: i64 = 225; pub const REBOOT: i64 = 142;
    pub const SETHOSTNAME: i64 = 161; pub const SETDOMAINNAME: i64 = 162; pub const INIT_MODULE: i64 = 105;
    pub const QUOTACTL: i64 = 60; pub const CLOCK_SETTIME: i64 = 112; pub const MBIND: i64 = 235;
    pub const SET_MEMPOLICY: i64 = 237; pub const KEXEC_LOAD: i64 = 104; pub const ADD_KEY: i64 = 217;
    pub const REQUEST_KEY: i64 = 218; pub const KEYCTL: i64 = 219; pub const IOPRIO_SET: i64 = 30;
    pub const MIGRATE_PAGES: i64 = 238; pub const MKNODAT: i64 = 33; pub const UNSHARE: i64 = 97;
    pub const VMSPLICE: i64 = 75; pub const MOVE_PAGES: i64 = 239; pub const PERF_EVENT_OPEN: i64 = 241;
    pub const FANOTIFY_INIT: i64 = 262; pub const NAME_TO_HANDLE_AT: i64 = 264; pub const OPEN_BY_HANDLE_AT: i64 = 265;
    pub const SETNS: i64 = 268; pub const PROCESS_VM_READV: i64 = 270; pub const KCMP: i64 = 272;
    pub const FINIT_MODULE: i64 = 273; pub const MEMFD_CREATE: i64 = 279; pub const KEXEC_FILE_LOAD: i64 = 294;
    pub const BPF: i64 = 280; pub const USERFAULTFD: i64 = 282;
}
/// Newer calls have one number everywhere.
#[rustfmt::skip] // a table
pub mod everywhere {
    pub const IO_URING_SETUP: i64 = 425; pub const OPEN_TREE: i64 = 428; pub const FSOPEN: i64 = 430;
    pub const PIDFD_OPEN: i64 = 434; pub const CLONE3: i64 = 435; pub const PIDFD_GETFD: i64 = 438;
    pub const PROCESS_MADVISE: i64 = 440; pub const MOUNT_SETATTR: i64 = 442;
}
