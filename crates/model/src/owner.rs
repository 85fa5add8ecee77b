//! The owner comes first: what an owner lets happen on their machine, what a machine can tell of its owner, and the
//! reasons for which guests stand still or run slower.

use crate::document::{is_plain, require};
use crate::envelope::Invalid;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Kinds of reasons, the most telling first: where several hold, the first is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKind {
    /// The owner lends nothing for now, whatever is offered.
    Never,
    /// Paused by hand.
    Paused,
    /// Not in the hours of the week.
    OutsideSchedule,
    /// The machine runs from its battery.
    OnBattery,
    /// The battery is low.
    LowCharge,
    /// The machine is hot.
    Hot,
    /// Traffic is paid for.
    Metered,
    /// A program fills the screen.
    FullScreen,
    /// A program runs that wants the machine for itself.
    Program,
    /// Somebody uses keyboard or mouse.
    InUse,
    /// The owner's own programs need the processor.
    Busy,
}

impl ReasonKind {
    /// All of them, the most telling first.
    pub const ALL: [ReasonKind; 11] = [
        ReasonKind::Never,
        ReasonKind::Paused,
        ReasonKind::OutsideSchedule,
        ReasonKind::OnBattery,
        ReasonKind::LowCharge,
        ReasonKind::Hot,
        ReasonKind::Metered,
        ReasonKind::FullScreen,
        ReasonKind::Program,
        ReasonKind::InUse,
        ReasonKind::Busy,
    ];

    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            ReasonKind::Never => "never",
            ReasonKind::Paused => "paused",
            ReasonKind::OutsideSchedule => "outside_schedule",
            ReasonKind::OnBattery => "on_battery",
            ReasonKind::LowCharge => "low_charge",
            ReasonKind::Hot => "hot",
            ReasonKind::Metered => "metered",
            ReasonKind::FullScreen => "full_screen",
            ReasonKind::Program => "program",
            ReasonKind::InUse => "in_use",
            ReasonKind::Busy => "busy",
        }
    }
}

/// Why the owner's machine is not, or not fully, for others now. It travels to the tenant: it holds the facts that
/// matter there, and not, say, the name of the program that the owner uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerReason {
    /// The owner lends nothing for now.
    Never,
    /// Paused by hand.
    Paused {
        /// Until when; none: until the owner resumes.
        until: Option<Timestamp>,
    },
    /// Not in the hours of the week.
    OutsideSchedule {
        /// When the next of them begins; none: never.
        until: Option<Timestamp>,
    },
    /// The machine runs from its battery.
    OnBattery,
    /// The battery is low.
    LowCharge {
        /// How full it is.
        percent: u8,
    },
    /// The machine is hot.
    Hot {
        /// How hot.
        celsius: i16,
    },
    /// Traffic is paid for.
    Metered,
    /// A program fills the screen.
    FullScreen,
    /// A program runs that wants the machine for itself.
    Program,
    /// Somebody uses keyboard or mouse.
    InUse,
    /// The owner's own programs need the processor.
    Busy {
        /// How much of all cores they use.
        percent: u8,
    },
}

impl OwnerReason {
    /// Which kind it is of.
    pub fn kind(&self) -> ReasonKind {
        match self {
            OwnerReason::Never => ReasonKind::Never,
            OwnerReason::Paused { .. } => ReasonKind::Paused,
            OwnerReason::OutsideSchedule { .. } => ReasonKind::OutsideSchedule,
            OwnerReason::OnBattery => ReasonKind::OnBattery,
            OwnerReason::LowCharge { .. } => ReasonKind::LowCharge,
            OwnerReason::Hot { .. } => ReasonKind::Hot,
            OwnerReason::Metered => ReasonKind::Metered,
            OwnerReason::FullScreen => ReasonKind::FullScreen,
            OwnerReason::Program => ReasonKind::Program,
            OwnerReason::InUse => ReasonKind::InUse,
            OwnerReason::Busy { .. } => ReasonKind::Busy,
        }
    }

    /// Until when it holds, where that is known.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            OwnerReason::Paused { until } | OwnerReason::OutsideSchedule { until } => *until,
            OwnerReason::Never
            | OwnerReason::OnBattery
            | OwnerReason::LowCharge { .. }
            | OwnerReason::Hot { .. }
            | OwnerReason::Metered
            | OwnerReason::FullScreen
            | OwnerReason::Program
            | OwnerReason::InUse
            | OwnerReason::Busy { .. } => None,
        }
    }
}

/// A sentence without its full stop.
impl fmt::Display for OwnerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnerReason::Never => f.write_str("the owner lends nothing for now"),
            OwnerReason::Paused { .. } => f.write_str("the owner paused lending"),
            OwnerReason::OutsideSchedule { .. } => f.write_str("it is not the time at which the owner lends"),
            OwnerReason::OnBattery => f.write_str("the machine runs from its battery"),
            OwnerReason::LowCharge { percent } => write!(f, "the machine's battery is at {percent} %"),
            OwnerReason::Hot { celsius } => write!(f, "the machine is hot: {celsius} °C"),
            OwnerReason::Metered => f.write_str("the machine's network is metered"),
            OwnerReason::FullScreen => f.write_str("the owner uses a program in full screen"),
            OwnerReason::Program => f.write_str("the owner uses a program that comes first"),
            OwnerReason::InUse => f.write_str("the owner uses the machine"),
            OwnerReason::Busy { percent } => {
                write!(f, "the owner's own programs use {percent} % of the processor")
            }
        }
    }
}

/// What is done while a reason holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing.
    Ignore,
    /// Guests go on with less of the processor.
    Throttle,
    /// Guests stand still.
    Freeze,
}

/// An answer from a level on: per cent, seconds or degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// What is done.
    pub answer: Answer,
    /// From where on.
    pub level: u16,
}

/// Programs that want the machine for themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Programs {
    /// What is done while one of them runs.
    pub answer: Answer,
    /// Their names, as the list of processes has them.
    pub names: Vec<String>,
}

/// Whether the rules are asked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lending {
    /// As the rules say.
    ByRules,
    /// Always, but when paused by hand.
    Always,
    /// Not now.
    Never,
}

/// The hours of the week in which a machine is lent, by the clocks of a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Schedule {
    /// The place, as the IANA time zone database names it: `Europe/Berlin`.
    pub zone: String,
    /// From Monday on; bit n stands for the nth half of an hour of the day.
    pub week: [u64; 7],
}

/// Every half-hour of a day.
pub const WHOLE_DAY: u64 = (1 << 48) - 1;

/// What the owner wants of their machine while it is lent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// Whether the rules are asked.
    pub lending: Lending,
    /// While it runs from its battery.
    pub on_battery: Answer,
    /// Below so many per cent of charge.
    pub low_charge: Rule,
    /// From so many degrees Celsius on.
    pub hot: Rule,
    /// While traffic is paid for.
    pub metered: Answer,
    /// While a program fills the screen.
    pub full_screen: Answer,
    /// While one of some programs runs.
    pub programs: Programs,
    /// Until keyboard and mouse have been left alone for so many seconds.
    pub in_use: Rule,
    /// While the owner's programs use more than so many per cent of all cores.
    pub busy: Rule,
    /// When it is lent; none: at all times.
    pub schedule: Option<Schedule>,
    /// How much of what a guest was promised it gets while it is throttled, in per cent.
    pub throttle_to: u8,
}

/// A laptop is nobody's radiator, and whoever works at it comes first.
impl Default for Policy {
    fn default() -> Policy {
        Policy {
            lending: Lending::ByRules,
            on_battery: Answer::Freeze,
            low_charge: Rule { answer: Answer::Freeze, level: 30 },
            hot: Rule { answer: Answer::Freeze, level: 90 },
            metered: Answer::Freeze,
            full_screen: Answer::Freeze,
            programs: Programs { answer: Answer::Freeze, names: Vec::new() },
            in_use: Rule { answer: Answer::Throttle, level: 300 },
            busy: Rule { answer: Answer::Ignore, level: 50 },
            schedule: None,
            throttle_to: 25,
        }
    }
}

impl Policy {
    /// What is done for a reason of this kind.
    pub fn answer(&self, kind: ReasonKind) -> Answer {
        match kind {
            ReasonKind::Never | ReasonKind::Paused | ReasonKind::OutsideSchedule => Answer::Freeze,
            ReasonKind::OnBattery => self.on_battery,
            ReasonKind::LowCharge => self.low_charge.answer,
            ReasonKind::Hot => self.hot.answer,
            ReasonKind::Metered => self.metered,
            ReasonKind::FullScreen => self.full_screen,
            ReasonKind::Program => self.programs.answer,
            ReasonKind::InUse => self.in_use.answer,
            ReasonKind::Busy => self.busy.answer,
        }
    }

    /// Whether each value lies in its range. Whether there is such a time zone is for who knows them to say.
    ///
    /// # Errors
    /// [`Invalid::Content`] names the first that does not.
    pub fn check(&self) -> Result<(), Invalid> {
        require((1..=100).contains(&self.low_charge.level), "low_charge", "from 1 to 100 %")?;
        require((30..=120).contains(&self.hot.level), "hot", "from 30 to 120 degrees Celsius")?;
        require(
            (30..=43_200).contains(&self.in_use.level),
            "in_use",
            "from 30 s to 12 h without keyboard and mouse",
        )?;
        require((5..=100).contains(&self.busy.level), "busy", "from 5 to 100 % of all cores")?;
        require((1..=99).contains(&self.throttle_to), "throttle_to", "from 1 to 99 % of what was promised")?;
        let named = |name: &String| !name.trim().is_empty() && is_plain(name, 64) && !name.contains('/');
        require(
            self.programs.names.len() <= 64 && self.programs.names.iter().all(named),
            "programs",
            "at most 64 names of programs, each of 1 to 64 bytes and without a slash",
        )?;
        match &self.schedule {
            Some(schedule) => schedule.check(),
            None => Ok(()),
        }
    }
}

impl Schedule {
    /// Whether it makes sense: whether there is such a zone is for who knows them to say.
    ///
    /// # Errors
    /// [`Invalid::Content`] names what does not.
    pub fn check(&self) -> Result<(), Invalid> {
        require(is_plain(&self.zone, 64) && !self.zone.is_empty(), "zone", "a name such as Europe/Berlin")?;
        require(self.week.iter().all(|day| *day <= WHOLE_DAY), "week", "48 half-hours in each of 7 days")
    }
}

/// What a machine tells of its owner at a moment; none: it cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Whether it runs from its battery.
    pub on_battery: Option<bool>,
    /// How full the battery is, in per cent.
    pub charge: Option<u8>,
    /// How hot its hottest part is, in degrees Celsius.
    pub celsius: Option<i16>,
    /// Whether traffic is paid for.
    pub metered: Option<bool>,
    /// Whether a program fills the screen.
    pub full_screen: Option<bool>,
    /// Which of the programs that were asked about run.
    pub programs: Option<Vec<String>>,
    /// For how long keyboard and mouse were left alone.
    pub idle: Option<Span>,
    /// How much of all cores the owner's own programs use, in per cent.
    pub busy: Option<u8>,
}

/// What of an owner's policy an offer tells: which reasons stop guests or slow them, and when the machine is lent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Customs {
    /// For these guests stand still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<ReasonKind>,
    /// For these they run slower.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttles: Vec<ReasonKind>,
    /// When the machine is lent; none: at all times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
}

impl Customs {
    /// What an offer tells of a policy.
    pub fn of(policy: &Policy) -> Customs {
        let rules = |answer| match policy.lending {
            Lending::Always => Vec::new(),
            Lending::ByRules | Lending::Never => ReasonKind::ALL
                .into_iter()
                .filter(|kind| *kind > ReasonKind::OutsideSchedule && policy.answer(*kind) == answer)
                .filter(|kind| *kind != ReasonKind::Program || !policy.programs.names.is_empty())
                .collect(),
        };
        let schedule = policy.schedule.clone().filter(|_| policy.lending != Lending::Always);
        Customs { freezes: rules(Answer::Freeze), throttles: rules(Answer::Throttle), schedule }
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let few = self.freezes.len() + self.throttles.len() <= ReasonKind::ALL.len();
        require(few, "customs", "each reason once")?;
        self.schedule.as_ref().map_or(Ok(()), Schedule::check)
    }
}

/// A reason that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Which, with the facts as they were when it arose.
    pub reason: OwnerReason,
    /// Since when.
    pub since: Timestamp,
    /// Since when nothing of it is seen any more; it is given up when that has lasted.
    pub quiet: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        let refused = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.check().unwrap_err().to_string()
        };
        assert_eq!(Policy::default().check(), Ok(()));
        assert!(refused(|policy| policy.low_charge.level = 0).contains("low_charge"));
        assert!(refused(|policy| policy.hot.level = 300).contains("hot"));
        assert!(refused(|policy| policy.in_use.level = 1).contains("in_use"));
        assert!(refused(|policy| policy.busy.level = 101).contains("busy"));
        assert!(refused(|policy| policy.throttle_to = 100).contains("throttle_to"));
        assert!(refused(|policy| policy.programs.names.push("/usr/bin/game".into())).contains("programs"));
        assert!(
            refused(|policy| policy.schedule = Some(Schedule { zone: "UTC".into(), week: [1 << 48; 7] }))
                .contains("week")
        );
    }

    #[test]
    fn the_order_of_kinds_is_the_one_in_which_they_are_listed() {
        assert!(ReasonKind::ALL.is_sorted());
        let codes: std::collections::BTreeSet<_> = ReasonKind::ALL.map(ReasonKind::code).into();
        assert_eq!(codes.len(), ReasonKind::ALL.len());
    }

    #[test]
    fn an_offer_tells_the_rules_that_can_hold() {
        let customs = Customs::of(&Policy::default());
        assert_eq!(customs.throttles, [ReasonKind::InUse]);
        assert!(
            customs.freezes.contains(&ReasonKind::OnBattery)
                && !customs.freezes.contains(&ReasonKind::Program)
        );
        let always = Policy { lending: Lending::Always, ..Policy::default() };
        assert!(Customs::of(&always).freezes.is_empty());
    }
}
