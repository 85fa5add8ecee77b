//! The book in the forms that accounting programs read: CSV (RFC 4180), hledger's and ledger-cli's journal, beancount.

use crate::shapes::{Account, Booked, Posting};
use node::model::Amount;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A form that an accounting program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A row for each line of a posting, for spreadsheets.
    Csv,
    /// A journal for hledger and ledger-cli.
    Hledger,
    /// A journal for beancount.
    Beancount,
}

impl Form {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Form::Csv => "text/csv; charset=utf-8",
            Form::Hledger | Form::Beancount => "text/plain; charset=utf-8",
        }
    }

    /// What stands before the first posting.
    pub fn head(self) -> &'static str {
        match self {
            Form::Csv => "date,record,account,person,name,amount,currency,cites,lease\r\n",
            Form::Hledger => "; what others owe is positive, what is owed to them negative\n\n",
            Form::Beancount => {
                "; what others owe is positive, what is owed to them negative\nplugin \"beancount.plugins.auto_accounts\"\n\n"
            }
        }
    }

    /// One posting.
    pub fn posting(self, posting: &Posting) -> String {
        match self {
            Form::Csv => posting.entries.iter().map(|line| csv_row(posting, line)).collect(),
            Form::Hledger => {
                let lines = posting
                    .entries
                    .iter()
                    .map(|line| format!("    {}  {}\n", hledger_account(&line.account), line.amount.text));
                format!("{} {}\n{}\n", day(posting), about(posting), lines.collect::<String>())
            }
            Form::Beancount => {
                let lines = posting.entries.iter().map(|line| {
                    let amount = line.amount.text.to_ascii_uppercase();
                    format!("  {}  {amount}\n", beancount_account(&line.account))
                });
                let (day, about) = (day(posting), about(posting));
                format!(
                    "{day} * \"{about}\"\n  cites: \"{}\"\n{}\n",
                    posting.cites,
                    lines.collect::<String>()
                )
            }
        }
    }
}

/// The day, in UTC.
fn day(posting: &Posting) -> String {
    let at = serde_json::to_value(posting.at).unwrap_or_default();
    at.as_str().and_then(|at| at.get(..10)).unwrap_or("1970-01-01").to_owned()
}

fn about(posting: &Posting) -> String {
    let short = |id: &str| id.chars().take(8).collect::<String>();
    match &posting.lease {
        Some(lease) => format!("receipt of lease {}", short(lease)),
        None => format!("payment {}", short(&posting.cites)),
    }
}

fn csv_row(posting: &Posting, line: &Booked) -> String {
    let (account, person, name) = match &line.account {
        Account::Person { person, name } => ("person", person.as_str(), name.as_deref().unwrap_or_default()),
        Account::Income => ("income", "", ""),
        Account::Expense => ("expense", "", ""),
        Account::Settled => ("settled", "", ""),
    };
    let amount = Amount::from(&line.amount);
    // Without its currency, which has a column of its own.
    let number = line.amount.text.split(' ').next().unwrap_or_default();
    let cells = [
        day(posting),
        posting.seq.to_string(),
        account.to_owned(),
        person.to_owned(),
        cell(name),
        number.to_owned(),
        amount.currency.to_string(),
        posting.cites.clone(),
        posting.lease.clone().unwrap_or_default(),
    ];
    cells.join(",") + "\r\n"
}

/// A name that a stranger chose. A spreadsheet would take one that begins like a formula for a formula.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

fn hledger_account(account: &Account) -> String {
    match account {
        Account::Person { person, name } => {
            // Two spaces end an account's name, a colon parts it, a semicolon begins a comment.
            let name: String = name.as_deref().unwrap_or("somebody").chars().map(plain).collect();
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("assets:people:{name} {}", person.get(..8).unwrap_or(person))
        }
        Account::Income => "income:lending".to_owned(),
        Account::Expense => "expenses:renting".to_owned(),
        Account::Settled => "assets:settled".to_owned(),
    }
}

fn plain(c: char) -> char {
    if c.is_alphanumeric() || c == '-' { c } else { ' ' }
}

fn beancount_account(account: &Account) -> String {
    match account {
        Account::Person { person, .. } => format!("Assets:People:P{}", person.get(..16).unwrap_or(person)),
        Account::Income => "Income:Lending".to_owned(),
        Account::Expense => "Expenses:Renting".to_owned(),
        Account::Settled => "Assets:Settled".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::Moment;
    use node::model::{Currency, Timestamp};

    fn posting() -> Posting {
        let money = |micros| Amount::new(micros, Currency::Iso(*b"EUR")).into();
        let name = Some("=Bo: \"x\";  y".to_owned());
        let person = Account::Person { person: "ab".repeat(32), name };
        Posting {
            seq: 7,
            at: Moment(Timestamp(1_800_000_000_000)),
            cites: "cd".repeat(32),
            lease: Some("ef".repeat(32)),
            entries: vec![
                Booked { account: person, amount: money(1_584) },
                Booked { account: Account::Income, amount: money(-1_584) },
            ],
        }
    }

    #[test]
    fn a_spreadsheet_reads_rows_and_no_formulas() {
        let rows = Form::Csv.posting(&posting());
        let first = rows.lines().next().unwrap();
        let start = format!("2027-01-15,7,person,{},\"'=Bo: \"\"x\"\";  y\",0.001584,EUR,", "ab".repeat(32));
        assert!(first.starts_with(&start), "{first}");
        assert_eq!(rows.lines().count(), 2);
    }

    #[test]
    fn a_journal_balances_whatever_people_call_themselves() {
        let text = Form::Hledger.posting(&posting());
        assert_eq!(
            text,
            "2027-01-15 receipt of lease efefefef\n    assets:people:Bo x y abababab  0.001584 EUR\n    income:lending  -0.001584 EUR\n\n"
        );
    }

    #[test]
    fn beancount_gets_accounts_as_it_wants_them() {
        let text = Form::Beancount.posting(&posting());
        assert!(
            text.contains(
                "  Assets:People:Pabababababababab  0.001584 EUR\n  Income:Lending  -0.001584 EUR\n"
            ),
            "{text}"
        );
    }
}
