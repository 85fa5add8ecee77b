//! `sublet status`: who this node is, and how it goes.

use crate::Done;
use crate::desk::Desk;
use crate::show::{fields, moment, time};
use api::shapes::Status;

/// Shows it.
pub async fn run(desk: &Desk<'_>) -> Done {
    let status = desk.client.status().await?;
    desk.out.either(&status, || story(&status)).map(|()| 0)
}

fn story(status: &Status) -> String {
    let owner = match &status.owner {
        Some(reason) => {
            let until = reason.until.map(|until| format!(" until {}", moment(until))).unwrap_or_default();
            let since = reason.since.map(|since| format!(", since {}", moment(since))).unwrap_or_default();
            format!("{}{until}{since}; `sublet policy` tells more", reason.sentence)
        }
        None => String::new(),
    };
    let lends = match (status.lends, status.measured) {
        (true, _) => "yes",
        (false, true) => "no; `sublet offer set` begins",
        (false, false) => "no; `sublet bench` comes first, then `sublet offer set`",
    };
    fields([
        ("name", status.me.name.clone().unwrap_or_default()),
        ("person", status.me.person.clone()),
        ("device", status.me.device.clone()),
        ("peer", status.peer_id.clone()),
        ("data", status.data.display().to_string()),
        ("version", status.version.clone()),
        ("up for", time(status.up_for)),
        ("reached at", status.addresses.join("\n")),
        (
            "runtime",
            status.runtime.clone().unwrap_or_else(|| "none; `sublet doctor` says what to do".to_owned()),
        ),
        ("lends", lends.to_owned()),
        ("owner", owner),
        ("leases", format!("{} of others here, {} elsewhere", status.hosting, status.renting)),
        ("peers", status.peers.to_string()),
        ("offers", status.offers.to_string()),
        ("images", status.images.to_string()),
    ])
}
