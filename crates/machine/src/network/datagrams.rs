//! Datagrams between a guest and the outside: questions to the resolver, and whatever else its policy allows. A flow is
//! a guest's port and an address outside; its answers come from that very address, as the guest expects.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg};
use socket2::{SockRef, Socket};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::dns;
use super::gateway::{ALL_CONNECTIONS, Way as Gateway};
use super::traffic::Way;
use crate::guest::sys;

/// No datagram is larger.
const LARGEST: usize = 65_535;

/// A flow in which nothing has come for so long is over, as routers have it.
const IDLE: Duration = Duration::from_secs(60);

/// What was barred is judged again after this.
const BARRED: Duration = Duration::from_secs(2);

/// Flows of one guest at once.
const FLOWS: usize = 128;

/// Datagrams of a flow that wait; the next ones are dropped, as networks do.
const WAITING: usize = 64;

/// Questions that are answered at once.
const QUESTIONS: usize = 32;

/// Where each flow's first datagrams are put until it has a socket of its own.
#[derive(Default)]
pub(super) struct Flows(Mutex<HashMap<Flow, mpsc::Sender<Vec<u8>>>>);

/// A guest's port and an address outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flow {
    from: SocketAddr,
    to: SocketAddr,
}

/// Answers questions to the resolver.
pub(super) async fn resolve(gateway: &Gateway, socket: OwnedFd) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(socket.into())?);
    let turns = Arc::new(Semaphore::new(QUESTIONS));
    let mut buffer = vec![0; LARGEST];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Ok(turn) = turns.clone().try_acquire_owned() else { continue };
        if !gateway.questions.allows() {
            continue;
        }
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        let (socket, gate) = (socket.clone(), gateway.gate.clone());
        tokio::spawn(async move {
            if let Some(answer) = dns::answer_datagram(&gate, &question).await {
                // Who asked may be gone.
                let _ = socket.send_to(&answer, from).await;
            }
            drop(turn);
        });
    }
}

/// Takes what programs send to any address.
pub(super) async fn catch(gateway: &Gateway, socket: OwnedFd) -> io::Result<()> {
    let socket = sys::polled(socket)?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let caught = socket.async_io(Interest::READABLE, |socket| receive(socket, &mut buffer)).await;
        let Ok((length, Some(flow))) = caught else { continue };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        let mut flows = gateway.flows.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = flows.get(&flow) {
            let _ = known.try_send(datagram);
        } else if flows.len() < FLOWS
            && gateway.questions.allows()
            && let Ok(of_all) = ALL_CONNECTIONS.try_acquire()
        {
            let (sender, waiting) = mpsc::channel(WAITING);
            let _ = sender.try_send(datagram);
            flows.insert(flow, sender);
            let gateway = gateway.clone();
            tokio::spawn(async move {
                let carried = gateway.closed.run_until_cancelled(carry(&gateway, flow, waiting)).await;
                if let Some(Err(error)) = carried {
                    tracing::debug!(to = %flow.to, %error, "a guest's datagrams were not carried");
                }
                gateway.flows.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&flow);
                drop(of_all);
            });
        }
    }
}

/// One datagram, and its flow if it can be told.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many things that the kernel can tell, two are asked for"
)]
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Option<Flow>)> {
    let mut control = nix::cmsg_space!(libc::sockaddr_in6);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let from = message.address.and_then(|from| address(&from));
    let to = message.cmsgs()?.find_map(|said| match said {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => {
            let to = SockaddrIn::from(to);
            Some(SocketAddr::from(SocketAddrV4::new(to.ip(), to.port())))
        }
        ControlMessageOwned::Ipv6OrigDstAddr(to) => {
            let to = SockaddrIn6::from(to);
            Some(SocketAddr::from(SocketAddrV6::new(to.ip(), to.port(), 0, 0)))
        }
        _ => None,
    });
    Ok((message.bytes, from.zip(to).map(|(from, to)| Flow { from, to })))
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}

/// Carries a flow until it is over.
async fn carry(gateway: &Gateway, flow: Flow, mut waiting: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    if flow.to.port() == dns::PORT {
        let inside = stand_in(gateway, flow).await?;
        return answer(gateway, &inside, waiting).await;
    }
    if let Err(barred) = gateway.gate.judge(flow.to).await {
        tracing::debug!(to = %flow.to, %barred, "a guest was not let out");
        // Until then its next datagrams are dropped without being judged again.
        let _ = timeout(BARRED, async { while waiting.recv().await.is_some() {} }).await;
        return Ok(());
    }
    let outside = gateway.gate.outside().datagrams(flow.to).await?;
    let inside = stand_in(gateway, flow).await?;
    let (mut out, mut back) = (vec![0; LARGEST], vec![0; LARGEST]);
    let meter = &gateway.meter;
    loop {
        let next = async {
            tokio::select! {
                Some(datagram) = waiting.recv() => {
                    if meter.pass_now(Way::Out, datagram.len()) {
                        let _ = outside.send(&datagram).await;
                    }
                }
                sent = inside.recv(&mut out) => {
                    let datagram = sent.ok().and_then(|length| out.get(..length));
                    if let Some(datagram) = datagram.filter(|datagram| meter.pass_now(Way::Out, datagram.len())) {
                        let _ = outside.send(datagram).await;
                    }
                }
                came = outside.recv(&mut back) => {
                    let datagram = came.ok().and_then(|length| back.get(..length));
                    if let Some(datagram) = datagram.filter(|datagram| meter.pass_now(Way::In, datagram.len())) {
                        let _ = inside.send(datagram).await;
                    }
                }
            }
        };
        if timeout(IDLE, next).await.is_err() {
            return Ok(());
        }
    }
}

/// Answers questions to a resolver of the guest's own choice: it gets ours.
async fn answer(
    gateway: &Gateway,
    inside: &UdpSocket,
    mut waiting: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut buffer = vec![0; LARGEST];
    loop {
        let next = async {
            tokio::select! {
                Some(question) = waiting.recv() => Some(question),
                question = inside.recv(&mut buffer) => {
                    question.ok().and_then(|length| buffer.get(..length)).map(<[u8]>::to_vec)
                }
            }
        };
        let Ok(question) = timeout(IDLE, next).await else { return Ok(()) };
        if let Some(question) = question.filter(|_| gateway.questions.allows())
            && let Some(answer) = dns::answer_datagram(&gateway.gate, &question).await
        {
            let _ = inside.send(&answer).await;
        }
    }
}

/// A socket inside that stands for the address outside. The guest's next datagrams to it come here at once.
async fn stand_in(gateway: &Gateway, flow: Flow) -> io::Result<UdpSocket> {
    let socket = Socket::from(gateway.porter.datagrams(flow.to).await?);
    SockRef::from(&socket).set_reuse_address(true)?;
    socket.bind(&flow.to.into())?;
    socket.connect(&flow.from.into())?;
    UdpSocket::from_std(socket.into())
}
