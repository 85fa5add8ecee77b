//! What passed between this node's person and others, lease by lease: what a bill or a tax return is made of.

use crate::door::{Door, Names, find_person};
use crate::problem::{Params, Problem};
use crate::shapes::{Moment, Money, Party, Statement, StatementAccount, StatementKind, StatementLine};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use node::Core;
use node::model::record::Account;
use node::model::{Amount, Currency, Id, PersonId, Span, Timestamp};
use node::store::Dealt;
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::IntoParams;

/// Which statement.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// From this moment on; when nobody says, all since the beginning.
    #[param(value_type = Option<String>)]
    from: Option<Moment>,
    /// Before this moment; when nobody says, until now.
    #[param(value_type = Option<String>)]
    until: Option<Moment>,
    /// With this person alone: the first digits of their key, or their name.
    person: Option<String>,
}

/// What passed between this node's person and others in a stretch of time, lease by lease, with what was owed before and after.
#[utoipa::path(get, path = "/v1/ledger/statement", tag = "ledger", params(Wanted), responses((status = 200, body = Statement)))]
pub async fn statement(
    State(door): State<Door>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Statement>, Problem> {
    let (identity, name) = (door.node.identity().party(), door.node.name());
    let me = Party {
        person: identity.person.to_string(),
        device: identity.device.to_string(),
        name: Some(name).filter(|name| !name.is_empty()),
    };
    let statement = door.node.look(move |core| {
        let person = wanted.person.map(|person| find_person(core, &person)).transpose()?;
        let from = wanted.from.map_or(Timestamp(0), |from| from.0);
        let until = wanted.until.map_or(core.now() + Span(1), |until| until.0);
        if until <= from {
            let detail = "the statement would end before it begins";
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail);
            return Err(problem.hint("`from` comes before `until`."));
        }
        let (before, dealt) = tokio::task::block_in_place(|| {
            Ok::<_, Problem>((core.store().owed_before(from)?, core.store().dealt(from, until, person)?))
        })?;
        let before = before.into_iter().filter(|(whose, _)| person.is_none_or(|person| person == *whose));
        let names = Names::of(core);
        let mut accounts = accounts(before, dealt, |dealt| about(core, dealt))?;
        for account in &mut accounts {
            account.name =
                account.person.parse().ok().and_then(|person| names.get(person)).map(str::to_owned);
        }
        Ok(Statement { from: Moment(from), until: Moment(until), me, accounts })
    });
    statement.await?.map(Json)
}

/// The lines and sums of each person and currency; those with neither a line nor a debt are left out.
fn accounts(
    before: impl Iterator<Item = (PersonId, Amount)>,
    dealt: Vec<Dealt>,
    about: impl Fn(&Dealt) -> String,
) -> Result<Vec<StatementAccount>, Problem> {
    let mut owed: BTreeMap<(PersonId, Currency), i64> =
        before.map(|(person, amount)| ((person, amount.currency), amount.micros)).collect();
    let mut lines: BTreeMap<(PersonId, Currency), Vec<Dealt>> = BTreeMap::new();
    for one in dealt {
        let whose = (one.person, one.amount.currency);
        owed.entry(whose).or_default();
        lines.entry(whose).or_default().push(one);
    }
    let mut accounts = Vec::new();
    for ((person, currency), before) in owed {
        let dealt = lines.remove(&(person, currency)).unwrap_or_default();
        if before == 0 && dealt.is_empty() {
            continue;
        }
        let sum = |of: Option<StatementKind>| {
            let amounts =
                dealt.iter().filter(|dealt| of.is_none_or(|of| kind(dealt) == of)).map(|dealt| dealt.amount);
            total(currency, amounts)
        };
        let (lent, rented) = (sum(Some(StatementKind::Lent))?, sum(Some(StatementKind::Rented))?);
        let (paid, all) = (sum(Some(StatementKind::Payment))?, sum(None)?);
        let before = Amount::new(before, currency);
        accounts.push(StatementAccount {
            person: person.to_string(),
            name: None,
            before: before.into(),
            lines: dealt.iter().map(|dealt| line(dealt, about(dealt))).collect(),
            lent: lent.into(),
            rented: rented.into(),
            paid: paid.into(),
            after: Money::from(total(currency, [before, all].into_iter())?),
        });
    }
    Ok(accounts)
}

fn total(currency: Currency, mut amounts: impl Iterator<Item = Amount>) -> Result<Amount, Problem> {
    let nought = Amount::new(0, currency);
    amounts
        .try_fold(nought, |sum, amount| sum.plus(amount))
        .map_err(|_| Problem::fault("the amounts are too large to be counted"))
}

fn kind(dealt: &Dealt) -> StatementKind {
    match dealt.against {
        Account::Income => StatementKind::Lent,
        Account::Expense => StatementKind::Rented,
        Account::Settled | Account::Person(_) => StatementKind::Payment,
    }
}

fn line(dealt: &Dealt, about: String) -> StatementLine {
    StatementLine {
        kind: kind(dealt),
        lease: dealt.lease.map(|lease| lease.to_string()),
        about,
        cites: dealt.cites.to_string(),
        first: Moment(dealt.first),
        last: Moment(dealt.last),
        amount: dealt.amount.into(),
    }
}

/// What the lease runs, or how the payment was made; nothing where it is not known any more.
fn about(core: &Core, dealt: &Dealt) -> String {
    let state = core.engine().state();
    match dealt.lease {
        Some(lease) => {
            let Some(lease) = state.lease.get(lease) else { return String::new() };
            let workload = &lease.contract.workload;
            if workload.reference.is_empty() {
                workload.image.to_string()
            } else {
                workload.reference.clone()
            }
        }
        None => {
            let Some(payment) = state.settlement.get(Id::of(dealt.cites)) else { return String::new() };
            let words = [payment.settlement.method.as_str(), payment.settlement.reference.as_str()];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::model::ObjectId;

    fn dealt(person: u8, against: Account, micros: i64, currency: Currency) -> Dealt {
        Dealt {
            person: PersonId([person; 32]),
            against,
            lease: None,
            cites: ObjectId([7; 32]),
            first: Timestamp(1),
            last: Timestamp(2),
            amount: Amount::new(micros, currency),
        }
    }

    #[test]
    fn what_is_owed_after_is_what_was_owed_before_and_all_lines() {
        let (eur, credit) = (Currency::Iso(*b"EUR"), Currency::Credit);
        let all = vec![
            dealt(1, Account::Income, 100, eur),
            dealt(1, Account::Expense, -30, eur),
            dealt(1, Account::Settled, -50, eur),
            dealt(1, Account::Income, 9, credit),
        ];
        let before = [(1, 5), (2, 0), (3, -4)]
            .map(|(whose, micros)| (PersonId([whose; 32]), Amount::new(micros, eur)));
        let accounts = accounts(before.into_iter(), all, |_| String::new()).unwrap();
        let found: Vec<_> = accounts
            .iter()
            .map(|one| [&one.before, &one.lent, &one.rented, &one.paid, &one.after].map(|money| money.micros))
            .collect();
        assert_eq!(
            found,
            [[0, 9, 0, 0, 9], [5, 100, -30, -50, 25], [-4, 0, 0, 0, -4]],
            "two currencies never mix"
        );
        assert_eq!(accounts.iter().map(|one| one.lines.len()).collect::<Vec<_>>(), [1, 3, 0]);
    }

    #[test]
    fn what_cannot_be_counted_is_said() {
        let eur = Currency::Iso(*b"EUR");
        let all = vec![dealt(1, Account::Income, i64::MAX, eur), dealt(1, Account::Income, 1, eur)];
        assert!(accounts(std::iter::empty(), all, |_| String::new()).is_err());
    }
}
