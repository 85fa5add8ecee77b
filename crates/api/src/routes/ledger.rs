//! Who owes whom.

use super::page;
use crate::door::{Door, Names};
use crate::problem::{Params, Problem};
use crate::shapes::{Account, Booked, Ledger, Moment, Posting, Postings};
use axum::Json;
use axum::extract::State;
use node::model::{self, Amount, record};
use serde::Deserialize;
use utoipa::IntoParams;

/// The balance of each account.
#[utoipa::path(get, path = "/v1/ledger", tag = "ledger", responses((status = 200, body = Ledger)))]
pub async fn balances(State(door): State<Door>) -> Result<Json<Ledger>, Problem> {
    let ledger = door.node.look(|core| {
        let names = Names::of(core);
        let balances = core.engine().state().ledger.balances();
        Ledger { balances: balances.map(|(account, amount)| booked(&names, account, amount)).collect() }
    });
    Ok(Json(ledger.await?))
}

/// Which page of the postings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many at the most; 100 when nobody says, and never more than 500.
    limit: Option<usize>,
    /// `next` of the page before.
    before: Option<u64>,
}

/// What was booked, the newest first.
#[utoipa::path(get, path = "/v1/ledger/postings", tag = "ledger", params(Page), responses((status = 200, body = Postings)))]
pub async fn postings(
    State(door): State<Door>,
    Params(page): Params<Page>,
) -> Result<Json<Postings>, Problem> {
    let limit = self::page(page.limit);
    let postings = door.node.look(move |core| {
        let names = Names::of(core);
        let mut found = tokio::task::block_in_place(|| core.store().postings(None, page.before, limit + 1))?;
        let more = found.len() > limit;
        found.truncate(limit);
        let postings: Vec<Posting> = found.into_iter().map(|found| posting(&names, &found)).collect();
        Ok::<_, Problem>(Postings { next: postings.last().filter(|_| more).map(|last| last.seq), postings })
    });
    postings.await?.map(Json)
}

fn posting(names: &Names, found: &node::store::Booked) -> Posting {
    let entries = found.posting.entries().iter().map(|(account, amount)| booked(names, *account, *amount));
    Posting {
        seq: found.seq,
        at: Moment(found.at),
        cites: found.posting.cites().to_string(),
        lease: found.lease.map(|lease: model::Id<model::Lease>| lease.to_string()),
        entries: entries.collect(),
    }
}

fn booked(names: &Names, account: record::Account, amount: Amount) -> Booked {
    let account = match account {
        record::Account::Person(person) => {
            Account::Person { person: person.to_string(), name: names.get(person).map(str::to_owned) }
        }
        record::Account::Income => Account::Income,
        record::Account::Expense => Account::Expense,
        record::Account::Settled => Account::Settled,
    };
    Booked { account, amount: amount.into() }
}
