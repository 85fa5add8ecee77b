//! What a guest prints: kept in two files of a fixed size, the newest bytes winning, each piece with its time and stream.
//!
//! An offset counts all bytes ever written, so that a reader that comes back, or falls behind, knows where it stands.
//! A file is named after the offset of its first byte.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a piece came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Something that a guest printed at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPiece {
    /// Where to.
    pub stream: Stream,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// What, in whatever encoding.
    pub bytes: Vec<u8>,
}

/// A part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChunk {
    /// In the order in which they were printed.
    pub pieces: Vec<LogPiece>,
    /// Where the next chunk begins.
    pub next: u64,
    /// Bytes between the offset asked for and the first piece that are no longer kept.
    pub lost: u64,
    /// Nothing will ever follow: the guest has ended, and this is the last of it.
    pub ended: bool,
}

/// The most that a piece holds.
pub const LARGEST_PIECE: usize = 16 * 1024;

/// The most that a chunk holds, headers included.
const LARGEST_CHUNK: u64 = 256 * 1024;

/// Before each piece: stream (1), nought (3), length (4), time (8), little-endian.
const HEADER: usize = 16;

/// Writes a guest's log; the supervisor has the only one.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    /// Bytes that one of the two files may hold.
    half: u64,
    /// The offset at which the current file begins, and the file.
    current: (u64, File),
    /// The file before it.
    previous: Option<u64>,
    end: u64,
}

impl LogWriter {
    /// Begins a log of at most `limit` bytes in `dir`.
    pub fn create(dir: &Path, limit: u64) -> io::Result<LogWriter> {
        let file = create(dir, 0)?;
        Ok(LogWriter { dir: dir.to_owned(), half: limit / 2, current: (0, file), previous: None, end: 0 })
    }

    /// Adds a piece of at most [`LARGEST_PIECE`] bytes.
    ///
    /// # Errors
    /// When the owner's disk is full; then nothing was added, and the log stays readable.
    pub fn append(&mut self, stream: Stream, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(HEADER + bytes.len());
        record.extend([if stream == Stream::Out { 1 } else { 2 }, 0, 0, 0]);
        record.extend((bytes.len() as u32).to_le_bytes());
        record.extend(at.to_le_bytes());
        record.extend(bytes);
        let (start, _) = self.current;
        if self.end > start && self.end - start + record.len() as u64 > self.half {
            self.turn_over()?;
        }
        let (start, file) = &self.current;
        file.write_all_at(&record, self.end - start)?;
        self.end += record.len() as u64;
        Ok(())
    }

    /// The offset after the last piece.
    pub fn end(&self) -> u64 {
        self.end
    }

    fn turn_over(&mut self) -> io::Result<()> {
        let next = create(&self.dir, self.end)?;
        let oldest = self.previous.replace(self.current.0);
        self.current = (self.end, next);
        match oldest {
            Some(start) => fs::remove_file(file_at(&self.dir, start)),
            None => Ok(()),
        }
    }
}

/// Reads from offset `from` on, or from the oldest byte kept if that is later.
pub fn read(dir: &Path, from: u64) -> io::Result<LogChunk> {
    let mut starts: Vec<u64> = fs::read_dir(dir)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix(PREFIX)?.parse().ok())
        .collect();
    starts.sort_unstable();
    let mut chunk = LogChunk { next: from, ..LogChunk::default() };
    let mut budget = LARGEST_CHUNK;
    for (i, start) in starts.iter().enumerate() {
        if starts.get(i + 1).is_some_and(|next| *next <= chunk.next) {
            continue;
        }
        // The writer may remove the older file while we read: then its bytes are lost, as for any slow reader.
        let Ok(file) = File::open(file_at(dir, *start)) else { continue };
        if *start > chunk.next {
            chunk.lost += start - chunk.next;
            chunk.next = *start;
        }
        read_pieces(&file, *start, &mut chunk, &mut budget)?;
        if budget == 0 {
            break;
        }
    }
    Ok(chunk)
}

/// Bytes that it takes on the disk.
pub fn kept(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let pieces = files.filter(|file| file.file_name().to_string_lossy().starts_with(PREFIX));
    pieces.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

fn read_pieces(file: &File, start: u64, chunk: &mut LogChunk, budget: &mut u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    loop {
        let at = chunk.next - start;
        let mut header = [0; HEADER];
        if at + HEADER as u64 > length {
            return Ok(());
        }
        file.read_exact_at(&mut header, at)?;
        let [stream, _, _, _, l0, l1, l2, l3, time @ ..] = header;
        let size = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let whole = (HEADER + size) as u64;
        // The rest may not be written yet. An offset that nobody gave out leads to nonsense, which ends here too.
        if size > LARGEST_PIECE || at + whole > length {
            return Ok(());
        }
        if whole > *budget {
            *budget = 0;
            return Ok(());
        }
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, at + HEADER as u64)?;
        let stream = if stream == 1 { Stream::Out } else { Stream::Err };
        chunk.pieces.push(LogPiece { stream, at: u64::from_le_bytes(time), bytes });
        chunk.next += whole;
        *budget -= whole;
    }
}

const PREFIX: &str = "log.";

fn file_at(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{start}"))
}

fn create(dir: &Path, start: u64) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(file_at(dir, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chunk: &LogChunk) -> Vec<u8> {
        chunk.pieces.iter().flat_map(|piece| piece.bytes.clone()).collect()
    }

    #[test]
    fn what_was_printed_is_read_back_in_order_and_from_where_one_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(dir.path(), 1 << 20).unwrap();
        log.append(Stream::Out, 5, b"one ").unwrap();
        let first = read(dir.path(), 0).unwrap();
        log.append(Stream::Err, 6, b"two").unwrap();
        assert_eq!(text(&first), b"one ");
        let second = read(dir.path(), first.next).unwrap();
        assert_eq!(second.pieces, [LogPiece { stream: Stream::Err, at: 6, bytes: b"two".to_vec() }]);
        assert_eq!(second.next, log.end());
        assert_eq!(read(dir.path(), second.next).unwrap().pieces, []);
    }

    #[test]
    fn a_flood_keeps_its_bound_and_a_late_reader_learns_how_much_it_missed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(dir.path(), 100_000).unwrap();
        for i in 0..1000_u32 {
            log.append(Stream::Out, 0, &[i as u8; 1000]).unwrap();
        }
        let kept: u64 = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(kept <= 100_000, "{kept}");
        let chunk = read(dir.path(), 0).unwrap();
        assert_eq!(chunk.lost + kept, log.end());
        assert_eq!(chunk.pieces.last().unwrap().bytes[0], 999_u32 as u8);
        assert_eq!(chunk.next, log.end());
    }

    #[test]
    fn a_long_log_is_read_in_bounded_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(dir.path(), 8 << 20).unwrap();
        for _ in 0..100 {
            log.append(Stream::Out, 0, &[b'x'; LARGEST_PIECE]).unwrap();
        }
        let (mut next, mut read_bytes) = (0, 0);
        while next < log.end() {
            let chunk = read(dir.path(), next).unwrap();
            assert!(text(&chunk).len() as u64 <= LARGEST_CHUNK);
            read_bytes += text(&chunk).len();
            next = chunk.next;
        }
        assert_eq!(read_bytes, 100 * LARGEST_PIECE);
    }
}
