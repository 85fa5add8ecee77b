//! `sublet why`: why no work comes.

use crate::Done;
use crate::desk::Desk;
use crate::show::{Table, amounts, moment, short, time};
use api::shapes::{DemandState, Demands};
use clap::Args;

/// How much to tell.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// Each demand, the newest first, too.
    #[arg(short, long)]
    all: bool,
}

/// Tells what was wanted of this computer, and what stood in the way.
pub async fn run(desk: &Desk<'_>, args: &WhyArgs) -> Done {
    let demands = desk.client.demands().await?;
    desk.out.either(&demands, || story(desk, &demands, args.all)).map(|()| 0)
}

fn story(desk: &Desk<'_>, demands: &Demands, all: bool) -> String {
    let words = demands.words.join("\n");
    if !all || demands.demands.is_empty() {
        return words;
    }
    let mut table = Table::new(&["AT", "BY", "WANTED", ">FOR", ">AT MOST", ">HERE", "CAME OF IT"]);
    for demand in &demands.demands {
        let text = |money: &Option<api::shapes::Money>| {
            money.as_ref().map(|money| money.text.clone()).unwrap_or_default()
        };
        let outcome = match demand.outcome {
            DemandState::Quoted => "a quote".to_owned(),
            DemandState::Taken => "a lease".to_owned(),
            DemandState::Refused => demand.sentence.clone().unwrap_or_default(),
            DemandState::PassedBy => format!("passed by: {}", demand.failed.join(", ")),
        };
        table.row([
            moment(demand.at),
            short(&demand.peer),
            amounts(demand.resources),
            time(demand.term),
            text(&demand.cap),
            text(&demand.hourly),
            outcome,
        ]);
    }
    format!("{words}\n\n{}", table.text(|head| desk.out.head(head)))
}
