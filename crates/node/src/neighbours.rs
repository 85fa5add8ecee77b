//! Images from here for neighbours: those that may be had by everybody, for who knows their digest, and no faster than the
//! owner lets them.
//!
//! Nobody learns which images are here: a neighbour shows that it knows a digest without saying it
//! ([`model::document::want`]), and an image that is not open is answered as one that is not here.

use crate::execute::Hands;
use crate::fetch::give;
use machine::image::{Digest, Images, Serve};
use model::document::want;
use model::message::StreamAnswer;
use model::{ImageDigest, ObjectId, PeerKey};
use net::IncomingStream;
use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Who is being served, and how fast.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// One stream each: a neighbour that opens many gets no more than the others.
    served: Mutex<BTreeSet<PeerKey>>,
    /// When the next bytes may leave.
    next: Mutex<Option<Instant>>,
}

impl Neighbours {
    fn enter(&self, peer: PeerKey, most: u32) -> Option<Place<'_>> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let room = served.len() < most as usize && served.insert(peer);
        room.then(|| Place { neighbours: self, peer })
    }

    /// Waits until so many bytes more may leave, at this rate.
    async fn pace(&self, bytes: usize, rate: u64) {
        if rate == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + takes);
            at
        };
        sleep_until(at).await;
    }
}

struct Place<'a> {
    neighbours: &'a Neighbours,
    peer: PeerKey,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.neighbours.served.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.peer);
    }
}

/// Serves one neighbour, if it may have what it wants.
///
/// # Errors
/// When it is gone.
pub async fn serve(hands: &Hands, stream: IncomingStream, peer: PeerKey, wanted: ObjectId) -> io::Result<()> {
    let policy = hands.images.policy();
    let found = match policy.serve {
        Serve::Nobody => None,
        Serve::Everyone => find(&hands.images, peer, hands.net.me(), wanted),
    };
    let Some(image) = found else { return stream.refuse(StreamAnswer::Missing).await };
    let Some(_place) = hands.neighbours.enter(peer, policy.streams) else {
        return stream.refuse(StreamAnswer::Busy).await;
    };
    let mut stream = stream.accept().await?;
    give(&hands.images, &image, &mut stream, |bytes| hands.neighbours.pace(bytes, policy.rate)).await
}

fn find(images: &Images, asker: PeerKey, me: PeerKey, wanted: ObjectId) -> Option<Digest> {
    let digests = images.list().into_iter().map(|image| image.digest);
    digests
        .filter(|digest| images.note(digest).open)
        .find(|digest| want(&ImageDigest(*digest.as_bytes()), asker, me) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_neighbours_together_are_served_at_the_owner_s_rate() {
        let neighbours = Neighbours::default();
        let begun = Instant::now();
        for _ in 0..4 {
            neighbours.pace(1 << 20, 10 << 20).await;
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(299), "{took:?}");
        neighbours.pace(1 << 40, 0).await; // nought is without limit
    }

    #[test]
    fn each_neighbour_has_one_place_and_there_are_as_many_as_the_owner_says() {
        let neighbours = Neighbours::default();
        let peer = |n| PeerKey([n; 32]);
        let first = neighbours.enter(peer(1), 2);
        assert!(first.is_some() && neighbours.enter(peer(1), 2).is_none());
        let second = neighbours.enter(peer(2), 2);
        assert!(second.is_some() && neighbours.enter(peer(3), 2).is_none());
        drop(first);
        assert!(neighbours.enter(peer(3), 2).is_some());
    }
}
