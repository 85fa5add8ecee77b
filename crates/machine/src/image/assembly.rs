//! An image that comes in pieces, from several sources at once and in any order.
//!
//! Each piece is held to its hash before it is written, so that a source that sends a wrong one costs one piece. While
//! pieces come, [`Assembly::follow`] reads behind them, so that soon after the last piece the whole has been held to its
//! sha256 digest too. What a break or a kill left is found again by its hashes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::content::{Claim, Content, lock, make_durable, require_room};
use super::pieces::{PIECE, PartPieces, PieceList};
use super::{Digest, ImageError};

/// How much is hashed between two times of sending it on to the disk, so that little is left to wait for at the end.
const SYNC_EVERY: u64 = 64 << 20;

/// One piece: which part's, and which of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece {
    /// Number of the part in the list.
    pub part: u32,
    /// Number of the piece in the part.
    pub piece: u32,
}

/// Names one of the sources of an assembly.
pub type SourceNo = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Missing,
    Asked(SourceNo),
    Here,
}

/// An image that comes in pieces.
#[derive(Debug)]
pub struct Assembly {
    parts: Vec<Building>,
    board: Mutex<Board>,
    /// For who follows.
    came: Condvar,
    /// For sources that have nothing to do.
    changed: Notify,
    stopped: AtomicBool,
    total: u64,
}

#[derive(Debug)]
struct Building {
    pieces: PartPieces,
    /// None for a part that is here already, or that somebody else is fetching at this moment.
    file: Option<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    file: File,
    path: PathBuf,
    target: PathBuf,
    _claim: Claim,
}

#[derive(Debug)]
struct Board {
    /// By part.
    stands: Vec<Vec<Stand>>,
    /// No piece of an earlier part, or before this one in its part, is missing.
    begin: (usize, usize),
    missing: usize,
    done: u64,
}

impl Board {
    fn find(&self, from: (usize, usize), fits: impl Fn(Piece, Stand) -> bool) -> Option<Piece> {
        self.stands.iter().enumerate().skip(from.0).find_map(|(part, stands)| {
            let skipped = if part == from.0 { from.1 } else { 0 };
            let mut pieces = stands.iter().enumerate().skip(skipped);
            pieces.find_map(|(piece, stand)| {
                let piece = Piece { part: part as u32, piece: piece as u32 };
                fits(piece, *stand).then_some(piece)
            })
        })
    }
}

impl Assembly {
    /// Begins or resumes. Reads what is here of it: call it where that may block.
    pub(super) fn begin(content: &Content, list: PieceList) -> Result<Assembly, ImageError> {
        let total = list.total();
        let mut parts = Vec::with_capacity(list.parts.len());
        let mut board = Board { stands: Vec::new(), begin: (0, 0), missing: 0, done: 0 };
        for pieces in list.parts {
            let (file, stands) = open_part(content, &pieces)?;
            for (piece, stand) in stands.iter().enumerate() {
                match stand {
                    Stand::Here => board.done += pieces.range(piece).1 as u64,
                    Stand::Missing | Stand::Asked(_) => board.missing += 1,
                }
            }
            board.stands.push(stands);
            parts.push(Building { pieces, file });
        }
        require_room(&content.partials(), total - board.done)?;
        Ok(Assembly {
            parts,
            board: Mutex::new(board),
            came: Condvar::new(),
            changed: Notify::new(),
            stopped: AtomicBool::new(false),
            total,
        })
    }

    /// Bytes that are here, and bytes in all.
    pub fn progress(&self) -> (u64, u64) {
        (lock(&self.board).done, self.total)
    }

    /// Whether all pieces are here.
    pub fn is_complete(&self) -> bool {
        lock(&self.board).missing == 0
    }

    /// Whether it was given up.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// How many bytes a piece has.
    pub fn length(&self, piece: Piece) -> usize {
        self.parts.get(piece.part as usize).map_or(0, |part| part.pieces.range(piece.piece as usize).1)
    }

    /// Of which blob a piece is, and where in it.
    pub fn place(&self, piece: Piece) -> Option<(Digest, u64)> {
        let pieces = &self.parts.get(piece.part as usize)?.pieces;
        Some((pieces.digest, pieces.range(piece.piece as usize).0))
    }

    /// A piece for this source to bring, the first ones first. When all are asked for, one that another source is still
    /// to bring, so that a slow one holds up nobody: but not one that `not` accepts.
    pub fn take(&self, source: SourceNo, not: impl Fn(Piece) -> bool) -> Option<Piece> {
        let mut board = lock(&self.board);
        if board.missing == 0 {
            return None;
        }
        let fresh = board.find(board.begin, |piece, stand| stand == Stand::Missing && !not(piece));
        if let Some(fresh) = fresh {
            board.begin = (fresh.part as usize, fresh.piece as usize);
        }
        let slow = |piece, stand| matches!(stand, Stand::Asked(other) if other != source) && !not(piece);
        let piece = fresh.or_else(|| board.find((0, 0), slow))?;
        board.stands[piece.part as usize][piece.piece as usize] = Stand::Asked(source);
        Some(piece)
    }

    /// This source will not bring what it was to bring.
    pub fn give_back(&self, source: SourceNo) {
        let mut board = lock(&self.board);
        let stands = board.stands.iter_mut().flatten().filter(|stand| **stand == Stand::Asked(source));
        stands.for_each(|stand| *stand = Stand::Missing);
        board.begin = (0, 0);
        drop(board);
        self.changed.notify_waiters();
    }

    /// This source does not have this piece.
    pub fn put_back(&self, piece: Piece) {
        let mut board = lock(&self.board);
        let stand = &mut board.stands[piece.part as usize][piece.piece as usize];
        if let Stand::Asked(_) = stand {
            *stand = Stand::Missing;
        }
        board.begin = (0, 0);
        drop(board);
        self.changed.notify_waiters();
    }

    /// Waits until a piece came or was given back, or at most for `most`.
    pub async fn change(&self, most: Duration) {
        let changed = self.changed.notified();
        // Something may have changed just before: the time limit mends that.
        let _ = tokio::time::timeout(most, changed).await;
    }

    /// A piece has come. Blocks for as long as writing a piece takes.
    ///
    /// # Errors
    /// `WrongPiece` when it is not what the list says; `Full`, `Io`.
    pub fn put(&self, piece: Piece, bytes: &[u8]) -> Result<(), ImageError> {
        let part = &self.parts[piece.part as usize];
        let Some(expected) = part.pieces.hashes.get(piece.piece as usize) else { return Ok(()) };
        let (offset, length) = part.pieces.range(piece.piece as usize);
        if bytes.len() != length || blake3::hash(bytes) != *expected {
            return Err(ImageError::WrongPiece { part: part.pieces.digest, piece: piece.piece });
        }
        let Some(incoming) = &part.file else { return Ok(()) };
        if lock(&self.board).stands[piece.part as usize][piece.piece as usize] == Stand::Here {
            return Ok(()); // the other source was quicker
        }
        incoming.file.write_all_at(bytes, offset).map_err(ImageError::io("write", &incoming.path))?;
        let mut board = lock(&self.board);
        let stand = &mut board.stands[piece.part as usize][piece.piece as usize];
        if *stand != Stand::Here {
            *stand = Stand::Here;
            board.missing -= 1;
            board.done += bytes.len() as u64;
        }
        let is_last = board.missing == 0;
        drop(board);
        self.came.notify_all();
        if is_last {
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// Reads behind the sources, holds each part to its digest, and makes it a blob of the store. Blocks until all are, or
    /// the assembly is stopped. `check` is asked after each part whether it is worth going on.
    ///
    /// # Errors
    /// `DigestMismatch` when the list has lied: what came of that part is removed. `Cancelled`, `Full`, `Io`; and what
    /// `check` says.
    pub fn follow(&self, check: impl Fn() -> Result<(), ImageError>) -> Result<(), ImageError> {
        let mut buffer = vec![0; PIECE as usize];
        for (number, part) in self.parts.iter().enumerate() {
            let Some(incoming) = &part.file else { continue };
            let mut hasher = Sha256::new();
            for piece in 0..part.pieces.hashes.len() {
                self.wait_for(number, piece)?;
                let (offset, length) = part.pieces.range(piece);
                let bytes = &mut buffer[..length];
                incoming.file.read_exact_at(bytes, offset).map_err(ImageError::io("read", &incoming.path))?;
                hasher.update(bytes);
                if (offset + PIECE).is_multiple_of(SYNC_EVERY) {
                    incoming.file.sync_data().map_err(ImageError::io("sync", &incoming.path))?;
                }
            }
            let found = Digest::from_hasher(hasher);
            if found != part.pieces.digest {
                // A part that stays is found wrong again.
                let _ = std::fs::remove_file(&incoming.path);
                return Err(ImageError::DigestMismatch { expected: part.pieces.digest, found });
            }
            make_durable(&incoming.file, &incoming.path, &incoming.target)?;
            check()?;
        }
        Ok(())
    }

    fn wait_for(&self, part: usize, piece: usize) -> Result<(), ImageError> {
        let mut board = lock(&self.board);
        while board.stands[part][piece] != Stand::Here {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(ImageError::Cancelled);
            }
            board = self.came.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Gives up: who follows returns, and sources find nothing more to do. What came stays, and is not fetched again.
    pub fn stop(&self) {
        let board = lock(&self.board);
        self.stopped.store(true, Ordering::Relaxed);
        drop(board);
        self.came.notify_all();
        self.changed.notify_waiters();
    }

    /// Gives up and leaves nothing behind.
    pub fn discard(&self) {
        self.stop();
        for incoming in self.parts.iter().filter_map(|part| part.file.as_ref()) {
            // What cannot be removed now is when the store is opened.
            let _ = std::fs::remove_file(&incoming.path);
        }
    }
}

/// The file of a part that is not here, and which of its pieces are good.
fn open_part(content: &Content, pieces: &PartPieces) -> Result<(Option<Incoming>, Vec<Stand>), ImageError> {
    let all = |stand| vec![stand; pieces.hashes.len()];
    if content.has(&pieces.digest) {
        return Ok((None, all(Stand::Here)));
    }
    // Another image that shares this part is on its way: it comes with that one, or is missing at the end.
    let Some(claim) = content.claim(&pieces.digest) else { return Ok((None, all(Stand::Here))) };
    if content.has(&pieces.digest) {
        return Ok((None, all(Stand::Here)));
    }
    let path = content.partials().join(format!("{}.pieces", pieces.digest.hex()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(ImageError::io("open", &path))?;
    let there = file.metadata().map_err(ImageError::io("look at", &path))?.len();
    let mut stands = all(Stand::Missing);
    if there > 0 {
        let mut buffer = vec![0; PIECE as usize];
        for (piece, expected) in pieces.hashes.iter().enumerate() {
            let (offset, length) = pieces.range(piece);
            if offset + length as u64 > there {
                break;
            }
            let bytes = &mut buffer[..length];
            file.read_exact_at(bytes, offset).map_err(ImageError::io("read", &path))?;
            if blake3::hash(bytes) == *expected {
                stands[piece] = Stand::Here;
            }
        }
    }
    if there != pieces.size {
        file.set_len(pieces.size).map_err(ImageError::io("make room for", &path))?;
    }
    let target = content.blob(&pieces.digest);
    Ok((Some(Incoming { file, path, target, _claim: claim }), stands))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn store() -> (tempfile::TempDir, Content) {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let content = Content::open(directory.path().join("images")).expect("the store opens");
        (directory, content)
    }

    fn bytes(seed: u8, size: usize) -> Vec<u8> {
        (0..size).map(|n| seed.wrapping_add((n / 7) as u8).wrapping_mul(31)).collect()
    }

    fn list(parts: &[Vec<u8>]) -> PieceList {
        let part = |bytes: &Vec<u8>| PartPieces {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            hashes: bytes.chunks(PIECE as usize).map(|piece| blake3::hash(piece).into()).collect(),
        };
        PieceList { parts: parts.iter().map(part).collect() }
    }

    fn part() -> Vec<u8> {
        bytes(3, 2 * PIECE as usize + 100)
    }

    fn bring(assembly: &Assembly, parts: &[Vec<u8>], piece: Piece) {
        let (_, offset) = assembly.place(piece).expect("it has a place");
        let from = &parts[piece.part as usize][offset as usize..];
        assembly.put(piece, &from[..assembly.length(piece)]).expect("it is good");
    }

    fn files(directory: &Path) -> usize {
        std::fs::read_dir(directory).expect("listed").count()
    }

    #[test]
    fn pieces_make_a_whole_in_any_order() {
        let (_directory, content) = store();
        let parts = [bytes(1, 300), part(), Vec::new()];
        let assembly = Assembly::begin(&content, list(&parts)).expect("it begins");
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| assembly.follow(|| Ok(())));
            let mut taken: Vec<Piece> = std::iter::from_fn(|| assembly.take(1, |_| false)).collect();
            taken.reverse();
            taken.iter().for_each(|piece| bring(&assembly, &parts, *piece));
            follower.join().expect("no panic").expect("all is as it should be");
        });
        assert!(assembly.is_complete());
        for part in &parts {
            assert!(content.has(&Digest::of(part)));
        }
        assert_eq!(files(&content.partials()), 0);
    }

    #[test]
    fn a_wrong_piece_costs_one_piece() {
        let (_directory, content) = store();
        let parts = [bytes(1, 300), part()];
        let assembly = Assembly::begin(&content, list(&parts)).expect("it begins");
        let piece = Piece { part: 1, piece: 2 };
        assert!(matches!(assembly.put(piece, &[0; 100]), Err(ImageError::WrongPiece { piece: 2, .. })));
        assert!(matches!(assembly.put(piece, &[]), Err(ImageError::WrongPiece { .. })));
        assert_eq!(assembly.progress(), (0, 300 + 2 * PIECE + 100));
        bring(&assembly, &parts, piece);
        assert_eq!(assembly.progress().0, 100);
    }

    #[test]
    fn what_came_before_a_break_is_not_asked_for_again() {
        let (_directory, content) = store();
        let parts = [bytes(1, 300), part()];
        let first = Assembly::begin(&content, list(&parts)).expect("it begins");
        bring(&first, &parts, Piece { part: 1, piece: 1 });
        drop(first); // as a kill would

        let second = Assembly::begin(&content, list(&parts)).expect("it goes on");
        assert_eq!(second.progress().0, PIECE);
        let asked: Vec<Piece> = std::iter::from_fn(|| second.take(1, |_| false)).collect();
        assert!(!asked.contains(&Piece { part: 1, piece: 1 }));
        second.discard();
        assert_eq!(files(&content.partials()), 0);
    }

    #[test]
    fn a_slow_source_holds_up_nobody() {
        let (_directory, content) = store();
        let parts = [bytes(1, 300)];
        let assembly = Assembly::begin(&content, list(&parts)).expect("it begins");
        let piece = assembly.take(1, |_| false).expect("one");
        assert_eq!(assembly.take(1, |_| false), None, "a source is not asked twice");
        assert_eq!(assembly.take(2, |_| false), Some(piece));
        bring(&assembly, &parts, piece);
        bring(&assembly, &parts, piece);
        assert!(assembly.is_complete());
        assert_eq!(assembly.progress().0, 300);
    }

    #[test]
    fn a_list_that_lies_about_the_whole_is_found_out() {
        let (_directory, content) = store();
        let parts = [bytes(1, 300)];
        let mut list = list(&parts);
        list.parts[0].digest = Digest::of(b"another");
        let assembly = Assembly::begin(&content, list).expect("it begins");
        bring(&assembly, &parts, Piece { part: 0, piece: 0 });
        assert!(matches!(assembly.follow(|| Ok(())), Err(ImageError::DigestMismatch { .. })));
        assert_eq!(files(&content.partials()), 0);
    }

    #[test]
    fn who_follows_ends_when_it_is_stopped() {
        let (_directory, content) = store();
        let assembly = Assembly::begin(&content, list(&[bytes(1, 300)])).expect("it begins");
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| assembly.follow(|| Ok(())));
            std::thread::sleep(Duration::from_millis(20));
            assembly.stop();
            assert!(matches!(follower.join().expect("no panic"), Err(ImageError::Cancelled)));
        });
    }
}
