//! A guest's output, wherever the guest is: all of it as it came, or some of its lines.

use crate::clock::{rfc3339, timestamp};
use bytes::Bytes;
use machine::guest::{GuestError, GuestId, Guests, LogChunk, LogPiece};
use model::Timestamp;
use model::message::LogView;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

/// How long a reader of a guest here waits at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Chunks that are searched for the lines that are wanted; a log has fewer.
const MOST_SEARCHED: usize = 256;

/// Which output is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogWish {
    /// Bytes of the log to leave out.
    pub from: u64,
    /// Whether to go on as output comes.
    pub follow: bool,
    /// Which lines of it, and how.
    pub view: LogView,
}

/// Reads a guest's output, piece by piece.
pub enum LogReader {
    /// The guest runs on a host.
    Remote(Box<net::Stream>),
    /// The guest runs here.
    Local(Box<LocalLog>),
    /// It ended before it began: there is none.
    Nothing,
}

impl LogReader {
    /// The next piece; none after the last.
    ///
    /// # Errors
    /// When the host is gone, or the log cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            LogReader::Remote(stream) => {
                let mut piece = vec![0; 16 * 1024];
                let length = stream.read(&mut piece).await?;
                piece.truncate(length);
                Ok((length > 0).then(|| piece.into()))
            }
            LogReader::Local(log) => log.next().await.map_err(io::Error::other),
            LogReader::Nothing => Ok(None),
        }
    }
}

/// The output of a guest here.
pub struct LocalLog {
    guests: Arc<Guests>,
    searches: Arc<Searches>,
    id: GuestId,
    wish: LogWish,
    /// Where the next piece begins.
    offset: u64,
    lines: Lines,
    sought: bool,
}

impl LocalLog {
    /// Nothing is read yet.
    pub fn new(guests: Arc<Guests>, searches: Arc<Searches>, id: GuestId, wish: LogWish) -> LocalLog {
        let lines = Lines { view: wish.view, ..Lines::default() };
        LocalLog { guests, searches, id, wish, offset: wish.from, lines, sought: false }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, GuestError> {
        let selects = self.wish.view.since.is_some() || self.wish.view.tail.is_some();
        if selects && !self.sought {
            self.seek().await?;
        }
        // What came before the first line that is wanted is missed by nobody.
        let tells_of_loss = !selects || self.sought;
        self.sought = true;
        loop {
            if self.lines.over {
                return Ok(None);
            }
            let chunk = self.guests.logs(self.id, self.offset, self.patience()).await?;
            let moved = chunk.next > self.offset;
            self.offset = chunk.next;
            let mut piece = Vec::new();
            if chunk.lost > 0 {
                self.lines.at_start = true;
                if tells_of_loss {
                    let loss = format!("[{} bytes of output are no longer kept]\n", chunk.lost);
                    piece.extend(loss.into_bytes());
                }
            }
            chunk.pieces.iter().for_each(|part| self.lines.take(part, &mut piece));
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
            if chunk.ended || !(self.wish.follow || moved) || (!moved && self.is_late()) {
                return Ok(None);
            }
        }
    }

    /// How long more output is waited for.
    fn patience(&self) -> Duration {
        if !self.wish.follow {
            return Duration::ZERO;
        }
        let left = self.wish.view.until.map(|until| until.since(now()).into());
        left.map_or(PATIENCE, |left: Duration| left.min(PATIENCE))
    }

    /// Whether nothing that is wanted can come any more.
    fn is_late(&self) -> bool {
        self.wish.view.until.is_some_and(|until| until < now())
    }

    /// Goes to the first line that is wanted. It may have to read all that is kept, so one guest's log is searched by one
    /// reader at a time, and for a quarter of the time at the most.
    async fn seek(&mut self) -> Result<(), GuestError> {
        let turn = self.searches.turn(self.id).await;
        let begun = Instant::now();
        let mut search = Search::new(self.offset, self.wish.view);
        for _ in 0..MOST_SEARCHED {
            let chunk = self.guests.logs(self.id, search.offset, Duration::ZERO).await?;
            if !search.take(&chunk) {
                break;
            }
            tokio::task::yield_now().await;
        }
        (self.offset, self.lines) = search.found();
        let rest = 3 * begun.elapsed();
        tokio::spawn(async move {
            sleep(rest).await;
            drop(turn);
        });
        Ok(())
    }
}

/// Whose log is being searched.
#[derive(Default)]
pub struct Searches(Mutex<BTreeMap<GuestId, Arc<tokio::sync::Mutex<()>>>>);

impl Searches {
    async fn turn(&self, id: GuestId) -> tokio::sync::OwnedMutexGuard<()> {
        let queue = {
            let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Only the map's own is left of those that nobody waits in, or holds.
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
            queues.entry(id).or_default().clone()
        };
        queue.lock_owned().await
    }
}

/// Looks for the first of the last lines.
struct Search {
    /// Where it reads next.
    offset: u64,
    lines: Lines,
    /// For each chunk: where it begins, the lines before it, and whether a line begins there.
    seen: Vec<(u64, u64, bool)>,
}

impl Search {
    fn new(offset: u64, view: LogView) -> Search {
        Search { offset, lines: Lines { view, ..Lines::default() }, seen: Vec::new() }
    }

    /// Whether to go on.
    fn take(&mut self, chunk: &LogChunk) -> bool {
        if chunk.lost > 0 {
            self.lines.at_start = true;
        }
        let first = if chunk.lost > 0 { self.offset.saturating_add(chunk.lost) } else { self.offset };
        self.seen.push((first, self.lines.kept, self.lines.at_start));
        let mut nowhere = Vec::new();
        for piece in &chunk.pieces {
            nowhere.clear();
            self.lines.take(piece, &mut nowhere);
        }
        let moved = chunk.next > self.offset;
        self.offset = chunk.next;
        let found_first = self.lines.view.tail.is_none() && self.lines.kept > 0;
        moved && !self.lines.over && !found_first
    }

    /// Where to begin to read, and how.
    fn found(self) -> (u64, Lines) {
        let (all, view) = (self.lines.kept, self.lines.view);
        let passed_over = view.tail.map_or(0, |tail| all.saturating_sub(tail.into()));
        let from = self.seen.iter().rev().find(|(_, before, _)| *before <= passed_over).copied();
        let (offset, before, at_start) = from.unwrap_or((self.offset, all, true));
        // What is left of a line that began before is not wanted, or the line would have been found.
        (offset, Lines { view, at_start, skip: passed_over - before, ..Lines::default() })
    }
}

/// Divides output into lines, and passes on those that are wanted.
struct Lines {
    view: LogView,
    /// Whether the next byte begins a line.
    at_start: bool,
    /// Whether the line that has begun is wanted.
    wanted: bool,
    /// So many lines more are not.
    skip: u64,
    /// Lines in the times that are wanted, until now.
    kept: u64,
    /// Nothing more is.
    over: bool,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { view: LogView::default(), at_start: true, wanted: false, skip: 0, kept: 0, over: false }
    }
}

impl Lines {
    fn take(&mut self, piece: &LogPiece, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        if self.view.is_usual() {
            return out.extend(&piece.bytes);
        }
        let at = Timestamp(i64::try_from(piece.at).unwrap_or(i64::MAX));
        for part in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.at_start {
                if self.view.until.is_some_and(|until| until < at) {
                    self.over = true;
                    return;
                }
                self.begin_line(at, out);
            }
            if self.wanted {
                out.extend(part);
            }
            self.at_start = part.ends_with(b"\n");
        }
    }

    fn begin_line(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        let in_time = self.view.since.is_none_or(|since| since <= at);
        self.kept += u64::from(in_time);
        let skipped = in_time && self.skip > 0;
        self.skip -= u64::from(skipped);
        self.wanted = in_time && !skipped;
        if self.wanted && self.view.timestamps {
            out.extend(rfc3339(at).to_string().into_bytes());
            out.push(b' ');
        }
    }
}

/// By the clock that the stamps are of: the system's, and not the node's own.
fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::guest::Stream;

    /// What was printed when.
    const LOG: [(u64, &str); 5] =
        [(1_000, "one\ntw"), (2_000, "o\nthree\n"), (3_000, "four"), (4_000, "\nfive\n"), (5_000, "six")];

    fn piece(at: u64, text: &str) -> LogPiece {
        LogPiece { stream: Stream::Out, at, bytes: text.as_bytes().to_vec() }
    }

    /// What is passed on of the log, in chunks of so many pieces, as a reader would read it.
    fn passed(view: LogView, chunks_of: usize) -> String {
        let pieces: Vec<LogPiece> = LOG.iter().map(|(at, text)| piece(*at, text)).collect();
        // An offset is the number of a piece here.
        let chunk = |from: u64| {
            let from = usize::try_from(from).unwrap();
            let pieces: Vec<_> = pieces.iter().skip(from).take(chunks_of).cloned().collect();
            LogChunk { next: (from + pieces.len()) as u64, pieces, lost: 0, ended: false }
        };
        let (mut offset, mut lines) = (0, Lines { view, ..Lines::default() });
        if view.since.is_some() || view.tail.is_some() {
            let mut search = Search::new(0, view);
            while search.take(&chunk(search.offset)) {}
            (offset, lines) = search.found();
        }
        let mut out = Vec::new();
        loop {
            let next = chunk(offset);
            next.pieces.iter().for_each(|piece| lines.take(piece, &mut out));
            if next.next == offset {
                return String::from_utf8(out).unwrap();
            }
            offset = next.next;
        }
    }

    fn view(since: Option<i64>, until: Option<i64>, tail: Option<u32>) -> LogView {
        LogView { since: since.map(Timestamp), until: until.map(Timestamp), tail, timestamps: false }
    }

    #[test]
    fn the_lines_that_are_wanted_are_found_however_the_log_is_cut() {
        for chunks_of in 1..=5 {
            let passed = |view| passed(view, chunks_of);
            assert_eq!(passed(view(None, None, None)), "one\ntwo\nthree\nfour\nfive\nsix");
            assert_eq!(passed(view(None, None, Some(2))), "five\nsix", "{chunks_of}");
            assert_eq!(passed(view(None, None, Some(5))), "two\nthree\nfour\nfive\nsix", "{chunks_of}");
            assert_eq!(passed(view(None, None, Some(u32::MAX))), "one\ntwo\nthree\nfour\nfive\nsix");
            assert_eq!(passed(view(None, None, Some(0))), "");
            // A line's time is that of its first byte.
            assert_eq!(passed(view(Some(2_000), None, None)), "three\nfour\nfive\nsix", "{chunks_of}");
            assert_eq!(passed(view(None, Some(2_000), None)), "one\ntwo\nthree\n", "{chunks_of}");
            assert_eq!(passed(view(Some(1_500), Some(3_000), Some(1))), "four\n", "{chunks_of}");
            assert_eq!(passed(view(Some(9_000), None, None)), "", "{chunks_of}");
        }
    }

    #[test]
    fn each_line_begins_with_its_time() {
        let stamped = LogView { timestamps: true, ..view(None, None, Some(2)) };
        assert_eq!(passed(stamped, 2), "1970-01-01T00:00:04.000Z five\n1970-01-01T00:00:05.000Z six");
    }

    #[test]
    fn what_is_no_longer_kept_moves_the_search_to_what_is() {
        let mut search = Search::new(0, view(None, None, Some(1)));
        let kept = |pieces, next| LogChunk { pieces, next, lost: 100, ended: false };
        assert!(search.take(&kept(vec![piece(1, "half of a line\nlast\n")], 130)));
        let (offset, mut lines) = search.found();
        assert_eq!(offset, 100);
        let mut out = Vec::new();
        lines.take(&piece(1, "half of a line\nlast\n"), &mut out);
        assert_eq!(out, b"last\n");
    }

    #[tokio::test]
    async fn one_log_is_searched_by_one_reader_at_a_time() {
        let searches = Searches::default();
        let (one, other) = (GuestId::new([1; 32]), GuestId::new([2; 32]));
        let turn = searches.turn(one).await;
        drop(searches.turn(other).await);
        let second = tokio::time::timeout(Duration::from_millis(20), searches.turn(one)).await;
        assert!(second.is_err(), "it waits");
        drop(turn);
        drop(searches.turn(one).await);
        drop(searches.turn(other).await);
        assert_eq!(searches.0.lock().unwrap().len(), 1, "what nobody holds is forgotten");
    }
}
