//! The owner comes first.

use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{Owner, OwnerPolicy, Pause};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::{ToSpan, Zoned};
use node::engine::owner::Command;
use node::model::{self, Phase, Timestamp};

/// What the owner wants of this machine, each reason for which guests make room, and whether it holds.
#[utoipa::path(get, path = "/v1/owner", tag = "owner", responses((status = 200, body = Owner)))]
pub async fn show(State(door): State<Door>) -> Result<Json<Owner>, Problem> {
    let owner = door.node.look(|core| {
        let state = core.engine().state();
        let phases: Vec<Phase> =
            state.lease.hosted().map(|lease| lease.phase).filter(Phase::is_live).collect();
        let watched = state.market.share.is_some() || !phases.is_empty();
        Owner::of(&state.owner, core.seen(), &phases, watched, core.now())
    });
    Ok(Json(owner.await?))
}

/// Sets the whole policy. It holds at once, for guests that run, too.
#[utoipa::path(put, path = "/v1/owner/policy", tag = "owner", request_body = OwnerPolicy, responses((status = 200, body = Owner)))]
pub async fn rule(State(door): State<Door>, Body(policy): Body<OwnerPolicy>) -> Result<Json<Owner>, Problem> {
    let policy = model::Policy::try_from(&policy)
        .map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_range", why))?;
    door.node.first(Command::Rule(policy)).await?;
    show(State(door)).await
}

/// Pauses lending: guests stand still within a second, unbilled, and nothing new is lent.
#[utoipa::path(post, path = "/v1/owner/pause", tag = "owner", request_body = Pause, responses((status = 200, body = Owner)))]
pub async fn pause(State(door): State<Door>, Body(pause): Body<Pause>) -> Result<Json<Owner>, Problem> {
    let now = door.node.look(|core| core.now()).await?;
    let until = match (pause.span, pause.until, pause.until_tomorrow) {
        (None, None, false) => None,
        (Some(span), None, false) => Some(now + span.0),
        (None, Some(until), false) => Some(until.0),
        (None, None, true) => Some(tomorrow(now)?),
        (Some(_), _, _) | (_, Some(_), _) => {
            let detail = "a pause has one end: `for`, `until`, or `until_tomorrow`";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_range", detail));
        }
    };
    door.node.first(Command::Pause { until }).await?;
    show(State(door)).await
}

/// Ends a pause. Other reasons may still hold.
#[utoipa::path(delete, path = "/v1/owner/pause", tag = "owner", responses((status = 200, body = Owner)))]
pub async fn resume(State(door): State<Door>) -> Result<Json<Owner>, Problem> {
    door.node.first(Command::Resume).await?;
    show(State(door)).await
}

/// Six in the morning of the day after, by the clocks of this machine: nobody means midnight.
fn tomorrow(now: Timestamp) -> Result<Timestamp, Problem> {
    let strange =
        |error: jiff::Error| Problem::fault(format!("this machine's calendar cannot be used: {error}"));
    let now = jiff::Timestamp::from_millisecond(now.0).map_err(strange)?;
    let local: Zoned = now.to_zoned(jiff::tz::TimeZone::system());
    let day = local.date().checked_add(1.day()).map_err(strange)?;
    let morning = day.at(6, 0, 0, 0).to_zoned(local.time_zone().clone()).map_err(strange)?;
    Ok(Timestamp(morning.timestamp().as_millisecond()))
}
