//! What a guest may reach, decided: the name and port by its policy, then every address by itself. What is connected to
//! is the very address that was judged, so that a name which answers differently the next time gains nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::NetworkPolicy;
use model::document::{Destination, Host, Name, Whose};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::address::{NotPublic, public};
use super::outside::Outside;

/// Why something is not reached.
#[derive(Clone, Debug, Error)]
pub enum Barred {
    /// The lease does not name it.
    #[error("the lease does not allow {0}")]
    Policy(String),
    /// It is not public.
    #[error("{address} is not reached from a guest: {why}")]
    NotPublic {
        /// Which address.
        address: IpAddr,
        /// What it is instead.
        why: NotPublic,
    },
    /// Nobody knows the name, or nobody who knows it answers.
    #[error("the name {0} is not found")]
    Unknown(Name),
    /// Nobody answers there.
    #[error("{host} does not answer: {why}")]
    Silent {
        /// Whom was asked.
        host: String,
        /// What the network said.
        why: String,
    },
}

/// Decides for one guest.
pub struct Gate {
    policy: NetworkPolicy,
    outside: Arc<dyn Outside>,
    looked_up: Mutex<HashMap<Name, Found>>,
    /// What guests connect to by address after they have looked it up by name, and when they did.
    answered: Mutex<HashMap<SocketAddr, Instant>>,
    lookups: Semaphore,
}

/// What a name was found to be, and when.
type Found = (Instant, Arc<[IpAddr]>);

/// Names are looked up again after this; so long a change of address takes to arrive.
pub const FRESH: Duration = Duration::from_secs(30);

/// A program may use an address for so long after it has looked it up.
const ANSWERED: Duration = Duration::from_secs(3_600);

/// The most names and addresses that are remembered. Beyond, the oldest are forgotten.
const REMEMBERED: usize = 1_024;

/// Lookups at once. Each takes a thread.
const LOOKUPS: usize = 8;

/// Where mail servers listen. One stranger's unwanted mail puts the owner's address on lists for months, so that it must
/// be named in a list, as computing centres have it.
const MAIL: u16 = 25;

/// More addresses of one name are not tried, nor answered.
const ADDRESSES: usize = 16;

impl Gate {
    /// Lets a guest reach what its policy allows of the outside.
    pub fn new(policy: NetworkPolicy, outside: Arc<dyn Outside>) -> Gate {
        Gate {
            policy,
            outside,
            looked_up: Mutex::default(),
            answered: Mutex::default(),
            lookups: Semaphore::new(LOOKUPS),
        }
    }

    /// Where a gateway goes out.
    pub fn outside(&self) -> &Arc<dyn Outside> {
        &self.outside
    }

    /// Connects to a port of a host.
    pub async fn connect(&self, host: &Host, port: u16) -> Result<TcpStream, Barred> {
        let addresses = match host {
            Host::Address(address) => {
                self.judge(SocketAddr::new(*address, port)).await?;
                vec![*address]
            }
            Host::Name(name) => {
                if !self.allows(port, |destination| destination.port == port && names(destination, name)) {
                    return Err(Barred::Policy(format!("{name}:{port}")));
                }
                self.addresses(name).await?
            }
        };
        self.connect_to(&addresses, port, &host.to_string()).await
    }

    /// Connects to an address that a program asked for without a proxy.
    pub async fn connect_address(&self, to: SocketAddr) -> Result<TcpStream, Barred> {
        self.judge(to).await?;
        self.connect_to(&[to.ip()], to.port(), &to.ip().to_string()).await
    }

    async fn connect_to(&self, addresses: &[IpAddr], port: u16, host: &str) -> Result<TcpStream, Barred> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match self.outside.connect(SocketAddr::new(*address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(Barred::Silent { host: host.to_owned(), why: last.to_string() })
    }

    /// All addresses of a name that the guest may know of; those that are not public are left out.
    pub async fn lookup(&self, name: &Name) -> Result<Vec<IpAddr>, Barred> {
        if !self.allows(0, |destination| names(destination, name)) {
            return Err(Barred::Policy(name.to_string()));
        }
        let addresses = self.addresses(name).await?;
        if let NetworkPolicy::Only(list) = &self.policy {
            let ports = list.iter().filter(|destination| names(destination, name)).map(|named| named.port);
            for port in ports {
                self.remember(&addresses, port);
            }
        }
        Ok(addresses)
    }

    /// Whether an address may be connected to as it is.
    pub async fn judge(&self, to: SocketAddr) -> Result<(), Barred> {
        self.is_public(to.ip())?;
        let is_it = |destination: &Destination| {
            destination.whose == Whose::Host(Host::Address(to.ip())) && destination.port == to.port()
        };
        if self.allows(to.port(), is_it) || self.was_answered(to) {
            return Ok(());
        }
        // The guest may know the address from before this gateway.
        if let NetworkPolicy::Only(list) = &self.policy {
            for destination in list.iter().filter(|destination| destination.port == to.port()) {
                if let Whose::Host(Host::Name(name)) = &destination.whose
                    && self.lookup(name).await.is_ok_and(|addresses| addresses.contains(&to.ip()))
                {
                    return Ok(());
                }
            }
        }
        Err(Barred::Policy(to.to_string()))
    }

    fn allows(&self, port: u16, is_it: impl Fn(&Destination) -> bool) -> bool {
        match &self.policy {
            NetworkPolicy::None => false,
            NetworkPolicy::Only(list) => list.iter().any(is_it),
            NetworkPolicy::Internet => port != MAIL,
        }
    }

    fn is_public(&self, address: IpAddr) -> Result<(), Barred> {
        let own = || self.outside.own().iter().any(|own| own.holds(address));
        match public(address) {
            Ok(()) if own() => {
                Err(Barred::NotPublic { address, why: NotPublic("an address of this machine's own network") })
            }
            Ok(()) => Ok(()),
            Err(why) => Err(Barred::NotPublic { address, why }),
        }
    }

    /// The public addresses of a name, never none.
    async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, Barred> {
        let all = self.all_addresses(name).await?;
        let has_ipv6 = self.outside.has_ipv6();
        let mut bars = None;
        let mut addresses = Vec::new();
        for address in all.iter().filter(|address| address.is_ipv4() || has_ipv6) {
            match self.is_public(*address) {
                Ok(()) if !addresses.contains(address) => addresses.push(*address),
                Ok(()) => {}
                Err(barred) => bars = Some(barred),
            }
        }
        addresses.truncate(ADDRESSES);
        if addresses.is_empty() {
            Err(bars.unwrap_or_else(|| Barred::Unknown(name.clone())))
        } else {
            Ok(addresses)
        }
    }

    async fn all_addresses(&self, name: &Name) -> Result<Arc<[IpAddr]>, Barred> {
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        // Never closed.
        let _turn = self.lookups.acquire().await;
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let found: Arc<[IpAddr]> = match self.outside.resolve(name).await {
            Ok(found) => found.into(),
            Err(error) => {
                tracing::debug!(%name, %error, "a guest's name was not found");
                // Remembered as well: who asks again at once gets the same answer.
                [].into()
            }
        };
        let mut looked_up = locked(&self.looked_up);
        make_room(&mut looked_up, |(at, _)| *at);
        looked_up.insert(name.clone(), (Instant::now(), found.clone()));
        Ok(found)
    }

    fn known(&self, name: &Name) -> Option<Arc<[IpAddr]>> {
        let looked_up = locked(&self.looked_up);
        looked_up.get(name).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, found)| found.clone())
    }

    fn remember(&self, addresses: &[IpAddr], port: u16) {
        let mut answered = locked(&self.answered);
        for address in addresses {
            make_room(&mut answered, |at| *at);
            answered.insert(SocketAddr::new(*address, port), Instant::now());
        }
    }

    fn was_answered(&self, to: SocketAddr) -> bool {
        locked(&self.answered).get(&to).is_some_and(|at| at.elapsed() < ANSWERED)
    }
}

/// Whether a destination is a port of this name.
fn names(destination: &Destination, name: &Name) -> bool {
    match &destination.whose {
        Whose::Host(Host::Name(named)) => named == name,
        Whose::Host(Host::Address(_)) => false,
        Whose::Under(above) => name.is_under(above),
    }
}

/// Forgets the older half when there is no room for one more.
fn make_room<K: Clone + Eq + Hash, V>(map: &mut HashMap<K, V>, at: impl Fn(&V) -> Instant) {
    if map.len() < REMEMBERED {
        return;
    }
    let mut by_age: Vec<(Instant, K)> = map.iter().map(|(key, value)| (at(value), key.clone())).collect();
    by_age.sort_unstable_by_key(|(at, _)| *at);
    for (_, key) in by_age.into_iter().take(REMEMBERED / 2) {
        map.remove(&key);
    }
}

/// The data stays whole if a thread panics while it holds the lock: each change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
