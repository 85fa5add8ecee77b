//! As tenant: several hosts are asked at once, and the best of those that answer is taken.
//!
//! A quote holds capacity, so what is not taken is let go at once: [`super::want`] tells its host until the quote
//! would have lapsed by itself. At most one of the asks leads to a lease, whatever is lost, late or said twice.

use super::deal::{self, HOLD};
use super::{Asking, Outcome, State};
use crate::{Identity, Refusal};
use model::record::Record;
use model::{Ask, Id, Quote, Signed, Span, Timestamp};

/// How long a better host may still answer once one has.
const PATIENCE: Span = Span(250);

/// How long a quote can be taken: its host holds it for [`HOLD`] from when it was given, and another round trip follows.
const GOOD_FOR: Span = Span::seconds(20);

/// How long after an ask its host is told for a second time that it is of no use.
const AGAIN: Span = Span::seconds(5);

/// For programs: another host was taken.
pub const NOT_CHOSEN: &str = "not_chosen";

/// For programs: the tenant no longer waits.
pub const GIVEN_UP: &str = "given_up";

/// Where one of the asks stands in the race.
#[derive(Clone, Copy)]
enum Runs<'a> {
    /// Its host has not answered.
    Waits,
    /// Its quote came at this time.
    Heard(&'a Signed<Quote>, Timestamp),
    /// Signed by us, or by both: the race is over while this stands.
    Taken,
    /// Out of it.
    Out,
}

/// All asks that were made together with this one, the best first.
pub fn rivals(state: &State, first: Id<Ask>) -> Vec<&Asking> {
    let among = |asking: &&Asking| asking.among.is_some_and(|among| among.first == first);
    let mut rivals: Vec<&Asking> = state.asks.values().filter(among).collect();
    rivals.sort_by_key(|asking| asking.among.map(|among| among.place));
    rivals
}

/// As tenant: a good quote has come. Takes it, or a better one, or waits for a better one.
pub fn heard(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    asking: &Asking,
    quote: Signed<Quote>,
) -> Vec<Record> {
    let Some(among) = asking.among else { return take(identity, now, asking, &quote) };
    let id = asking.ask.id();
    let field = field(state, among.first, Some((id, Runs::Heard(&quote, now))));
    match best(&field, now) {
        Some((rival, _)) if rival.ask.id() == id => take(identity, now, asking, &quote),
        Some((rival, other)) => {
            let taken = take(identity, now, rival, other);
            std::iter::once(Record::Heard { quote: quote.clone() }).chain(taken).collect()
        }
        None => vec![Record::Heard { quote }],
    }
}

/// As tenant: this ask leads to nothing. Another of those that were made with it may take its place.
pub fn lost(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    id: Id<Ask>,
    code: &str,
    sentence: String,
) -> Vec<Record> {
    let mut records = vec![deal::refused(id, code, sentence)];
    if let Some(among) = state.asking(id).and_then(|asking| asking.among) {
        let field = field(state, among.first, Some((id, Runs::Out)));
        records.extend(
            best(&field, now).into_iter().flat_map(|(rival, quote)| take(identity, now, rival, quote)),
        );
    }
    records
}

/// As tenant: what becomes of the others once both have signed one.
pub fn others(state: &State, chosen: Id<Ask>) -> Vec<Record> {
    let Some(among) = state.asking(chosen).and_then(|asking| asking.among) else { return Vec::new() };
    rivals(state, among.first)
        .into_iter()
        .filter(|rival| matches!(rival.outcome, Outcome::Waiting | Outcome::Quoted { .. }))
        .map(|rival| deal::refused(rival.ask.id(), NOT_CHOSEN, "another host was taken".to_owned()))
        .collect()
}

/// What time alone brings: patience that ends, and quotes that can no longer be taken.
pub fn time(identity: &Identity, state: &State, now: Timestamp) -> Vec<Record> {
    let mut records = Vec::new();
    let quoted = state.asks.values().filter(|asking| matches!(asking.outcome, Outcome::Quoted { .. }));
    let mut races: Vec<Id<Ask>> = quoted.filter_map(|asking| asking.among).map(|among| among.first).collect();
    races.dedup();
    races.sort_unstable();
    races.dedup();
    for first in races {
        let field = field(state, first, None);
        records.extend(
            best(&field, now).into_iter().flat_map(|(rival, quote)| take(identity, now, rival, quote)),
        );
        for (rival, _) in field {
            if matches!(&rival.outcome, Outcome::Quoted { at, .. } if *at + GOOD_FOR <= now) {
                let sentence = "the quote was not needed in time".to_owned();
                records.push(deal::refused(rival.ask.id(), NOT_CHOSEN, sentence));
            }
        }
    }
    records
}

/// When time alone next brings something.
pub fn next_time(state: &State, now: Timestamp) -> Option<Timestamp> {
    let times = state.asks.values().filter_map(|asking| match &asking.outcome {
        Outcome::Quoted { at, .. } => Some([*at + PATIENCE, *at + GOOD_FOR]),
        Outcome::Refused { .. } if is_to_be_released(asking, now) => Some([asking.at + AGAIN; 2]),
        Outcome::Waiting | Outcome::Accepted { .. } | Outcome::Agreed(_) | Outcome::Refused { .. } => None,
    });
    times.flatten().filter(|at| *at > now).min()
}

/// Which time it is that a host is told: at once, and once more when all that was on its way has come.
pub fn telling(asking: &Asking, now: Timestamp) -> u8 {
    u8::from(asking.at + AGAIN <= now)
}

/// Whether the host of this ask may hold something for it that nobody wants.
pub fn is_to_be_released(asking: &Asking, now: Timestamp) -> bool {
    let ours = matches!(&asking.outcome, Outcome::Refused { code, .. } if [NOT_CHOSEN, GIVEN_UP].contains(&code.as_str()));
    ours && asking.at + HOLD > now
}

/// How the race stands, the best host first; and as if `news` of one of them were written down already.
fn field<'a>(
    state: &'a State,
    first: Id<Ask>,
    news: Option<(Id<Ask>, Runs<'a>)>,
) -> Vec<(&'a Asking, Runs<'a>)> {
    let news = |rival: &Asking| news.filter(|(id, _)| *id == rival.ask.id()).map(|(_, stands)| stands);
    rivals(state, first)
        .into_iter()
        .map(|rival| (rival, news(rival).unwrap_or_else(|| runs(rival))))
        .collect()
}

fn runs(asking: &Asking) -> Runs<'_> {
    match &asking.outcome {
        Outcome::Waiting => Runs::Waits,
        Outcome::Quoted { quote, at } => Runs::Heard(quote, *at),
        Outcome::Accepted { .. } | Outcome::Agreed(_) => Runs::Taken,
        Outcome::Refused { .. } => Runs::Out,
    }
}

/// The ask to take now, if any: the best that was answered, once no better one can answer or it was waited long enough.
fn best<'a>(field: &[(&'a Asking, Runs<'a>)], now: Timestamp) -> Option<(&'a Asking, &'a Signed<Quote>)> {
    let mut best = None;
    let mut better_may_come = false;
    let mut since = None;
    for (rival, stands) in field {
        match *stands {
            Runs::Taken => return None,
            Runs::Heard(quote, at) => {
                since = Some(since.map_or(at, |since: Timestamp| since.min(at)));
                if at + GOOD_FOR > now {
                    best.get_or_insert((*rival, quote));
                }
            }
            Runs::Waits => better_may_come |= best.is_none(),
            Runs::Out => {}
        }
    }
    let patient = better_may_come && since.is_some_and(|since| since + PATIENCE > now);
    best.filter(|_| !patient)
}

/// Signs what the quote says; when it cannot be signed, that ask is over.
fn take(identity: &Identity, now: Timestamp, asking: &Asking, quote: &Signed<Quote>) -> Vec<Record> {
    let taken: Result<_, Refusal> = deal::accept(identity, now, &asking.ask, &asking.offer, quote);
    match taken {
        Ok((lease, peer)) => vec![Record::Accepted { quote: quote.clone(), lease, peer }],
        Err(refusal) => vec![deal::refused(asking.ask.id(), refusal.code(), refusal.to_string())],
    }
}
