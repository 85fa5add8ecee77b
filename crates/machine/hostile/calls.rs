//! System calls that begin most escapes from containers.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::sys::everywhere::*;
use crate::sys::number::*;
use crate::sys::{self, call};
use crate::world::World;
use crate::{Probe, Verdict, refused};

const NEWNS: usize = 0x0002_0000;
const NEWUTS: usize = 0x0400_0000;
const NEWUSER: usize = 0x1000_0000;
const NEWNET: usize = 0x4000_0000;
const SIGCHLD: usize = 17;
/// "Here": the directory of a relative path.
const CWD: usize = -100_isize as usize;

macro_rules! probes {
    ($($name:literal => $attempt:expr,)*) => {
        &[$(Probe { name: $name, attempt: $attempt }),*]
    };
}

#[rustfmt::skip] // a table
pub const PROBES: &[Probe] = probes! {
    "call.unshare_user" => |_| refused(call(UNSHARE, [NEWUSER])),
    "call.unshare_mounts" => |_| refused(call(UNSHARE, [NEWNS])),
    "call.unshare_network" => |_| refused(call(UNSHARE, [NEWNET])),
    "call.clone_user" => |_| refused(born(call(CLONE, [NEWUSER | SIGCHLD, 0, 0, 0, 0]))),
    "call.clone3_user" => clone3_user,
    "call.setns" => |_| with_file("/proc/self/ns/uts", |file| call(SETNS, [file, NEWUTS])),
    "call.mount" => |_| refused(call(MOUNT, [text(c"x"), text(c"/tmp"), text(c"tmpfs"), 0, 0])),
    "call.umount" => |_| refused(call(UMOUNT2, [text(c"/dev/mqueue"), 2])),
    "call.fsopen" => |_| refused(call(FSOPEN, [text(c"tmpfs"), 0])),
    "call.open_tree" => |_| refused(call(OPEN_TREE, [CWD, text(c"/"), 1])),
    "call.mount_setattr" => mount_setattr,
    "call.pivot_root" => |_| refused(call(PIVOT_ROOT, [text(c"/"), text(c"/")])),
    "call.chroot" => |_| refused(call(CHROOT, [text(c"/")])),
    "call.ptrace" => |_| refused(call(PTRACE, [0, 0, 0, 0])),
    "call.process_vm_readv" => process_vm_readv,
    "call.process_madvise" => |_| with_itself(|pidfd| call(PROCESS_MADVISE, [pidfd, 0, 0, 20, 0])),
    "call.pidfd_getfd" => |_| with_itself(|pidfd| call(PIDFD_GETFD, [pidfd, 0, 0])),
    "call.kcmp" => |_| refused(call(KCMP, [std::process::id() as usize, std::process::id() as usize, 0, 0, 0])),
    "call.keyctl" => |_| refused(call(KEYCTL, [0, -3_isize as usize, 1])),
    "call.add_key" => |_| refused(call(ADD_KEY, [text(c"user"), text(c"x"), text(c"y"), 1, -3_isize as usize])),
    "call.request_key" => |_| refused(call(REQUEST_KEY, [text(c"user"), text(c"sublet-none"), 0, 0])),
    "call.bpf" => bpf,
    "call.io_uring" => io_uring,
    "call.userfaultfd" => |_| refused(call(USERFAULTFD, [1])),
    "call.perf_event_open" => perf_event_open,
    "call.fanotify_init" => |_| refused(call(FANOTIFY_INIT, [0, 0])),
    "call.name_to_handle_at" => name_to_handle_at,
    "call.open_by_handle_at" => open_by_handle_at,
    "call.init_module" => |_| refused(call(INIT_MODULE, [0, 0, text(c"")])),
    "call.finit_module" => |_| refused(call(FINIT_MODULE, [usize::MAX, text(c""), 0])),
    "call.kexec_load" => |_| refused(call(KEXEC_LOAD, [0, 0, 0, 0])),
    "call.kexec_file_load" => |_| refused(call(KEXEC_FILE_LOAD, [usize::MAX, usize::MAX, 0, 0, 0])),
    // Switches Ctrl-Alt-Del on, as it is; from a process namespace the kernel does not even do that.
    "call.reboot" => |_| refused(call(REBOOT, [0xfee1_dead, 672_274_793, 0x89AB_CDEF, 0])),
    "call.swapon" => |_| refused(call(SWAPON, [text(c"/nowhere"), 0])),
    "call.swapoff" => |_| refused(call(SWAPOFF, [text(c"/nowhere")])),
    "call.acct" => |_| refused(call(ACCT, [text(c"/nowhere")])),
    "call.syslog" => |_| refused(call(SYSLOG, [10, 0, 0])),
    "call.quotactl" => |_| refused(call(QUOTACTL, [0x80_0001 << 8, 0, 0, 0])),
    "call.clock_settime" => clock_settime,
    "call.adjtimex" => adjtimex,
    "call.sethostname" => |_| refused(hostname().and_then(|name| call(SETHOSTNAME, [name.as_ptr() as usize, name.len()]))),
    "call.setdomainname" => |_| refused(call(SETDOMAINNAME, [text(c"(none)"), 6])),
    "call.personality" => |_| refused(call(PERSONALITY, [0x0040_0000])),
    "call.mbind" => |_| refused(call(MBIND, [0, 0, 0, 0, 0, 0])),
    "call.set_mempolicy" => |_| refused(call(SET_MEMPOLICY, [0, 0, 0])),
    "call.move_pages" => |_| refused(call(MOVE_PAGES, [0, 0, 0, 0, 0, 0])),
    "call.migrate_pages" => |_| refused(call(MIGRATE_PAGES, [0, 0, 0, 0])),
    "call.vmsplice" => vmsplice,
    "call.other_table" => other_table,
};

fn text(text: &std::ffi::CStr) -> usize {
    text.as_ptr() as usize
}

/// A child that was made has nothing to do.
fn born(made: io::Result<usize>) -> io::Result<usize> {
    if let Ok(0) = made {
        std::process::exit(0);
    }
    made
}

fn with_file(path: &str, attempt: impl FnOnce(usize) -> io::Result<usize>) -> Verdict {
    match File::open(path) {
        Ok(file) => refused(attempt(file.as_raw_fd() as usize)),
        // A kernel that has no such file has nothing to try it with.
        Err(error) => Verdict::Held(format!("{path}: {error}")),
    }
}

fn with_itself(attempt: impl FnOnce(usize) -> io::Result<usize>) -> Verdict {
    refused(call(PIDFD_OPEN, [std::process::id() as usize, 0]).and_then(attempt))
}

fn hostname() -> io::Result<Vec<u8>> {
    let mut name = std::fs::read("/proc/sys/kernel/hostname")?;
    name.pop();
    Ok(name)
}

fn clone3_user(_: &World) -> Verdict {
    let mut arguments = [0_u64; 8];
    arguments[0] = NEWUSER as u64;
    arguments[4] = SIGCHLD as u64;
    refused(born(call(CLONE3, [arguments.as_ptr() as usize, 64])))
}

fn mount_setattr(_: &World) -> Verdict {
    let nothing = [0_u64; 4];
    refused(call(MOUNT_SETATTR, [CWD, text(c"/"), 0, nothing.as_ptr() as usize, 32]))
}

fn process_vm_readv(_: &World) -> Verdict {
    let (from, mut to) = ([7_u8; 8], [0_u8; 8]);
    let (source, target) = ([from.as_ptr() as usize, 8], [to.as_mut_ptr() as usize, 8]);
    let me = std::process::id() as usize;
    refused(call(PROCESS_VM_READV, [me, target.as_ptr() as usize, 1, source.as_ptr() as usize, 1, 0]))
}

fn bpf(_: &World) -> Verdict {
    // An array of one number.
    let mut map = [0_u32; 18];
    map[..4].copy_from_slice(&[2, 4, 4, 1]);
    refused(call(BPF, [0, map.as_ptr() as usize, size_of_val(&map)]))
}

fn io_uring(_: &World) -> Verdict {
    let parameters = [0_u8; 120];
    refused(call(IO_URING_SETUP, [1, parameters.as_ptr() as usize]))
}

fn perf_event_open(_: &World) -> Verdict {
    // The software clock of this process, user space only.
    let mut event = [0_u8; 128];
    event[0] = 1;
    event[4] = 128;
    event[40] = 0b0110_0000;
    let nobody = usize::MAX;
    refused(call(PERF_EVENT_OPEN, [event.as_ptr() as usize, 0, nobody, nobody, 0]))
}

fn name_to_handle_at(_: &World) -> Verdict {
    let (handle, mount) = ([0_u32; 34], 0_i32);
    refused(call(
        NAME_TO_HANDLE_AT,
        [CWD, text(c"/"), handle.as_ptr() as usize, &raw const mount as usize, 0],
    ))
}

fn open_by_handle_at(_: &World) -> Verdict {
    // The root directory of most disks.
    let handle: [u32; 4] = [8, 1, 2, 0];
    with_file("/", |directory| call(OPEN_BY_HANDLE_AT, [directory, handle.as_ptr() as usize, 0]))
}

fn clock_settime(_: &World) -> Verdict {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let time = [now.as_secs(), u64::from(now.subsec_nanos())];
    refused(call(CLOCK_SETTIME, [0, time.as_ptr() as usize]))
}

fn adjtimex(_: &World) -> Verdict {
    let mut adjustment = [0_u64; 26];
    adjustment[0] = 0x0100; // by nothing
    refused(call(ADJTIMEX, [adjustment.as_ptr() as usize]))
}

fn vmsplice(_: &World) -> Verdict {
    let byte = [0_u8; 1];
    let part = [byte.as_ptr() as usize, 1];
    let Ok((_reader, writer)) = sys::pipe() else { return Verdict::Breached("no pipe".into()) };
    refused(call(VMSPLICE, [writer.as_raw_fd() as usize, part.as_ptr() as usize, 1, 0]))
}

/// The 32-bit table of calls knows other ways to what the 64-bit one refuses.
#[cfg(target_arch = "x86_64")]
fn other_table(_: &World) -> Verdict {
    let mut result: i64 = 20; // getpid; in the 64-bit table it is writev, here to no file
    // SAFETY: the call reads no memory and changes nothing but the register that it returns in.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") result, in("rdi") -1_i64, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    let errno = -(result as i32);
    if result as i32 > 0 {
        Verdict::Breached("it answers".into())
    } else if errno == sys::EBADF {
        Verdict::Held("leads to the 64-bit table".into())
    } else {
        refused(Err(io::Error::from_raw_os_error(errno)))
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn other_table(_: &World) -> Verdict {
    Verdict::Held("this processor has none".into())
}
