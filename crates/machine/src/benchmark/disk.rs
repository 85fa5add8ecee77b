//! The disk: sequences of 1 MiB by one thread, and 4 KiB at random places by four, past the page cache (`O_DIRECT`) where
//! the file system can do that.
//!
//! One request at a time in sequence, as a program that copies a file makes them; four at random, as a small database
//! does. Not what a drive could do at its best with hundreds of requests waiting. Writing ends with a sync, which is
//! part of the time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rustix::fs::Advice;

use super::cpu::Xorshift;
use super::{MeasureError, Until, per_second};

/// Bytes of a block in sequence.
const LARGE: usize = 1 << 20;
/// Bytes of a block at random: the page of most systems, and the sector of most drives.
const SMALL: usize = 4 << 10;
/// How many random requests are on their way at a time.
const DEPTH: usize = 4;
/// The largest file. Then it is written again from the start.
const LARGEST_FILE: u64 = 1 << 30;
/// The smallest file, and the eighth part of the room that must be free for it.
const SMALLEST_FILE: u64 = 16 << 20;
/// Where the page cache cannot be avoided, it is emptied as often as this, so that no sync takes longer than the time
/// that a caller waits for after cancelling.
const SYNC_EVERY: u64 = 8 << 20;

/// A file without a name: it is gone when it is closed, also by a crash.
pub(super) struct Scratch {
    file: File,
    path: PathBuf,
    direct: bool,
    size: u64,
    /// How much of it has been written.
    written: AtomicU64,
}

impl Scratch {
    /// Makes the file in `dir`, which exists.
    pub(super) fn create(dir: &Path) -> Result<Scratch, MeasureError> {
        let io = |doing| move |source| MeasureError::Io { doing, path: dir.to_path_buf(), source };
        let stat = rustix::fs::statvfs(dir).map_err(|errno| io("ask for free space")(errno.into()))?;
        let free = stat.f_bavail * stat.f_frsize;
        if free < 8 * SMALLEST_FILE {
            return Err(MeasureError::NoRoom { needed: 8 * SMALLEST_FILE, free });
        }
        let path = dir.join(format!(".sublet-benchmark-{}", std::process::id()));
        let open = |flags| {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(flags)
                .open(&path)
        };
        let opened = match open(libc::O_DIRECT) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => open(0).map(|file| (file, false)),
            opened => opened.map(|file| (file, true)),
        };
        // A refused O_DIRECT may have made the file all the same.
        let removed = fs::remove_file(&path);
        let (file, direct) = opened.map_err(io("create a file"))?;
        removed.map_err(io("remove a file"))?;
        let size = (free / 8).min(LARGEST_FILE) / LARGE as u64 * LARGE as u64;
        Ok(Scratch { file, path: dir.to_path_buf(), direct, size, written: AtomicU64::new(0) })
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Bytes per second, in sequence.
    pub(super) fn write(&self, until: &Until<'_>) -> Result<u64, MeasureError> {
        let mut block = Aligned::noise(LARGE);
        let begun = Instant::now();
        let mut bytes = 0;
        while bytes == 0 || !until.is_over() {
            block.stamp(bytes);
            self.file.write_all_at(block.bytes(), bytes % self.size).map_err(self.failed("write"))?;
            bytes += LARGE as u64;
            if !self.direct && bytes.is_multiple_of(SYNC_EVERY) {
                self.sync()?;
            }
        }
        self.sync()?;
        self.written.store(bytes.min(self.size), Ordering::Relaxed);
        Ok(per_second(bytes, begun.elapsed()))
    }

    /// Bytes per second, in sequence.
    pub(super) fn read(&self, until: &Until<'_>) -> Result<u64, MeasureError> {
        let mut block = Aligned::noise(LARGE);
        let written = self.written.load(Ordering::Relaxed);
        self.forget()?;
        let begun = Instant::now();
        let mut bytes = 0;
        while bytes == 0 || !until.is_over() {
            self.file.read_exact_at(block.bytes_mut(), bytes % written).map_err(self.failed("read"))?;
            bytes += LARGE as u64;
        }
        Ok(per_second(bytes, begun.elapsed()))
    }

    /// Reads per second.
    pub(super) fn read_randomly(&self, until: &Until<'_>) -> Result<u64, MeasureError> {
        self.forget()?;
        self.randomly(until, |block, at| {
            self.file.read_exact_at(block.bytes_mut(), at).map_err(self.failed("read"))
        })
    }

    /// Writes per second.
    pub(super) fn write_randomly(&self, until: &Until<'_>) -> Result<u64, MeasureError> {
        self.randomly(until, |block, at| {
            block.stamp(at);
            self.file.write_all_at(block.bytes(), at).map_err(self.failed("write"))?;
            if self.direct { Ok(()) } else { self.sync() }
        })
    }

    /// Operations per second of `DEPTH` threads, each at places of its own.
    fn randomly(
        &self,
        until: &Until<'_>,
        operation: impl Fn(&mut Aligned, u64) -> Result<(), MeasureError> + Sync,
    ) -> Result<u64, MeasureError> {
        let places = self.written.load(Ordering::Relaxed) / SMALL as u64;
        let worker = |seed: u64| {
            let (mut block, mut chance) = (Aligned::noise(SMALL), Xorshift(seed));
            let mut operations = 0;
            while operations == 0 || !until.is_over() {
                operation(&mut block, chance.next() % places * SMALL as u64)?;
                operations += 1;
            }
            Ok(operations)
        };
        let begun = Instant::now();
        let operations = thread::scope(|scope| {
            let worker = &worker;
            let workers: Vec<_> =
                (1..=DEPTH as u64).map(|n| scope.spawn(move || worker(n * 0x9e37_79b9))).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).sum::<Result<u64, MeasureError>>()
        })?;
        self.sync()?;
        Ok(per_second(operations, begun.elapsed()))
    }

    fn sync(&self) -> Result<(), MeasureError> {
        self.file.sync_data().map_err(self.failed("sync"))
    }

    /// Drops what the page cache kept of the file, where it was not avoided.
    fn forget(&self) -> Result<(), MeasureError> {
        rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)
            .map_err(|errno| self.failed("empty the cache")(errno.into()))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> MeasureError {
        let path = self.path.clone();
        move |source| MeasureError::Io { doing, path, source }
    }
}

/// A block at an address that `O_DIRECT` can use.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// Filled with what no file system can compress.
    fn noise(length: usize) -> Aligned {
        let memory = vec![0; length + SMALL];
        let start = memory.as_ptr().align_offset(SMALL);
        let mut block = Aligned { memory, start, length };
        let mut chance = Xorshift(0x2545_f491_4f6c_dd1d);
        block.bytes_mut().chunks_mut(8).for_each(|word| word.copy_from_slice(&chance.next().to_le_bytes()));
        block
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }

    /// Makes each page unlike all others, for file systems that keep equal pages once.
    fn stamp(&mut self, number: u64) {
        for (n, page) in self.bytes_mut().chunks_mut(SMALL).enumerate() {
            page[..8].copy_from_slice(&(number + n as u64).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let scratch = Scratch::create(directory.path()).expect("made");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
        let cancel = AtomicBool::new(false);
        let until = || Until { end: Instant::now() + Duration::from_millis(50), cancel: &cancel };
        scratch.write(&until()).expect("written");
        let mut block = Aligned::noise(LARGE);
        scratch.file.read_exact_at(block.bytes_mut(), 0).expect("read");
        let mut expected = Aligned::noise(LARGE);
        let wraps = scratch.written.load(Ordering::Relaxed) == scratch.size;
        expected.stamp(0);
        assert!(wraps || block.bytes() == expected.bytes());
        assert!(scratch.read_randomly(&until()).expect("read") > 0);
        assert!(scratch.write_randomly(&until()).expect("written") > 0);
    }

    #[test]
    fn blocks_are_where_direct_io_wants_them() {
        for length in [SMALL, LARGE] {
            let block = Aligned::noise(length);
            assert_eq!((block.bytes().as_ptr() as usize % SMALL, block.bytes().len()), (0, length));
        }
    }
}
