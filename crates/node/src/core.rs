//! What the loop owns, and the one way in which it changes: decide, record, make true.

use crate::clock::Clock;
use crate::demand::Demands;
use crate::fetch::digest;
use crate::outbox::Outbox;
use crate::{Error, Event, Fault};
use engine::{Engine, Input, Reply};
use machine::image::Digest;
use machine::presence::Seen;
use model::health::Health;
use model::{Id, Lease, PeerKey, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use store::Store;
use tokio::sync::broadcast;

/// The version of the snapshots that this program writes and reads. Others are passed over: the record has it all.
/// It rises with each change of the form of [`engine::State`]; a test of this file holds the two together.
pub const SNAPSHOT_VERSION: u32 = 4;

/// How many records are written between two snapshots.
const SNAPSHOT_EVERY: u64 = 1_000;

/// What the loop owns. Outside the loop it can be looked at: [`crate::NodeHandle::look`].
pub struct Core {
    /// What time it is.
    pub(crate) clock: Clock,
    /// What is true, and what follows.
    pub(crate) engine: Engine,
    /// What is written.
    pub(crate) store: Store,
    /// What goes on.
    pub(crate) outbox: Outbox,
    /// Images on their way here: bytes that are there, and bytes in all.
    pub(crate) fetching: BTreeMap<Id<Lease>, (u64, u64)>,
    /// Whether guests are well: those here, as they were seen, and those elsewhere, as their hosts say.
    pub(crate) health: BTreeMap<Id<Lease>, Health>,
    /// Hosts that do not answer, since when.
    pub(crate) silent: BTreeMap<PeerKey, Timestamp>,
    /// Where we are reached.
    pub(crate) addresses: Vec<String>,
    /// What the machine last told of its owner.
    pub(crate) seen: Seen,
    /// What was wanted of this host of late.
    pub(crate) demands: Demands,
    /// When this node started.
    pub(crate) started: Timestamp,
    /// Where a snapshot was taken last.
    pub(crate) snapshot: u64,
    pub(crate) events: broadcast::Sender<Event>,
}

impl Core {
    /// Now, by the node's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The state and the rules.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The record and its tables.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the machine last told of its owner, and which of its sources did.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// What was wanted of this host since its start.
    pub fn demands(&self) -> &Demands {
        &self.demands
    }

    /// When this node started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// How far the image of a lease has come: bytes that are there, and bytes in all.
    pub fn fetching(&self, lease: Id<Lease>) -> Option<(u64, u64)> {
        self.fetching.get(&lease).copied()
    }

    /// Whether the guest of a lease is well, where that is looked after.
    pub fn health(&self, lease: Id<Lease>) -> Option<&Health> {
        self.health.get(&lease)
    }

    /// The images of leases that are not over.
    pub fn images_in_use(&self) -> BTreeSet<Digest> {
        let leases = self.engine.state().lease.all().filter(|lease| !lease.phase.is_ended());
        leases.map(|lease| digest(&lease.contract.workload.image)).collect()
    }

    /// Decides, writes down, makes true, tells. Nothing of it happens when it cannot be written down.
    pub(crate) fn decide(&mut self, input: Input) -> Result<Reply, Error> {
        let now = self.now();
        let step = self.engine.decide(now, input)?;
        if step.records.is_empty() {
            return Ok(step.reply);
        }
        let entries =
            tokio::task::block_in_place(|| self.store.append(now, &step.records)).map_err(Fault::from)?;
        for entry in &entries {
            self.engine.apply(entry);
            if let Some(event) = Event::of(&entry.record) {
                // Nobody may be listening.
                let _ = self.events.send(event);
            }
        }
        let last = entries.last().map_or(0, |entry| entry.seq);
        self.keep_snapshot(last);
        Ok(step.reply)
    }

    fn keep_snapshot(&mut self, seq: u64) {
        if seq >= self.snapshot + SNAPSHOT_EVERY {
            self.snapshot_now();
        }
    }

    /// A shorter way to start from: taken now and then, at a clean stop, and after a start that had a long way. Without it
    /// the start is slower, and nothing else.
    pub(crate) fn snapshot_now(&mut self) {
        let seq = self.store.head();
        if seq == self.snapshot {
            return;
        }
        let state = match postcard::to_stdvec(self.engine.state()) {
            Ok(state) => state,
            Err(error) => return tracing::warn!(%error, "no snapshot: the state has no bytes"),
        };
        match tokio::task::block_in_place(|| self.store.snapshot(seq, SNAPSHOT_VERSION, &state)) {
            Ok(()) => self.snapshot = seq,
            Err(error) => tracing::warn!(%error, "no snapshot was kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SNAPSHOT_VERSION;
    use engine::State;
    use std::fs;
    use std::path::Path;

    /// A snapshot of this version that was kept when the version was new. Bytes that mean something else by now would
    /// be read as a wrong state, and not as an error.
    #[test]
    fn the_form_of_a_state_has_the_version_of_its_snapshots() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
        let path = folder.join(format!("state-{SNAPSHOT_VERSION}.postcard"));
        if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, postcard::to_stdvec(&lived()).unwrap()).unwrap();
        }
        let form = "the form of engine::State has changed: raise SNAPSHOT_VERSION, delete the old file in tests/snapshots, and \
                    run this test once with GOLDEN=write";
        let kept = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: {form}", path.display()));
        let state: State = postcard::from_bytes(&kept).unwrap_or_else(|error| panic!("{error}: {form}"));
        assert!(postcard::to_stdvec(&state).unwrap() == kept, "{form}");
        assert!(state.lease.all().count() > 0, "a state in which something has happened");
    }

    /// What a host knows that lends, has a guest, and has had another.
    fn lived() -> State {
        let mut world = crate::world::World::of(1);
        let lease = world.running();
        world.ended(lease);
        world.running();
        let entries = std::mem::take(&mut world.nodes[crate::world::HOST].pretend_store);
        let mut state = State::default();
        entries.iter().for_each(|entry| state.apply(entry));
        state
    }
}
