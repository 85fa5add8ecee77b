//! System V shared memory and a queue of messages, readable for everybody: things that have a number and no path.

#![allow(unsafe_code)] // no safe crate here makes them

use std::io;

/// Gone when dropped.
pub struct Messages {
    key: i32,
    memory: i32,
    queue: i32,
}

impl Messages {
    pub fn make() -> io::Result<Messages> {
        let key = 0x5ab1_0000 | (std::process::id() as i32 & 0xffff);
        let flags = libc::IPC_CREAT | 0o666;
        // SAFETY: only numbers.
        let (memory, queue) = unsafe { (libc::shmget(key, 4096, flags), libc::msgget(key, flags)) };
        if memory == -1 || queue == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Messages { key, memory, queue })
    }

    pub fn key(&self) -> i32 {
        self.key
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // SAFETY: removing reads and writes no memory of ours.
        unsafe {
            libc::shmctl(self.memory, libc::IPC_RMID, std::ptr::null_mut());
            libc::msgctl(self.queue, libc::IPC_RMID, std::ptr::null_mut());
        }
    }
}
