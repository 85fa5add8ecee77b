//! `sublet cp`: files into a guest that runs, and out of it.

use crate::Done;
use crate::desk::Desk;
use crate::fail::{Failure, INTERRUPTED};
use crate::interrupt::Interrupt;
use crate::parse;
use crate::show::{bytes, spinner};
use api::Pieces;
use api::node::machine::archive::{ArchiveError, MOST_ENTRIES, Rules, pack, source, target, unpack};
use bytes::Bytes;
use clap::Args;
use futures::stream;
use serde_json::json;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Pieces that wait to be used.
const WAITING: usize = 16;

/// How much is sent at once.
const PIECE: usize = 64 << 10;

/// What to copy, and where to.
#[derive(Args, Debug)]
#[command(
    after_help = "As `cp -r` and `docker cp` do it: into a directory that is there, else under the new name; `DIR/.` means \
    what is in DIR. Of LEASE:PATH the first digits of the lease's id are enough. What comes out of a guest is not trusted: \
    nothing of it goes anywhere but below the target, and links that lead out, devices and set-uid bits are left out."
)]
pub struct CpArgs {
    /// Copy what a link leads to, instead of the link.
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Files that go into a guest keep the numbers of their owners; else they are root's.
    #[arg(short, long)]
    archive: bool,
    /// The most that may come out of a guest.
    #[arg(long, value_name = "SIZE", default_value = "64G", value_parser = parse::size)]
    max_size: u64,
    /// LEASE:PATH in a guest, or a path here; `-` reads a tar archive from the standard input.
    #[arg(value_name = "FROM")]
    from: String,
    /// A path here, or LEASE:PATH in a guest; `-` writes a tar archive to the standard output.
    #[arg(value_name = "TO")]
    to: String,
}

/// Copies.
pub async fn run(desk: &Desk<'_>, args: CpArgs) -> Done {
    match (in_guest(&args.from), in_guest(&args.to)) {
        (Some((lease, path)), None) => out(desk, lease, path, &args).await,
        (None, Some((lease, path))) => into(desk, lease, path, &args).await,
        (Some(_), Some(_)) => Err(Failure::misused("files are not copied from one guest to another")
            .hint("Copy them here first, or pipe: sublet cp LEASE:PATH - | sublet cp - OTHER:DIR")),
        (None, None) => Err(Failure::misused("neither of the two is in a guest")
            .hint("Write LEASE:PATH for the one that is; `sublet ps` lists the leases.")),
    }
}

/// `LEASE:PATH`; a path here that has a colon begins with `/` or `.`.
fn in_guest(text: &str) -> Option<(&str, &str)> {
    let (lease, path) = text.split_once(':')?;
    let is_path = text.starts_with(['/', '.']) || lease.contains('/') || lease.is_empty();
    (!is_path).then_some((lease, if path.is_empty() { "/" } else { path }))
}

async fn out(desk: &Desk<'_>, lease: &str, path: &str, args: &CpArgs) -> Done {
    let mut interrupt = Interrupt::listen()?;
    if args.to == "-" {
        let mut pieces = desk.client.files(lease, path, args.follow_link, args.max_size).await?;
        loop {
            tokio::select! {
                piece = pieces.next() => match piece? {
                    Some(piece) => desk.out.bytes(&piece)?,
                    None => return Ok(0),
                },
                () = interrupt.asked() => return Ok(INTERRUPTED),
            }
        }
    }
    // A target that cannot be is told before anything is asked for.
    let (directory, place) = target(None, Path::new(&args.to)).map_err(failed)?;
    // The limit is held here, where what is too much can be told from what broke off.
    let pieces = desk.client.files(lease, path, args.follow_link, u64::MAX).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel(WAITING);
    let rules = Rules { bytes: args.max_size, entries: MOST_ENTRIES, owners: None, links_out: false };
    let stopped = stop.clone();
    let unpacking = spawn_blocking(move || {
        let archive = Incoming { receiver, here: Bytes::new() };
        unpack(archive, &directory, &place, rules, &|| stopped.load(Ordering::Relaxed))
    });
    let waiting = spinner("copying");
    let came = pass(pieces, sender, |count| waiting.set_message(format!("copying: {}", bytes(count))));
    let came = tokio::select! {
        came = came => Some(came),
        () = interrupt.asked() => None,
    };
    if came.is_none() {
        stop.store(true, Ordering::Relaxed);
    }
    // What is half is cleared up before we leave.
    let done = unpacking.await.map_err(|error| Failure::fault(error.to_string()))?;
    waiting.finish_and_clear();
    let Some(came) = came else { return Ok(INTERRUPTED) };
    // An archive that broke off says less than why it did.
    came?;
    let copied = done.map_err(failed)?;
    if copied.left_out > 0 {
        desk.out.note(format!("{} devices, or links that lead elsewhere, were left out", copied.left_out));
    }
    let shape = json!({ "bytes": copied.bytes, "entries": copied.entries, "left_out": copied.left_out });
    desk.out.either(&shape, || format!("{} copied", bytes(copied.bytes))).map(|()| 0)
}

/// Passes an archive on as it comes; one that breaks off is an error for both.
async fn pass(
    mut pieces: Pieces,
    sender: mpsc::Sender<io::Result<Bytes>>,
    mut progress: impl FnMut(u64),
) -> Result<(), Failure> {
    let mut count = 0;
    loop {
        match pieces.next().await {
            Ok(Some(piece)) => {
                count += piece.len() as u64;
                progress(count);
                if sender.send(Ok(piece)).await.is_err() {
                    // It says why it takes no more.
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let _ = sender.send(Err(io::Error::other("the archive broke off"))).await;
                let sentence = format!("the copy broke off, and is not whole: {error}");
                return Err(Failure::refused("broke_off", sentence).hint(
                    "The guest may have ended: `sublet ps --all` tells; or what it holds cannot be read.",
                ));
            }
        }
    }
}

async fn into(desk: &Desk<'_>, lease: &str, path: &str, args: &CpArgs) -> Done {
    let mut interrupt = Interrupt::listen()?;
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, from, follow) = (stop.clone(), PathBuf::from(&args.from), args.follow_link);
    let is_archive = args.from == "-";
    // Found before anything is sent.
    let found = if is_archive { None } else { Some(source(None, &from, follow).map_err(failed)?) };
    let reading = spawn_blocking(move || {
        let mut to = Outgoing { sender };
        let done = match &found {
            Some(found) => {
                let to = io::BufWriter::with_capacity(PIECE, &mut to);
                pack(found, u64::MAX, to, &|| stopped.load(Ordering::Relaxed)).map(drop)
            }
            None => copy_input(&mut to),
        };
        if done.is_err() {
            // Half an archive must not look like a whole one.
            let _ = to.sender.blocking_send(Err(io::Error::other("the archive broke off")));
        }
        done
    });
    let counted = count.clone();
    let archive = stream::poll_fn(move |context| {
        let next = receiver.poll_recv(context);
        if let std::task::Poll::Ready(Some(Ok(piece))) = &next {
            let piece: &Bytes = piece;
            counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        next
    });
    let waiting = spinner("copying");
    let sending = desk.client.put_files(lease, path, !is_archive, args.archive, archive);
    let telling = async {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            waiting.set_message(format!("copying: {}", bytes(count.load(Ordering::Relaxed))));
        }
    };
    let sent = tokio::select! {
        sent = sending => sent,
        () = telling => return Ok(INTERRUPTED),
        () = interrupt.asked() => {
            stop.store(true, Ordering::Relaxed);
            waiting.finish_and_clear();
            return Ok(INTERRUPTED);
        }
    };
    waiting.finish_and_clear();
    match sent {
        // The node knows why; what went wrong here, while it was read, is known better here.
        Err(error @ api::ClientError::Problem(_)) => {
            stop.store(true, Ordering::Relaxed);
            let broke = matches!(&error, api::ClientError::Problem(problem) if problem.code == "bad_body");
            if broke && let Ok(Err(why)) = reading.await {
                return Err(failed(why));
            }
            Err(error.into())
        }
        Err(error) => match reading.await {
            Ok(Err(why)) => Err(failed(why)),
            Ok(Ok(())) | Err(_) => Err(error.into()),
        },
        Ok(()) => {
            let count = count.load(Ordering::Relaxed);
            desk.out.either(&json!({ "bytes": count }), || format!("{} copied", bytes(count))).map(|()| 0)
        }
    }
}

fn copy_input(to: &mut Outgoing) -> Result<(), ArchiveError> {
    let copied = io::copy(&mut io::BufReader::with_capacity(PIECE, io::stdin()), to);
    copied.map(drop).map_err(|error| ArchiveError::Malformed(error.to_string()))
}

fn failed(error: ArchiveError) -> Failure {
    Failure::refused(error.code(), error.to_string())
}

/// An archive that comes from elsewhere.
struct Incoming {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    here: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.here.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.here = piece?,
                None => return Ok(0),
            }
        }
        let length = self.here.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.here.split_to(length));
        Ok(length)
    }
}

/// An archive that goes elsewhere.
struct Outgoing {
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(&bytes[..bytes.len().min(PIECE)]);
        let length = piece.len();
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_guest_is_told_from_one_here() {
        assert_eq!(in_guest("a1b2:/etc"), Some(("a1b2", "/etc")));
        assert_eq!(in_guest("a1b2:"), Some(("a1b2", "/")));
        for here in ["./a:b", "/a:b", "dir/a:b", "plain", "-", ":x"] {
            assert_eq!(in_guest(here), None, "{here}");
        }
    }
}
