//! Payments: debts that were paid outside of Sublet, said by the payer and signed by the payee.

use crate::door::{Door, Names, find_person};
use crate::problem::{Body, Problem};
use crate::shapes::{Moment, Payment, PaymentAnswer, PaymentState, PaymentWish, Payments};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use node::engine::settlement::{Payment as Paid, Stands};
use node::model::record::Account;
use node::model::{Amount, Id, PersonId, Settlement};
use node::{Core, engine};

/// Payments of the last months, the newest first.
#[utoipa::path(get, path = "/v1/payments", tag = "ledger", responses((status = 200, body = Payments)))]
pub async fn payments(State(door): State<Door>) -> Result<Json<Payments>, Problem> {
    let payments = door.node.look(|core| {
        let names = Names::of(core);
        let all = core.engine().state().settlement.payments();
        let mut payments: Vec<Payment> = all.map(|(id, payment)| shape(&names, id, payment)).collect();
        payments.sort_by_key(|payment| std::cmp::Reverse(payment.at));
        Payments { payments }
    });
    Ok(Json(payments.await?))
}

/// Says that a debt was paid. It shrinks once the payee has said that the payment came.
#[utoipa::path(post, path = "/v1/payments", tag = "ledger", request_body = PaymentWish, responses((status = 201, body = Payment)))]
pub async fn pay(
    State(door): State<Door>,
    Body(wish): Body<PaymentWish>,
) -> Result<(StatusCode, Json<Payment>), Problem> {
    let (named, given) = (wish.person.clone(), wish.amount.as_ref().map(Amount::from));
    let found = door.node.look(move |core| {
        let person = find_person(core, &named)?;
        Ok::<_, Problem>((person, given.or_else(|| owed(core, person))))
    });
    let (person, amount) = found.await??;
    let Some(amount) = amount else {
        let problem = Problem::new(StatusCode::CONFLICT, "not_owed", "nothing is owed to this person");
        return Err(problem.hint("`sublet ledger` shows who owes whom."));
    };
    let id = door.node.pay(person, amount, wish.method, wish.reference).await?;
    Ok((StatusCode::CREATED, Json(show(&door, id).await?)))
}

/// What is owed to a person in the currency in which most is.
fn owed(core: &Core, person: PersonId) -> Option<Amount> {
    let balances = core.engine().state().ledger.balances();
    let debts = balances.filter(|(account, amount)| *account == Account::Person(person) && amount.micros < 0);
    debts.map(|(_, amount)| amount).min_by_key(|amount| amount.micros)?.negated().ok()
}

/// As payee: says that a payment has come, or that it has not.
#[utoipa::path(post, path = "/v1/payments/{id}/answer", tag = "ledger", params(("id" = String, Path)), request_body = PaymentAnswer, responses((status = 200, body = Payment)))]
pub async fn answer(
    State(door): State<Door>,
    Path(id): Path<String>,
    Body(answer): Body<PaymentAnswer>,
) -> Result<Json<Payment>, Problem> {
    let id = door.node.look(move |core| find(core, &id)).await??;
    if answer.received {
        door.node.confirm(id).await?;
    } else {
        door.node.reject(id, answer.why).await?;
    }
    show(&door, id).await.map(Json)
}

fn find(core: &Core, digits: &str) -> Result<Id<Settlement>, Problem> {
    let digits = digits.to_ascii_lowercase();
    let all = core.engine().state().settlement.payments().map(|(id, _)| id);
    let mut fits = all.filter(|id| !digits.is_empty() && id.to_string().starts_with(&digits));
    match (fits.next(), fits.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => {
            let problem =
                Problem::new(StatusCode::CONFLICT, "ambiguous_payment", format!("`{digits}` fits several"));
            Err(problem.hint("Give more digits."))
        }
        (None, _) => {
            let detail = format!("there is no payment `{digits}`");
            let problem = Problem::new(StatusCode::NOT_FOUND, "unknown_payment", detail);
            Err(problem.hint("`sublet settle list` shows them."))
        }
    }
}

async fn show(door: &Door, id: Id<Settlement>) -> Result<Payment, Problem> {
    let shown = door.node.look(move |core| {
        core.engine().state().settlement.get(id).map(|payment| shape(&Names::of(core), id, payment))
    });
    shown.await?.ok_or_else(|| node::Error::Refused(engine::settlement::Refusal::Unknown(id).into()).into())
}

fn shape(names: &Names, id: Id<Settlement>, payment: &Paid) -> Payment {
    let settlement = &payment.settlement;
    let person = if payment.ours { settlement.payee.person } else { settlement.payer.person };
    let (state, why) = match &payment.stands {
        Stands::Open => (PaymentState::Open, None),
        Stands::Confirmed(_) => (PaymentState::Received, None),
        Stands::Rejected(why) => (PaymentState::Missing, Some(why.clone())),
    };
    Payment {
        id: id.to_string(),
        ours: payment.ours,
        person: person.to_string(),
        name: names.get(person).map(str::to_owned),
        amount: settlement.amount.into(),
        method: settlement.method.clone(),
        reference: settlement.reference.clone(),
        at: Moment(settlement.issued),
        state,
        why,
        told: payment.told,
    }
}
