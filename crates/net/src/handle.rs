//! The handle by which the node uses the network.

use crate::address;
use crate::common::Common;
use crate::deal;
use crate::driver::{Command, Later, Opened, Slot};
use crate::error::NetError;
use crate::event::{PeerSeen, RequestId};
use crate::identity;
use crate::stream::Stream;
use crate::swarm::streams::{NoStream, Protocol};
use crate::sync::set::Sharing;
use libp2p::PeerId;
use libp2p::swarm::Stream as Substream;
use model::message::{self, MAX_MESSAGE, Request, Response, StreamHead};
use model::{ObjectId, PeerKey};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// How long a connection to a peer, and a stream on it, may take.
pub const OPEN_TIME: Duration = Duration::from_secs(12);

/// The network of this node. Clones are the same network; when the last one is dropped, it stops.
#[derive(Clone)]
pub struct Net {
    me: PeerKey,
    common: Arc<Common>,
    commands: mpsc::Sender<Command>,
}

impl Net {
    pub(crate) fn new(me: PeerKey, common: Arc<Common>, commands: mpsc::Sender<Command>) -> Net {
        Net { me, common, commands }
    }

    /// This node's own key.
    pub fn me(&self) -> PeerKey {
        self.me
    }

    /// A peer's id as it stands in addresses: `12D3KooW..`; the key itself where it is no key at all.
    pub fn peer_id(peer: PeerKey) -> String {
        identity::peer_of(peer).map_or_else(|| peer.to_string(), |peer| peer.to_string())
    }

    /// Asks a peer, connecting first where there is no connection.
    ///
    /// # Errors
    /// [`NetError`] says whether the peer was not reached, did not answer, or answered nonsense. After `Timeout` and
    /// `Gone` it may have heard the request all the same.
    pub async fn request(&self, to: PeerKey, request: Request) -> Result<Response, NetError> {
        let bytes = message::write(&request);
        if bytes.len() > MAX_MESSAGE {
            return Err(NetError::TooLarge { size: bytes.len(), limit: MAX_MESSAGE });
        }
        let (substream, _slot) = self.substream(to, Protocol::Deal).await?;
        deal::ask(to, substream, &bytes).await
    }

    /// Answers a request; whether the peer still waited for it.
    pub fn respond(&self, id: RequestId, response: Response) -> bool {
        self.common.answers.give(id, response)
    }

    /// Opens a stream to a peer, says what it is for, and waits until the peer agrees.
    ///
    /// # Errors
    /// As for [`Net::request`], and [`NetError::Refused`] with the peer's reason.
    pub async fn open(&self, to: PeerKey, head: StreamHead) -> Result<Stream, NetError> {
        let (substream, slot) = self.substream(to, Protocol::Stream).await?;
        Stream::new(substream, slot).begin(to, &head).await
    }

    /// Takes addresses of a peer into the book, such as those in its signed offers. What cannot be its address seen
    /// from here is left out.
    pub fn know(&self, peer: PeerKey, addresses: Vec<String>) {
        let Some(peer) = identity::peer_of(peer) else { return };
        let addresses = addresses.iter().take(32).filter_map(|text| address::parse(text).ok()).collect();
        // With so much to do that this does not fit, it is forgotten: addresses come again with the next offer.
        let _ = self.commands.try_send(Command::Know { peer, addresses });
    }

    /// Dials an address, and says who is there. With a `/p2p/` id at its end, nobody else will do.
    ///
    /// # Errors
    /// [`NetError::NotThere`] when nobody answers, [`NetError::Foreign`] when it is no Sublet.
    pub async fn dial(&self, address: &str) -> Result<PeerKey, NetError> {
        let parsed = address::parse(address)?;
        let dialled = self.ask(|reply| Command::Dial { address: parsed, reply });
        let late = |_| NetError::NotThere {
            address: address.to_owned(),
            why: format!("no answer in {} s", OPEN_TIME.as_secs()),
        };
        timeout(OPEN_TIME, dialled).await.map_err(late)??
    }

    /// Holds on to a peer: its connections stay when idle, and it is dialled again when lost.
    ///
    /// # Errors
    /// [`NetError::Busy`] when too many are held on to.
    pub async fn keep(&self, peer: PeerKey) -> Result<(), NetError> {
        let peer = self.other(peer)?;
        let kept = self.ask(|reply| Command::Keep { peer, reply }).await?;
        if kept {
            Ok(())
        } else {
            Err(NetError::Busy { what: "peers to hold on to", limit: crate::driver::MAX_KEPT })
        }
    }

    /// Lets go of a peer that was [kept](Net::keep).
    pub async fn release(&self, peer: PeerKey) {
        if let Some(peer) = identity::peer_of(peer) {
            self.tell(Command::Release { peer }).await;
        }
    }

    /// Adds the envelopes of verified objects to the set that is kept alike with all peers, and passes on those that are
    /// new to it.
    pub fn share(&self, envelopes: Vec<Vec<u8>>) -> Sharing {
        let sharing = self.common.set().share(envelopes);
        if sharing.added > 0 {
            self.common.changed.notify_one();
        }
        sharing
    }

    /// Takes objects out of the set, such as those that expired. Peers do the same by their own clocks.
    pub fn withdraw(&self, ids: impl IntoIterator<Item = ObjectId>) {
        self.common.set().withdraw(ids, Instant::now());
    }

    /// How many objects are shared.
    pub fn shared(&self) -> usize {
        self.common.set().len()
    }

    /// Who is connected, and how. Empty once the network has stopped.
    pub async fn peers(&self) -> Vec<PeerSeen> {
        self.ask(|reply| Command::Peers { reply }).await.unwrap_or_default()
    }

    /// Where others can reach this node: its own networks, addresses confirmed from outside, places at relays.
    pub async fn addresses(&self) -> Vec<String> {
        self.ask(|reply| Command::Addresses { reply }).await.unwrap_or_default()
    }

    /// Refuses a peer from now on, and ends what there is with it.
    pub async fn block(&self, peer: PeerKey) {
        if let Some(peer) = identity::peer_of(peer) {
            self.tell(Command::Block { peer }).await;
        }
    }

    /// Lets a peer in again.
    pub async fn unblock(&self, peer: PeerKey) {
        if let Some(peer) = identity::peer_of(peer) {
            self.tell(Command::Unblock { peer }).await;
        }
    }

    /// Says that a peer sent what no honest one sends, such as an object with a wrong signature. One that goes on is
    /// refused for some minutes.
    pub async fn complain(&self, peer: PeerKey) {
        if let Some(peer) = identity::peer_of(peer) {
            self.tell(Command::Complain { peer }).await;
        }
    }

    /// A stream of our own protocols, and the slot that it takes while it lives.
    async fn substream(&self, to: PeerKey, protocol: Protocol) -> Result<(Substream, Slot), NetError> {
        let peer = self.other(to)?;
        let opened = timeout(OPEN_TIME, self.try_substream(to, peer, protocol)).await;
        opened.map_err(|_| NetError::Timeout { peer: to, after: OPEN_TIME })?
    }

    async fn try_substream(
        &self,
        to: PeerKey,
        peer: PeerId,
        protocol: Protocol,
    ) -> Result<(Substream, Slot), NetError> {
        // The connection that was chosen may be the surplus one that closes at this moment: once more, then.
        for last in [false, true] {
            let Opened { slot, stream } = self.slot(to, peer, protocol).await?;
            match stream.await.unwrap_or(Err(NoStream::Gone)) {
                Ok(substream) => return Ok((substream, slot)),
                Err(NoStream::Gone) if !last => {}
                Err(why) => return Err(no_stream(to, why)),
            }
        }
        Err(NetError::Gone { peer: to })
    }

    async fn slot(&self, to: PeerKey, peer: PeerId, protocol: Protocol) -> Result<Opened, NetError> {
        loop {
            match self.ask(|reply| Command::Open { to: peer, protocol, reply }).await? {
                Ok(opened) => return Ok(opened),
                Err(Later::In(time)) => sleep(time).await,
                Err(Later::UntilSomeEnd(limit)) => {
                    return Err(NetError::Busy { what: "streams to one peer", limit });
                }
                Err(Later::Blocked) => return Err(NetError::Blocked { peer: to }),
            }
        }
    }

    fn other(&self, peer: PeerKey) -> Result<PeerId, NetError> {
        identity::peer_of(peer).filter(|_| peer != self.me).ok_or(NetError::NoPeer(peer))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NetError> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await;
        answer.await.map_err(|_| NetError::Stopped)
    }

    async fn tell(&self, command: Command) {
        // A driver that is gone hears nothing; whoever waits for an answer learns it from that.
        let _ = self.commands.send(command).await;
    }
}

fn no_stream(peer: PeerKey, why: NoStream) -> NetError {
    match why {
        NoStream::Unreachable(why) => NetError::Unreachable { peer, why },
        NoStream::Foreign => NetError::Foreign { peer },
        NoStream::Timeout => NetError::Timeout { peer, after: OPEN_TIME },
        NoStream::Gone => NetError::Gone { peer },
        NoStream::Busy => NetError::Busy {
            what: "streams that wait for one peer",
            limit: crate::swarm::streams::MAX_WAITING,
        },
    }
}
