//! Who owes whom.

use super::{LONGEST_PAGE, page};
use crate::door::{Door, Names};
use crate::export::Form;
use crate::problem::{Params, Problem};
use crate::shapes::{Account, Booked, Ledger, Moment, Posting, Postings};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::stream;
use node::NodeHandle;
use node::model::{self, Amount, record};
use serde::Deserialize;
use std::io;
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
    read(&door.node, page.before, self::page(page.limit)).await.map(Json)
}

async fn read(node: &NodeHandle, before: Option<u64>, limit: usize) -> Result<Postings, Problem> {
    let postings = node.look(move |core| {
        let names = Names::of(core);
        let mut found = tokio::task::block_in_place(|| core.store().postings(None, before, limit + 1))?;
        let more = found.len() > limit;
        found.truncate(limit);
        let postings: Vec<Posting> = found.into_iter().map(|found| posting(&names, &found)).collect();
        Ok::<_, Problem>(Postings { next: postings.last().filter(|_| more).map(|last| last.seq), postings })
    });
    postings.await?
}

/// In which form.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// `csv`, `hledger` or `beancount`.
    #[param(inline)]
    form: Form,
}

/// The whole book for an accounting program, the newest first.
#[utoipa::path(get, path = "/v1/ledger/export", tag = "ledger", params(Wanted), responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn export(State(door): State<Door>, Params(wanted): Params<Wanted>) -> Result<Response, Problem> {
    let form = wanted.form;
    // The first page now, so that what goes wrong is told as a problem.
    let first = read(&door.node, None, LONGEST_PAGE).await?;
    let pages = stream::try_unfold(Some((form.head(), first)), move |state| {
        let node = door.node.clone();
        async move {
            let Some((head, page)) = state else { return Ok(None) };
            let text = page.postings.iter().map(|posting| form.posting(posting)).collect::<String>();
            let next = match page.next {
                Some(next) => {
                    let page = read(&node, Some(next), LONGEST_PAGE).await;
                    Some(("", page.map_err(|problem| io::Error::other(problem.detail))?))
                }
                None => None,
            };
            Ok::<_, io::Error>(Some((format!("{head}{text}"), next)))
        }
    });
    Ok(([(CONTENT_TYPE, form.media_type())], Body::from_stream(pages)).into_response())
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
