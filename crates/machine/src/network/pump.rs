//! Bytes between a guest and the outside, both ways, until both have said all.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;

use super::traffic::{Meter, Way};

/// How much is moved at once: little at first, and more where more comes. Moving it inside the kernel (splice) was tried,
/// and was not faster.
const LITTLE: usize = 8 * 1024;
const MUCH: usize = 128 * 1024;

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
    let mut buffer = vec![0; LITTLE];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..length).unwrap_or_default()).await?;
        if length == buffer.len() && length < MUCH {
            buffer.resize(length * 2, 0);
        }
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

#[cfg(test)]
mod tests {
    use model::Traffic;
    use tokio::io::split;
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    #[tokio::test]
    async fn every_byte_arrives_in_its_place_and_each_end_is_told_of_the_end() {
        let ((guest, guest_side), (outside_side, server)) = (connected().await, connected().await);
        let meter = std::sync::Arc::new(Meter::new(Traffic::default(), 0));
        let counted = meter.clone();
        let carried = tokio::spawn(async move { carry(guest_side, outside_side, b"early", &counted).await });
        // Much more than is moved at once, and no round number.
        let bytes: Vec<u8> = (0..5_000_007u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let said = bytes.clone();
        let (mut reads, mut writes) = split(guest);
        let saying = tokio::spawn(async move {
            writes.write_all(&said).await.unwrap();
            writes.shutdown().await.unwrap();
        });
        // The server hears all before it answers: each end can close before the other.
        let (mut server_reads, mut server_writes) = split(server);
        let mut heard = Vec::new();
        server_reads.read_to_end(&mut heard).await.unwrap();
        assert!(heard.starts_with(b"early") && heard[5..] == bytes);
        let answering = tokio::spawn(async move {
            server_writes.write_all(&heard).await.unwrap();
            server_writes.shutdown().await.unwrap();
        });
        let mut answer = Vec::new();
        reads.read_to_end(&mut answer).await.unwrap();
        assert!(answer[5..] == bytes);
        saying.await.unwrap();
        answering.await.unwrap();
        carried.await.unwrap().unwrap();
        let all = bytes.len() as u64 + 5;
        assert_eq!(meter.read(), Traffic { sent: all, received: all });
    }
}
