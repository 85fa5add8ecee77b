//! What is promised, and what is free: promised never exceeds what the owner lends.

use crate::lease;
use model::{Resources, Share, Timestamp};

/// What quotes hold, leases use, and volumes take that outlived theirs, in all.
pub fn promised(leases: &lease::State, now: Timestamp) -> Resources {
    let held = leases.quotes().map(|held| held.ask.terms.resources);
    let used = leases.hosted().map(|lease| lease.contract.resources);
    let kept = Resources { disk: leases.kept_room(now), ..Resources::default() };
    held.chain(used).chain([kept]).fold(Resources::default(), |sum, next| sum.plus(&next).unwrap_or(sum))
}

/// What can still be promised. Nothing when the owner lends nothing, or less than is promised already.
pub fn free(share: Option<&Share>, leases: &lease::State, now: Timestamp) -> Resources {
    let Some(share) = share else { return Resources::default() };
    let (lent, promised) = (share.resources, promised(leases, now));
    // Each resource by itself: a machine without memory left may still have disk, and the refusal should say so.
    Resources {
        cpu_millis: lent.cpu_millis.saturating_sub(promised.cpu_millis),
        memory: lent.memory.saturating_sub(promised.memory),
        disk: lent.disk.saturating_sub(promised.disk),
    }
}
