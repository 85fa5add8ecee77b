//! The system calls that a guest may make. What is not named here does not exist for it (`ENOSYS`, so that a C library
//! falls back to an older call); what programs ask for in earnest but may not have is refused (`EPERM`).
//!
//! The base is the list that container engines agree on, less what a guest without capabilities has no good use for
//! and what kernel exploits begin with: namespaces, mounts, io_uring, bpf, userfaultfd, perf, keyrings, reading other
//! processes. Only the machine's own call table: the 32-bit table doubles the surface, and its `socketcall` would go
//! round the rule on socket families.

use serde_json::{Value, json};

/// The OCI runtime's `linux.seccomp` object.
pub fn profile() -> Value {
    let allow_if =
        |name: &str, args: Value| json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": args });
    let no_socket = |errno: i32, args: Value| json!({ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args });
    let is = |index: u32, value: u64| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });

    let mut rules = vec![
        json!({ "names": ALLOWED, "action": "SCMP_ACT_ALLOW" }),
        json!({ "names": REFUSED, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM }),
        // value is the mask: any namespace flag in the first argument must be nought.
        allow_if(
            "clone",
            json!([{ "index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }]),
        ),
        // NETLINK_ROUTE, which getifaddrs needs; no other netlink family.
        allow_if("socket", json!([is(0, libc::AF_NETLINK as u64), is(2, libc::NETLINK_ROUTE as u64)])),
        // As a kernel says that was built without them. PAM takes that for "no audit" and goes on; from any other answer it
        // concludes that nobody may log in, so that `su` and `passwd` fail.
        no_socket(
            libc::EPROTONOSUPPORT,
            json!([is(0, libc::AF_NETLINK as u64), { "index": 2, "value": libc::NETLINK_ROUTE, "op": "SCMP_CMP_NE" }]),
        ),
        no_socket(
            libc::EAFNOSUPPORT,
            json!([{ "index": 0, "value": libc::AF_NETLINK, "op": "SCMP_CMP_GT" }]),
        ),
    ];
    rules.extend(SOCKET_FAMILIES.map(|family| allow_if("socket", json!([is(0, family as u64)]))));
    rules.extend(PERSONALITIES.map(|personality| allow_if("personality", json!([is(0, personality)]))));

    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::ENOSYS,
        "architectures": [ARCHITECTURE],
        "syscalls": rules,
    })
}

/// The same for a container engine. An older one knows but one answer, "not permitted", to all that is not named; from that C
/// libraries conclude that there can be no threads, instead of falling back to clone.
pub fn for_engines() -> Value {
    let mut profile = profile();
    if let Some(rules) = profile["syscalls"].as_array_mut() {
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    }
    profile
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. clone3 hides its flags behind a pointer, where
/// seccomp cannot look: it is not allowed at all, and C libraries fall back to clone.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

/// No vsock (it reaches the hypervisor), no raw packets, no kernel crypto, no bluetooth.
const SOCKET_FAMILIES: [i32; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// Linux, Linux with 32-bit addresses or without address randomisation, and "tell me which I have".
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

/// Asked for by ordinary programs that can live without it; an honest "not permitted" keeps their messages true.
#[rustfmt::skip] // one name to a line is four hundred lines
const REFUSED: &[&str] = &[
    "acct", "add_key", "bpf", "chroot", "clock_settime", "delete_module", "fanotify_init", "fanotify_mark",
    "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load",
    "keyctl", "lookup_dcookie", "mbind", "migrate_pages", "modify_ldt", "mount", "mount_setattr",
    "move_mount", "move_pages", "name_to_handle_at", "open_by_handle_at", "open_tree", "perf_event_open",
    "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace",
    "quotactl", "quotactl_fd", "reboot", "request_key", "set_mempolicy", "setdomainname", "sethostname",
    "setns", "settimeofday", "swapoff", "swapon", "syslog", "umount2", "unshare", "userfaultfd", "vhangup",
    "vmsplice",
];

/// In the order of the alphabet. Calls that this processor does not have are skipped by the runtime.
#[rustfmt::skip] // one name to a line is four hundred lines
const ALLOWED: &[&str] = &[
    "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "bind", "brk", "cachestat", "capget",
    "capset", "chdir", "chmod", "chown", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep",
    "close", "close_range", "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2",
    "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir",
    "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr",
    "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate", "futex",
    "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_mempolicy",
    "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "geteuid",
    "getgid", "getgroups", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid",
    "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "getsockname",
    "getsockopt", "gettid", "gettimeofday", "getuid", "getxattr", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_setup", "io_submit",
    "ioctl", "ioprio_get", "ioprio_set", "kill", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "lchown", "lgetxattr", "link", "linkat", "listen", "listxattr", "llistxattr",
    "lremovexattr", "lseek", "lsetxattr", "lstat", "madvise", "membarrier", "memfd_create", "mincore",
    "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall", "mmap", "mprotect",
    "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "mremap",
    "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap", "nanosleep",
    "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll", "prctl", "pread64", "preadv", "preadv2",
    "prlimit64", "pselect6", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat",
    "readv", "recvfrom", "recvmmsg", "recvmsg", "remap_file_pages", "removexattr", "rename", "renameat",
    "renameat2", "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
    "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget", "semop",
    "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto", "set_robust_list", "set_thread_area",
    "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setitimer", "setpgid", "setpriority",
    "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid", "setsockopt", "setuid",
    "setxattr", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4",
    "socketpair", "splice", "stat", "statfs", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
    "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete", "timer_getoverrun",
    "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime", "times",
    "tkill", "truncate", "umask", "uname", "unlink", "unlinkat", "utime", "utimensat", "utimes", "vfork",
    "wait4", "waitid", "write", "writev",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_name_no_call_twice() {
        for list in [ALLOWED, REFUSED] {
            assert!(list.is_sorted_by(|a, b| a < b));
        }
        assert!(!ALLOWED.iter().any(|name| REFUSED.contains(name)));
    }

    #[test]
    fn no_call_that_makes_a_namespace_or_a_mount_is_allowed_without_a_condition() {
        for name in ["clone", "clone3", "unshare", "setns", "mount", "socket", "personality", "ptrace", "bpf"]
        {
            assert!(!ALLOWED.contains(&name), "{name}");
        }
    }
}
