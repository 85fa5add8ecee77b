//! `sublet pause`, `resume` and `policy`: the owner comes first.

use crate::Done;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::parse;
use crate::show::{Table, fields, moment, time};
use api::shapes::{
    Answer, Lending, Owner, OwnerPolicy, OwnerState, Pause, RuleStanding, RuleState, Schedule, Seconds,
    ranges, read_range,
};
use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;

/// For how long to pause.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct PauseArgs {
    /// For how long, such as 1h, or `until-tomorrow` for six in the morning [default: until `sublet resume`].
    #[arg(value_name = "TIME", value_parser = length)]
    length: Option<Length>,
    /// Until this time of today or tomorrow, such as 18:30, or a moment such as 2026-07-31T18:30:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse::moment)]
    until: Option<api::shapes::Moment>,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    For(Seconds),
    UntilTomorrow,
}

fn length(text: &str) -> Result<Length, String> {
    match text {
        "until-tomorrow" | "tomorrow" => Ok(Length::UntilTomorrow),
        text => parse::time(text).map(Length::For),
    }
}

/// Pauses lending.
pub async fn pause(desk: &Desk<'_>, args: PauseArgs) -> Done {
    let pause = match (args.length, args.until) {
        (Some(Length::For(span)), _) => Pause { span: Some(span), ..Pause::default() },
        (Some(Length::UntilTomorrow), _) => Pause { until_tomorrow: true, ..Pause::default() },
        (None, until) => Pause { until, ..Pause::default() },
    };
    let owner = desk.client.pause(&pause).await?;
    desk.out.either(&owner, || state(&owner)).map(|()| 0)
}

/// Ends a pause.
pub async fn resume(desk: &Desk<'_>) -> Done {
    let owner = desk.client.resume().await?;
    desk.out.either(&owner, || state(&owner)).map(|()| 0)
}

/// What to do with the policy.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show each reason for which guests make room, whether it holds, who told, and what would follow.
    Show,
    /// Change the policy. What is not named stays as it is.
    Set(Box<SetArgs>),
    /// Set the hours of the week in which this machine is lent.
    Schedule(ScheduleArgs),
}

/// What is done while a reason holds.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Do {
    /// Nothing.
    Ignore,
    /// Guests go on with less of the processor, unbilled.
    Throttle,
    /// Guests stand still, unbilled.
    Freeze,
}

impl From<Do> for Answer {
    fn from(what: Do) -> Answer {
        match what {
            Do::Ignore => Answer::Ignore,
            Do::Throttle => Answer::Throttle,
            Do::Freeze => Answer::Freeze,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lend {
    /// As the rules say.
    ByRules,
    /// Always, but when paused by hand.
    Always,
    /// Not now.
    Never,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct SetArgs {
    /// Whether the rules are asked at all.
    #[arg(long, value_name = "WHEN")]
    lending: Option<Lend>,
    /// While the machine runs from its battery.
    #[arg(long, value_name = "DO")]
    on_battery: Option<Do>,
    /// While the battery is low.
    #[arg(long, value_name = "DO")]
    low_charge: Option<Do>,
    /// From where on it is low, in per cent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u16).range(1..=100))]
    charge_below: Option<u16>,
    /// While the machine is hot.
    #[arg(long, value_name = "DO")]
    hot: Option<Do>,
    /// From where on it is hot, in degrees Celsius.
    #[arg(long, value_name = "CELSIUS", value_parser = clap::value_parser!(u16).range(30..=120))]
    hot_from: Option<u16>,
    /// While the network is metered.
    #[arg(long, value_name = "DO")]
    metered: Option<Do>,
    /// While a program fills the screen.
    #[arg(long, value_name = "DO")]
    full_screen: Option<Do>,
    /// While one of the named programs runs.
    #[arg(long, value_name = "DO")]
    programs: Option<Do>,
    /// A program that wants the machine for itself; can be given several times.
    #[arg(long, value_name = "NAME")]
    program: Vec<String>,
    /// Name no programs any more.
    #[arg(long, conflicts_with = "program")]
    no_programs: bool,
    /// While somebody uses keyboard or mouse.
    #[arg(long, value_name = "DO")]
    in_use: Option<Do>,
    /// How long both have to be left alone until nobody does.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    alone_for: Option<Seconds>,
    /// While the owner's own programs need the processor.
    #[arg(long, value_name = "DO")]
    busy: Option<Do>,
    /// From where on they do, in per cent of all cores.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u16).range(5..=100))]
    busy_above: Option<u16>,
    /// How much of what a guest was promised it gets while it is throttled, in per cent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    throttle_to: Option<u8>,
}

#[derive(Args, Debug)]
struct ScheduleArgs {
    /// Days and hours, such as "mon-fri 18:00-08:00" or "sat,sun all"; `off` for all hours of all days.
    #[arg(required = true, value_name = "HOURS")]
    hours: Vec<String>,
    /// By the clocks of this place, such as Europe/Berlin [default: this machine's].
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

/// Shows or changes the policy.
pub async fn policy(desk: &Desk<'_>, args: PolicyArgs) -> Done {
    let now = desk.client.owner().await?;
    let owner = match args.what.unwrap_or(What::Show) {
        What::Show => now,
        What::Set(set) => desk.client.set_policy(&changed(now.policy, *set)).await?,
        What::Schedule(args) => {
            let schedule = match args.hours.as_slice() {
                [off] if off == "off" => None,
                hours => Some(schedule(hours, args.zone)?),
            };
            desk.client.set_policy(&OwnerPolicy { schedule, ..now.policy }).await?
        }
    };
    desk.out.either(&owner, || story(desk, &owner)).map(|()| 0)
}

fn changed(mut policy: OwnerPolicy, set: SetArgs) -> OwnerPolicy {
    fn to<T>(place: &mut T, wish: Option<impl Into<T>>) {
        if let Some(wish) = wish {
            *place = wish.into();
        }
    }
    if let Some(lending) = set.lending {
        policy.lending = match lending {
            Lend::ByRules => Lending::ByRules,
            Lend::Always => Lending::Always,
            Lend::Never => Lending::Never,
        };
    }
    to(&mut policy.on_battery, set.on_battery);
    to(&mut policy.low_charge.answer, set.low_charge);
    to(&mut policy.low_charge.below_percent, set.charge_below);
    to(&mut policy.hot.answer, set.hot);
    to(&mut policy.hot.from_celsius, set.hot_from);
    to(&mut policy.metered, set.metered);
    to(&mut policy.full_screen, set.full_screen);
    to(&mut policy.programs.answer, set.programs);
    to(&mut policy.in_use.answer, set.in_use);
    to(&mut policy.in_use.alone_for, set.alone_for);
    to(&mut policy.busy.answer, set.busy);
    to(&mut policy.busy.above_percent, set.busy_above);
    to(&mut policy.throttle_to_percent, set.throttle_to);
    if set.no_programs || !set.program.is_empty() {
        policy.programs.names = set.program;
    }
    policy
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Each text names days and hours; hours that pass midnight go on into the next day.
fn schedule(texts: &[String], zone: Option<String>) -> Result<Schedule, Failure> {
    let mut week = [0u64; 7];
    for text in texts {
        read_hours(text, &mut week).map_err(Failure::misused)?;
    }
    let here = || TimeZone::system().iana_name().map(str::to_owned);
    let zone = zone.or_else(here).ok_or_else(|| {
        Failure::misused("this machine does not say in which time zone it is")
            .hint("Name one: --zone Europe/Berlin.")
    })?;
    let [monday, tuesday, wednesday, thursday, friday, saturday, sunday] = week.map(ranges);
    Ok(Schedule { zone, monday, tuesday, wednesday, thursday, friday, saturday, sunday })
}

fn read_hours(text: &str, week: &mut [u64; 7]) -> Result<(), String> {
    let wrong =
        || format!("`{text}` names no hours: write for example \"mon-fri 18:00-08:00\" or \"sat,sun all\"");
    let (days, hours) = text.trim().split_once(' ').ok_or_else(wrong)?;
    let day =
        |name: &str| DAYS.iter().position(|day| name.to_ascii_lowercase().starts_with(day)).ok_or_else(wrong);
    let (tonight, next) = match hours.trim() {
        "all" => (read_range("00:00-24:00")?, 0),
        hours => match (hours.split_once('-'), read_range(hours)) {
            (_, Ok(halves)) => (halves, 0),
            (Some((begin, end)), Err(_)) => {
                let until = if matches!(end.trim(), "00:00" | "0") {
                    0
                } else {
                    read_range(&format!("00:00-{end}"))?
                };
                (read_range(&format!("{begin}-24:00"))?, until)
            }
            (None, Err(why)) => return Err(why),
        },
    };
    for part in days.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        let count = (last + 7 - first) % 7 + 1;
        for number in (first..first + count).map(|number| number % 7) {
            week[number] |= tonight;
            week[(number + 1) % 7] |= next;
        }
    }
    Ok(())
}

/// How it stands, in a line or two.
pub fn state(owner: &Owner) -> String {
    let guests = match owner.guests {
        0 => "no guest runs here".to_owned(),
        1 => "1 guest".to_owned(),
        many => format!("{many} guests"),
    };
    let Some(reason) = &owner.reason else {
        return format!("lending; {guests}");
    };
    let until = reason.until.map(|until| format!(" until {}", moment(until))).unwrap_or_default();
    let since = reason.since.map(|since| format!(", since {}", moment(since))).unwrap_or_default();
    let held = match (owner.state, owner.guests) {
        (_, 0) => "nothing new is lent".to_owned(),
        (OwnerState::Throttled, _) => {
            format!("{guests} at {} %, nothing new is lent", owner.policy.throttle_to_percent)
        }
        (OwnerState::Frozen | OwnerState::Lending, _) => {
            format!("{guests} at a standstill, nothing new is lent")
        }
    };
    format!("{}{until}{since}; {held}", reason.sentence)
}

fn story(desk: &Desk<'_>, owner: &Owner) -> String {
    let mut table = Table::new(&["REASON", "NOW", "DO", "SEEN", "BY", "SINCE"]);
    for rule in &owner.rules {
        let answer = match rule.answer {
            Answer::Ignore => "ignore",
            Answer::Throttle => "throttle",
            Answer::Freeze => "freeze",
        };
        table.row([
            rule.rule.clone(),
            standing(rule).to_owned(),
            answer.to_owned(),
            rule.seen.clone(),
            rule.source.clone().unwrap_or_default(),
            rule.since.map(moment).unwrap_or_default(),
        ]);
    }
    let policy = &owner.policy;
    let lending = match policy.lending {
        Lending::ByRules => "as the rules say",
        Lending::Always => "always, but when paused",
        Lending::Never => "never",
    };
    let lent = policy.schedule.as_ref().map(week).unwrap_or_default();
    let below = fields([
        ("lending", lending.to_owned()),
        ("hours", lent),
        ("alone for", time(policy.in_use.alone_for)),
        ("throttled to", format!("{} % of what was promised, unbilled", policy.throttle_to_percent)),
    ]);
    format!("{}\n\n{}\n\n{below}", state(owner), table.text(|head| desk.out.head(head)))
}

fn standing(rule: &RuleState) -> &'static str {
    match rule.state {
        RuleStanding::Active => "holds",
        RuleStanding::Quiet => "is ending",
        RuleStanding::Inactive => "no",
        RuleStanding::Unknown => "not known here",
        RuleStanding::Off => "off",
        RuleStanding::Unwatched => "nothing is lent",
    }
}

fn week(schedule: &Schedule) -> String {
    let lines = DAYS.iter().zip(schedule.days()).map(|(day, hours)| {
        let hours = if hours.is_empty() { "none".to_owned() } else { hours.join(", ") };
        format!("{day} {hours}")
    });
    format!("{}\nby the clocks of {}", lines.collect::<Vec<_>>().join("\n"), schedule.zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Schedule, Failure> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        schedule(&texts, Some("UTC".to_owned()))
    }

    #[test]
    fn hours_that_pass_midnight_go_on_into_the_next_day() {
        let Ok(week) = read(&["mon-fri 18:00-08:00", "sat,sunday all"]) else { panic!("it is a schedule") };
        assert_eq!(week.monday, ["18:00-24:00"]);
        assert_eq!(week.tuesday, ["00:00-08:00", "18:00-24:00"]);
        assert_eq!(
            (week.saturday, week.sunday),
            (vec!["00:00-24:00".to_owned()], vec!["00:00-24:00".to_owned()])
        );
        let Ok(week) = read(&["fri-mon 22-0"]) else { panic!("it is a schedule") };
        assert_eq!((week.monday, week.tuesday), (vec!["22:00-24:00".to_owned()], vec![]));
    }

    #[test]
    fn what_names_no_hours_is_told_so() {
        for wrong in ["", "mon", "funday 8-9", "mon 8:15-9", "mon 8-9-10", "mon-xyz all"] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
