//! What should be going on for each ask and lease, as it follows from where they stand.

use super::{Lease, Outcome, State, choice, deal, run};
use crate::effect::Start;
use crate::{Effect, Topic};
use model::message::Request;
use model::{Phase, Share, Side, Span, Terms, Timestamp};

/// How long after the end the other party is still told what it has not acknowledged.
const TOLD_FOR: Span = Span::days(7);

/// How long after the end the tenant can still read what the guest has printed. Nothing else is left of it.
const READ_FOR: Span = Span::hours(1);

/// How often a host looks whether what made it freeze a guest is over.
const FROZEN_LOOKS: Span = Span::seconds(10);

/// How often a tenant asks its host where the lease stands.
const ASKED_EVERY: Span = Span::seconds(30);

/// How long the guest goes on when the node above its supervisor does not: an update or a crash of ours ends no lease.
const ALONE: Span = Span::minutes(5);

impl State {
    /// All that should be going on. `share` is what is lent now.
    pub fn wanted(&self, share: Option<&Share>, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (id, asking) in &self.asks {
            match &asking.outcome {
                Outcome::Waiting => {
                    if let Some(to) = host_of(&asking.offer) {
                        effects.push(Effect::Send {
                            to,
                            topic: Topic::Ask(*id),
                            request: Request::Ask(asking.ask.unverified()),
                        });
                    }
                }
                Outcome::Accepted { lease, peer } => {
                    effects.push(Effect::Send {
                        to: *peer,
                        topic: Topic::Lease(lease.id()),
                        request: Request::Lease(lease.unverified()),
                    });
                }
                Outcome::Refused { .. } if choice::is_to_be_released(asking, now) => {
                    effects.extend(host_of(&asking.offer).map(|to| Effect::Send {
                        to,
                        topic: Topic::Release(*id, choice::telling(asking, now)),
                        request: Request::Release { ask: *id },
                    }));
                }
                Outcome::Quoted { .. } | Outcome::Agreed(_) | Outcome::Refused { .. } => {}
            }
        }
        for lease in self.all() {
            match lease.side {
                Side::Host => host(lease, share, now, &mut effects),
                Side::Tenant => tenant(lease, now, &mut effects),
            }
            both(lease, now, &mut effects);
        }
        effects
    }

    /// When time alone next brings something.
    pub fn next_time(&self, now: Timestamp) -> Timestamp {
        let leases = self.all().filter(|lease| !lease.phase.is_ended()).map(|lease| next(lease, now));
        leases.chain(deal::next_expiry(self, now)).min().unwrap_or(now + Span::hours(1)).max(now)
    }
}

fn host_of(offer: &model::Signed<model::Offer>) -> Option<model::PeerKey> {
    // The book has verified it before it came here.
    model::Person::proven(&offer.certificate, offer.signer(), offer.issued).ok().map(|host| host.peer)
}

fn host(lease: &Lease, share: Option<&Share>, now: Timestamp, effects: &mut Vec<Effect>) {
    let id = lease.id();
    match lease.phase {
        Phase::Agreed => {}
        Phase::Fetching => effects.push(Effect::Fetch {
            lease: id,
            workload: lease.contract.workload.clone(),
            tenant: lease.peer,
        }),
        Phase::Starting => {
            let (workload, resources) = (lease.contract.workload.clone(), lease.contract.resources);
            let Terms { network_rate, io_rate, .. } = lease.contract.rules;
            // One that is lent no longer is missing here, and the guest does not start.
            let lent = share.into_iter().flat_map(|share| &share.devices);
            let devices = lent.filter(|lent| workload.devices.contains(&lent.name)).cloned().collect();
            effects.push(Effect::Start(Start {
                lease: id,
                workload,
                resources,
                network_rate,
                io_rate,
                devices,
                tenant: lease.peer,
                grace: ALONE,
            }));
        }
        Phase::Running | Phase::Throttled { .. } => {
            if lease.slowed {
                effects.push(Effect::Pace(id, lease.generation, pace(lease)));
            }
            if lease.froze {
                effects.push(Effect::Thaw(id, lease.generation));
            }
            if run::next_tick(lease) <= now {
                effects.push(Effect::Meter(id, lease.tick.as_ref().map_or(1, |tick| tick.number + 1)));
            }
        }
        Phase::Frozen(_) => effects.push(Effect::Freeze(id, lease.generation)),
        Phase::Closing(_) => effects.push(Effect::Stop(id)),
        Phase::Ended(_) if lease.moved + READ_FOR <= now => effects.push(Effect::Remove(id)),
        Phase::Ended(_) => {}
    }
    if !is_told(lease, now) {
        return;
    }
    let unsigned = lease
        .tick
        .as_ref()
        .filter(|tick| lease.receipt.as_ref().is_none_or(|receipt| receipt.number < tick.number));
    if let Some(tick) = unsigned {
        effects.push(Effect::Send {
            to: lease.peer,
            topic: Topic::Tick(id, tick.id()),
            request: Request::Tick(tick.unverified()),
        });
    }
    let topic = Topic::Standing(id, lease.generation);
    effects.push(Effect::Send { to: lease.peer, topic, request: Request::Standing(run::standing(lease)) });
}

/// Thousandths of a core that the guest gets now.
fn pace(lease: &Lease) -> u32 {
    let promised = lease.contract.resources.cpu_millis;
    match lease.phase {
        Phase::Throttled { percent, .. } => {
            u32::try_from(u64::from(promised) * u64::from(percent) / 100).unwrap_or(promised)
        }
        Phase::Agreed
        | Phase::Fetching
        | Phase::Starting
        | Phase::Running
        | Phase::Frozen(_)
        | Phase::Closing(_)
        | Phase::Ended(_) => promised,
    }
}

fn tenant(lease: &Lease, now: Timestamp, effects: &mut Vec<Effect>) {
    let id = lease.id();
    if !lease.phase.is_ended() {
        let times = now.0.div_euclid(i64::try_from(ASKED_EVERY.0).unwrap_or(1));
        effects.push(Effect::Send {
            to: lease.peer,
            topic: Topic::Where(id, times),
            request: Request::Where { lease: id },
        });
    }
    // Even after it has expired or the lease has ended: the host may have signed in time, and its answer been lost.
    if let Some(renewal) = lease.renewing.as_ref().filter(|_| is_told(lease, now)) {
        let topic = Topic::Renewal(id, renewal.id());
        effects.push(Effect::Send { to: lease.peer, topic, request: Request::Renew(renewal.unverified()) });
    }
}

fn both(lease: &Lease, now: Timestamp, effects: &mut Vec<Effect>) {
    if let Some(end) = lease.ends.get(&lease.side).filter(|_| is_told(lease, now)) {
        effects.push(Effect::Send {
            to: lease.peer,
            topic: Topic::End(lease.id()),
            request: Request::End(end.unverified()),
        });
    }
    if let Some(rating) = lease.ratings.get(&lease.side).filter(|rating| rating.issued + TOLD_FOR > now) {
        let topic = Topic::Rating(lease.id(), rating.id());
        effects.push(Effect::Send { to: lease.peer, topic, request: Request::Rate(rating.unverified()) });
    }
}

fn is_told(lease: &Lease, now: Timestamp) -> bool {
    lease.ended().is_none_or(|ended| ended + TOLD_FOR > now)
}

/// When time alone next brings something for a live lease.
fn next(lease: &Lease, now: Timestamp) -> Timestamp {
    let rules = &lease.contract.rules;
    let just_after = |at: Timestamp| at + Span(1);
    let timers = match (lease.side, lease.phase) {
        (Side::Host, Phase::Agreed) => [Some(now), None, None],
        (Side::Host, Phase::Fetching) => [Some(just_after(lease.moved + rules.fetch_within)), None, None],
        (Side::Host, Phase::Starting) => [Some(just_after(lease.moved + rules.start_within)), None, None],
        (Side::Host, Phase::Running | Phase::Throttled { .. }) => {
            let unsigned =
                lease.unsigned_since.map(|since| just_after(since + rules.tick + rules.sign_within));
            [lease.over(), Some(run::next_tick(lease)), unsigned]
        }
        (Side::Host, Phase::Frozen(_)) => {
            let notice = lease.held.zip(rules.notice).map(|(held, notice)| just_after(held + notice));
            // Another lease of the person may have ended, and left room within the credit.
            let looks = now.since(lease.moved).0 / FROZEN_LOOKS.0 + 1;
            let look = lease.moved + Span(looks.saturating_mul(FROZEN_LOOKS.0));
            let next = notice.filter(|at| *at > now).map_or(look, |notice| notice.min(look));
            [lease.over(), Some(just_after(lease.moved + rules.grace)), Some(next)]
        }
        (Side::Host, Phase::Closing(_)) | (_, Phase::Ended(_)) => [None, None, None],
        (Side::Tenant, _) => [Some(now + ASKED_EVERY), lease.over(), None],
    };
    let warned = run::warned_at(lease).filter(|_| lease.warned != lease.over());
    timers.into_iter().chain([warned]).flatten().filter(|at| *at > now).min().unwrap_or(now + ASKED_EVERY)
}
