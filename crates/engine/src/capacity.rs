//! What is promised, and what is free: promised never exceeds what the owner lends.

use crate::lease;
use model::{Resources, Share};

/// What quotes hold and leases use, in all.
pub fn promised(leases: &lease::State) -> Resources {
    let held = leases.quotes().map(|held| held.ask.terms.resources);
    let used = leases.hosted().map(|lease| lease.contract.resources);
    held.chain(used).fold(Resources::default(), |sum, next| sum.plus(&next).unwrap_or(sum))
}

/// What can still be promised. Nothing when the owner lends nothing, or less than is promised already.
pub fn free(share: Option<&Share>, leases: &lease::State) -> Resources {
    let Some(share) = share else { return Resources::default() };
    let (lent, promised) = (share.resources, promised(leases));
    // Each resource by itself: a machine without memory left may still have disk, and the refusal should say so.
    Resources {
        cpu_millis: lent.cpu_millis.saturating_sub(promised.cpu_millis),
        memory: lent.memory.saturating_sub(promised.memory),
        disk: lent.disk.saturating_sub(promised.disk),
    }
}
