//! What the node must hear and cannot take yet: one word for each peer at most, however long the node is busy.

use crate::event::NetEvent;
use model::PeerKey;
use std::collections::VecDeque;

/// Events that wait until the node listens again.
#[derive(Default)]
pub(super) struct Outbox(VecDeque<NetEvent>);

impl Outbox {
    /// The peer is there.
    pub(super) fn peer_up(&mut self, peer: PeerKey) {
        self.0.push_back(NetEvent::PeerUp { peer });
    }

    /// The peer is gone. That it came, if still unheard, is no longer news either.
    pub(super) fn peer_down(&mut self, peer: PeerKey) {
        let up = self.0.iter().rposition(|said| matches!(said, NetEvent::PeerUp { peer: up } if *up == peer));
        match up {
            Some(up) => drop(self.0.remove(up)),
            None => self.0.push_back(NetEvent::PeerDown { peer }),
        }
    }

    /// These are our addresses now, whatever was said before.
    pub(super) fn addresses(&mut self, addresses: Vec<String>) {
        self.0.retain(|said| !matches!(said, NetEvent::Addresses(_)));
        self.0.push_back(NetEvent::Addresses(addresses));
    }

    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to say first.
    pub(super) fn pop(&mut self) -> Option<NetEvent> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_node_hears_how_things_stand_and_not_how_they_went() {
        let mut outbox = Outbox::default();
        let [flapping, gone] = [1, 2].map(|n| PeerKey([n; 32]));
        outbox.peer_down(gone);
        for _ in 0..1_000 {
            outbox.peer_up(flapping);
            outbox.peer_down(flapping);
            outbox.addresses(vec!["old".to_owned()]);
        }
        outbox.peer_up(flapping);
        outbox.addresses(vec!["new".to_owned()]);
        let said: Vec<_> = std::iter::from_fn(|| outbox.pop()).map(|event| format!("{event:?}")).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("PeerDown") && said[1].starts_with("PeerUp") && said[2].contains("new"));
    }
}
