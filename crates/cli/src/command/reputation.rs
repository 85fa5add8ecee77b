//! `sublet reputation`: what this node makes of others.

use crate::Done;
use crate::desk::Desk;
use crate::show::{Table, fields, per_cent, short};
use api::shapes::Score;
use clap::Args;

/// Whose.
#[derive(Args, Debug)]
pub struct ReputationArgs {
    /// The person: the first digits of their key; none for all of whom something is known.
    person: Option<String>,
}

/// Shows one, or all.
pub async fn run(desk: &Desk<'_>, args: &ReputationArgs) -> Done {
    if let Some(person) = &args.person {
        let score = desk.client.reputation_of(person).await?;
        return desk.out.either(&score, || story(&score)).map(|()| 0);
    }
    let all = desk.client.reputation().await?;
    let text = || {
        let mut table = Table::new(&[
            "PERSON",
            "NAME",
            ">TRUST",
            ">KEPT",
            ">QUALITY",
            ">MANNERS",
            ">LEASES",
            ">BROKEN",
            ">RECEIPTS",
            ">RATINGS",
        ]);
        for score in &all.scores {
            let name = if score.person == all.me.person {
                "(this node, as others judge it)".to_owned()
            } else {
                score.name.clone().unwrap_or_default()
            };
            let aspects = score.aspects.iter().map(|aspect| per_cent(aspect.mean));
            let counts =
                [score.leases, score.broken, score.receipts, score.ratings].map(|count| count.to_string());
            table.row([short(&score.person), name, trust(score)].into_iter().chain(aspects).chain(counts));
        }
        table.text(|head| desk.out.head(head))
    };
    desk.out.either(&all, text).map(|()| 0)
}

fn trust(score: &Score) -> String {
    if score.cheated { "cheated".to_owned() } else { per_cent(score.trust) }
}

fn story(score: &Score) -> String {
    let aspects = score.aspects.iter().map(|aspect| {
        let interval = format!(
            "{}, between {} and {}",
            per_cent(aspect.mean),
            per_cent(aspect.low),
            per_cent(aspect.high)
        );
        (aspect.aspect.as_str(), interval)
    });
    let head = [
        ("person", score.person.clone()),
        ("name", score.name.clone().unwrap_or_default()),
        ("trust", trust(score)),
    ];
    let leases = format!("{}, of which {} were broken by them", score.leases, score.broken);
    let tail = [
        ("leases", leases),
        ("receipts", score.receipts.to_string()),
        ("ratings", score.ratings.to_string()),
    ];
    fields(head.into_iter().chain(aspects).chain(tail))
}
