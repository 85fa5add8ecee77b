//! The memory of this program itself: a node that rests most of its life shall not keep what it once needed.

#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    expect(unsafe_code, reason = "the allocator is glibc's")
)]

/// Has the allocator keep few heaps. glibc makes up to eight for each processor, of which each keeps the most that was ever in
/// it; two are enough for a program with two threads that work. To be called before there are others.
pub fn keep_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it sets a number of the allocator, which is made for being called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives free memory back to the system: a millisecond or two of work.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the locks of the allocator, and unmaps pages in which nothing is.
    unsafe {
        libc::malloc_trim(0);
    }
}
