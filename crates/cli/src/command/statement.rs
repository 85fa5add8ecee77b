//! `sublet ledger statement`: what passed between you and others, lease by lease.

use crate::Done;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::show::{Table, moment, short};
use api::shapes::{Moment, Money, Statement, StatementAccount, StatementKind, StatementLine};
use clap::Args;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

/// Which statement.
#[derive(Args, Debug)]
pub struct StatementArgs {
    /// A month, a year or a day, by the clocks of this machine: 2026-11, 2026 or 2026-11-27 [default: this month].
    #[arg(value_name = "WHEN", value_parser = stretch)]
    when: Option<Stretch>,
    /// With this person alone: the first digits of their key, or their name.
    #[arg(long, value_name = "PERSON")]
    with: Option<String>,
}

/// From one midnight to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    from: Date,
    until: Date,
}

/// A month, a year or a day.
fn stretch(text: &str) -> Result<Stretch, String> {
    let wrong = || {
        format!(
            "`{text}` is no month: write for example 2026-11, or 2026 for a year, or 2026-11-27 for a day"
        )
    };
    let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let numbers: Vec<i16> = text.split('-').map(number).collect::<Option<_>>().ok_or_else(wrong)?;
    let (year, month, day, long) = match numbers[..] {
        [year] => (year, 1, 1, 1.year()),
        [year, month] => (year, month, 1, 1.month()),
        [year, month, day] => (year, month, day, 1.day()),
        _ => return Err(wrong()),
    };
    let small = |number: i16| i8::try_from(number).map_err(|_| wrong());
    let from = Date::new(year, small(month)?, small(day)?).map_err(|_| wrong())?;
    let until = from.checked_add(long).map_err(|_| wrong())?;
    // Nothing was booked before people counted so.
    if year < 1970 { Err(wrong()) } else { Ok(Stretch { from, until }) }
}

impl Stretch {
    fn this_month() -> Stretch {
        let from = Zoned::now().date().first_of_month();
        Stretch { from, until: from.saturating_add(1.month()) }
    }
}

/// Shows a statement.
pub async fn run(desk: &Desk<'_>, args: &StatementArgs) -> Done {
    let Stretch { from, until } = args.when.unwrap_or_else(Stretch::this_month);
    let statement = desk.client.statement(midnight(from)?, midnight(until)?, args.with.as_deref()).await?;
    desk.out.either(&statement, || text(desk, &statement, from, until)).map(|()| 0)
}

fn midnight(day: Date) -> Result<Moment, Failure> {
    let zoned = day.to_zoned(TimeZone::system());
    let zoned = zoned.map_err(|error| Failure::refused("calendar", format!("no such day here: {error}")))?;
    Ok(Moment(api::node::model::Timestamp(zoned.timestamp().as_millisecond())))
}

fn text(desk: &Desk<'_>, statement: &Statement, from: Date, until: Date) -> String {
    let last = until.yesterday().unwrap_or(until);
    if statement.accounts.is_empty() {
        return format!("nothing was booked from {from} to {last}, and nothing is owed");
    }
    let me = statement.me.name.clone().unwrap_or_else(|| short(&statement.me.person));
    let accounts = statement.accounts.iter().map(|account| {
        let whole = account
            .name
            .as_deref()
            .map_or(account.person.clone(), |name| format!("{name} ({})", account.person));
        format!("{me} with {whole}, {from} to {last}\n\n{}", table(desk, account))
    });
    accounts.collect::<Vec<_>>().join("\n\n")
}

fn table(desk: &Desk<'_>, account: &StatementAccount) -> String {
    let mut table = Table::new(&["FIRST", "LAST", "WHAT", "SIGNED", ">AMOUNT"]);
    let sum = |name: &str, money: &Money| {
        [String::new(), String::new(), name.to_owned(), String::new(), money.text.clone()]
    };
    table.row(sum("owed to you before", &account.before));
    for line in &account.lines {
        let (first, last) = (moment(line.first), moment(line.last));
        table.row([first, last, what(line), short(&line.cites), line.amount.text.clone()]);
    }
    let sums = [("lent", &account.lent), ("rented", &account.rented), ("paid", &account.paid)];
    for (name, money) in sums.into_iter().filter(|(_, money)| money.micros != 0) {
        table.row(sum(name, money));
    }
    table.row(sum("owed to you after", &account.after));
    table.text(|head| desk.out.head(head))
}

fn what(line: &StatementLine) -> String {
    let kind = match line.kind {
        StatementKind::Lent => "lent",
        StatementKind::Rented => "rented",
        StatementKind::Payment => "payment",
    };
    let lease = line.lease.as_deref().map(|lease| format!(" {}", short(lease))).unwrap_or_default();
    let about = if line.about.is_empty() { String::new() } else { format!(": {}", line.about) };
    format!("{kind}{lease}{about}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_stretch_is_a_month_a_year_or_a_day() {
        let till = |text: &str| stretch(text).map(|stretch| (stretch.from, stretch.until));
        assert_eq!(till("2026-12"), Ok((date(2026, 12, 1), date(2027, 1, 1))));
        assert_eq!(till("2026"), Ok((date(2026, 1, 1), date(2027, 1, 1))));
        assert_eq!(till("2028-02-29"), Ok((date(2028, 2, 29), date(2028, 3, 1))));
        for text in
            ["", "november", "2026-13", "2026-02-30", "2026-1-1-1", "-5", "9999", "1850", "2026-", "99999"]
        {
            assert!(stretch(text).is_err(), "{text}");
        }
    }
}
