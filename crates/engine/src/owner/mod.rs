//! The owner comes first: the policy, the reasons that hold, and what follows for guests.
//!
//! ```text
//!   policy --+
//!   presence +--> claims --> stance --> guests: run | throttled | frozen, and after the notice closed
//!   time ----+    (a reason   (the most telling
//!   pause ---+     that holds) claim decides)
//! ```
//!
//! A claim is taken up in the decision in which its reason is first seen, and each lease of a guest that runs moves in
//! that same decision. It is given up when it has been quiet for a while (see `judge::quiet`), so that nothing flaps.
//! Only changes are written down; what a machine tells once a second is not.

mod judge;
mod schedule;

pub use judge::quiet;
pub use schedule::{is_open, next_change};

use model::record::{Entry, Record};
use model::{
    Answer, Claim, Customs, Invalid, OwnerReason, Policy, Power, Presence, ReasonKind, Span, Timestamp,
};
use serde::{Deserialize, Serialize};

/// What the owner wants, and what holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What the owner wants; none: nobody has said, and the usual is done.
    pub ruled: Option<Policy>,
    /// The reasons that hold, the most telling first.
    pub claims: Vec<Claim>,
    /// What electricity costs; none: nobody has said.
    pub power: Option<Power>,
}

/// What an owner can want of this subject.
#[derive(Clone, Debug)]
pub enum Command {
    /// Another policy.
    Rule(Policy),
    /// No guest runs, and nothing new is lent: until a time, or until the owner resumes.
    Pause {
        /// Until when.
        until: Option<Timestamp>,
    },
    /// The pause is over.
    Resume,
    /// What the machine sees of its owner now.
    See(Presence),
    /// What electricity costs; none: nothing any more.
    Power(Option<Power>),
}

/// Why an owner's wish is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Values out of range.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// No such time zone.
    #[error("there is no time zone `{0}`")]
    UnknownZone(String),
    /// A pause that would be over before it begins, or lasts longer than a year.
    #[error("a pause ends in the future, within a year")]
    BadPause,
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Invalid(_) | Refusal::BadPause => "out_of_range",
            Refusal::UnknownZone(_) => "unknown_zone",
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::Invalid(_) => "",
            Refusal::UnknownZone(_) => {
                "Write it as the IANA database does: Europe/Berlin, America/New_York, UTC."
            }
            Refusal::BadPause => "`sublet pause` without a time lasts until `sublet resume`.",
        }
    }
}

/// What the claims of a moment come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// Guests run.
    Lend,
    /// They run with so many per cent of what was promised.
    Throttle(OwnerReason, u8),
    /// They stand still.
    Freeze(OwnerReason),
}

impl Stance {
    /// Why the machine is not fully for others; none: it is.
    pub fn reason(&self) -> Option<OwnerReason> {
        match self {
            Stance::Lend => None,
            Stance::Throttle(reason, _) | Stance::Freeze(reason) => Some(*reason),
        }
    }
}

impl State {
    /// Makes a written record true.
    pub fn apply(&mut self, entry: &Entry) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "each subject reads the few records that concern it"
        )]
        match &entry.record {
            Record::Ruled { policy } => self.ruled = Some(policy.clone()),
            Record::Claimed { claims } => self.claims = claims.clone(),
            Record::Powered { power } => self.power = power.clone(),
            _ => {}
        }
    }

    /// What the owner wants.
    pub fn policy(&self) -> Policy {
        self.ruled.clone().unwrap_or_default()
    }

    /// What follows for guests.
    pub fn stance(&self) -> Stance {
        stance(&self.policy(), &self.claims)
    }

    /// The claim of this kind.
    pub fn claim(&self, kind: ReasonKind) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.reason.kind() == kind)
    }

    /// What an offer tells of the policy.
    pub fn customs(&self) -> Customs {
        Customs::of(&self.policy())
    }

    /// What a command comes to: the records, and the stance that follows from them.
    ///
    /// # Errors
    /// Why not.
    pub fn decide(&self, now: Timestamp, command: Command) -> Result<(Vec<Record>, Stance), Refusal> {
        let mut policy = self.policy();
        let mut records = Vec::new();
        let mut claims = self.claims.clone();
        let mut seen = None;
        match command {
            Command::Rule(wanted) => {
                check(&wanted)?;
                // The facts of what no longer stands in the policy are no facts: the next look makes new ones.
                claims.retain(|claim| is_kept(&policy, &wanted, claim));
                policy = wanted;
                if self.ruled.as_ref() != Some(&policy) {
                    records.push(Record::Ruled { policy: policy.clone() });
                }
            }
            Command::Pause { until } => {
                if until.is_some_and(|until| until <= now || until > now + Span::days(366)) {
                    return Err(Refusal::BadPause);
                }
                let since = self.claim(ReasonKind::Paused).map_or(now, |claim| claim.since);
                claims.retain(|claim| claim.reason.kind() != ReasonKind::Paused);
                claims.push(Claim { reason: OwnerReason::Paused { until }, since, quiet: None });
            }
            Command::Resume => claims.retain(|claim| claim.reason.kind() != ReasonKind::Paused),
            Command::See(presence) => seen = Some(presence),
            Command::Power(power) => {
                power.as_ref().map_or(Ok(()), Power::check)?;
                if self.power != power {
                    records.push(Record::Powered { power });
                }
            }
        }
        let claims = judge::claims(&policy, &claims, now, seen.as_ref());
        let stance = stance(&policy, &claims);
        if claims != self.claims {
            records.push(Record::Claimed { claims });
        }
        Ok((records, stance))
    }

    /// What time alone brings.
    pub fn time(&self, now: Timestamp) -> (Vec<Record>, Stance) {
        let policy = self.policy();
        let claims = judge::claims(&policy, &self.claims, now, None);
        let stance = stance(&policy, &claims);
        let changed = claims != self.claims;
        (changed.then_some(Record::Claimed { claims }).into_iter().collect(), stance)
    }

    /// When time alone next brings something.
    pub fn next_time(&self, now: Timestamp) -> Option<Timestamp> {
        judge::next_time(&self.policy(), &self.claims, now).map(|at| at.max(now))
    }
}

/// A claim survives a change of the policy where its own part of it did not change.
fn is_kept(before: &Policy, after: &Policy, claim: &Claim) -> bool {
    match claim.reason.kind() {
        ReasonKind::Never | ReasonKind::Paused => true,
        ReasonKind::OutsideSchedule => before.schedule == after.schedule,
        ReasonKind::Program => before.programs == after.programs,
        ReasonKind::LowCharge => before.low_charge.level == after.low_charge.level,
        ReasonKind::Hot => before.hot.level == after.hot.level,
        ReasonKind::InUse => before.in_use.level == after.in_use.level,
        ReasonKind::Busy => before.busy.level == after.busy.level,
        ReasonKind::OnBattery | ReasonKind::Metered | ReasonKind::FullScreen => true,
    }
}

fn check(policy: &Policy) -> Result<(), Refusal> {
    policy.check()?;
    match &policy.schedule {
        Some(times) if schedule::zone(&times.zone).is_none() => Err(Refusal::UnknownZone(times.zone.clone())),
        Some(_) | None => Ok(()),
    }
}

/// A freeze comes before a throttle, and of each the most telling reason.
fn stance(policy: &Policy, claims: &[Claim]) -> Stance {
    let first = |answer| {
        let mut reasons = claims.iter().map(|claim| claim.reason);
        reasons.find(|reason| policy.answer(reason.kind()) == answer)
    };
    match (first(Answer::Freeze), first(Answer::Throttle)) {
        (Some(reason), _) => Stance::Freeze(reason),
        (None, Some(reason)) => Stance::Throttle(reason, policy.throttle_to),
        (None, None) => Stance::Lend,
    }
}
