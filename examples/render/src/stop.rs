//! Leaves when told to.

/// What a shell reports for a program ended by SIGTERM.
const STOPPED: libc::c_int = 128 + libc::SIGTERM;

/// As the first process of a guest this program would otherwise never see the signal: for process 1 the kernel drops
/// each one that has no handler.
#[expect(unsafe_code, reason = "the standard library has no signals")]
pub fn exit_on_sigterm() {
    let handler: extern "C" fn(libc::c_int) = leave;
    // SAFETY: the handler calls nothing but `_exit`, which may be called from a handler.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
}

#[expect(unsafe_code, reason = "the standard library's exit runs handlers, which a signal must not")]
extern "C" fn leave(_signal: libc::c_int) {
    // SAFETY: `_exit` ends the process and touches nothing of ours.
    unsafe { libc::_exit(STOPPED) }
}
