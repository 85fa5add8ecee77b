//! A lease while it runs: phases, ticks and receipts, the end, the judgement after.

use super::{Lease, Refusal, State, deal, exposure};
use crate::input::{Machine, Meter};
use crate::owner::Stance;
use crate::{Engine, Identity, Step, ledger};
use model::message::{Response, Standing};
use model::record::Record;
use model::{
    Amount, End, EndReason, FreezeReason, Id, Key, PeerKey, Phase, Rating, Receipt, Side, Signed, Span, Tick,
    Timestamp, Unverified, Usage, plain,
};

type LeaseId = Id<model::Lease>;

/// How much more than its own measure a tenant signs: clocks and schedulers are not perfect.
const ALLOWANCE_PER_CENT: u64 = 2;

/// And besides: the time that the news of the start may take.
const ALLOWANCE: Span = Span::seconds(2);

/// A record that a lease moves.
pub fn moved(lease: &Lease, phase: Phase, detail: &str) -> Record {
    Record::Moved { lease: lease.id(), phase, detail: plain(detail, 400) }
}

impl State {
    /// What time alone brings.
    pub fn time(&self, identity: &Identity, now: Timestamp, stance: Stance) -> Vec<Record> {
        let mut records = deal::expired(identity, self, now);
        for lease in self.all() {
            match lease.side {
                Side::Host => records.extend(host_time(self, lease, now, stance)),
                Side::Tenant => records.extend(tenant_time(identity, lease, now)),
            }
            records.extend(warning(lease, now));
        }
        records
    }

    /// As tenant: a host that is out of reach for longer than the lease allows has left it.
    pub fn unreachable(
        &self,
        identity: &Identity,
        now: Timestamp,
        id: LeaseId,
        since: Timestamp,
    ) -> Vec<Record> {
        let Some(lease) = self.get(id).filter(|lease| lease.side == Side::Tenant && !lease.phase.is_ended())
        else {
            return Vec::new();
        };
        if now.since(since) <= patience(lease) {
            return Vec::new();
        }
        ending(&identity.key, lease, unsaid(lease, now, EndReason::HostGone), now, "")
    }
}

/// How long the other may be silent: until the host would have frozen, and the grace after.
fn patience(lease: &Lease) -> Span {
    let rules = &lease.contract.rules;
    rules.tick + rules.tick + rules.sign_within + rules.grace
}

/// When the people on both sides are told that a lease is nearly over: a tenth of its term before, and at most ten
/// minutes. None while it does not run.
pub fn warned_at(lease: &Lease) -> Option<Timestamp> {
    let ahead = Span(lease.term.0 / 10).min(Span::minutes(10));
    lease.over().filter(|_| lease.phase.is_live()).map(|over| over - ahead)
}

fn warning(lease: &Lease, now: Timestamp) -> Option<Record> {
    let over = lease.over()?;
    let due = warned_at(lease)? <= now && over > now && lease.warned != Some(over);
    due.then(|| Record::Warned { lease: lease.id(), over })
}

/// The end that a lease comes to if nothing changes, and when, where it will count against this node.
pub fn blame_ahead(lease: &Lease) -> Option<(Timestamp, EndReason)> {
    let rules = &lease.contract.rules;
    let (at, reason) = match lease.phase {
        Phase::Frozen(FreezeReason::Owner(_)) => (lease.held? + rules.notice?, EndReason::OwnerStopped),
        Phase::Frozen(reason) => (lease.moved + rules.grace, blame(reason)?),
        Phase::Agreed
        | Phase::Fetching
        | Phase::Starting
        | Phase::Running
        | Phase::Throttled { .. }
        | Phase::Closing(_)
        | Phase::Ended(_) => return None,
    };
    let comes_first = lease.over().is_none_or(|over| at < over);
    (comes_first && reason.against() == Some(lease.side)).then_some((at, reason))
}

fn host_time(state: &State, lease: &Lease, now: Timestamp, stance: Stance) -> Option<Record> {
    let rules = &lease.contract.rules;
    let here = now.since(lease.moved);
    let term_over = lease.over().is_some_and(|over| over <= now);
    match lease.phase {
        Phase::Agreed => Some(moved(lease, Phase::Fetching, "")),
        Phase::Fetching if here > rules.fetch_within => {
            Some(moved(lease, Phase::Closing(EndReason::FetchFailed), &too_long(lease)))
        }
        Phase::Starting if here > rules.start_within => {
            Some(moved(lease, Phase::Closing(EndReason::StartFailed), "it took too long"))
        }
        Phase::Running | Phase::Throttled { .. } | Phase::Frozen(_) if term_over => {
            Some(moved(lease, Phase::Closing(EndReason::TermOver), ""))
        }
        Phase::Frozen(FreezeReason::Owner(_)) if notice_is_over(lease, now) => {
            Some(moved(lease, Phase::Closing(EndReason::OwnerStopped), "the owner needed it for longer"))
        }
        Phase::Frozen(reason)
            if here > rules.grace && is_tenant_s(lease.phase) && due_freeze(state, lease, now).is_some() =>
        {
            blame(reason).map(|reason| moved(lease, Phase::Closing(reason), ""))
        }
        Phase::Running | Phase::Throttled { .. } | Phase::Frozen(_) => {
            let due = due_phase(state, lease, now, stance);
            is_news(lease.phase, due).then(|| moved(lease, due, ""))
        }
        Phase::Fetching | Phase::Starting | Phase::Closing(_) | Phase::Ended(_) => None,
    }
}

/// With what stood in the way at last.
fn too_long(lease: &Lease) -> String {
    match lease.detail.as_str() {
        "" => "it took too long".to_owned(),
        last => format!("it took too long: {last}"),
    }
}

/// Where a guest that was started should stand: what the tenant owes comes first where it already stands still for it,
/// then the owner.
fn due_phase(state: &State, lease: &Lease, now: Timestamp, stance: Stance) -> Phase {
    let due = due_freeze(state, lease, now);
    match (stance, due) {
        (_, Some(_)) if is_tenant_s(lease.phase) => lease.phase,
        (Stance::Freeze(reason), _) => Phase::Frozen(FreezeReason::Owner(reason)),
        (Stance::Throttle(..) | Stance::Lend, Some(reason)) => Phase::Frozen(reason),
        (Stance::Throttle(reason, percent), None) => Phase::Throttled { reason, percent },
        (Stance::Lend, None) => Phase::Running,
    }
}

/// Whether a phase says something else than another: new facts of the same reason are no news.
fn is_news(before: Phase, after: Phase) -> bool {
    match (before.owner(), after.owner()) {
        (Some(one), Some(other)) => {
            one.kind() != other.kind()
                || one.until() != other.until()
                || std::mem::discriminant(&before) != std::mem::discriminant(&after)
        }
        (Some(_), None) | (None, Some(_)) | (None, None) => before != after,
    }
}

/// Whether a guest stands still for what its tenant has not done.
fn is_tenant_s(phase: Phase) -> bool {
    matches!(phase, Phase::Frozen(FreezeReason::Unsigned | FreezeReason::CreditUsedUp))
}

/// Whether the owner has held the guest for longer than the lease allows at once.
fn notice_is_over(lease: &Lease, now: Timestamp) -> bool {
    match (lease.held, lease.contract.rules.notice) {
        (Some(held), Some(notice)) => now.since(held) > notice,
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}

/// What the tenant of a lease owes in all open leases, in the currency of this one.
fn debt(state: &State, lease: &Lease) -> i64 {
    let (person, currency) = (lease.contract.tenant.person, lease.contract.rate.hourly.currency);
    exposure::open_debt(state, person, currency)
}

/// Frozen when unsigned for N + G, or when the person owes more than the credit.
fn due_freeze(state: &State, lease: &Lease, now: Timestamp) -> Option<FreezeReason> {
    let rules = &lease.contract.rules;
    if lease.unsigned_since.is_some_and(|since| now.since(since) > rules.tick + rules.sign_within) {
        return Some(FreezeReason::Unsigned);
    }
    (debt(state, lease) > rules.credit).then_some(FreezeReason::CreditUsedUp)
}

fn blame(reason: FreezeReason) -> Option<EndReason> {
    match reason {
        FreezeReason::Unsigned => Some(EndReason::Unsigned),
        FreezeReason::CreditUsedUp => Some(EndReason::CreditUsedUp),
        // Nobody's fault, and free: the notice in the lease, or its term, ends it.
        FreezeReason::Owner(_) => None,
    }
}

fn tenant_time(identity: &Identity, lease: &Lease, now: Timestamp) -> Vec<Record> {
    let rules = &lease.contract.rules;
    let here = now.since(lease.moved);
    // A host that answers, but never moves on, holds nobody for ever.
    let stuck = match lease.phase {
        Phase::Agreed | Phase::Fetching => here > rules.fetch_within + patience(lease),
        Phase::Starting => here > rules.start_within + patience(lease),
        Phase::Closing(_) => here > patience(lease) + Span::minutes(1),
        Phase::Running | Phase::Throttled { .. } | Phase::Frozen(_) => {
            lease.over().is_some_and(|over| over + patience(lease) + Span::minutes(1) <= now)
        }
        Phase::Ended(_) => false,
    };
    if !stuck {
        return Vec::new();
    }
    let likely = if lease.phase.is_live() { EndReason::TermOver } else { EndReason::HostGone };
    ending(&identity.key, lease, unsaid(lease, now, likely), now, "the host did not say how it ended")
}

/// Why a lease has ended whose host says no more. When we wanted to stop anyway, nobody is to blame.
fn unsaid(lease: &Lease, now: Timestamp, likely: EndReason) -> EndReason {
    match (lease.phase, lease.ends.get(&Side::Host)) {
        (Phase::Closing(reason), _) => reason,
        (_, Some(word)) => believed(lease, word.reason, now),
        (_, None) => likely,
    }
}

/// As host: what the machine tells.
pub fn seen(engine: &Engine, now: Timestamp, seen: Machine) -> Vec<Record> {
    let (identity, state) = (&engine.identity, &engine.state.lease);
    let id = match &seen {
        Machine::Fetched(lease) | Machine::Started(lease) => *lease,
        Machine::Hindered { lease, .. }
        | Machine::Failed { lease, .. }
        | Machine::Metered { lease, .. }
        | Machine::Exited { lease, .. }
        | Machine::Gone { lease, .. } => *lease,
    };
    let Some(lease) = state.get(id).filter(|lease| lease.side == Side::Host) else { return Vec::new() };
    match (seen, lease.phase) {
        (Machine::Fetched(_), Phase::Fetching) => vec![moved(lease, Phase::Starting, "")],
        (Machine::Started(_), Phase::Starting) => {
            // It has begun, if only to stand still at once.
            let mut records = vec![moved(lease, Phase::Running, "")];
            let due = due_phase(&engine.state.lease, lease, now, engine.state.owner.stance());
            records.extend((due != Phase::Running).then(|| moved(lease, due, "")));
            records
        }
        (Machine::Hindered { detail, .. }, Phase::Fetching) if detail != lease.detail => {
            vec![moved(lease, Phase::Fetching, &detail)]
        }
        (Machine::Failed { workload, detail, .. }, Phase::Fetching) => {
            let reason = if workload { EndReason::BadWorkload } else { EndReason::FetchFailed };
            vec![moved(lease, Phase::Closing(reason), &detail)]
        }
        (Machine::Failed { workload, detail, .. }, Phase::Starting) => {
            let reason = if workload { EndReason::BadWorkload } else { EndReason::StartFailed };
            vec![moved(lease, Phase::Closing(reason), &detail)]
        }
        // A measure that was taken twice makes no second tick.
        (Machine::Metered { meter, .. }, Phase::Running | Phase::Throttled { .. })
            if next_tick(lease) <= now =>
        {
            tick(identity, lease, now, now, meter, false)
        }
        (
            Machine::Exited { code, at, meter, .. },
            Phase::Starting | Phase::Running | Phase::Throttled { .. } | Phase::Frozen(_) | Phase::Closing(_),
        ) => {
            let reason = match lease.phase {
                Phase::Closing(reason) => reason,
                Phase::Agreed
                | Phase::Fetching
                | Phase::Starting
                | Phase::Running
                | Phase::Throttled { .. }
                | Phase::Frozen(_)
                | Phase::Ended(_) => EndReason::Exited { code },
            };
            let mut records = tick(identity, lease, now, at.min(now), meter, true);
            records.extend(ending_with(&identity.key, lease, reason, Some(code), now, ""));
            records
        }
        (Machine::Gone { detail, .. }, Phase::Running | Phase::Throttled { .. } | Phase::Frozen(_)) => {
            last_word(identity, lease, now, EndReason::GuestLost, &detail)
        }
        (Machine::Gone { .. }, Phase::Closing(reason)) => last_word(identity, lease, now, reason, ""),
        // Old news of a lease that has moved on.
        (
            Machine::Fetched(_)
            | Machine::Started(_)
            | Machine::Hindered { .. }
            | Machine::Failed { .. }
            | Machine::Metered { .. }
            | Machine::Exited { .. }
            | Machine::Gone { .. },
            _,
        ) => Vec::new(),
    }
}

/// When the next running total is due.
pub(super) fn next_tick(lease: &Lease) -> Timestamp {
    let last = lease.tick.as_ref().map(|tick| tick.issued).or(lease.started).unwrap_or(lease.moved);
    last + lease.contract.rules.tick
}

/// The end of a guest that can no longer be measured: what the last tick claimed stands, and not more.
fn last_word(
    identity: &Identity,
    lease: &Lease,
    now: Timestamp,
    reason: EndReason,
    detail: &str,
) -> Vec<Record> {
    let mut records = match &lease.tick {
        Some(before) => sign_tick_words(
            &identity.key,
            Tick { number: before.number + 1, last: true, issued: now, ..(**before).clone() },
        ),
        None => Vec::new(),
    };
    records.extend(ending(&identity.key, lease, reason, now, detail));
    records
}

/// As host: the running total as of `at`.
fn tick(
    identity: &Identity,
    lease: &Lease,
    now: Timestamp,
    at: Timestamp,
    meter: Meter,
    last: bool,
) -> Vec<Record> {
    let Some(started) = lease.started else { return Vec::new() };
    // Stopping takes its time: what the guest uses of it after its term is nobody's debt.
    let elapsed = at.since(started).min(lease.term);
    let frozen = meter.frozen.min(elapsed);
    let usage = Usage {
        elapsed,
        frozen,
        throttled: lease.throttled_until(at).min(elapsed.less(frozen)),
        cpu: meter.cpu,
        memory_peak: meter.memory_peak,
        traffic: lease.tick.as_ref().map_or(meter.traffic, |before| meter.traffic.max(before.usage.traffic)),
    };
    // A total never shrinks, whatever a clock or a meter does.
    let usage = match &lease.tick {
        Some(before) if usage.billed() < before.usage.billed() => before.usage,
        Some(_) | None => usage,
    };
    let Ok(amount) =
        due(lease, &usage).and_then(|amount| if last { with_keeping(lease, amount) } else { Ok(amount) })
    else {
        return Vec::new();
    };
    let tick = Tick {
        lease: lease.id(),
        host: lease.contract.host.device,
        tenant: lease.contract.tenant.device,
        number: lease.tick.as_ref().map_or(1, |before| before.number + 1),
        usage,
        amount,
        last,
        issued: now,
    };
    sign_tick_words(&identity.key, tick)
}

fn sign_tick_words(key: &Key, tick: Tick) -> Vec<Record> {
    key.sign(&tick).map(|tick| Record::Ticked { tick }).into_iter().collect()
}

/// What a usage comes to under a lease.
pub fn due(lease: &Lease, usage: &Usage) -> Result<Amount, model::Arithmetic> {
    lease.contract.rate.over(usage.billed())
}

/// The last total has the price of keeping the volumes in it.
fn with_keeping(lease: &Lease, amount: Amount) -> Result<Amount, model::Arithmetic> {
    lease.contract.keeping.map_or(Ok(amount), |keeping| amount.plus(keeping))
}

/// Ended, with this side's signed word for it.
fn ending(key: &Key, lease: &Lease, reason: EndReason, now: Timestamp, detail: &str) -> Vec<Record> {
    ending_with(key, lease, reason, None, now, detail)
}

/// The same, where it is known with which code the guest's program ended.
fn ending_with(
    key: &Key,
    lease: &Lease,
    reason: EndReason,
    code: Option<i32>,
    now: Timestamp,
    detail: &str,
) -> Vec<Record> {
    let mut records = Vec::new();
    if !lease.ends.contains_key(&lease.side) {
        // A reason that has it says it once.
        let code = code.filter(|_| !matches!(reason, EndReason::Exited { .. }));
        let end = End { lease: lease.id(), side: lease.side, reason, code, issued: now };
        records.extend(key.sign(&end).map(|end| Record::Ended { end }));
    }
    records.push(moved(lease, Phase::Ended(reason), detail));
    records
}

/// As tenant: measures with our own clock, and signs what is right.
///
/// # Errors
/// Why the tick is not signed. The host will freeze the guest for want of a signature, and nothing is owed beyond the last.
pub fn sign_tick(
    engine: &Engine,
    now: Timestamp,
    from: PeerKey,
    tick: &Unverified<Tick>,
) -> Result<Step, crate::Refusal> {
    let identity = &engine.identity;
    let tick = tick.verify(now)?;
    let lease = between(&engine.state.lease, from, tick.lease, Side::Tenant)?;
    if tick.host != lease.contract.host.device
        || tick.tenant != lease.contract.tenant.device
        || tick.signer() != tick.host
    {
        return Err(Refusal::NotTheSender.into());
    }
    if let Some(known) = &lease.receipt {
        if known.id() == tick.id() {
            return Ok(Step::answer(Response::Tick(known.second_signed().unverified())));
        }
        if known.number == tick.number {
            return Ok(equivocated(engine, lease, known.first_signed(), &tick));
        }
        let shrinks = tick.amount.micros < known.amount.micros || tick.usage.billed() < known.usage.billed();
        if tick.number < known.number || known.last || shrinks {
            return Err(Refusal::OldTick { number: tick.number, signed: known.number }.into());
        }
    }
    accept_tick(lease, now, &tick)?;
    let receipt = identity.key.countersign(&tick)?;
    let answer = Response::Tick(receipt.second_signed().unverified());
    let posted =
        ledger::book(&engine.state.ledger, identity, &lease.contract, lease.receipt.as_ref(), &receipt)?;
    let mut records = vec![Record::Ticked { tick }, Record::Receipted { receipt }];
    records.extend(posted);
    Ok(Step::and_answer(records, answer))
}

fn accept_tick(lease: &Lease, now: Timestamp, tick: &Tick) -> Result<(), Refusal> {
    let until = lease.ended().unwrap_or(now).max(lease.idle_until);
    let measured = until.since(lease.idle_until);
    let allowed = measured + Span(measured.0 * ALLOWANCE_PER_CENT / 100) + ALLOWANCE;
    // An ended lease may be told late; what it claims then is bounded by its term all the same.
    let allowed = allowed.min(lease.term);
    // A total for each N, the last one, and one for bad luck: more would only fill our record.
    let counted = Span(lease.contract.rules.tick.0.saturating_mul(u64::from(tick.number.saturating_sub(2))));
    let claimed = tick.usage.billed().max(counted);
    if claimed > allowed {
        return Err(Refusal::Overclaimed { claimed, measured: allowed });
    }
    let due = due(lease, &tick.usage)?;
    // A host whose guest was lost may leave the price of keeping out.
    if tick.amount == due || (tick.last && tick.amount == with_keeping(lease, due)?) {
        Ok(())
    } else {
        Err(Refusal::WrongAmount { claimed: tick.amount, due })
    }
}

/// Two totals with one number: both are kept as a proof, and the second is refused.
fn equivocated(engine: &Engine, lease: &Lease, one: &Signed<Tick>, other: &Signed<Tick>) -> Step {
    let denial = Response::Denied(crate::Refusal::from(Refusal::Equivocation(other.number)).denial());
    let person = lease.other().person;
    // One proof is enough, and more would only fill our record.
    if engine.state.reputation.score(person).cheated {
        return Step::answer(denial);
    }
    let record = Record::Equivocated { person, one: one.bytes().to_vec(), other: other.bytes().to_vec() };
    Step::and_answer(vec![record], denial)
}

/// As host: the tenant has signed.
///
/// # Errors
/// When the signature proves nothing: the tick stays unsigned.
pub fn receipted(
    engine: &Engine,
    now: Timestamp,
    id: LeaseId,
    response: Response,
) -> Result<Step, crate::Refusal> {
    let Some(lease) = engine.state.lease.get(id) else { return Ok(Step::default()) };
    let (Some(tick), Response::Tick(theirs)) = (&lease.tick, response) else { return Ok(Step::default()) };
    let theirs = theirs.verify_past()?;
    // An answer to an older total comes late: the newer covers it.
    if theirs.number != tick.number || lease.receipt.as_ref().is_some_and(|known| known.number >= tick.number)
    {
        return Ok(Step::default());
    }
    let receipt = Receipt::join(tick.clone(), theirs)?;
    let posted = ledger::book(
        &engine.state.ledger,
        &engine.identity,
        &lease.contract,
        lease.receipt.as_ref(),
        &receipt,
    )?;
    let mut records = vec![Record::Receipted { receipt: receipt.clone() }];
    records.extend(posted);
    let state = &engine.state.lease;
    let before = lease.receipt.as_ref().map_or(0, |known| known.amount.micros);
    let debt = debt(state, lease).saturating_add(receipt.amount.micros.saturating_sub(before));
    let over_credit = debt > lease.contract.rules.credit;
    match lease.phase {
        Phase::Running | Phase::Throttled { .. } if over_credit => {
            records.push(moved(lease, Phase::Frozen(FreezeReason::CreditUsedUp), ""))
        }
        Phase::Frozen(FreezeReason::Unsigned) if over_credit => {
            records.push(moved(lease, Phase::Frozen(FreezeReason::CreditUsedUp), ""))
        }
        Phase::Frozen(FreezeReason::Unsigned) if lease.over().is_none_or(|over| over > now) => {
            records.push(moved(lease, signed_phase(engine.state.owner.stance()), ""))
        }
        Phase::Agreed
        | Phase::Fetching
        | Phase::Starting
        | Phase::Running
        | Phase::Throttled { .. }
        | Phase::Frozen(_)
        | Phase::Closing(_)
        | Phase::Ended(_) => {}
    }
    // The credit is the person's: what runs beside stands still, too.
    let party = lease.contract.tenant.person;
    let currency = lease.contract.rate.hourly.currency;
    let beside = state.hosted().filter(|other| {
        other.id() != id
            && other.contract.tenant.person == party
            && other.contract.rate.hourly.currency == currency
            && matches!(other.phase, Phase::Running | Phase::Throttled { .. })
            && debt > other.contract.rules.credit
    });
    records.extend(beside.map(|other| moved(other, Phase::Frozen(FreezeReason::CreditUsedUp), "")));
    Ok(Step::of(records))
}

/// Where a guest stands of which nothing is owed any more.
fn signed_phase(stance: Stance) -> Phase {
    match stance {
        Stance::Lend => Phase::Running,
        Stance::Throttle(reason, percent) => Phase::Throttled { reason, percent },
        Stance::Freeze(reason) => Phase::Frozen(FreezeReason::Owner(reason)),
    }
}

/// As tenant: wants the guest stopped. The host does it and says how it ended; without a host it ends by itself.
///
/// # Errors
/// When there is no such live lease of ours.
pub fn tenant_stops(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    id: LeaseId,
) -> Result<Step, Refusal> {
    let lease = state.get(id).ok_or(Refusal::UnknownLease(id))?;
    if lease.side != Side::Tenant {
        return Err(Refusal::WrongSide(Side::Tenant));
    }
    match lease.phase {
        Phase::Closing(_) | Phase::Ended(_) => Ok(Step::default()),
        Phase::Agreed
        | Phase::Fetching
        | Phase::Starting
        | Phase::Running
        | Phase::Throttled { .. }
        | Phase::Frozen(_) => {
            let end = End {
                lease: id,
                side: Side::Tenant,
                reason: EndReason::TenantStopped,
                code: None,
                issued: now,
            };
            let end = identity.key.sign(&end).ok();
            let closing = moved(lease, Phase::Closing(EndReason::TenantStopped), "");
            Ok(Step::of(end.map(|end| Record::Ended { end }).into_iter().chain([closing]).collect()))
        }
    }
}

/// The other party says that it is over.
///
/// # Errors
/// When it is not the other party's word.
pub fn hear_end(
    engine: &Engine,
    now: Timestamp,
    from: PeerKey,
    end: &Unverified<End>,
) -> Result<Step, crate::Refusal> {
    let end = end.verify(now)?;
    let lease = shared(&engine.state.lease, from, end.lease)?;
    if end.signer() != lease.other().device || end.side != lease.side.other() {
        return Err(Refusal::NotTheSender.into());
    }
    let mut records = Vec::new();
    if !lease.ends.contains_key(&end.side) {
        records.push(Record::Ended { end: end.clone() });
    }
    // Whatever reason a tenant gives, it is the tenant who stops. A tenant is moved by its host's standing, which also
    // says what went wrong; the host's word is kept as a proof.
    if lease.side == Side::Host && lease.may_go_on() {
        records.push(moved(lease, Phase::Closing(EndReason::TenantStopped), ""));
    }
    Ok(Step::and_answer(records, Response::Done))
}

/// As tenant: follows what the host says of where the lease stands.
///
/// # Errors
/// When there is no such lease with that peer.
pub fn hear_standing(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    from: PeerKey,
    standing: &Standing,
) -> Result<Step, Refusal> {
    let lease = between(state, from, standing.lease, Side::Tenant)?;
    Ok(Step::and_answer(follow(identity, lease, now, standing), Response::Done))
}

/// As tenant: the host has answered where the lease stands.
///
/// # Errors
/// None: an answer that says nothing changes nothing.
pub fn stands(
    engine: &Engine,
    now: Timestamp,
    id: LeaseId,
    response: Response,
) -> Result<Step, crate::Refusal> {
    let Some(lease) = engine.state.lease.get(id) else { return Ok(Step::default()) };
    match response {
        Response::Standing(standing) if standing.lease == id => {
            Ok(Step::of(follow(&engine.identity, lease, now, &standing)))
        }
        // The host has lost the lease, say its disk: nothing runs there any more.
        Response::Denied(denial)
            if denial.code == Refusal::UnknownLease(id).code() && !lease.phase.is_ended() =>
        {
            Ok(Step::of(ending(
                &engine.identity.key,
                lease,
                EndReason::GuestLost,
                now,
                "the host knows nothing of it any more",
            )))
        }
        Response::Standing(_)
        | Response::Denied(_)
        | Response::Quote(_)
        | Response::Lease(_)
        | Response::Tick(_)
        | Response::Renewal(_)
        | Response::Done => Ok(Step::default()),
    }
}

fn follow(identity: &Identity, lease: &Lease, now: Timestamp, standing: &Standing) -> Vec<Record> {
    // Never back: a guest that runs was fetched and started, and what we want stopped goes on only until the host hears.
    let late = stage(standing.phase) < stage(lease.phase);
    // Of what stands in the way of an image.
    let tells_more = standing.phase == Phase::Fetching && lease.detail != standing.detail;
    match standing.phase {
        _ if lease.phase.is_ended() || lease.phase == standing.phase && !tells_more => Vec::new(),
        Phase::Ended(reason) => {
            ending(&identity.key, lease, believed(lease, reason, now), now, &standing.detail)
        }
        _ if late => Vec::new(),
        phase @ (Phase::Agreed
        | Phase::Fetching
        | Phase::Starting
        | Phase::Running
        | Phase::Throttled { .. }
        | Phase::Frozen(_)
        | Phase::Closing(_)) => {
            vec![moved(lease, phase, &standing.detail)]
        }
    }
}

/// What we make of the reason that a host gives: it cannot pass its own doing off as ours, or as the clock's.
fn believed(lease: &Lease, reason: EndReason, now: Timestamp) -> EndReason {
    let early = now.since(lease.idle_until) + patience(lease) < lease.term;
    match reason {
        EndReason::TenantStopped if !lease.ends.contains_key(&Side::Tenant) => EndReason::OwnerStopped,
        EndReason::TermOver if early => EndReason::OwnerStopped,
        EndReason::HostGone | EndReason::NotAgreed => EndReason::OwnerStopped,
        EndReason::Exited { .. }
        | EndReason::TermOver
        | EndReason::TenantStopped
        | EndReason::OwnerStopped
        | EndReason::Unsigned
        | EndReason::CreditUsedUp
        | EndReason::FetchFailed
        | EndReason::StartFailed
        | EndReason::BadWorkload
        | EndReason::GuestLost => reason,
    }
}

fn stage(phase: Phase) -> u8 {
    match phase {
        Phase::Agreed => 0,
        Phase::Fetching => 1,
        Phase::Starting => 2,
        Phase::Running | Phase::Throttled { .. } | Phase::Frozen(_) => 3,
        Phase::Closing(_) => 4,
        Phase::Ended(_) => 5,
    }
}

/// As host: where the lease stands.
///
/// # Errors
/// When there is no such lease with that peer.
pub fn tell_standing(state: &State, from: PeerKey, id: LeaseId) -> Result<Step, Refusal> {
    let lease = between(state, from, id, Side::Host)?;
    Ok(Step::answer(Response::Standing(standing(lease))))
}

/// A lease as its host tells of it.
pub fn standing(lease: &Lease) -> Standing {
    Standing {
        lease: lease.id(),
        phase: lease.phase,
        started: lease.started,
        fetched: None,
        detail: lease.detail.clone(),
        // Nobody writes it down: the node adds it.
        health: None,
    }
}

/// Judges the other party of an ended lease.
///
/// # Errors
/// When there is nothing to judge by, or it was judged already.
pub fn rate(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    id: LeaseId,
    marks: [u8; 3],
    text: String,
) -> Result<Step, crate::Refusal> {
    let lease = state.get(id).ok_or(Refusal::UnknownLease(id))?;
    if !lease.phase.is_ended() {
        return Err(Refusal::WrongPhase { phase: lease.phase }.into());
    }
    if lease.ratings.contains_key(&lease.side) {
        return Err(Refusal::RatedAlready.into());
    }
    let receipt = lease.receipt.clone().ok_or(Refusal::NoReceipt)?;
    let [kept, quality, manners] = marks;
    let rating = identity.key.sign(&Rating {
        receipt,
        side: lease.side,
        kept,
        quality,
        manners,
        text,
        issued: now,
    })?;
    Ok(Step::of(vec![Record::Rated { rating, of: lease.other().person, by: identity.party().person }]))
}

/// The other party has judged us.
///
/// # Errors
/// When it is not a judgement of a lease between us, or a second one.
pub fn hear_rating(
    engine: &Engine,
    now: Timestamp,
    from: PeerKey,
    rating: &Unverified<Rating>,
) -> Result<Step, crate::Refusal> {
    let rating = rating.verify(now)?;
    let lease = shared(&engine.state.lease, from, rating.receipt.lease)?;
    // That the signer is a party of the receipt was checked with its signature.
    if rating.side != lease.side.other() {
        return Err(Refusal::NotTheSender.into());
    }
    let (contract, receipt) = (&lease.contract, &rating.receipt);
    if receipt.host != contract.host.device || receipt.tenant != contract.tenant.device {
        return Err(Refusal::NoReceipt.into());
    }
    match lease.ratings.get(&rating.side) {
        Some(known) if known.id() == rating.id() => return Ok(Step::answer(Response::Done)),
        Some(_) => return Err(Refusal::RatedAlready.into()),
        None => {}
    }
    if !lease.phase.is_ended() {
        return Err(Refusal::WrongPhase { phase: lease.phase }.into());
    }
    let rated = Record::Rated { rating, of: engine.identity.party().person, by: lease.other().person };
    Ok(Step::and_answer(vec![rated], Response::Done))
}

/// The lease between us and a peer, when we are this side of it.
///
/// # Errors
/// When there is none.
pub(super) fn between(state: &State, from: PeerKey, id: LeaseId, side: Side) -> Result<&Lease, Refusal> {
    let lease = shared(state, from, id)?;
    if lease.side == side { Ok(lease) } else { Err(Refusal::UnknownLease(id)) }
}

/// The lease between us and a peer, whichever side is ours.
fn shared(state: &State, from: PeerKey, id: LeaseId) -> Result<&Lease, Refusal> {
    state.get(id).filter(|lease| lease.peer == from).ok_or(Refusal::UnknownLease(id))
}
