//! Volumes of leases: which are in use, which are kept, for whom and until when.

use super::{Lease, State};
use model::{PersonId, Side, Span, Timestamp, Volume};
use std::collections::BTreeMap;

/// How long a volume stays at most whose keeping the tenant has not signed for.
const UNSIGNED: Span = Span::days(1);

/// A host knows a volume by whose it is and what they call it.
pub type VolumeKey = (PersonId, String);

impl State {
    /// As host: the first of these volumes that another guest of this person has at this moment.
    pub fn volume_in_use(&self, tenant: PersonId, volumes: &[Volume]) -> Option<String> {
        let mut used = self
            .hosted()
            .filter(|lease| lease.contract.tenant.person == tenant)
            .flat_map(|lease| &lease.contract.workload.volumes)
            .chain(
                self.quotes()
                    .filter(|held| held.tenant.person == tenant)
                    .flat_map(|held| &held.ask.terms.workload.volumes),
            );
        used.find(|used| volumes.iter().any(|volume| volume.name == used.name)).map(|used| used.name.clone())
    }

    /// As host: the volumes that are to be here, and until when; none: as long as a lease goes on.
    pub fn volumes(&self, now: Timestamp) -> BTreeMap<VolumeKey, Option<Timestamp>> {
        let mut volumes: BTreeMap<VolumeKey, Option<Timestamp>> = BTreeMap::new();
        for lease in self.all().filter(|lease| lease.side == Side::Host) {
            for volume in &lease.contract.workload.volumes {
                let key = (lease.contract.tenant.person, volume.name.clone());
                let until = kept_until(lease, volume);
                if until.is_some_and(|until| until <= now) {
                    continue;
                }
                let known = volumes.entry(key).or_insert(until);
                *known = known.zip(until).map(|(one, other)| one.max(other));
            }
        }
        volumes
    }

    /// As host: bytes of disk that these volumes of this person take already, and that the next lease takes over with them.
    pub fn kept_room_of(&self, tenant: PersonId, volumes: &[Volume], now: Timestamp) -> u64 {
        let ended =
            self.all().filter(|lease| lease.side == Side::Host && lease.contract.tenant.person == tenant);
        let mut rooms: BTreeMap<&str, u64> = BTreeMap::new();
        for lease in ended {
            for volume in &lease.contract.workload.volumes {
                let kept = kept_until(lease, volume).is_some_and(|until| until > now);
                if kept && volumes.iter().any(|wanted| wanted.name == volume.name) {
                    let room = rooms.entry(&volume.name).or_default();
                    *room = (*room).max(volume.room());
                }
            }
        }
        rooms.values().fold(0, |sum, room| sum.saturating_add(*room))
    }

    /// Bytes of disk that volumes take which have outlived their leases.
    pub fn kept_room(&self, now: Timestamp) -> u64 {
        let mut kept: BTreeMap<VolumeKey, u64> = BTreeMap::new();
        let mut used = Vec::new();
        for lease in self.all().filter(|lease| lease.side == Side::Host) {
            for volume in &lease.contract.workload.volumes {
                let key = (lease.contract.tenant.person, volume.name.clone());
                match kept_until(lease, volume) {
                    None => used.push(key),
                    Some(until) if until > now => {
                        let room = kept.entry(key).or_default();
                        *room = (*room).max(volume.room());
                    }
                    Some(_) => {}
                }
            }
        }
        for held in self.quotes() {
            let volumes = &held.ask.terms.workload.volumes;
            used.extend(volumes.iter().map(|volume| (held.tenant.person, volume.name.clone())));
        }
        // What a lease has taken up again, or is about to, is counted with that lease.
        used.iter().for_each(|key| {
            kept.remove(key);
        });
        kept.values().fold(0, |sum, room| sum.saturating_add(*room))
    }
}

/// Until when a volume stays after its lease; none while that goes on.
pub fn kept_until(lease: &Lease, volume: &Volume) -> Option<Timestamp> {
    let ended = lease.ended()?;
    let owed = lease.contract.keeping.is_some_and(|keeping| keeping.micros > 0);
    let signed = lease.receipt.as_ref().is_some_and(|receipt| receipt.last);
    let keep = if owed && !signed { volume.keep.min(UNSIGNED) } else { volume.keep };
    Some(ended + keep)
}
