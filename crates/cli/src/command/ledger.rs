//! `sublet ledger`: who owes whom.

use super::power::{self, EarningsArgs};
use super::statement::{self, StatementArgs};
use crate::Done;
use crate::desk::Desk;
use crate::show::{Table, short};
use api::shapes::{Account, Booked, Posting};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

/// What to show.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LedgerArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// Every posting, the newest first, instead of the balances.
    #[arg(long)]
    postings: bool,
    /// How many postings at the most.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "postings")]
    limit: usize,
    /// The whole book for an accounting program, on standard output.
    #[arg(long, value_name = "FORM", conflicts_with = "postings")]
    export: Option<Form>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What lending has earned, gross and net of electricity.
    Earnings(EarningsArgs),
    /// What passed between you and each person in a month, a year or a day, lease by lease.
    Statement(StatementArgs),
}

/// What an accounting program reads.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// A row for each line, for spreadsheets.
    Csv,
    /// A journal for hledger and ledger-cli.
    Hledger,
    /// A journal for beancount.
    Beancount,
}

impl From<Form> for api::Form {
    fn from(form: Form) -> api::Form {
        match form {
            Form::Csv => api::Form::Csv,
            Form::Hledger => api::Form::Hledger,
            Form::Beancount => api::Form::Beancount,
        }
    }
}

/// Shows balances, or postings.
pub async fn run(desk: &Desk<'_>, args: &LedgerArgs) -> Done {
    match &args.what {
        Some(What::Earnings(args)) => return power::earnings(desk, args).await,
        Some(What::Statement(args)) => return statement::run(desk, args).await,
        None => {}
    }
    if args.postings {
        let postings = postings(desk, args.limit).await?;
        return desk.out.either(&json!({ "postings": postings }), || lines(desk, &postings)).map(|()| 0);
    }
    if let Some(form) = args.export {
        let mut pieces = desk.client.export(form.into()).await?;
        while let Some(piece) = pieces.next().await? {
            desk.out.bytes(&piece)?;
        }
        return Ok(0);
    }
    let ledger = desk.client.ledger().await?;
    let text = || {
        let mut table = Table::new(&["ACCOUNT", ">BALANCE", ""]);
        for Booked { account, amount } in &ledger.balances {
            let meaning = match account {
                Account::Person { .. } if amount.micros >= 0 => "they owe us",
                Account::Person { .. } => "we owe them",
                Account::Income => "earned, as double entry counts it",
                Account::Expense => "spent",
                Account::Settled => "paid outside of Sublet: received, less what was given",
            };
            table.row([name(account), amount.text.clone(), meaning.to_owned()]);
        }
        table.text(|head| desk.out.head(head))
    };
    desk.out.either(&ledger, text).map(|()| 0)
}

async fn postings(desk: &Desk<'_>, limit: usize) -> Result<Vec<Posting>, crate::fail::Failure> {
    let mut postings = Vec::new();
    let mut before = None;
    loop {
        let page = desk.client.postings(before).await?;
        postings.extend(page.postings);
        before = page.next;
        if before.is_none() || postings.len() >= limit {
            postings.truncate(limit);
            return Ok(postings);
        }
    }
}

fn lines(desk: &Desk<'_>, postings: &[Posting]) -> String {
    let mut table = Table::new(&["LEASE", "ACCOUNT", ">AMOUNT"]);
    for posting in postings {
        for (Booked { account, amount }, is_first) in
            posting.entries.iter().zip(std::iter::once(true).chain(std::iter::repeat(false)))
        {
            let lease = posting.lease.as_deref().filter(|_| is_first).map(short).unwrap_or_default();
            table.row([lease, name(account), amount.text.clone()]);
        }
    }
    table.text(|head| desk.out.head(head))
}

fn name(account: &Account) -> String {
    match account {
        Account::Person { person, name: Some(name) } => format!("{name} ({})", short(person)),
        Account::Person { person, name: None } => short(person),
        Account::Income => "income".to_owned(),
        Account::Expense => "expense".to_owned(),
        Account::Settled => "settled".to_owned(),
    }
}
