//! `sublet settle`: debts that were paid outside of Sublet.

use crate::Done;
use crate::desk::Desk;
use crate::parse;
use crate::show::{Table, short};
use api::shapes::{Money, Payment, PaymentAnswer, PaymentState, PaymentWish};
use clap::{Args, Subcommand};

/// What to do about payments.
#[derive(Args, Debug)]
pub struct SettleArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List payments of the last months.
    List,
    /// Say that you have paid somebody, by a bank or in cash. The debt shrinks once they say that it came.
    Paid {
        /// To whom: their name, or the first digits of their key.
        person: String,
        /// How much, such as "3.20 EUR" [default: all that you owe].
        #[arg(value_parser = parse::price)]
        amount: Option<Money>,
        /// By which way.
        #[arg(long, value_name = "WAY", default_value = "bank")]
        by: String,
        /// By which they find it, such as the text of a bank transfer.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reference: String,
    },
    /// Say that a payment has come.
    Received {
        /// The first digits of its id.
        payment: String,
    },
    /// Say that a payment has not come: it is owed as before.
    Missing {
        /// The first digits of its id.
        payment: String,
        /// Why you think so.
        #[arg(long, default_value = "it has not come")]
        why: String,
    },
}

/// Lists, says, confirms, rejects.
pub async fn run(desk: &Desk<'_>, args: SettleArgs) -> Done {
    let payment = match args.what.unwrap_or(What::List) {
        What::List => {
            let payments = desk.client.payments().await?;
            return desk.out.either(&payments, || list(desk, &payments.payments)).map(|()| 0);
        }
        What::Paid { person, amount, by, reference } => {
            desk.client.pay(&PaymentWish { person, amount, method: by, reference }).await?
        }
        What::Received { payment } => answer(desk, &payment, true, String::new()).await?,
        What::Missing { payment, why } => answer(desk, &payment, false, why).await?,
    };
    desk.out.either(&payment, || sentence(&payment)).map(|()| 0)
}

async fn answer(
    desk: &Desk<'_>,
    payment: &str,
    received: bool,
    why: String,
) -> Result<Payment, crate::fail::Failure> {
    Ok(desk.client.answer_payment(payment, &PaymentAnswer { received, why }).await?)
}

fn sentence(payment: &Payment) -> String {
    let (amount, who) = (&payment.amount.text, who(payment));
    match (payment.state, payment.ours) {
        (PaymentState::Open, true) => {
            format!("{amount} to {who} ({}): booked once they say that it came", short(&payment.id))
        }
        (PaymentState::Open, false) => format!("{amount} from {who} waits for your answer"),
        (PaymentState::Received, _) => format!("{amount}: received, and booked by both"),
        (PaymentState::Missing, _) => format!("{amount}: not received; it is owed as before"),
    }
}

fn who(payment: &Payment) -> String {
    payment.name.clone().unwrap_or_else(|| short(&payment.person))
}

fn list(desk: &Desk<'_>, payments: &[Payment]) -> String {
    if payments.is_empty() {
        return "no payments yet".to_owned();
    }
    let mut table = Table::new(&["PAYMENT", "WHO", ">AMOUNT", "BY", "REFERENCE", "STATE"]);
    for payment in payments {
        let direction = if payment.ours { "to" } else { "from" };
        let state = match (payment.state, payment.ours) {
            (PaymentState::Open, true) if payment.told => "they were told".to_owned(),
            (PaymentState::Open, true) => "they were not reached yet".to_owned(),
            (PaymentState::Open, false) => "waits for your answer".to_owned(),
            (PaymentState::Received, _) => "received".to_owned(),
            (PaymentState::Missing, _) => format!("missing: {}", payment.why.clone().unwrap_or_default()),
        };
        table.row([
            short(&payment.id),
            format!("{direction} {}", who(payment)),
            payment.amount.text.clone(),
            payment.method.clone(),
            payment.reference.clone(),
            state,
        ]);
    }
    table.text(|head| desk.out.head(head))
}
