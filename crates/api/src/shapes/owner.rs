//! The owner comes first: the policy, and what holds now.

use super::basic::{Moment, Seconds};
use node::engine::owner::{Stance, State, next_change};
use node::machine::presence::{Seen, Sight};
use node::model::owner::WHOLE_DAY;
use node::model::{self, OwnerReason, Presence, ReasonKind, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What the owner wants of this machine, and what holds now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Owner {
    /// What follows for guests.
    pub state: OwnerState,
    /// The most telling reason that holds; none: the machine is fully for others.
    pub reason: Option<Reason>,
    /// Guests of others on this machine that stand still or run slower for it.
    pub held: usize,
    /// Guests of others on this machine, in all.
    pub guests: usize,
    /// Every kind of reason, whether it holds, and who told.
    pub rules: Vec<RuleState>,
    /// What the owner wants.
    pub policy: Policy,
    /// Whether the owner has said so; no: it is the usual.
    pub ruled: bool,
}

/// What follows for guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerState {
    /// They run.
    Lending,
    /// They run with less than was promised; nothing new is lent.
    Throttled,
    /// They stand still; nothing new is lent.
    Frozen,
}

/// Why the owner's machine is not, or not fully, for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// For programs: `never`, `paused`, `outside_schedule`, `on_battery`, `low_charge`, `hot`, `metered`, `full_screen`,
    /// `program`, `in_use`, `busy`.
    pub kind: String,
    /// In words.
    pub sentence: String,
    /// Since when; none where only the other party knows.
    pub since: Option<Moment>,
    /// Until when, where that is known.
    pub until: Option<Moment>,
}

impl Reason {
    /// A reason that holds since a moment.
    pub fn of(reason: OwnerReason, since: Option<Timestamp>) -> Reason {
        Reason {
            kind: reason.kind().code().to_owned(),
            sentence: reason.to_string(),
            since: since.map(Moment),
            until: reason.until().map(Moment),
        }
    }
}

/// One kind of reason, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleState {
    /// Which, for programs.
    pub kind: String,
    /// What is done while it holds.
    pub answer: Answer,
    /// How it stands.
    pub state: RuleStanding,
    /// The rule, in words: from where on it holds.
    pub rule: String,
    /// What is seen now, or why nothing is, in words.
    pub seen: String,
    /// What is seen now, in numbers; none where nothing is.
    pub sight: Option<RuleSight>,
    /// Who told: the source's name.
    pub source: Option<String>,
    /// Since when it holds.
    pub since: Option<Moment>,
    /// Until when it holds, or for programs when it next changes, where that is known.
    pub until: Option<Moment>,
    /// What would follow if only this held, in words.
    pub would: String,
}

/// What is seen of a kind of reason: of these what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleSight {
    /// Whether it is so: on battery, metered, a program fills the screen.
    pub is_so: Option<bool>,
    /// The battery's charge, or what the owner's programs use of all cores.
    pub percent: Option<u16>,
    /// The temperature.
    pub celsius: Option<i16>,
    /// For how long keyboard and mouse were left alone.
    pub alone: Option<Seconds>,
    /// Which of the programs run that come first.
    pub programs: Option<Vec<String>>,
}

impl RuleSight {
    fn of(presence: &Presence, kind: ReasonKind) -> RuleSight {
        let nothing = RuleSight::default();
        match kind {
            ReasonKind::Never | ReasonKind::Paused | ReasonKind::OutsideSchedule => nothing,
            ReasonKind::OnBattery => RuleSight { is_so: presence.on_battery, ..nothing },
            ReasonKind::LowCharge => RuleSight { percent: presence.charge.map(u16::from), ..nothing },
            ReasonKind::Hot => RuleSight { celsius: presence.celsius, ..nothing },
            ReasonKind::Metered => RuleSight { is_so: presence.metered, ..nothing },
            ReasonKind::FullScreen => RuleSight { is_so: presence.full_screen, ..nothing },
            ReasonKind::Program => RuleSight { programs: presence.programs.clone(), ..nothing },
            ReasonKind::InUse => RuleSight { alone: presence.idle.map(Seconds), ..nothing },
            ReasonKind::Busy => RuleSight { percent: presence.busy.map(u16::from), ..nothing },
        }
    }
}

/// How a kind of reason stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleStanding {
    /// It holds.
    Active,
    /// Nothing of it is seen any more; it is given up when that has lasted a little.
    Quiet,
    /// It does not hold.
    Inactive,
    /// Nothing here can tell.
    Unknown,
    /// The policy does not ask.
    Off,
    /// Nobody looks, as nothing is lent.
    Unwatched,
}

/// What is done while a reason holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing.
    Ignore,
    /// Guests go on with less of the processor.
    Throttle,
    /// Guests stand still.
    Freeze,
}

impl From<model::Answer> for Answer {
    fn from(answer: model::Answer) -> Answer {
        match answer {
            model::Answer::Ignore => Answer::Ignore,
            model::Answer::Throttle => Answer::Throttle,
            model::Answer::Freeze => Answer::Freeze,
        }
    }
}

impl From<Answer> for model::Answer {
    fn from(answer: Answer) -> model::Answer {
        match answer {
            Answer::Ignore => model::Answer::Ignore,
            Answer::Throttle => model::Answer::Throttle,
            Answer::Freeze => model::Answer::Freeze,
        }
    }
}

/// Whether the rules are asked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lending {
    /// As the rules say.
    ByRules,
    /// Always, but when paused by hand.
    Always,
    /// Not now.
    Never,
}

/// What the owner wants of this machine while it is lent. To change it, read it, change it, and put it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnerPolicy)]
pub struct Policy {
    /// Whether the rules are asked.
    pub lending: Lending,
    /// While it runs from its battery.
    pub on_battery: Answer,
    /// While the battery is low.
    pub low_charge: LowCharge,
    /// While it is hot.
    pub hot: Hot,
    /// While traffic is paid for.
    pub metered: Answer,
    /// While a program fills the screen.
    pub full_screen: Answer,
    /// While a program runs that wants the machine for itself.
    pub programs: Programs,
    /// While somebody uses keyboard or mouse.
    pub in_use: InUse,
    /// While the owner's own programs need the processor.
    pub busy: Busy,
    /// When it is lent; none: at all times.
    pub schedule: Option<Schedule>,
    /// How much of what a guest was promised it gets while it is throttled, in per cent: from 1 to 99.
    pub throttle_to_percent: u8,
}

/// While the battery is low.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LowCharge {
    /// What is done.
    pub answer: Answer,
    /// Below so many per cent: from 1 to 100.
    pub below_percent: u16,
}

/// While the machine is hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hot {
    /// What is done.
    pub answer: Answer,
    /// From so many degrees on: from 30 to 120.
    pub from_celsius: u16,
}

/// While a program runs that wants the machine for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// What is done.
    pub answer: Answer,
    /// The programs' names, as the list of processes has them; at most 64.
    pub names: Vec<String>,
}

/// While somebody uses keyboard or mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InUse {
    /// What is done.
    pub answer: Answer,
    /// Until both have been left alone for so long: from 30 s to 12 h, in whole seconds.
    pub alone_for: Seconds,
}

/// While the owner's own programs need the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Busy {
    /// What is done.
    pub answer: Answer,
    /// While they use more than so many per cent of all cores: from 5 to 100.
    pub above_percent: u16,
}

/// The hours of the week in which the machine is lent: `18:00-24:00`, in halves of an hour. An empty list is a day without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// By the clocks of this place: `Europe/Berlin`.
    pub zone: String,
    #[allow(missing_docs)] // the names say it all
    pub monday: Vec<String>,
    #[allow(missing_docs)]
    pub tuesday: Vec<String>,
    #[allow(missing_docs)]
    pub wednesday: Vec<String>,
    #[allow(missing_docs)]
    pub thursday: Vec<String>,
    #[allow(missing_docs)]
    pub friday: Vec<String>,
    #[allow(missing_docs)]
    pub saturday: Vec<String>,
    #[allow(missing_docs)]
    pub sunday: Vec<String>,
}

impl From<&model::Schedule> for Schedule {
    fn from(schedule: &model::Schedule) -> Schedule {
        let [monday, tuesday, wednesday, thursday, friday, saturday, sunday] = schedule.week.map(ranges);
        Schedule {
            zone: schedule.zone.clone(),
            monday,
            tuesday,
            wednesday,
            thursday,
            friday,
            saturday,
            sunday,
        }
    }
}

impl Schedule {
    /// From Monday to Sunday.
    pub fn days(&self) -> [&[String]; 7] {
        let Schedule { zone: _, monday, tuesday, wednesday, thursday, friday, saturday, sunday } = self;
        [monday, tuesday, wednesday, thursday, friday, saturday, sunday].map(Vec::as_slice)
    }
}

impl TryFrom<&Schedule> for model::Schedule {
    type Error = String;

    fn try_from(schedule: &Schedule) -> Result<model::Schedule, String> {
        let mut week = [0; 7];
        for (halves, day) in week.iter_mut().zip(schedule.days()) {
            for range in day {
                *halves |= read_range(range)?;
            }
        }
        Ok(model::Schedule { zone: schedule.zone.clone(), week })
    }
}

/// A day's halves of an hour as ranges: `08:00-12:30`.
pub fn ranges(halves: u64) -> Vec<String> {
    let is_set = |half: u32| half < 48 && halves >> half & 1 == 1;
    let begins: Vec<u32> =
        (0..48).filter(|half| is_set(*half) && (*half == 0 || !is_set(half - 1))).collect();
    let ends = begins.iter().map(|begin| (*begin..=48).find(|half| !is_set(*half)).unwrap_or(48));
    let clock = |half: u32| format!("{:02}:{:02}", half / 2, half % 2 * 30);
    begins.iter().zip(ends).map(|(begin, end)| format!("{}-{}", clock(*begin), clock(end))).collect()
}

/// The halves of an hour of a range within a day.
///
/// # Errors
/// When it is none, in words.
pub fn read_range(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is no range of hours: write for example 08:00-12:30, in halves of an hour");
    let half = |clock: &str| {
        let (hour, minute) = clock.trim().split_once(':').unwrap_or((clock.trim(), "00"));
        let hour: u32 = hour.parse().ok().filter(|hour| *hour <= 24)?;
        let minute = match minute {
            "00" => 0,
            "30" if hour < 24 => 1,
            _ => return None,
        };
        Some(hour * 2 + minute)
    };
    let (begin, end) = text.split_once('-').ok_or_else(wrong)?;
    let (begin, end) = (half(begin).ok_or_else(wrong)?, half(end).ok_or_else(wrong)?);
    if begin >= end {
        return Err(wrong());
    }
    Ok((begin..end).fold(0, |halves, half| halves | 1 << half) & WHOLE_DAY)
}

impl From<&model::Policy> for Policy {
    fn from(policy: &model::Policy) -> Policy {
        Policy {
            lending: match policy.lending {
                model::Lending::ByRules => Lending::ByRules,
                model::Lending::Always => Lending::Always,
                model::Lending::Never => Lending::Never,
            },
            on_battery: policy.on_battery.into(),
            low_charge: LowCharge {
                answer: policy.low_charge.answer.into(),
                below_percent: policy.low_charge.level,
            },
            hot: Hot { answer: policy.hot.answer.into(), from_celsius: policy.hot.level },
            metered: policy.metered.into(),
            full_screen: policy.full_screen.into(),
            programs: Programs {
                answer: policy.programs.answer.into(),
                names: policy.programs.names.clone(),
            },
            in_use: InUse {
                answer: policy.in_use.answer.into(),
                alone_for: Seconds(Span::seconds(policy.in_use.level.into())),
            },
            busy: Busy { answer: policy.busy.answer.into(), above_percent: policy.busy.level },
            schedule: policy.schedule.as_ref().map(Schedule::from),
            throttle_to_percent: policy.throttle_to,
        }
    }
}

impl TryFrom<&Policy> for model::Policy {
    type Error = String;

    fn try_from(policy: &Policy) -> Result<model::Policy, String> {
        let rule = |answer: Answer, level| model::Rule { answer: answer.into(), level };
        let alone = u16::try_from(policy.in_use.alone_for.0.0 / 1_000).unwrap_or(u16::MAX);
        Ok(model::Policy {
            lending: match policy.lending {
                Lending::ByRules => model::Lending::ByRules,
                Lending::Always => model::Lending::Always,
                Lending::Never => model::Lending::Never,
            },
            on_battery: policy.on_battery.into(),
            low_charge: rule(policy.low_charge.answer, policy.low_charge.below_percent),
            hot: rule(policy.hot.answer, policy.hot.from_celsius),
            metered: policy.metered.into(),
            full_screen: policy.full_screen.into(),
            programs: model::Programs {
                answer: policy.programs.answer.into(),
                names: policy.programs.names.clone(),
            },
            in_use: rule(policy.in_use.answer, alone),
            busy: rule(policy.busy.answer, policy.busy.above_percent),
            schedule: policy.schedule.as_ref().map(model::Schedule::try_from).transpose()?,
            throttle_to: policy.throttle_to_percent,
        })
    }
}

/// For how long lending is paused. Neither: until it is resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// For so long from now.
    #[serde(default, rename = "for")]
    pub span: Option<Seconds>,
    /// Until this moment.
    #[serde(default)]
    pub until: Option<Moment>,
    /// Until six in the morning, by the clocks of this machine.
    #[serde(default)]
    pub until_tomorrow: bool,
}

impl Owner {
    /// How the owner's wishes stand at `now`.
    pub fn of(state: &State, seen: &Seen, phases: &[model::Phase], watched: bool, now: Timestamp) -> Owner {
        let policy = state.policy();
        let stance = state.stance();
        let since = |reason: OwnerReason| state.claim(reason.kind()).map(|claim| claim.since);
        Owner {
            state: match stance {
                Stance::Lend => OwnerState::Lending,
                Stance::Throttle(..) => OwnerState::Throttled,
                Stance::Freeze(_) => OwnerState::Frozen,
            },
            reason: stance.reason().map(|reason| Reason::of(reason, since(reason))),
            held: phases.iter().filter(|phase| phase.owner().is_some()).count(),
            guests: phases.len(),
            rules: ReasonKind::ALL
                .into_iter()
                .map(|kind| rule(&policy, state, seen, phases.len(), watched, now, kind))
                .collect(),
            policy: (&policy).into(),
            ruled: state.ruled.is_some(),
        }
    }
}

fn rule(
    policy: &model::Policy,
    state: &State,
    seen: &Seen,
    guests: usize,
    watched: bool,
    now: Timestamp,
    kind: ReasonKind,
) -> RuleState {
    let answer = policy.answer(kind);
    let claim = state.claim(kind);
    let sight = seen.sights.get(&kind);
    let by_hand = kind <= ReasonKind::OutsideSchedule;
    let is_off = (policy.lending == model::Lending::Always && kind > ReasonKind::Paused)
        || answer == model::Answer::Ignore
        || (kind == ReasonKind::Program && policy.programs.names.is_empty())
        || (kind == ReasonKind::OutsideSchedule && policy.schedule.is_none());
    let standing = match (claim, sight) {
        (Some(claim), _) if claim.quiet.is_some() => RuleStanding::Quiet,
        (Some(_), _) => RuleStanding::Active,
        _ if is_off => RuleStanding::Off,
        _ if by_hand => RuleStanding::Inactive,
        _ if !watched => RuleStanding::Unwatched,
        (None, Some(Sight::Told { .. })) => RuleStanding::Inactive,
        (None, Some(Sight::Unknown { .. }) | None) => RuleStanding::Unknown,
    };
    let until = if kind == ReasonKind::OutsideSchedule && !is_off {
        policy.schedule.as_ref().and_then(|schedule| next_change(schedule, now))
    } else {
        claim.and_then(|claim| claim.reason.until())
    };
    RuleState {
        kind: kind.code().to_owned(),
        answer: answer.into(),
        state: standing,
        rule: in_words(policy, kind),
        seen: match sight {
            Some(Sight::Told { .. }) if watched => sighted(&seen.presence, kind),
            Some(Sight::Unknown { why }) if watched => why.clone(),
            Some(_) | None => String::new(),
        },
        sight: match sight {
            Some(Sight::Told { .. }) if watched => Some(RuleSight::of(&seen.presence, kind)),
            Some(_) | None => None,
        },
        source: match sight {
            Some(Sight::Told { source }) if watched => Some(source.clone()),
            Some(_) | None => None,
        },
        since: claim.map(|claim| Moment(claim.since)),
        until: until.map(Moment),
        would: would(policy, answer, guests),
    }
}

/// From where on a rule holds.
fn in_words(policy: &model::Policy, kind: ReasonKind) -> String {
    match kind {
        ReasonKind::Never => "lending is set to never".to_owned(),
        ReasonKind::Paused => "lending is paused by hand".to_owned(),
        ReasonKind::OutsideSchedule => match &policy.schedule {
            Some(schedule) => format!("outside the hours of the week, by the clocks of {}", schedule.zone),
            None => "no hours of the week are set".to_owned(),
        },
        ReasonKind::OnBattery => "the machine runs from its battery".to_owned(),
        ReasonKind::LowCharge => format!("the battery is below {} %", policy.low_charge.level),
        ReasonKind::Hot => format!("the machine is at {} °C or above", policy.hot.level),
        ReasonKind::Metered => "the network is metered".to_owned(),
        ReasonKind::FullScreen => "a program fills the screen".to_owned(),
        ReasonKind::Program if policy.programs.names.is_empty() => "no programs are named".to_owned(),
        ReasonKind::Program => format!("one of these runs: {}", policy.programs.names.join(", ")),
        ReasonKind::InUse => {
            let alone = Span::seconds(policy.in_use.level.into());
            format!("keyboard or mouse was used within the last {alone}")
        }
        ReasonKind::Busy => {
            format!("the owner's own programs use more than {} % of all cores", policy.busy.level)
        }
    }
}

/// What a machine sees of a kind of reason.
fn sighted(presence: &Presence, kind: ReasonKind) -> String {
    let yes = |is: Option<bool>, yes: &str, no: &str| is.map(|is| if is { yes } else { no }.to_owned());
    let told = match kind {
        ReasonKind::Never | ReasonKind::Paused | ReasonKind::OutsideSchedule => None,
        ReasonKind::OnBattery => {
            yes(presence.on_battery, "it runs from its battery", "it runs from the mains")
        }
        ReasonKind::LowCharge => presence.charge.map(|percent| format!("the battery is at {percent} %")),
        ReasonKind::Hot => presence.celsius.map(|celsius| format!("{celsius} °C")),
        ReasonKind::Metered => yes(presence.metered, "the network is metered", "the network is not metered"),
        ReasonKind::FullScreen => {
            yes(presence.full_screen, "a program fills the screen", "no program fills the screen")
        }
        ReasonKind::Program => presence.programs.as_ref().map(|names| match names.as_slice() {
            [] => "none of them runs".to_owned(),
            names => format!("{} runs", names.join(", ")),
        }),
        ReasonKind::InUse => {
            presence.idle.map(|idle| format!("keyboard and mouse were left alone for {idle}"))
        }
        ReasonKind::Busy => {
            presence.busy.map(|percent| format!("the owner's programs use {percent} % of all cores"))
        }
    };
    told.unwrap_or_default()
}

/// What would follow if only this held.
fn would(policy: &model::Policy, answer: model::Answer, guests: usize) -> String {
    let them = match guests {
        0 => "nothing new would be lent".to_owned(),
        1 => "1 guest".to_owned(),
        many => format!("{many} guests"),
    };
    match (answer, guests) {
        (model::Answer::Ignore, _) => "nothing would change".to_owned(),
        (_, 0) => them,
        (model::Answer::Throttle, _) => {
            format!("{them} would run at {} %, unbilled, and nothing new would be lent", policy.throttle_to)
        }
        (model::Answer::Freeze, _) => {
            format!("{them} would stand still, unbilled, and nothing new would be lent")
        }
    }
}

/// What an offer tells of its owner's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Customs {
    /// For these kinds of reasons guests stand still.
    pub freezes: Vec<String>,
    /// For these they run slower.
    pub throttles: Vec<String>,
    /// When the machine is lent; none: at all times.
    pub schedule: Option<Schedule>,
}

impl From<&model::Customs> for Customs {
    fn from(customs: &model::Customs) -> Customs {
        let codes = |kinds: &[ReasonKind]| kinds.iter().map(|kind| kind.code().to_owned()).collect();
        Customs {
            freezes: codes(&customs.freezes),
            throttles: codes(&customs.throttles),
            schedule: customs.schedule.as_ref().map(Schedule::from),
        }
    }
}

/// Facts by name, for the doctor.
pub fn facts(seen: &Seen) -> BTreeMap<ReasonKind, (String, Option<String>)> {
    seen.sights
        .iter()
        .map(|(kind, sight)| match sight {
            Sight::Told { source } => (*kind, (sighted(&seen.presence, *kind), Some(source.clone()))),
            Sight::Unknown { why } => (*kind, (why.clone(), None)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_as_they_are_written() {
        for day in [0, WHOLE_DAY, 0b1011_0001, 1 << 47] {
            let read =
                ranges(day).iter().map(|range| read_range(range).unwrap()).fold(0, |all, one| all | one);
            assert_eq!(read, day, "{:?}", ranges(day));
        }
        assert_eq!(ranges(WHOLE_DAY), ["00:00-24:00"]);
        assert_eq!(read_range("8-12:30"), read_range("08:00-12:30"));
        for wrong in ["", "8", "12:00-08:00", "08:15-09:00", "08:00-24:30", "-1-3", "08:00-08:00"] {
            assert!(read_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let schedule =
            model::Schedule { zone: "Europe/Berlin".into(), week: [0xFF, 0, 1, 2, 3, WHOLE_DAY, 5] };
        let policy = model::Policy { schedule: Some(schedule), ..model::Policy::default() };
        assert_eq!(model::Policy::try_from(&Policy::from(&policy)), Ok(policy));
    }
}
