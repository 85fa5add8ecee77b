//! The deal, in two round trips: ask and quote, then the lease with both signatures.

use super::{Asking, Outcome, Refusal, State, choice, exposure, holds};
use crate::input::Candidate;
use crate::market::{keeping, rate};
use crate::{Engine, Identity, Reply, Step, capacity};
use model::envelope::CLOCK_SKEW;
use model::message::{Denial, Response};
use model::record::{Among, Record};
use model::{
    Amount, Ask, AskTerms, Feature, Id, Lease, Nonce, Offer, Party, PeerKey, Person, Phase, Quote, Side,
    Signed, Span, Timestamp, Unverified, plain,
};

/// How long an ask waits for its quote, and a quote holds its capacity: each by the clock of who waits or holds. The
/// documents themselves stand for [`CLOCK_SKEW`], so that clocks that differ by minutes make no deal impossible.
pub(super) const HOLD: Span = Span::seconds(30);

/// How long after the hold a signed lease is still asked for: the host may have signed in time, and the answer been lost.
const SETTLE: Span = Span::minutes(2);

/// Denials that say nothing of the matter: the request was not even looked at, and is made again.
const NOT_NOW: [&str; 3] = ["busy", "fault", NOT_YET];

/// The owner has yet to decide: asked again, until there is an answer.
pub(super) const NOT_YET: &str = "not_yet";

/// Hosts that are asked at once, at the most.
const AT_ONCE: usize = 20;

/// As tenant: asks one host.
///
/// # Errors
/// When the ask itself is out of range or of ourselves.
pub fn ask(
    identity: &Identity,
    now: Timestamp,
    offer: &Signed<Offer>,
    terms: AskTerms,
    nonce: Nonce,
) -> Result<Step, crate::Refusal> {
    if offer.signer() == identity.party().device {
        return Err(Refusal::OwnOffer.into());
    }
    let ask = Ask {
        offer: offer.id(),
        host: offer.signer(),
        certificate: identity.certificate.unverified(),
        terms,
        nonce,
        issued: now,
        expires: now + CLOCK_SKEW,
    };
    let ask = identity.key.sign(&ask)?;
    let reply = Reply::Asked(ask.id());
    Ok(Step { records: vec![Record::Asked { ask, offer: offer.clone(), among: None }], reply })
}

/// As tenant: asks several hosts at once, the best of which is taken.
///
/// # Errors
/// When an ask is out of range or of ourselves.
pub fn ask_all(
    identity: &Identity,
    now: Timestamp,
    candidates: Vec<Candidate>,
) -> Result<Step, crate::Refusal> {
    let mut records = Vec::new();
    let mut first = None;
    for (place, Candidate { offer, terms, nonce }) in (0..).zip(candidates.into_iter().take(AT_ONCE)) {
        for record in ask(identity, now, &offer, terms, nonce)?.records {
            if let Record::Asked { ask, offer, .. } = record {
                let first = *first.get_or_insert(ask.id());
                records.push(Record::Asked { ask, offer, among: Some(Among { first, place }) });
            }
        }
    }
    let reply = first.map_or(Reply::Done, Reply::Asked);
    Ok(Step { records, reply })
}

/// As tenant: no longer waits. Once we have signed, only the host's word or the expiry of ours ends it.
pub fn give_up(state: &State, id: Id<Ask>) -> Step {
    let rivals = choice::rivals(state, id);
    let asks: Vec<&Asking> = if rivals.is_empty() { state.asking(id).into_iter().collect() } else { rivals };
    let open =
        asks.into_iter().filter(|ask| matches!(ask.outcome, Outcome::Waiting | Outcome::Quoted { .. }));
    let given_up =
        open.map(|ask| refused(ask.ask.id(), choice::GIVEN_UP, "the tenant no longer waits".to_owned()));
    Step::of(given_up.collect())
}

/// As host: the tenant has taken another, and what is held for this ask is let go.
pub fn release(state: &State, from: PeerKey, ask: Id<Ask>) -> Step {
    let held = state.answered.get(&ask).and_then(|quote| state.quotes.get(quote));
    let lapsed = held.filter(|held| held.peer == from).map(|held| Record::Lapsed { quote: held.quote.id() });
    Step::and_answer(lapsed.into_iter().collect(), Response::Done)
}

/// As host: answers an ask with a price that binds, and holds the capacity for as long.
///
/// # Errors
/// Why there is no quote.
pub fn quote(
    engine: &Engine,
    now: Timestamp,
    from: PeerKey,
    ask: &Unverified<Ask>,
) -> Result<Step, crate::Refusal> {
    let (identity, state) = (&engine.identity, &engine.state);
    let ask = ask.verify(now)?;
    let tenant = Person::proven(&ask.certificate, ask.signer(), now)?;
    if tenant.peer != from {
        return Err(Refusal::NotTheSender.into());
    }
    if ask.host != identity.party().device {
        return Err(Refusal::NotForUs.into());
    }
    if let Some(held) = state.lease.answered.get(&ask.id()).and_then(|quote| state.lease.quotes.get(quote)) {
        return Ok(Step::answer(Response::Quote(held.quote.unverified())));
    }
    // A copy of the ask that came late must not hold the capacity a second time.
    if let Some(lease) =
        state.lease.all().find(|lease| lease.side == Side::Host && lease.contract.ask == ask.id())
    {
        return Err(Refusal::WrongPhase { phase: lease.phase }.into());
    }
    let offer = state
        .market
        .standing(now)
        .filter(|offer| offer.id() == ask.offer)
        .ok_or(Refusal::UnknownOffer(ask.offer))?;
    if let Some(reason) = state.owner.stance().reason() {
        return Err(Refusal::OwnerFirst(reason).into());
    }
    let share = &offer.share;
    if !state.people.admits(share.audience, tenant.party.person) {
        return Err(Refusal::NotForYou.into());
    }
    if ask.terms.term > share.terms.longest {
        return Err(Refusal::TermTooLong { asked: ask.terms.term, longest: share.terms.longest }.into());
    }
    if let Some(lack) = share.network.lacks(&ask.terms.workload.network) {
        return Err(Refusal::OutOfReach { lack, offered: share.network.clone() }.into());
    }
    let rate = rate(&share.prices, &ask.terms.resources, &offer.speed).map_err(Refusal::from)?;
    within_cap(rate, ask.terms.cap)?;
    // What could not be counted at the end would not be billed at all.
    rate.over(ask.terms.term).map_err(Refusal::from)?;
    holds::may_hold(&state.lease, share, now, tenant.party.person, ask.terms.resources)?;
    let owed = exposure::open_debt(&state.lease, tenant.party.person, rate.hourly.currency);
    if owed > share.terms.credit {
        let amount = |micros| Amount::new(micros, rate.hourly.currency);
        let (owed, credit) = (amount(owed), amount(share.terms.credit));
        return Err(Refusal::CreditUsedUp { owed, credit }.into());
    }
    state.lease.may_have(share, &ask.terms.workload.devices)?;
    let volumes = &ask.terms.workload.volumes;
    if !volumes.is_empty() && !offer.sandbox.volumes {
        return Err(Refusal::NoVolumes.into());
    }
    if ask.terms.workload.secrets.is_some() && !offer.sandbox.secrets {
        return Err(Refusal::NoSecrets.into());
    }
    let workload = &ask.terms.workload;
    let ports = !workload.ports.is_empty() || !workload.udp_ports.is_empty();
    let needed = Feature::needed(&workload.network, ports, &workload.options);
    if let Some(feature) = offer.sandbox.lacks(&needed) {
        return Err(Refusal::Without { feature }.into());
    }
    if let Some(volume) = state.lease.volume_in_use(tenant.party.person, volumes) {
        return Err(Refusal::VolumeInUse { volume }.into());
    }
    let keeping = keeping(&share.prices, volumes).map_err(Refusal::from)?;
    let mut free = capacity::free(state.market.share.as_ref(), &state.lease, now);
    free.disk = free.disk.saturating_add(state.lease.kept_room_of(tenant.party.person, volumes, now));
    if !free.holds(&ask.terms.resources) {
        return Err(Refusal::NoCapacity { asked: ask.terms.resources, free }.into());
    }
    let quote = Quote {
        ask: ask.id(),
        tenant: ask.signer(),
        certificate: identity.certificate.unverified(),
        rate,
        keeping,
        mode: share.prices.mode,
        terms: share.terms,
        // The tenant's nonce made the ask its own, and the ask's id makes the quote its own.
        nonce: ask.nonce,
        issued: now,
        expires: now + CLOCK_SKEW,
    };
    let quote = identity.key.sign(&quote)?;
    let answer = Response::Quote(quote.unverified());
    Ok(Step::and_answer(vec![Record::Quoted { ask, quote, tenant: tenant.party, peer: from }], answer))
}

/// A gift keeps to any cap; other prices only to one of their own currency.
fn within_cap(rate: model::Rate, cap: model::Rate) -> Result<(), Refusal> {
    if rate.hourly.micros == 0 {
        return Ok(());
    }
    if rate.hourly.exceeds(cap.hourly)? { Err(Refusal::PriceAboveCap { rate, cap }) } else { Ok(()) }
}

/// As tenant: a quote, or a denial, has come. A quote that keeps to the ask is accepted: that was what asking meant.
///
/// # Errors
/// When the quote proves nothing; the ask then waits for a better answer until it expires.
pub fn quoted(
    engine: &Engine,
    now: Timestamp,
    id: Id<Ask>,
    response: Response,
) -> Result<Step, crate::Refusal> {
    let Some(asking) = engine.state.lease.asking(id).filter(|asking| asking.outcome == Outcome::Waiting)
    else {
        return Ok(Step::default());
    };
    let quote = match response {
        Response::Quote(quote) => quote.verify(now)?,
        Response::Denied(denial) => return Ok(denied(engine, now, id, &denial)),
        Response::Lease(_)
        | Response::Tick(_)
        | Response::Renewal(_)
        | Response::Standing(_)
        | Response::Done => {
            return Ok(unexpected(engine, now, id));
        }
    };
    let (identity, state) = (&engine.identity, &engine.state.lease);
    match accept(identity, now, &asking.ask, &asking.offer, &quote) {
        Ok(_) => Ok(Step::of(choice::heard(identity, state, now, asking, quote))),
        Err(refusal) => Ok(Step::of(lost(engine, now, id, refusal.code(), refusal.to_string()))),
    }
}

fn lost(engine: &Engine, now: Timestamp, id: Id<Ask>, code: &str, sentence: String) -> Vec<Record> {
    choice::lost(&engine.identity, &engine.state.lease, now, id, code, sentence)
}

/// Signs the lease that a quote comes to, when it keeps to the ask.
pub(super) fn accept(
    identity: &Identity,
    now: Timestamp,
    ask: &Signed<Ask>,
    offer: &Signed<Offer>,
    quote: &Signed<Quote>,
) -> Result<(Signed<Lease>, PeerKey), crate::Refusal> {
    let host = Person::proven(&quote.certificate, quote.signer(), now)?;
    let differs = |what| Err(Refusal::Differs(what).into());
    if quote.ask != ask.id() || quote.tenant != ask.signer() || quote.signer() != ask.host {
        return differs("parties");
    }
    if quote.terms != offer.share.terms {
        return differs("terms");
    }
    if quote.mode != offer.share.prices.mode {
        return differs("mode");
    }
    // The cap is what the tenant would pay; the price is what the host has published.
    if quote.rate != rate(&offer.share.prices, &ask.terms.resources, &offer.speed).map_err(Refusal::from)? {
        return differs("price");
    }
    if quote.keeping != keeping(&offer.share.prices, &ask.terms.workload.volumes).map_err(Refusal::from)? {
        return differs("price of keeping");
    }
    within_cap(quote.rate, ask.terms.cap)?;
    let lease = words(ask, quote, host.party, identity.party(), now);
    Ok((identity.key.sign(&lease)?, host.peer))
}

/// The lease that follows from an ask and its quote: the tenant signs it, and the host compares it word by word.
fn words(ask: &Signed<Ask>, quote: &Signed<Quote>, host: Party, tenant: Party, issued: Timestamp) -> Lease {
    Lease {
        offer: ask.offer,
        ask: ask.id(),
        quote: quote.id(),
        host,
        tenant,
        workload: ask.terms.workload.clone(),
        resources: ask.terms.resources,
        term: ask.terms.term,
        rate: quote.rate,
        keeping: quote.keeping,
        mode: quote.mode,
        rules: quote.terms,
        nonce: quote.nonce,
        issued,
        expires: quote.expires,
    }
}

/// As host: signs the same words, when they are those of the quote. The capacity passes from the quote to the lease.
///
/// # Errors
/// Why it is not signed.
pub fn agree(
    engine: &Engine,
    now: Timestamp,
    from: PeerKey,
    lease: &Unverified<Lease>,
) -> Result<Step, crate::Refusal> {
    let (identity, state) = (&engine.identity, &engine.state.lease);
    // The tenant may ask again after the expiry for what we signed before it.
    let lease = lease.verify_past()?;
    if let Some(known) = state.get(lease.id()).filter(|known| known.side == Side::Host && known.peer == from)
    {
        return Ok(Step::answer(Response::Lease(known.contract.second_signed().unverified())));
    }
    let lease = lease.unverified().verify(now)?;
    let held = state
        .quotes
        .get(&lease.quote)
        .filter(|held| held_until(&held.quote) > now)
        .ok_or(Refusal::UnknownQuote)?;
    if held.peer != from {
        return Err(Refusal::NotTheSender.into());
    }
    let (ask, quote) = (&held.ask, &held.quote);
    let words = words(ask, quote, identity.party(), held.tenant, lease.issued);
    if words != *lease {
        return Err(Refusal::Differs("words").into());
    }
    let contract = identity.key.countersign(&lease)?;
    let answer = Response::Lease(contract.second_signed().unverified());
    let id = contract.id();
    let agreed = Record::Agreed { lease: contract, side: Side::Host, peer: from };
    let fetching = Record::Moved { lease: id, phase: Phase::Fetching, detail: String::new() };
    Ok(Step::and_answer(vec![agreed, fetching], answer))
}

/// As tenant: the host has signed, or will not.
///
/// # Errors
/// When the host's signature proves nothing.
pub fn countersigned(
    engine: &Engine,
    now: Timestamp,
    id: Id<Lease>,
    response: Response,
) -> Result<Step, crate::Refusal> {
    let Some((ask, ours, peer)) = accepted(&engine.state.lease, id) else { return Ok(Step::default()) };
    let theirs = match response {
        Response::Lease(lease) => lease.verify_past()?,
        Response::Denied(denial) => return Ok(denied(engine, now, ask, &denial)),
        Response::Quote(_)
        | Response::Tick(_)
        | Response::Renewal(_)
        | Response::Standing(_)
        | Response::Done => {
            return Ok(unexpected(engine, now, ask));
        }
    };
    let contract = model::Cosigned::join(ours.clone(), theirs)?;
    let agreed = Record::Agreed { lease: contract, side: Side::Tenant, peer };
    Ok(Step::of(std::iter::once(agreed).chain(choice::others(&engine.state.lease, ask)).collect()))
}

fn accepted(state: &State, id: Id<Lease>) -> Option<(Id<Ask>, &Signed<Lease>, PeerKey)> {
    state.asks.iter().find_map(|(ask, asking)| match &asking.outcome {
        Outcome::Accepted { lease, peer } if lease.id() == id => Some((*ask, &**lease, *peer)),
        Outcome::Waiting
        | Outcome::Quoted { .. }
        | Outcome::Accepted { .. }
        | Outcome::Agreed(_)
        | Outcome::Refused { .. } => None,
    })
}

/// What time alone brings: asks and quotes that expire.
pub fn expired(identity: &Identity, state: &State, now: Timestamp) -> Vec<Record> {
    let lapsed = state
        .quotes
        .values()
        .filter(|held| held_until(&held.quote) <= now)
        .map(|held| Record::Lapsed { quote: held.quote.id() });
    let silent = state.asks.iter().filter_map(|(id, asking)| match &asking.outcome {
        Outcome::Waiting if asking.at + HOLD <= now => {
            Some(refused(*id, "no_answer", "the host did not answer in time".to_owned()))
        }
        Outcome::Accepted { lease, .. } if settled(lease) <= now => Some(refused(
            *id,
            "not_agreed",
            "the host's signature never came, and can no longer bind".to_owned(),
        )),
        Outcome::Waiting
        | Outcome::Quoted { .. }
        | Outcome::Accepted { .. }
        | Outcome::Agreed(_)
        | Outcome::Refused { .. } => None,
    });
    lapsed.chain(silent).chain(choice::time(identity, state, now)).collect()
}

/// When the next of them expires.
pub fn next_expiry(state: &State, now: Timestamp) -> Option<Timestamp> {
    let quotes = state.quotes.values().map(|held| held_until(&held.quote));
    let asks = state.asks.values().filter_map(|asking| match &asking.outcome {
        Outcome::Waiting => Some(asking.at + HOLD),
        Outcome::Accepted { lease, .. } => Some(settled(lease)),
        Outcome::Quoted { .. } | Outcome::Agreed(_) | Outcome::Refused { .. } => None,
    });
    quotes.chain(asks).chain(choice::next_time(state, now)).min()
}

/// By the host's clock, which has also issued it.
fn held_until(quote: &Quote) -> Timestamp {
    quote.issued + HOLD
}

/// By the tenant's clock: from then on the host can neither sign it, nor has its signature been kept from us by chance.
fn settled(lease: &Lease) -> Timestamp {
    lease.issued + HOLD + SETTLE
}

fn denied(engine: &Engine, now: Timestamp, ask: Id<Ask>, denial: &Denial) -> Step {
    if is_for_now(denial) {
        return Step::default();
    }
    Step::of(lost(engine, now, ask, &plain(&denial.code, 64), plain(&denial.sentence, 400)))
}

/// Some other answer than belongs to what was asked.
fn unexpected(engine: &Engine, now: Timestamp, ask: Id<Ask>) -> Step {
    let sentence = "the host answered something else than was asked".to_owned();
    Step::of(lost(engine, now, ask, "unexpected_answer", sentence))
}

/// Whether a denial says only that the peer had no time, or failed: then it is as if no answer had come.
pub(crate) fn is_for_now(denial: &Denial) -> bool {
    NOT_NOW.contains(&denial.code.as_str())
}

/// A record that an ask leads to nothing.
pub(super) fn refused(ask: Id<Ask>, code: &str, sentence: String) -> Record {
    Record::Refused { ask, code: code.to_owned(), sentence }
}
