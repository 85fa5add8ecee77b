//! What the routes share.

use crate::dashboard::Dashboard;
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
    /// The pages in a browser.
    pub dashboard: Dashboard,
    /// A few programs are spoken to at a time.
    pub sessions: Arc<Semaphore>,
    /// Cancelled once the node was shut down through this door.
    pub closed: CancellationToken,
}

impl Door {
    /// A door to a node.
    pub fn new(node: NodeHandle) -> Door {
        Door {
            dashboard: Dashboard::of(&node.config().data),
            node,
            opened: Instant::now(),
            benchmark: Arc::new(Semaphore::new(1)),
            transfers: Arc::new(Semaphore::new(TRANSFERS)),
            sessions: Arc::new(Semaphore::new(crate::session::SESSIONS)),
            closed: CancellationToken::new(),
        }
    }
}

/// What people are called: by the owner, else by themselves.
pub struct Names {
    mine: BTreeMap<PersonId, String>,
    own: BTreeMap<PersonId, String>,
}

impl Names {
    /// All that are known now.
    pub fn of(core: &Core) -> Names {
        let book = core.engine().book();
        let listed = book.standing(core.now()).map(|listing| listing.host.party);
        let met = core.engine().state().lease.all().map(engine::lease::Lease::other);
        let named =
            listed.chain(met).filter_map(|party| Some((party.person, book.name(party.device)?.to_owned())));
        let contacts = core.engine().state().people.contacts();
        let mine = contacts.filter(|(_, contact)| !contact.name.is_empty());
        Names {
            own: named.collect(),
            mine: mine.map(|(person, contact)| (person, contact.name.clone())).collect(),
        }
    }

    /// What a person is called here.
    pub fn get(&self, person: PersonId) -> Option<&str> {
        self.mine.get(&person).map(String::as_str).or(self.own(person))
    }

    /// What a person calls themselves.
    pub fn own(&self, person: PersonId) -> Option<&str> {
        self.own.get(&person).map(String::as_str)
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

/// The person who is meant by a whole key, its first digits, or a name that only one has.
///
/// # Errors
/// When nobody is, or several are.
pub fn find_person(core: &Core, text: &str) -> Result<PersonId, Problem> {
    if let Ok(person) = text.parse() {
        return Ok(person);
    }
    let state = core.engine().state();
    let names = Names::of(core);
    let contacts = state.people.contacts().map(|(person, _)| person);
    let known = contacts.chain(state.reputation.known().map(|(person, _)| person));
    let mut fits: Vec<PersonId> = known
        .chain(names.own.keys().copied())
        .filter(|person| {
            let named = names.get(*person).is_some_and(|name| name.eq_ignore_ascii_case(text));
            named || starts(&person.to_string(), text)
        })
        .collect();
    fits.sort_unstable();
    fits.dedup();
    match fits.as_slice() {
        [person] => Ok(*person),
        [] => {
            let detail = format!("nothing is known of a person `{text}`");
            let problem = Problem::new(StatusCode::NOT_FOUND, "unknown_person", detail);
            Err(problem.hint("`sublet people` lists those of whom something is."))
        }
        _ => {
            let detail = format!("`{text}` fits several persons");
            Err(Problem::new(StatusCode::CONFLICT, "ambiguous_person", detail).hint("Give more digits."))
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
