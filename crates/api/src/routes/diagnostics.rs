//! How this node goes, in one file that can be sent to somebody.

use super::{machine, node, offer, owner, peer, settings, update};
use crate::door::Door;
use crate::journal::{anonymous, kept};
use crate::problem::Problem;
use crate::shapes::{Diagnostics, LeaseSketch, Moment, Peer, PeerSketch, Side, Standing};
use ::node::Core;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::env;
use std::path::PathBuf;

/// How many leases are told.
const LEASES: usize = 50;

/// How this node goes, in one file that can be sent to somebody. No key, passphrase, token, secret or output of a guest is in it; of
/// addresses only their kind, and no name of a person.
#[utoipa::path(get, path = "/v1/diagnostics", tag = "node", responses((status = 200, body = Diagnostics)))]
pub async fn diagnostics(State(door): State<Door>) -> Result<Json<Diagnostics>, Problem> {
    let at = || State(door.clone());
    let Json(mut status) = node::status(at()).await?;
    let Json(mut settings) = settings::show(at()).await?;
    let Json(doctor) = machine::doctor().await?;
    let Json(inventory) = machine::inventory(at()).await?;
    let Json(offer) = offer::show(at()).await?;
    let Json(owner) = owner::show(at()).await?;
    let Json(updates) = update::show(at()).await?;
    let Json(peers) = peer::list(at()).await?;
    status.me.name = None;
    settings.name = String::new();
    let told = Diagnostics {
        made: status.now,
        status,
        doctor,
        inventory,
        settings,
        offer,
        owner,
        updates,
        peers: peers.peers.into_iter().map(sketch).collect(),
        leases: door.node.look(leases).await?,
        messages: kept(),
    };
    without_places(&told).map(Json)
}

/// Leaves out where the owner lives, in all texts.
fn without_places<T: Serialize + DeserializeOwned>(told: &T) -> Result<T, Problem> {
    let home = env::home_dir().filter(|home| home.is_absolute());
    let strange = |error| Problem::fault(format!("what was found cannot be told: {error}"));
    let mut all = serde_json::to_value(told).map_err(strange)?;
    hide(&mut all, home.as_ref());
    serde_json::from_value(all).map_err(strange)
}

fn hide(value: &mut serde_json::Value, home: Option<&PathBuf>) {
    match value {
        serde_json::Value::String(text) => *text = anonymous(text, home.map(PathBuf::as_path)),
        serde_json::Value::Array(all) => all.iter_mut().for_each(|one| hide(one, home)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|one| hide(one, home)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

fn sketch(peer: Peer) -> PeerSketch {
    let ways = peer
        .paths
        .into_iter()
        .map(|path| if path.relayed { format!("{} by a relay", path.transport) } else { path.transport });
    PeerSketch { agent: peer.agent, round_trip: peer.round_trip, ways: ways.collect() }
}

fn leases(core: &Core) -> Vec<LeaseSketch> {
    let mut all: Vec<_> = core.engine().state().lease.all().collect();
    all.sort_by_key(|lease| std::cmp::Reverse(lease.agreed));
    let sketch = |lease: &::node::engine::lease::Lease| {
        let standing = Standing::of(lease.phase, &lease.detail);
        LeaseSketch {
            id: lease.contract.id().to_string(),
            side: Side::from(lease.side),
            agreed: Moment(lease.agreed),
            state: standing.state,
            reason: standing.reason,
            detail: standing.detail,
        }
    };
    all.into_iter().take(LEASES).map(sketch).collect()
}
