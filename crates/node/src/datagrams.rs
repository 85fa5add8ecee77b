//! UDP ports of guests: datagrams over a stream, each with its length before it. What does not fit in time is dropped, as
//! networks do; nothing is queued for long, and nothing is sent again.

use crate::execute::Hands;
use crate::forward::Forward;
use machine::guest::GuestId;
use model::PeerKey;
use model::message::{StreamAnswer, StreamHead};
use net::IncomingStream;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// The largest datagram.
const LARGEST: usize = 65_507;

/// Datagrams that wait for the stream; the next ones are dropped.
const WAITING: usize = 64;

/// Programs here that may speak to one port at once.
const FLOWS: usize = 64;

/// After so long without a datagram a flow is over.
const IDLE: Duration = Duration::from_secs(120);

/// As tenant: takes what programs here send to a port, and brings them the answers.
pub async fn send(hands: Hands, host: PeerKey, forward: Forward, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut flows: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        // An error here is an answer to what was sent before: that nobody listens there any more.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        flows.retain(|_, flow| !flow.is_closed());
        if let Some(flow) = flows.get(&from) {
            let _ = flow.try_send(datagram);
        } else if flows.len() < FLOWS {
            let (sender, waiting) = mpsc::channel(WAITING);
            let _ = sender.try_send(datagram);
            flows.insert(from, sender);
            tokio::spawn(flow(hands.clone(), host, forward, socket.clone(), from, waiting));
        }
    }
}

async fn flow(
    hands: Hands,
    host: PeerKey,
    forward: Forward,
    socket: Arc<UdpSocket>,
    from: SocketAddr,
    waiting: mpsc::Receiver<Vec<u8>>,
) {
    let head = StreamHead::Datagrams { lease: forward.lease, port: forward.port.guest };
    let stream = match hands.net.open(host, head).await {
        Ok(stream) => stream,
        Err(error) => return tracing::info!(port = forward.port.local, %error, "no way into the guest"),
    };
    let deliver = |datagram: &[u8]| drop(socket.try_send_to(datagram, from));
    if let Err(error) = carry(stream, waiting, deliver).await {
        tracing::debug!(port = forward.port.local, %error, "datagrams are no longer carried");
    }
}

/// As host: brings datagrams to a port of a guest, and its answers back.
pub async fn receive(hands: &Hands, stream: IncomingStream, guest: GuestId, port: u16) -> io::Result<()> {
    let inside = match hands.guests.datagrams(guest, port, false).await {
        Ok(inside) => inside,
        Err(error) => {
            tracing::debug!(%guest, port, %error, "no socket in the guest's network");
            return stream.refuse(StreamAnswer::Closed).await;
        }
    };
    let other = hands.guests.datagrams(guest, port, true).await.ok();
    let (sender, waiting) = mpsc::channel(WAITING);
    let stream = stream.accept().await?;
    // Who listens at one of the two addresses only, refuses at the other.
    let refused = AtomicBool::new(false);
    let mut buffers = (vec![0; LARGEST], vec![0; LARGEST]);
    let answers = async {
        loop {
            let answer = tokio::select! {
                length = inside.recv(&mut buffers.0) => {
                    refused.store(is_refusal(&length), Ordering::Relaxed);
                    length.ok().and_then(|length| buffers.0.get(..length))
                }
                length = receive_other(other.as_ref(), &mut buffers.1) => {
                    length.ok().and_then(|length| buffers.1.get(..length))
                }
            };
            if let Some(answer) = answer {
                let _ = sender.try_send(answer.to_vec());
            }
        }
    };
    let deliver = |datagram: &[u8]| {
        let sent = if refused.load(Ordering::Relaxed) { None } else { Some(inside.try_send(datagram)) };
        if let Some(other) = other.as_ref().filter(|_| sent.as_ref().is_none_or(is_refusal)) {
            // Refused here as well: the next one may be taken there.
            refused.store(!is_refusal(&other.try_send(datagram)), Ordering::Relaxed);
        }
    };
    tokio::select! {
        carried = carry(stream, waiting, deliver) => carried,
        never = answers => never,
    }
}

fn is_refusal(outcome: &io::Result<usize>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

async fn receive_other(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}

/// Carries datagrams both ways until the stream ends, nobody sends any more, or nothing comes for long.
async fn carry(
    stream: impl AsyncRead + AsyncWrite,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    mut deliver: impl FnMut(&[u8]),
) -> io::Result<()> {
    let (mut from, mut to) = split(stream);
    let last = std::sync::Mutex::new(Instant::now());
    let touch = || *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    let reading = async {
        let mut buffer = vec![0; LARGEST];
        loop {
            let length = usize::from(from.read_u16().await?);
            let Some(datagram) = buffer.get_mut(..length) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            from.read_exact(datagram).await?;
            touch();
            deliver(datagram);
        }
    };
    let writing = async {
        while let Some(datagram) = waiting.recv().await {
            let length = u16::try_from(datagram.len()).map_err(io::Error::other)?;
            to.write_all(&[&length.to_be_bytes(), datagram.as_slice()].concat()).await?;
            if waiting.is_empty() {
                to.flush().await?;
            }
            touch();
        }
        Ok(())
    };
    let idle = async {
        loop {
            let until = *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) + IDLE;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    };
    let ended = tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
        () = idle => Ok(()),
    };
    // A stream that is shut down was not cut off.
    let _ = timeout(Duration::from_secs(1), to.shutdown()).await;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test]
    async fn datagrams_keep_their_bounds_and_empty_ones_are_datagrams() {
        let (here, there) = duplex(1 << 20);
        let (sender, waiting) = mpsc::channel(WAITING);
        let (delivered, mut seen) = mpsc::channel(WAITING);
        tokio::spawn(carry(here, waiting, |_| {}));
        let (_nothing, to_send) = mpsc::channel(1);
        tokio::spawn(carry(there, to_send, move |datagram| drop(delivered.try_send(datagram.to_vec()))));
        for datagram in [b"one".to_vec(), Vec::new(), vec![7; LARGEST]] {
            sender.send(datagram.clone()).await.unwrap();
            assert_eq!(seen.recv().await.unwrap(), datagram);
        }
    }

    #[tokio::test]
    async fn a_length_that_no_datagram_has_ends_the_stream() {
        let (here, mut there) = duplex(1 << 20);
        let (_sender, waiting) = mpsc::channel(1);
        let carried = tokio::spawn(carry(here, waiting, |_| {}));
        there.write_all(&[0xff; 70_000]).await.unwrap();
        assert_eq!(carried.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
