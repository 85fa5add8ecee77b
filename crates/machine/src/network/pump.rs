//! Bytes between a guest and the outside, both ways, until both have said all.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;

use super::traffic::{Meter, Way};

/// How much is moved at once.
const BUFFER: usize = 128 * 1024;

/// A connection over which nothing passed for so long is given up, as routers do.
const IDLE: Duration = Duration::from_secs(3_600);

/// Carries bytes until both ends have closed, one breaks, or nothing passes for too long. `early` was read from the
/// guest already.
pub async fn carry(
    mut guest: TcpStream,
    mut outside: TcpStream,
    early: &[u8],
    meter: &Meter,
) -> io::Result<()> {
    let _ = guest.set_nodelay(true);
    let _ = outside.set_nodelay(true);
    if !early.is_empty() {
        outside.write_all(early).await?;
        meter.pass(Way::Out, early.len()).await;
    }
    let moved = AtomicU64::new(0);
    let (guest_reads, guest_writes) = guest.split();
    let (outside_reads, outside_writes) = outside.split();
    let both = async {
        tokio::try_join!(
            one_way(guest_reads, outside_writes, meter, Way::Out, &moved),
            one_way(outside_reads, guest_writes, meter, Way::In, &moved),
        )
    };
    tokio::select! {
        both = both => both.map(|_| ()),
        () = idle(&moved) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn one_way(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    meter: &Meter,
    way: Way,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..length).unwrap_or_default()).await?;
        moved.fetch_add(1, Ordering::Relaxed);
        meter.pass(way, length).await;
    }
}

/// Returns when nothing has moved for long.
async fn idle(moved: &AtomicU64) {
    let mut before = u64::MAX;
    loop {
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
        sleep(IDLE).await;
    }
}
