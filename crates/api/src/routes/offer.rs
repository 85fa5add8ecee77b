//! What this machine lends.

use super::machine::blocking;
use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{Moment, MyOffer, Published, Share, ShareWish, Tested, features};
use crate::share;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use node::engine::capacity;
use node::machine::device::resolve;
use node::machine::guest::Writable;
use node::machine::inventory::{Inventory, inventory};
use node::model;
use node::model::power::CORE_HOUR;

/// What this machine lends, what is left of it, and what would be sensible to lend.
#[utoipa::path(get, path = "/v1/offer", tag = "offer", responses((status = 200, body = MyOffer)))]
pub async fn show(State(door): State<Door>) -> Result<Json<MyOffer>, Problem> {
    let inventory = look_around(&door).await?;
    let offer = door.node.look(move |core| {
        let state = core.engine().state();
        let (lent, standing) = (state.market.share.as_ref(), state.market.standing(core.now()));
        MyOffer {
            share: lent.map(Share::from),
            suggested: (&share::suggested(
                &inventory,
                Writable::here(),
                &state.market.speed.unwrap_or(share::UNMEASURED),
            ))
                .into(),
            speed: state.market.speed.map(Into::into),
            floor: state.owner.power.as_ref().and_then(|power| power.cost(CORE_HOUR).ok()).map(Into::into),
            promised: capacity::promised(&state.lease, core.now()).into(),
            free: capacity::free(lent, &state.lease, core.now()).into(),
            published: standing.map(|offer| Published {
                id: offer.id().to_string(),
                issued: Moment(offer.issued),
                expires: Moment(offer.expires),
                tested: offer.sandbox.tested.as_ref().map(Tested::from),
                without: features(&offer.sandbox),
            }),
        }
    });
    Ok(Json(offer.await?))
}

/// Lends. What is left out stays as it is lent now; where nothing is lent, it is what is suggested.
///
/// Leases that run go on by their own terms; the change is for new ones.
#[utoipa::path(put, path = "/v1/offer", tag = "offer", request_body = ShareWish, responses((status = 200, body = MyOffer)))]
pub async fn set(State(door): State<Door>, Body(wish): Body<ShareWish>) -> Result<Json<MyOffer>, Problem> {
    let inventory = look_around(&door).await?;
    let (market, taken) = door
        .node
        .look(|core| {
            let state = core.engine().state();
            (state.market.clone(), capacity::promised(&state.lease, core.now()).disk)
        })
        .await?;
    // A machine that was not measured can lend nothing, as the engine says.
    let speed = market.speed.unwrap_or(share::UNMEASURED);
    let start = market.share.unwrap_or_else(|| share::suggested(&inventory, Writable::here(), &speed));
    let wanted = share::with(start, &wish, &speed)?;
    fits(&wanted, &inventory, Writable::here(), taken)?;
    let lent = wanted.devices.clone();
    blocking(move || can_be_lent(&lent)).await?;
    door.node.share(Some(wanted)).await?;
    show(State(door)).await
}

/// Lends nothing any more. Leases that run go on by their own terms.
#[utoipa::path(delete, path = "/v1/offer", tag = "offer", responses((status = 200, body = MyOffer)))]
pub async fn unset(State(door): State<Door>) -> Result<Json<MyOffer>, Problem> {
    door.node.share(None).await?;
    show(State(door)).await
}

/// Nobody can lend what they do not have. `taken` is what leases and volumes have of the disk already. Where what guests
/// write lives in memory, it is counted as such.
fn fits(wanted: &model::Share, inventory: &Inventory, writable: Writable, taken: u64) -> Result<(), Problem> {
    let resources = &wanted.resources;
    let too_much = |detail: String| {
        let problem = Problem::new(StatusCode::CONFLICT, "more_than_there_is", detail);
        Err(problem.hint("`sublet offer show` says what would be sensible to lend."))
    };
    let bytes = model::resources::bytes;
    let (ram, there) = (writable.most_memory(resources.memory, resources.disk), inventory.memory_total);
    if ram > there {
        let what = match writable {
            Writable::Memory => "memory and disk together, which both live in memory,",
            Writable::Disk => "memory, with a quarter more for small disks, which live in it,",
        };
        return too_much(format!("{what} are {}, and this machine has {}", bytes(ram), bytes(there)));
    }
    let there = inventory.disk_free.saturating_add(taken);
    if writable == Writable::Disk && resources.disk > there {
        return too_much(format!(
            "{} of disk are wanted, and this machine has {} free",
            bytes(resources.disk),
            bytes(there)
        ));
    }
    if resources.cpu_millis > inventory.cores_usable.saturating_mul(1_000) {
        let cores = f64::from(resources.cpu_millis) / 1_000.0;
        return too_much(format!(
            "{cores} cores are wanted, and this machine has {}",
            inventory.cores_usable
        ));
    }
    Ok(())
}

/// A device that is not there, or that no guest could open, is not offered.
fn can_be_lent(devices: &[model::document::LentDevice]) -> Result<(), Problem> {
    for device in devices {
        resolve(&device.source).and_then(|found| found.can_be_opened()).map_err(|error| {
            Problem::new(StatusCode::CONFLICT, "no_such_device", format!("{}: {error}", device.name))
                .hint("`sublet doctor` lists the devices of this computer that can be lent.")
        })?;
    }
    Ok(())
}

/// What would be lent if the owner named nothing.
pub(super) async fn suggested(door: &Door, speed: &model::Speed) -> Result<model::Share, Problem> {
    Ok(share::suggested(&look_around(door).await?, Writable::here(), speed))
}

async fn look_around(door: &Door) -> Result<Inventory, Problem> {
    let data = door.node.config().data.clone();
    blocking(move || Ok(inventory(&data))).await
}
