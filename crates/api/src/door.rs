//! What the routes share.

use crate::problem::Problem;
use axum::http::StatusCode;
use node::NodeHandle;
use node::engine::market::Listing;
use node::model::{DeviceId, PeerKey, PersonId};
use node::net::Net;
use node::{Core, engine};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Images that are pulled, imported or built at once.
const TRANSFERS: usize = 4;

/// What the routes share.
#[derive(Clone)]
pub struct Door {
    /// The node behind it.
    pub node: NodeHandle,
    /// When it was opened.
    pub opened: Instant,
    /// One benchmark at a time: two would measure each other.
    pub benchmark: Arc<Semaphore>,
    /// A few images at a time.
    pub transfers: Arc<Semaphore>,
    /// Cancelled once the node was shut down through this door.
    pub closed: CancellationToken,
}

impl Door {
    /// A door to a node.
    pub fn new(node: NodeHandle) -> Door {
        Door {
            node,
            opened: Instant::now(),
            benchmark: Arc::new(Semaphore::new(1)),
            transfers: Arc::new(Semaphore::new(TRANSFERS)),
            closed: CancellationToken::new(),
        }
    }
}

/// What others call themselves, by person.
pub struct Names(BTreeMap<PersonId, String>);

impl Names {
    /// All that are known now.
    pub fn of(core: &Core) -> Names {
        let book = core.engine().book();
        let listed = book.standing(core.now()).map(|listing| listing.host.party);
        let met = core.engine().state().lease.all().map(engine::lease::Lease::other);
        let named =
            listed.chain(met).filter_map(|party| Some((party.person, book.name(party.device)?.to_owned())));
        Names(named.collect())
    }

    /// One person's.
    pub fn get(&self, person: PersonId) -> Option<&str> {
        self.0.get(&person).map(String::as_str)
    }
}

/// The host that is meant by the first digits of its device, person or peer, its peer id, or its name.
///
/// # Errors
/// When no offer that stands is of such a host, or those of several are.
pub fn find_host(core: &Core, text: &str) -> Result<DeviceId, Problem> {
    let meant = core.engine().book().standing(core.now()).filter(|listing| is_meant(core, listing, text));
    let mut devices: Vec<DeviceId> = meant.map(|listing| listing.host.party.device).collect();
    devices.dedup();
    match devices.as_slice() {
        [device] => Ok(*device),
        [] => {
            let problem = Problem::new(
                StatusCode::NOT_FOUND,
                "unknown_host",
                format!("no host `{text}` offers anything now"),
            );
            Err(problem.hint("`sublet market --all` lists the hosts."))
        }
        several => {
            let detail = format!("`{text}` fits {} hosts", several.len());
            Err(Problem::new(StatusCode::CONFLICT, "ambiguous_host", detail).hint("Give more digits."))
        }
    }
}

fn is_meant(core: &Core, listing: &Listing, text: &str) -> bool {
    let host = &listing.host;
    let name = core.engine().book().name(host.party.device);
    peer_is(host.peer, text)
        || starts(&host.party.device.to_string(), text)
        || starts(&host.party.person.to_string(), text)
        || name.is_some_and(|name| name.eq_ignore_ascii_case(text))
}

fn peer_is(peer: PeerKey, text: &str) -> bool {
    starts(&peer.to_string(), text) || Net::peer_id(peer) == text
}

/// Fewer digits than four are a slip of the keyboard more often than a host.
fn starts(id: &str, digits: &str) -> bool {
    digits.len() >= 4 && id.starts_with(&digits.to_ascii_lowercase())
}
