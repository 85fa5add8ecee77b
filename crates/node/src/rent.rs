//! As tenant: finds a host, asks, and is not put off by the first that says no.

use crate::forward::{Port, Protocol, Reserved};
use crate::handle::NodeHandle;
use crate::health::check_of;
use crate::{Error, Event, Fault, keys};
use engine::input::{Candidate, Tenant};
use engine::lease::Outcome;
use engine::lease::choice::rivals;
use engine::market::{Found, Match, Miss, Query, search};
use engine::{Input, Reply};
use machine::guest::Secret;
use machine::image::Digest;
use model::Request;
use model::document::{HealthWish, RunOptions, Secrets};
use model::message::{MOST_FAILED, Passed};
use model::{
    Ask, AskTerms, DeviceId, Feature, Id, ImageDigest, Lease, Mode, NetworkPolicy, Nonce, ObjectId, Pieces,
    Rate, Resources, Span, Volume, Workload,
};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

/// How long the hosts that are asked at once may take until one has signed. Two round trips need a fraction of it,
/// wherever on earth they are.
const ONE_WAVE: Duration = Duration::from_secs(6);

/// How many hosts are asked, the best first.
const HOSTS: usize = 20;

/// How many of them are asked at first: each holds its capacity until another was taken. The rest are asked when none of
/// these has room.
const FIRST: usize = 5;
/// How many hosts are told why they were passed by, the nearest first.
const TOLD: usize = 5;

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
    /// Disks that outlive the guest; a part of the disk.
    pub volumes: Vec<Volume>,
    /// Devices of the host, by the names in its offer.
    pub devices: Vec<String>,
    /// Files that the guest alone may read.
    pub secrets: Vec<Secret>,
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
        // Sealed before anybody is asked, and held until there is a lease that names them.
        let (secrets, held) = self.keep_secrets(&rent.secrets)?.unzip();
        let rented = self.rent_with(rent, secrets).await;
        if held.is_some() && rented.is_err() {
            drop(held);
            self.forget_secrets().await?;
        }
        rented
    }

    async fn rent_with(&self, rent: Rent, secrets: Option<Secrets>) -> Result<Id<Lease>, Error> {
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
            volumes: rent.volumes.clone(),
            devices: rent.devices.clone(),
            secrets,
        };
        self.have_volume_keys(&rent.volumes)?;
        self.can_be_checked(&workload).await?;
        let query = self.query(&rent, &image.platform.architecture);
        let found = self
            .look(move |core| search(core.engine().book(), core.engine().state(), core.now(), &query))
            .await?;
        self.tell_passed(&rent, &found);
        let mut last = no_offer(&found);
        let mut candidates = found.matches.into_iter().take(HOSTS).peekable();
        let mut at_once = FIRST;
        while candidates.peek().is_some() {
            let wave: Vec<Match> = candidates.by_ref().take(at_once).collect();
            at_once = HOSTS;
            match self.ask(&rent, &workload, wave).await {
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

    /// Refuses to have an image checked of which nobody says how.
    async fn can_be_checked(&self, workload: &Workload) -> Result<(), Error> {
        if !matches!(workload.options.health, Some(HealthWish::Check(_))) {
            return Ok(());
        }
        let (images, workload) = (self.images().clone(), workload.clone());
        let check = tokio::task::spawn_blocking(move || check_of(&images, &workload)).await;
        match check.map_err(|_| Error::Cancelled)?? {
            Some(_) => Ok(()),
            None => Err(Error::NoHealthCommand),
        }
    }

    /// The image's pieces. Neighbours may have them where they may have the image from here.
    async fn pieces(&self, image: Digest) -> Result<Pieces, Error> {
        let images = self.images().clone();
        let open = images.note(&image).open;
        let made = tokio::task::spawn_blocking(move || images.pieces(&image)).await;
        let (_, list) = made.map_err(|_| Error::Cancelled)??;
        Ok(Pieces { list: ObjectId(list), open })
    }

    /// Lets hosts whose offers nearly suited know what they failed in, so that they learn why no work comes. Nobody waits
    /// for it.
    fn tell_passed(&self, rent: &Rent, found: &Found) {
        let near =
            found.near.iter().filter(|near| near.misses.len() <= MOST_FAILED && !is_private(&near.misses));
        for near in near.take(TOLD) {
            let failed = near.misses.iter().map(|miss| miss.code().to_owned()).collect();
            let offer = near.listing.offer.id();
            let passed = Passed { offer, resources: rent.resources, term: rent.term, cap: rent.cap, failed };
            let (net, peer) = (self.net().clone(), near.listing.host.peer);
            tokio::spawn(async move {
                if let Err(error) = net.request(peer, Request::Passed(passed)).await {
                    tracing::debug!(%peer, %error, "a host was not told why it was passed by");
                }
            });
        }
    }

    /// What to look for in the market.
    pub fn query(&self, rent: &Rent, arch: &str) -> Query {
        Query {
            volumes: !rent.volumes.is_empty(),
            secrets: !rent.secrets.is_empty(),
            features: Feature::needed(&rent.network, !rent.ports.is_empty(), &rent.options),
            devices: rent.devices.clone(),
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

    /// Asks some hosts at once, and comes back when the best that answered has signed, or all have said no.
    async fn ask(&self, rent: &Rent, workload: &Workload, wave: Vec<Match>) -> Result<Id<Lease>, Error> {
        let mut events = self.events();
        let candidates = wave.into_iter().map(|found| {
            // What was found is what will be paid, and not more.
            let cap = rent.cap.filter(|cap| cap.hourly.currency == found.rate.hourly.currency);
            let terms = AskTerms {
                workload: workload.clone(),
                resources: rent.resources,
                term: rent.term,
                cap: cap.unwrap_or(found.rate),
            };
            Ok(Candidate { offer: found.listing.offer, terms, nonce: Nonce(keys::random()?) })
        });
        let tenant = Tenant::AskAll(candidates.collect::<Result<_, Fault>>()?);
        let Reply::Asked(ask) = self.decide(Input::Tenant(tenant)).await? else {
            return Err(Error::Cancelled);
        };
        let deadline = Instant::now() + ONE_WAVE;
        loop {
            if let Some(outcome) = self.outcome(ask).await? {
                return outcome;
            }
            match timeout_at(deadline, events.recv()).await {
                // Each event may be ours; and when some were missed, ours may be among them.
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) => return Err(Fault::Stopped.into()),
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
                return Err(Fault::Stopped.into());
            }
        }
    }

    /// What became of asks that were made at once; none while one of them may still lead to a lease.
    async fn outcome(&self, first: Id<Ask>) -> Result<Option<Result<Id<Lease>, Error>>, Error> {
        let outcomes = self.look(move |core| {
            let rivals = rivals(&core.engine().state().lease, first);
            rivals.into_iter().map(|asking| asking.outcome.clone()).collect::<Vec<_>>()
        });
        let mut refused = None;
        for outcome in outcomes.await? {
            match outcome {
                Outcome::Agreed(lease) => return Ok(Some(Ok(lease))),
                Outcome::Waiting | Outcome::Quoted { .. } | Outcome::Accepted { .. } => return Ok(None),
                // What the host that was liked best has said is told.
                Outcome::Refused { code, sentence } => {
                    refused.get_or_insert(Error::Denied { code, sentence });
                }
            }
        }
        Ok(Some(Err(refused.unwrap_or(Error::Cancelled))))
    }
}

/// Whom I have blocked, or do not know, learns nothing of what I want.
fn is_private(misses: &[Miss]) -> bool {
    misses.iter().any(|miss| matches!(miss, Miss::Blocked | Miss::Stranger))
}

fn no_offer(found: &Found) -> Error {
    let nearest = found.near.first().map(|near| {
        let remedies: Vec<String> = near.misses.iter().map(engine::market::Miss::remedy).collect();
        format!("{} ({})", near.listing.offer.id().short(), remedies.join("; "))
    });
    Error::NoOffer { looked_at: found.looked_at, nearest }
}
