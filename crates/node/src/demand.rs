//! Why no work comes: what was asked of this host, or passed it by, and what came of it. Kept while the node runs, the
//! newest few hundred.

use model::message::Passed;
use model::{Amount, Ask, Id, ObjectId, PeerKey, Prices, Rate, Resources, Share, Span, Speed, Timestamp};
use std::collections::VecDeque;

/// The most that are kept.
const KEPT: usize = 512;

/// The most of one peer: nobody shall fill the list alone.
const OF_ONE: usize = 32;

/// Something that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// When.
    pub at: Timestamp,
    /// Whose computer wanted it.
    pub peer: PeerKey,
    /// The ask; none where it passed by.
    pub ask: Option<ObjectId>,
    /// With how much.
    pub resources: Resources,
    /// For how long.
    pub term: Span,
    /// The most that an hour could cost.
    pub cap: Option<Rate>,
    /// What an hour of it cost here.
    pub rate: Option<Rate>,
    /// What came of it.
    pub outcome: DemandOutcome,
}

/// What came of something that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DemandOutcome {
    /// A quote was given, and not, or not yet, taken.
    Quoted,
    /// It became a lease.
    Taken,
    /// It was refused.
    Refused {
        /// For programs.
        code: String,
        /// For people.
        sentence: String,
    },
    /// It looked at the offer, and asked elsewhere.
    PassedBy {
        /// The terms that failed, as codes.
        failed: Vec<String>,
    },
}

impl Demand {
    /// The codes of what stood in the way; none where nothing did.
    pub fn failed(&self) -> Vec<&str> {
        match &self.outcome {
            DemandOutcome::Quoted | DemandOutcome::Taken => Vec::new(),
            DemandOutcome::Refused { code, .. } => vec![code],
            DemandOutcome::PassedBy { failed } => failed.iter().map(String::as_str).collect(),
        }
    }

    /// What a core-hour could have cost at the most for this to be ours, where the price alone stood in the way.
    pub fn winning_core_price(&self, prices: &Prices) -> Option<Amount> {
        let is_price = |code: &&str| ["price_above_cap", "too_dear"].contains(code);
        if !self.failed().iter().any(is_price) || !self.failed().iter().all(is_price) {
            return None;
        }
        let (cap, rate) = (self.cap?.hourly, self.rate?.hourly);
        if cap.currency != prices.currency || rate.currency != cap.currency || rate.micros <= 0 {
            return None;
        }
        // All three prices made smaller alike, rounded down.
        let core = i128::from(prices.core) * i128::from(cap.micros) / i128::from(rate.micros);
        Some(Amount::new(i64::try_from(core).ok()?, cap.currency))
    }
}

/// What was wanted of late, the newest last.
#[derive(Debug, Default)]
pub struct Demands {
    kept: VecDeque<Demand>,
}

impl Demands {
    /// The newest first.
    pub fn all(&self) -> impl Iterator<Item = &Demand> {
        self.kept.iter().rev()
    }

    /// An ask and what came of it.
    pub(crate) fn asked(
        &mut self,
        now: Timestamp,
        peer: PeerKey,
        ask: &Asked,
        rate: Option<Rate>,
        outcome: DemandOutcome,
    ) {
        // The same ask comes again when its answer was lost.
        if self.kept.iter().any(|known| known.ask == Some(ask.id)) {
            return;
        }
        let Asked { id, resources, term, cap } = *ask;
        self.keep(Demand { at: now, peer, ask: Some(id), resources, term, cap: Some(cap), rate, outcome });
    }

    /// Somebody looked at our offer, and asked elsewhere.
    pub(crate) fn passed(&mut self, now: Timestamp, peer: PeerKey, passed: &Passed, rate: Option<Rate>) {
        let outcome = DemandOutcome::PassedBy { failed: passed.failed.clone() };
        let (resources, term, cap) = (passed.resources, passed.term, passed.cap);
        let again = |known: &Demand| {
            let same = (known.resources, known.term, known.cap) == (resources, term, cap);
            known.peer == peer && same && known.outcome == outcome && now.since(known.at) < Span::minutes(1)
        };
        if !self.kept.iter().any(again) {
            self.keep(Demand { at: now, peer, ask: None, resources, term, cap, rate, outcome });
        }
    }

    /// An ask became a lease.
    pub(crate) fn taken(&mut self, ask: Id<Ask>) {
        if let Some(demand) = self.kept.iter_mut().find(|known| known.ask == Some(ask.object())) {
            demand.outcome = DemandOutcome::Taken;
        }
    }

    fn keep(&mut self, demand: Demand) {
        let of_one: Vec<usize> = self
            .kept
            .iter()
            .enumerate()
            .filter(|(_, known)| known.peer == demand.peer)
            .map(|(at, _)| at)
            .collect();
        if of_one.len() >= OF_ONE
            && let Some(oldest) = of_one.first()
        {
            self.kept.remove(*oldest);
        }
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(demand);
    }
}

/// What of an ask is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub id: ObjectId,
    pub resources: Resources,
    pub term: Span,
    pub cap: Rate,
}

impl Asked {
    /// What an ask wants, if it is one.
    pub fn of(ask: &model::Unverified<Ask>) -> Option<Asked> {
        let ask = ask.verify_past().ok()?;
        let terms = &ask.terms;
        Some(Asked { id: ask.id().object(), resources: terms.resources, term: terms.term, cap: terms.cap })
    }
}

/// What an hour of something costs here.
pub(crate) fn rate_here(share: Option<&Share>, speed: Option<Speed>, resources: &Resources) -> Option<Rate> {
    engine::market::rate(&share?.prices, resources, &speed?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Currency, Mode};

    const EUR: Currency = Currency::Iso(*b"EUR");

    fn passed(micros: i64) -> Passed {
        Passed {
            offer: Id::of(ObjectId([1; 32])),
            resources: Resources { cpu_millis: 2_000, memory: 1 << 30, disk: 0 },
            term: Span::hours(1),
            cap: Some(Rate::hourly(Amount::new(micros, EUR))),
            failed: vec!["too_dear".into()],
        }
    }

    #[test]
    fn nobody_fills_the_list_alone() {
        let mut demands = Demands::default();
        demands.passed(Timestamp(0), PeerKey([9; 32]), &passed(7), None);
        for n in 0..600 {
            demands.passed(Timestamp(n), PeerKey([1; 32]), &passed(n), None);
        }
        assert_eq!(demands.all().count(), 33);
        assert!(demands.all().any(|demand| demand.peer == PeerKey([9; 32])));
        demands.passed(Timestamp(600), PeerKey([1; 32]), &passed(599), None);
        assert_eq!(
            demands.all().filter(|demand| demand.cap == passed(599).cap).count(),
            1,
            "said twice, kept once"
        );
    }

    #[test]
    fn the_price_that_would_have_won_is_told_where_the_price_alone_failed() {
        let prices = Prices { mode: Mode::Rent, currency: EUR, core: 60_000, memory_gib: 0, disk_gib: 0 };
        let mut demands = Demands::default();
        let rate = Some(Rate::hourly(Amount::new(120_000, EUR)));
        demands.passed(Timestamp(0), PeerKey([1; 32]), &passed(80_000), rate);
        let demand = demands.all().next().unwrap().clone();
        assert_eq!(demand.winning_core_price(&prices), Some(Amount::new(40_000, EUR)));
        let slow = DemandOutcome::PassedBy { failed: vec!["too_dear".into(), "too_slow".into()] };
        assert_eq!(Demand { outcome: slow, ..demand }.winning_core_price(&prices), None);
    }
}
