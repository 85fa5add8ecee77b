//! What this computer's sandbox is good for.

use crate::door::Door;
use crate::problem::Problem;
use crate::shapes::{Isolation, Probe};
use crate::stream::told;
use axum::extract::State;
use axum::response::Response;

/// Runs a hostile guest on this computer, which tries to get out, to look out, and to take more than it was given; keeps
/// the outcome, and says it in the offer. It is cancelled when nobody reads any more.
///
/// Server-sent events: `progress` with a `Probe`, then `done` with an `Isolation`, or `problem`.
#[utoipa::path(post, path = "/v1/selftest/isolation", tag = "machine", responses((status = 200, body = Isolation, content_type = "text/event-stream")))]
pub async fn isolation(State(door): State<Door>) -> Result<Response, Problem> {
    let alone = door
        .benchmark
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::busy("this machine is being measured or tested already"))?;
    Ok(told(move |teller| async move {
        let _alone = alone;
        let report = door.node.try_isolation(|tried| teller.tell(&Probe::from(tried))).await?;
        Ok(Isolation::from(report))
    }))
}
