//! As tenant: finds a host, asks, and is not put off by the first that says no.

use crate::forward::{Port, Protocol, Reserved};
use crate::handle::NodeHandle;
use crate::{Error, Event, keys};
use engine::input::Tenant;
use engine::lease::Outcome;
use engine::market::{Found, Match, Query, search};
use engine::{Input, Reply};
use machine::image::Digest;
use model::document::RunOptions;
use model::{
    Ask, AskTerms, DeviceId, Id, ImageDigest, Lease, Mode, NetworkPolicy, Nonce, ObjectId, Pieces, Rate,
    Resources, Span, Workload,
};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

/// How long one host may take to sign. Two round trips need a fraction of it, wherever on earth the host is.
const ONE_HOST: Duration = Duration::from_secs(6);

/// How many hosts are asked, the best first.
const HOSTS: usize = 20;

/// What a tenant wants.
#[derive(Clone, Debug)]
pub struct Rent {
    /// A name or digest of an image of this computer.
    pub image: String,
    /// The command and its arguments; empty for the image's own.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// With how much.
    pub resources: Resources,
    /// For how long.
    pub term: Span,
    /// The most that an hour may cost; none: whatever it costs.
    pub cap: Option<Rate>,
    /// Only this way of paying.
    pub mode: Option<Mode>,
    /// Only this host.
    pub host: Option<DeviceId>,
    /// The least score, in thousandths.
    pub min_trust: u32,
    /// What the guest is to reach outside.
    pub network: NetworkPolicy,
    /// How its program is run.
    pub options: RunOptions,
    /// Ports of this computer that shall lead into the guest.
    pub ports: Vec<Port>,
}

impl NodeHandle {
    /// Finds a host, and agrees a lease with it. Returns when both have signed; the image is fetched after.
    ///
    /// # Errors
    /// Why no lease came about: nothing was agreed then, and nothing is owed.
    pub async fn rent(&self, rent: Rent) -> Result<Id<Lease>, Error> {
        let image =
            self.images().resolve(&rent.image)?.ok_or_else(|| Error::UnknownImage(rent.image.clone()))?;
        let mut ports = Vec::new();
        for port in &rent.ports {
            ports.push(Reserved::take(*port).await?);
        }
        let named = |protocol| {
            let wanted = rent.ports.iter().filter(move |port| port.protocol == protocol);
            wanted.map(|port| port.guest).collect()
        };
        let workload = Workload {
            image: ImageDigest(*image.digest.as_bytes()),
            reference: image.names.first().cloned().unwrap_or_default(),
            command: rent.command.clone(),
            env: rent.env.clone(),
            ports: named(Protocol::Tcp),
            udp_ports: named(Protocol::Udp),
            network: rent.network.clone(),
            options: rent.options.clone(),
            pieces: Some(self.pieces(image.digest).await?),
        };
        let query = self.query(&rent, &image.platform.architecture);
        let found = self
            .look(move |core| search(core.engine().book(), core.engine().state(), core.now(), &query))
            .await?;
        let mut last = no_offer(&found);
        for candidate in found.matches.into_iter().take(HOSTS) {
            match self.ask(&rent, &workload, candidate).await {
                Ok(lease) => {
                    self.open_ports(lease, ports).await?;
                    return Ok(lease);
                }
                // Another host cannot mend what is wrong with the wish or with this node.
                Err(error @ (Error::Denied { .. } | Error::Net(_))) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The image's pieces. Neighbours may have them where they may have the image from here.
    async fn pieces(&self, image: Digest) -> Result<Pieces, Error> {
        let images = self.images().clone();
        let open = images.note(&image).open;
        let made = tokio::task::spawn_blocking(move || images.pieces(&image)).await;
        let (_, list) = made.map_err(|_| Error::Cancelled)??;
        Ok(Pieces { list: ObjectId(list), open })
    }

    /// What to look for in the market.
    pub fn query(&self, rent: &Rent, arch: &str) -> Query {
        Query {
            resources: rent.resources,
            term: rent.term,
            cap: rent.cap,
            mode: rent.mode,
            arch: Some(arch.to_owned()),
            network: rent.network.clone(),
            host: rent.host,
            min_core: 0,
            min_trust: rent.min_trust,
            me: self.identity().party().device,
        }
    }

    async fn ask(&self, rent: &Rent, workload: &Workload, candidate: Match) -> Result<Id<Lease>, Error> {
        let mut events = self.events();
        let terms = AskTerms {
            workload: workload.clone(),
            resources: rent.resources,
            term: rent.term,
            // What was found is what will be paid, and not more.
            cap: rent
                .cap
                .filter(|cap| cap.hourly.currency == candidate.rate.hourly.currency)
                .unwrap_or(candidate.rate),
        };
        let tenant = Tenant::Ask {
            offer: Box::new(candidate.listing.offer),
            terms: Box::new(terms),
            nonce: Nonce(keys::random()?),
        };
        let Reply::Asked(ask) = self.decide(Input::Tenant(tenant)).await? else {
            return Err(Error::Cancelled);
        };
        let deadline = Instant::now() + ONE_HOST;
        loop {
            if let Some(outcome) = self.outcome(ask).await? {
                return outcome;
            }
            match timeout_at(deadline, events.recv()).await {
                // Each event may be ours; and when some were missed, ours may be among them.
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) => return Err(crate::Fault::Stopped.into()),
                Err(_) => {
                    self.decide(Input::Tenant(Tenant::GiveUp(ask))).await?;
                    return self.after_giving_up(ask, &mut events).await;
                }
            }
        }
    }

    /// Once we have signed, giving up is no longer ours alone: the host's signature may be on its way.
    async fn after_giving_up(
        &self,
        ask: Id<Ask>,
        events: &mut tokio::sync::broadcast::Receiver<Event>,
    ) -> Result<Id<Lease>, Error> {
        loop {
            if let Some(outcome) = self.outcome(ask).await? {
                return outcome;
            }
            if let Err(RecvError::Closed) = events.recv().await {
                return Err(crate::Fault::Stopped.into());
            }
        }
    }

    /// What became of an ask; none while it waits.
    async fn outcome(&self, ask: Id<Ask>) -> Result<Option<Result<Id<Lease>, Error>>, Error> {
        let outcome = self
            .look(move |core| core.engine().state().lease.asking(ask).map(|asking| asking.outcome.clone()))
            .await?;
        Ok(match outcome {
            Some(Outcome::Waiting | Outcome::Accepted { .. }) => None,
            Some(Outcome::Agreed(lease)) => Some(Ok(lease)),
            Some(Outcome::Refused { code, sentence }) => Some(Err(Error::Denied { code, sentence })),
            None => Some(Err(Error::Cancelled)),
        })
    }
}

fn no_offer(found: &Found) -> Error {
    let nearest = found.near.first().map(|near| {
        let remedies: Vec<String> = near.misses.iter().map(engine::market::Miss::remedy).collect();
        format!("{} ({})", near.listing.offer.id().short(), remedies.join("; "))
    });
    Error::NoOffer { looked_at: found.looked_at, nearest }
}
