//! The set of signed objects that is kept alike with all peers: bodies by id, in the order of their issue.

use crate::config::Limits;
use model::envelope::Claim;
use model::{ObjectId, Timestamp};
use negentropy::{Id, NegentropyStorageVector};
use serde::Deserialize;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest object, in bytes of its envelope.
pub const MAX_OBJECT: usize = 64 * 1024;

/// Ids that were shared since the last push. Past it a comparison of the sets is cheaper than naming them.
const MAX_FRESH: usize = 512;

/// Ids that are on their way or with the node. Past it, the oldest may be asked for again.
const MAX_CLAIMS: usize = 16_384;

/// How long a peer has to send what was asked of it, before others are asked too.
const ON_ITS_WAY: Duration = Duration::from_secs(30);

/// How long a body that the node was given and did not share is not asked for again: it was not good.
const JUDGED: Duration = Duration::from_secs(600);

/// What became of objects to be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// New to the set; they go out to peers.
    pub added: usize,
    /// In the set before.
    pub known: usize,
    /// Left out: no envelope, larger than [`MAX_OBJECT`], or the set is full.
    pub left_out: usize,
}

/// The set, and what is on its way into it.
pub(crate) struct Set {
    objects: HashMap<ObjectId, Object>,
    bytes: usize,
    max_objects: usize,
    max_bytes: usize,
    /// The order of the set as sync sees it, until the next change.
    snapshot: Option<Arc<NegentropyStorageVector>>,
    fresh: Fresh,
    claims: Claims,
}

struct Object {
    issued: Timestamp,
    bytes: Arc<[u8]>,
}

/// What was shared since the last push.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Fresh {
    #[default]
    Nothing,
    These(Vec<ObjectId>),
    TooMany,
}

impl Set {
    /// An empty set.
    pub(crate) fn new(limits: &Limits) -> Set {
        Set {
            objects: HashMap::new(),
            bytes: 0,
            max_objects: limits.objects,
            max_bytes: limits.object_bytes,
            snapshot: None,
            fresh: Fresh::Nothing,
            claims: Claims::default(),
        }
    }

    /// Adds envelopes.
    pub(crate) fn share(&mut self, envelopes: Vec<Vec<u8>>) -> Sharing {
        let mut sharing = Sharing::default();
        for bytes in envelopes {
            let Some((issued, id)) = place(&bytes) else {
                sharing.left_out += 1;
                continue;
            };
            self.claims.settle(&id);
            if self.objects.contains_key(&id) {
                sharing.known += 1;
            } else if self.objects.len() >= self.max_objects || self.bytes + bytes.len() > self.max_bytes {
                sharing.left_out += 1;
            } else {
                self.bytes += bytes.len();
                self.objects.insert(id, Object { issued, bytes: bytes.into() });
                self.snapshot = None;
                self.fresh.add(id);
                sharing.added += 1;
            }
        }
        sharing
    }

    /// Takes objects out, such as those that expired. Peers whose clocks are behind have them still: for a while they
    /// are not asked for again.
    pub(crate) fn withdraw(&mut self, ids: impl IntoIterator<Item = ObjectId>, now: Instant) {
        for id in ids {
            if let Some(object) = self.objects.remove(&id) {
                self.bytes -= object.bytes.len();
                self.snapshot = None;
                self.claims.put(id, now + JUDGED);
            }
        }
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// How many more there may be.
    pub(crate) fn room(&self) -> usize {
        self.max_objects.saturating_sub(self.objects.len())
    }

    /// The body of an object.
    pub(crate) fn body(&self, id: &ObjectId) -> Option<Arc<[u8]>> {
        self.objects.get(id).map(|object| object.bytes.clone())
    }

    /// What was shared since this was asked last.
    pub(crate) fn take_fresh(&mut self) -> Fresh {
        std::mem::take(&mut self.fresh)
    }

    /// The set as it is now, in order. Sessions at the same time use the same one.
    ///
    /// # Errors
    /// Never in practice: negentropy's storage names misuse of it.
    pub(crate) fn snapshot(&mut self) -> Result<Arc<NegentropyStorageVector>, negentropy::Error> {
        if let Some(snapshot) = &self.snapshot {
            return Ok(snapshot.clone());
        }
        let mut snapshot = NegentropyStorageVector::with_capacity(self.objects.len());
        for (id, object) in &self.objects {
            let issued = u64::try_from(object.issued.0).unwrap_or(0);
            snapshot.insert(issued, Id::from_byte_array(id.0))?;
        }
        snapshot.seal()?;
        let snapshot = Arc::new(snapshot);
        self.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Of `ids`, those to ask a peer for now: not here, not asked of another peer, not judged lately.
    pub(crate) fn claim(&mut self, ids: &[ObjectId], now: Instant) -> Vec<ObjectId> {
        let room = self.room();
        let wanted = ids.iter().filter(|id| !self.objects.contains_key(id)).take(room);
        wanted.filter(|id| self.claims.take(**id, now + ON_ITS_WAY, now)).copied().collect()
    }

    /// The bodies of these came and go to the node.
    pub(crate) fn judge(&mut self, ids: &[ObjectId], now: Instant) {
        for id in ids {
            self.claims.put(*id, now + JUDGED);
        }
    }

    /// These did not come: others may be asked.
    pub(crate) fn unclaim(&mut self, ids: &HashSet<ObjectId>) {
        for id in ids {
            self.claims.settle(id);
        }
    }
}

/// Where an envelope stands in the order of the set; none when it is too large, or is not one.
///
/// The order only makes comparisons cheap, recent differences lying together; yet all nodes must agree on it, so it is
/// read from what was signed.
fn place(envelope: &[u8]) -> Option<(Timestamp, ObjectId)> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
    }
    #[derive(Deserialize)]
    struct Payload {
        issued: Timestamp,
    }
    if envelope.len() > MAX_OBJECT {
        return None;
    }
    let Claim { id, .. } = Claim::of(envelope).ok()?;
    let Envelope { payload } = model::from_bytes(envelope).ok()?;
    let Payload { issued } = model::from_bytes(payload).ok()?;
    Some((issued, id))
}

impl Fresh {
    fn add(&mut self, id: ObjectId) {
        match self {
            Fresh::Nothing => *self = Fresh::These(vec![id]),
            Fresh::These(ids) if ids.len() < MAX_FRESH => ids.push(id),
            Fresh::These(_) | Fresh::TooMany => *self = Fresh::TooMany,
        }
    }
}

/// Ids not to be asked for, until a moment.
#[derive(Default)]
struct Claims {
    until: HashMap<ObjectId, Instant>,
    order: VecDeque<ObjectId>,
}

impl Claims {
    fn take(&mut self, id: ObjectId, until: Instant, now: Instant) -> bool {
        if self.until.get(&id).is_some_and(|held| *held > now) {
            return false;
        }
        self.put(id, until);
        true
    }

    fn put(&mut self, id: ObjectId, until: Instant) {
        if self.until.insert(id, until).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MAX_CLAIMS {
            self.order.pop_front().and_then(|oldest| self.until.remove(&oldest));
        }
    }

    fn settle(&mut self, id: &ObjectId) {
        // Its place in the order stays and is passed over when its turn comes.
        self.until.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DeviceCertificate, Key, PeerKey, PersonId};

    fn object(n: u64) -> Vec<u8> {
        let key = Key::from_seed([1; 32]);
        let certificate = DeviceCertificate {
            person: PersonId(key.id().0),
            device: key.id(),
            peer: PeerKey([3; 32]),
            label: "a desk".to_owned(),
            seq: n,
            issued: Timestamp(1_800_000_000_000),
            expires: Timestamp(1_800_000_000_001),
        };
        key.sign(&certificate).unwrap().bytes().to_vec()
    }

    fn id(object: &[u8]) -> ObjectId {
        Claim::of(object).unwrap().id
    }

    fn set(objects: usize) -> Set {
        Set::new(&Limits { objects, ..Limits::default() })
    }

    #[test]
    fn an_object_is_there_once_until_it_is_withdrawn() {
        let mut set = set(10);
        let one = object(1);
        assert_eq!(set.share(vec![one.clone(), one.clone()]), Sharing { added: 1, known: 1, left_out: 0 });
        assert_eq!(set.take_fresh(), Fresh::These(vec![id(&one)]));
        assert_eq!(*set.body(&id(&one)).unwrap(), *one);
        let now = Instant::now();
        set.withdraw([id(&one)], now);
        assert_eq!((set.len(), set.bytes, set.body(&id(&one))), (0, 0, None));
        assert!(set.claim(&[id(&one)], now).is_empty(), "it would come back from the next peer");
    }

    #[test]
    fn the_set_keeps_its_size() {
        let mut set = set(2);
        let sharing = set.share(vec![object(1), object(2), object(3), vec![1]]);
        assert_eq!(sharing, Sharing { added: 2, known: 0, left_out: 2 });
        assert!(
            set.claim(&[id(&object(4))], Instant::now()).is_empty(),
            "there is no room for what would come"
        );
    }

    #[test]
    fn one_peer_at_a_time_is_asked_for_an_object() {
        let (mut set, now) = (set(10), Instant::now());
        let wanted = [id(&object(1))];
        assert_eq!(set.claim(&wanted, now), wanted);
        assert!(set.claim(&wanted, now).is_empty(), "it is on its way");
        assert_eq!(set.claim(&wanted, now + ON_ITS_WAY), wanted, "the first peer was too slow");
        set.judge(&wanted, now);
        assert!(set.claim(&wanted, now + ON_ITS_WAY).is_empty(), "the node has it, and did not share it");
        assert_eq!(set.claim(&wanted, now + JUDGED), wanted);
    }

    #[test]
    fn hostile_ids_do_not_fill_memory() {
        let (mut set, now) = (set(50_000), Instant::now());
        for n in 0..40_000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            set.claim(&[ObjectId(id)], now);
        }
        assert_eq!((set.claims.until.len(), set.claims.order.len()), (MAX_CLAIMS, MAX_CLAIMS));
    }
}
