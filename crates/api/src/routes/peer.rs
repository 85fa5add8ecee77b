//! Peers to which there is a connection.

use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{Dial, Met, Party, Peer, Peers};
use axum::Json;
use axum::extract::State;
use node::Core;
use node::model::PeerKey;
use node::net::Net;
use std::collections::BTreeMap;

/// Who is connected, and how.
#[utoipa::path(get, path = "/v1/peers", tag = "peers", responses((status = 200, body = Peers)))]
pub async fn list(State(door): State<Door>) -> Result<Json<Peers>, Problem> {
    let mut seen = door.node.peers().await;
    seen.sort_by_key(|seen| seen.peer);
    let mut parties = door.node.look(parties).await?;
    let peers = seen.into_iter().map(|seen| {
        let party = parties.remove(&seen.peer);
        Peer::of(seen, party)
    });
    Ok(Json(Peers { peers: peers.collect() }))
}

/// Whose each peer is, as far as offers and leases have told.
fn parties(core: &Core) -> BTreeMap<PeerKey, Party> {
    let book = core.engine().book();
    let listed = book.standing(core.now()).map(|listing| (listing.host.peer, listing.host.party));
    let met = core.engine().state().lease.all().map(|lease| (lease.peer, lease.other()));
    let parties = listed.chain(met).map(|(peer, party)| {
        let name = book.name(party.device).map(str::to_owned);
        (peer, Party { person: party.person.to_string(), device: party.device.to_string(), name })
    });
    parties.collect()
}

/// Meets the peer at an address.
#[utoipa::path(post, path = "/v1/peers", tag = "peers", request_body = Dial, responses((status = 200, body = Met)))]
pub async fn add(State(door): State<Door>, Body(dial): Body<Dial>) -> Result<Json<Met>, Problem> {
    let peer = door.node.net().dial(&dial.address).await?;
    Ok(Json(Met { peer: peer.to_string(), peer_id: Net::peer_id(peer) }))
}
