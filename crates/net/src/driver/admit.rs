//! Streams that peers open: served within their allowance, turned away beyond it, and who goes too far is sent off.

use super::conduct::{Admission, Slot};
use super::gate::BAN;
use super::{Driver, Report};
use crate::common::Common;
use crate::event::NetEvent;
use crate::stream::{IncomingStream, Stream};
use crate::swarm::streams::{Arrived, Protocol};
use crate::{deal, identity, stream, sync, wire};
use libp2p::PeerId;
use libp2p::swarm::Stream as Substream;
use model::PeerKey;
use model::message::StreamAnswer;
use std::io;
use std::sync::Arc;
use std::time::Instant;

impl Driver {
    pub(super) fn admit(&mut self, Arrived { peer, protocol, stream }: Arrived) {
        let Some(from) = identity::key_of(&peer) else { return };
        let common = self.common.clone();
        let (room, now) = (self.gate.room.clone(), Instant::now());
        match self.gate.conduct(peer, now).admit(protocol, &room, now) {
            Admission::Served(slot) => {
                self.report_on(peer, protocol, serve(common, from, protocol, stream, slot))
            }
            Admission::TurnedAway => self.report_on(peer, protocol, turn_away(protocol, stream)),
            Admission::SentOff => self.send_off(peer),
        }
    }

    /// Runs what a stream needs in a task of its own, and hears how it ended.
    pub(super) fn report_on(
        &self,
        peer: PeerId,
        protocol: Protocol,
        work: impl Future<Output = io::Result<()>> + Send + 'static,
    ) {
        let reporter = self.reporter.clone();
        tokio::spawn(async move {
            let result = work.await;
            // The driver is gone only when the node is.
            let _ = reporter.send(Report { peer, protocol, result }).await;
        });
    }

    pub(super) fn on_report(&mut self, Report { peer, protocol, result }: Report) {
        if let Err(error) = &result {
            tracing::debug!(%peer, protocol = protocol.as_ref(), %error, "stream failed");
        }
        if result.is_err_and(|error| wire::is_garbage(&error)) {
            self.on_mistake(peer);
        }
        if protocol == Protocol::Sync {
            self.start_comparing();
        }
    }

    /// The peer sent what no honest one sends.
    pub(super) fn on_mistake(&mut self, peer: PeerId) {
        let now = Instant::now();
        if !self.gate.conduct(peer, now).forgive(now) {
            self.send_off(peer);
        }
    }

    fn send_off(&mut self, peer: PeerId) {
        if self.swarm.behaviour().is_blocked(&peer) {
            return;
        }
        tracing::warn!(%peer, seconds = BAN.as_secs(), "peer sent off: it floods us, or talks garbage");
        self.gate.ban(peer, Instant::now(), self.swarm.behaviour_mut());
    }
}

async fn serve(
    common: Arc<Common>,
    from: PeerKey,
    protocol: Protocol,
    substream: Substream,
    slot: Slot,
) -> io::Result<()> {
    match protocol {
        Protocol::Deal => deal::serve(&common, from, substream).await,
        Protocol::Sync => sync::serve(&common, from, substream, sync::MAX_ROUNDS).await,
        Protocol::Push => sync::serve(&common, from, substream, 0).await,
        Protocol::Stream => return hand_over(&common, from, Stream::new(substream, slot)).await,
    }
    // The slot lives until here.
}

/// Reads what a stream is for and gives it to the node, or turns it away when the node has too many to look at.
async fn hand_over(common: &Common, from: PeerKey, stream: Stream) -> io::Result<()> {
    let (head, stream) = IncomingStream::read(stream).await?;
    match common.events.try_send(NetEvent::Stream { from, head, stream }) {
        Ok(()) => Ok(()),
        Err(tokio::sync::mpsc::error::TrySendError::Full(NetEvent::Stream { stream, .. })) => {
            stream.refuse(StreamAnswer::Busy).await
        }
        Err(_) => Ok(()),
    }
}

async fn turn_away(protocol: Protocol, substream: Substream) -> io::Result<()> {
    match protocol {
        Protocol::Deal => deal::turn_away(substream).await,
        Protocol::Stream => stream::turn_away(substream).await,
        // Dropped: sets are compared again in some minutes.
        Protocol::Sync | Protocol::Push => Ok(()),
    }
}
