//! The loop: everything that comes in, one after the other, and after each what is wanted then.

use crate::clock::Clock;
use crate::core::{Core, SNAPSHOT_VERSION};
use crate::demand::{Asked, DemandOutcome, Demands, rate_here};
use crate::execute::{Hands, Outcome, ended, execute};
use crate::forward::Forwards;
use crate::handle::{Name, NodeHandle, Shared};
use crate::outbox::Outbox;
use crate::secrets::Sealed;
use crate::serve::{guest, judge, serve};
use crate::stats::{self, Sampler};
use crate::{Config, Error, Event, Fault, health, isolation, keys};
use engine::effect::Key;
use engine::input::{Machine, Owner};
use engine::market::Learned;
use engine::owner;
use engine::{Effect, Engine, Identity, Input, Reply, State, Topic};
use machine::guest::{GuestEvent, GuestId, GuestSeen, GuestState, Guests};
use machine::image::{Images, Platform};
use machine::network::Internet;
use machine::presence::{self, Places, Seen, Wants};
use machine::volume::{VOLUMES, Volumes};
use model::envelope::Claim;
use model::health::Health;
use model::message::{Passed, Standing};
use model::{
    Answer, Document, Feature, Id, Invalid, Lease, Lending, Nonce, Offer, PeerKey, Person, Phase, Policy,
    Profile, ReasonKind, Request, Response, Sandbox, Side, Signed, Span, Tested,
};
use net::NetEvent;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Everything that waits for the loop; when it is full, who asks waits.
const COMMANDS: usize = 256;

/// Events that a slow listener may fall behind.
const EVENTS: usize = 1_024;

/// Devices of people whom the owner knows to which a connection is held.
const MOST_FRIENDS: usize = 32;

/// How often what should be is compared with what is.
const RECONCILE: Duration = Duration::from_secs(60);

/// So many records make a start slow: the next one shall not read them again.
const LONG_WAY: u64 = 1_000;

/// What the loop can be asked from outside and by its own tasks.
#[expect(clippy::large_enum_variant, reason = "the queue is short, and a box for each answer costs more")]
pub enum Command {
    /// Decide, and tell what came of it.
    Decide(Box<Input>, oneshot::Sender<Result<Reply, Error>>),
    /// Look at what there is.
    Look(Box<dyn FnOnce(&Core) + Send>),
    /// A task has ended.
    Finished(Key, Outcome),
    /// An image comes nearer.
    Progress(Id<Lease>, u64, u64),
    /// A guest here was checked.
    Health(Id<Lease>, Health),
    /// What is lent has changed: say so.
    Publish,
    /// What the machine tells of its owner.
    Seen(Seen),
    /// A hostile guest has tried the sandbox.
    Tested(Tested),
    /// No more.
    Stop(oneshot::Sender<()>),
}

/// Starts a node in its data directory.
///
/// # Errors
/// When the directory is another node's or a newer version's, or something that a node cannot do without is missing.
pub async fn start(config: Config) -> Result<NodeHandle, Fault> {
    let clock = Clock::start();
    let mut store = tokio::task::block_in_place(|| Store::open(&config.data))?;
    let keys = keys::load(&config.data, &config.name, clock.now())?;
    let identity =
        Identity { key: keys.device, certificate: keys.certificate, arch: Platform::here().architecture };
    let (engine, snapshot) = tokio::task::block_in_place(|| replay(&mut store, identity))?;
    let images =
        tokio::task::block_in_place(|| Images::open(config.data.join("images"))).map_err(Fault::Image)?;
    let volumes =
        tokio::task::block_in_place(|| Volumes::open(config.data.join(VOLUMES))).map_err(Fault::Volume)?;
    let (guest_sender, guest_events) = mpsc::channel(COMMANDS);
    let internet = Arc::new(Internet::default());
    let guests =
        Guests::open(config.data.join("guests"), config.supervisor.clone(), guest_sender, internet.clone())
            .map_err(Fault::Guest)?;
    let guests = match &config.runtime {
        Some(runtime) => guests.with_runtime(runtime.clone()),
        None => guests,
    };
    let (net, net_events) = net::start(net_config(&config, keys.peer_seed)).await.map_err(Fault::Net)?;
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (events, _) = broadcast::channel(EVENTS);
    let hands = Hands {
        net,
        guests: Arc::new(guests),
        internet,
        images,
        commands: commands.clone(),
        neighbours: Arc::default(),
        volumes,
        searches: Arc::default(),
        sampler: Arc::new(Sampler::new(clock)),
        volume_keys: config.data.join("keys/volumes"),
        sealed: Sealed::of(&config.data),
    };
    let core = Core {
        clock,
        engine,
        store,
        outbox: Outbox::default(),
        fetching: BTreeMap::new(),
        health: BTreeMap::new(),
        silent: BTreeMap::new(),
        addresses: Vec::new(),
        seen: Seen::default(),
        demands: Demands::default(),
        started: clock.now(),
        snapshot,
        events: events.clone(),
    };
    let (looks, wants) = std::sync::mpsc::channel();
    let tell = commands.clone();
    let sources = config.eyes.open(&Places::here(&config.data));
    presence::watch(sources, wants, move |seen| tell.blocking_send(Command::Seen(seen)).is_ok())
        .map_err(Fault::Presence)?;
    let identity = core.engine.identity().clone();
    let (runtime, without) =
        hands.guests.runtime().map(|runtime| (runtime.description(), runtime.without())).unwrap_or_default();
    let tested = isolation::last(&config.data, &runtime);
    let volumes = crate::volumes::possible() && !without.contains(&Feature::Volumes);
    let secrets = !without.contains(&Feature::Secrets);
    let sandbox = Sandbox { runtime, user_namespace: true, tested, volumes, secrets, without };
    let name = Name::new(config.name.clone());
    let mut node = Loop {
        core,
        hands: hands.clone(),
        name: name.clone(),
        sandbox,
        fetches: BTreeMap::new(),
        parties: BTreeSet::new(),
        friends: BTreeSet::new(),
        wants: Wants::default(),
        looks,
        bundles: BTreeSet::new(),
        attended: BTreeMap::new(),
    };
    if node.core.store.head() > snapshot + LONG_WAY {
        node.core.snapshot_now();
    }
    node.remember_others();
    crate::people::remember(&node.hands.net, node.core.engine.state());
    node.reconcile().await;
    let forwards = Forwards::open(config.data.join("forwards.json"));
    tokio::spawn(node.run(inbox, net_events, guest_events));
    tokio::spawn(stats::sample(hands.clone()));
    let handle =
        NodeHandle::new(Shared { config, identity, hands, events, forwards, name, updates: Arc::default() });
    handle.restore_forwards().await;
    Ok(handle)
}

fn net_config(config: &Config, key_seed: [u8; 32]) -> net::Config {
    let standard = net::Config::default();
    net::Config {
        key_seed,
        listen: if config.listen.is_empty() { standard.listen.clone() } else { config.listen.clone() },
        bootstrap: config.bootstrap.clone(),
        mdns: config.mdns,
        upnp: config.upnp,
        relay_server: config.relay,
        ..standard
    }
}

/// The state that the record adds up to, from the last snapshot on.
fn replay(store: &mut Store, identity: Identity) -> Result<(Engine, u64), Fault> {
    let snapshot = store.latest_snapshot(SNAPSHOT_VERSION)?;
    let (mut seq, state) = match snapshot.map(|(seq, bytes)| (seq, postcard::from_bytes::<State>(&bytes))) {
        Some((seq, Ok(state))) => (seq, state),
        Some((_, Err(error))) => {
            tracing::warn!(%error, "the snapshot cannot be read; the whole record is read instead");
            (0, State::default())
        }
        None => (0, State::default()),
    };
    let from = seq;
    let mut engine = Engine::new(identity, state);
    loop {
        let entries = store.entries(seq, 1_000)?;
        let Some(last) = entries.last() else { return Ok((engine, from)) };
        seq = last.seq;
        entries.iter().for_each(|entry| engine.apply(entry));
    }
}

struct Loop {
    core: Core,
    hands: Hands,
    /// What the person calls themselves.
    name: Name,
    /// What guests are kept with.
    sandbox: Sandbox,
    /// Images on their way, to be given up when their lease ends before.
    fetches: BTreeMap<Key, AbortHandle>,
    /// The other parties of live leases, and people whom the owner knows.
    parties: BTreeSet<PeerKey>,
    /// Devices of people whom the owner knows.
    friends: BTreeSet<PeerKey>,
    /// What is looked at of the owner, and who looks.
    wants: Wants,
    looks: std::sync::mpsc::Sender<Wants>,
    /// The sealed secrets that leases and asks name.
    bundles: BTreeSet<Nonce>,
    /// Guests here whose health is looked after.
    attended: BTreeMap<Id<Lease>, AbortHandle>,
}

impl Loop {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut net: mpsc::Receiver<NetEvent>,
        mut guests: mpsc::Receiver<GuestEvent>,
    ) {
        let mut reconcile = interval(RECONCILE);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reconcile.reset();
        loop {
            self.settle();
            let wake = self.wake();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Stop(stopped)) => {
                        tokio::task::block_in_place(|| self.core.snapshot_now());
                        // Guests go on under their supervisors; the next node takes charge of them. The database is closed
                        // before anybody is told, for the process may end then.
                        drop(self);
                        let _ = stopped.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(event) = net.recv() => self.net_event(event),
                Some(event) = guests.recv() => self.guest_event(event).await,
                _ = reconcile.tick() => self.reconcile().await,
                () = sleep_until(wake) => {
                    self.decide(Input::Time);
                }
            }
        }
    }

    /// Starts what is wanted and does not go on yet.
    fn settle(&mut self) {
        let now = self.core.now();
        for effect in self.core.outbox.start(now, self.core.engine.wanted(now)) {
            let key = effect.key();
            if let Effect::Share(_, bytes) = &effect {
                self.pass_on(bytes);
                self.core.outbox.done(key);
                continue;
            }
            let task = tokio::spawn(execute(self.hands.clone(), effect));
            if let Key::Fetch(_) = key {
                self.fetches.insert(key, task.abort_handle());
            }
        }
        self.look_after_the_owner();
        self.give_up_fetches();
        self.forget_secrets(false);
        self.attend_guests();
        self.hold_on_to_parties();
    }

    /// Whom to stay connected to without a lease: people whom the owner knows find each other again wherever they are.
    fn find_friends(&mut self) {
        let engine = &self.core.engine;
        let known =
            engine.book().profiles().filter(|(person, _)| engine.state().people.knows(person.party.person));
        self.friends = known.map(|(person, _)| person.peer).take(MOST_FRIENDS).collect();
    }

    /// Has the machine looked at as closely as the policy and the guests of the moment ask.
    fn look_after_the_owner(&mut self) {
        let state = self.core.engine.state();
        let is_live = |lease: &engine::lease::Lease| lease.phase.is_live() || lease.phase == Phase::Starting;
        let closely = state.lease.hosted().any(is_live);
        let lends = closely || state.market.share.is_some();
        let wants = if lends { wants(&state.owner.policy(), closely) } else { Wants::default() };
        if wants != self.wants {
            self.wants = wants.clone();
            // The thread is gone only when the node stops.
            let _ = self.looks.send(wants);
        }
    }

    /// Connections to friends and to the other parties of live leases stay, and are made again when lost.
    fn hold_on_to_parties(&mut self) {
        let leases = self.core.engine.state().lease.all();
        let parties: BTreeSet<PeerKey> = leases
            .filter(|lease| !lease.phase.is_ended())
            .map(|lease| lease.peer)
            .chain(self.friends.iter().copied())
            .collect();
        if parties == self.parties {
            return;
        }
        let (net, before, after) =
            (self.hands.net.clone(), std::mem::replace(&mut self.parties, parties.clone()), parties);
        // The network may be waiting for us to take an event: we never wait for it.
        tokio::spawn(async move {
            for peer in after.difference(&before) {
                if let Err(error) = net.keep(*peer).await {
                    tracing::warn!(%peer, %error, "the connection is not held");
                }
            }
            for peer in before.difference(&after) {
                net.release(*peer).await;
            }
        });
    }

    /// Has guests checked for as long as they go on, and forgets how those were that do not.
    fn attend_guests(&mut self) {
        let leases = &self.core.engine.state().lease;
        let is_live = |id: &Id<Lease>| leases.get(*id).is_some_and(|lease| lease.phase.is_live());
        self.core.health.retain(|id, _| is_live(id));
        for (_, task) in self.attended.extract_if(.., |id, _| !is_live(id)) {
            task.abort();
        }
        let clock = self.core.clock;
        for lease in leases.hosted().filter(|lease| lease.phase.is_live()) {
            let (id, workload) = (lease.id(), &lease.contract.workload);
            self.attended.entry(id).or_insert_with(|| {
                let began = lease.started.unwrap_or(lease.moved);
                let attend = health::attend(self.hands.clone(), clock, id, workload.clone(), began);
                tokio::spawn(attend).abort_handle()
            });
        }
    }

    /// Keeps in mind how the guest of a live lease is. Says whether that is news.
    fn is_now(&mut self, lease: Id<Lease>, health: Health) -> bool {
        let leases = &self.core.engine.state().lease;
        if !leases.get(lease).is_some_and(|lease| lease.phase.is_live()) {
            return false;
        }
        let state = health.state;
        let before = self.core.health.insert(lease, health).map(|before| before.state);
        let is_news = before != Some(state);
        if is_news {
            let _ = self.core.events.send(Event::Health { lease, state });
        }
        is_news
    }

    /// As host: a guest was checked. Its tenant hears at once of what is new, and the rest when asking where the lease stands.
    fn checked(&mut self, id: Id<Lease>, health: Health) {
        if !self.is_now(id, health.clone()) {
            return;
        }
        let Some(lease) = self.core.engine.state().lease.get(id) else { return };
        let standing = Standing { health: Some(health), ..engine::lease::standing(lease) };
        let (net, peer) = (self.hands.net.clone(), lease.peer);
        tokio::spawn(async move {
            if let Err(error) = net.request(peer, Request::Standing(standing)).await {
                tracing::debug!(%peer, %error, "a tenant was not told how its guest is");
            }
        });
    }

    /// As tenant: a host says how a guest is, and nothing else by it: what it says of the lease in the same breath may be older than
    /// what it has said since.
    fn hear_health(&mut self, from: PeerKey, request: &Request) -> Option<Response> {
        let Request::Standing(Standing { lease, health: Some(health), .. }) = request else { return None };
        let ours = self.core.engine.state().lease.get(*lease);
        ours.filter(|lease| lease.side == Side::Tenant && lease.peer == from)?;
        self.is_now(*lease, health.clone().as_heard());
        Some(Response::Done)
    }

    /// Secrets whose lease is over are not kept on: at once where that has changed, or `anyway`. Here and in no task of its own,
    /// where a lease could come to name what is just being removed.
    fn forget_secrets(&mut self, anyway: bool) {
        let named = self.core.engine.state().lease.secrets();
        if anyway || named != self.bundles {
            tokio::task::block_in_place(|| self.hands.sealed.keep_only(&named));
            self.bundles = named;
        }
    }

    /// An image whose lease is over is not fetched on. What came of it is kept.
    fn give_up_fetches(&mut self) {
        let state = &self.core.engine.state().lease;
        let over = |key: &Key| matches!(key, Key::Fetch(lease) if state.get(*lease).is_none_or(|lease| lease.phase != Phase::Fetching));
        for (key, task) in self.fetches.extract_if(.., |key, _| over(key)) {
            task.abort();
            self.core.outbox.done(key);
        }
    }

    fn wake(&self) -> Instant {
        let now = self.core.now();
        let next = self
            .core
            .outbox
            .next()
            .unwrap_or(self.core.engine.next_time(now))
            .min(self.core.engine.next_time(now));
        // A wake in the past would spin; one far ahead is cut by the next reconciliation anyway.
        let wait = self.core.clock.until(next).clamp(Duration::from_millis(5), RECONCILE);
        Instant::now() + wait
    }

    /// Decides about something that nobody waits for, and says whether that is done with: what could not be written down
    /// is not.
    fn decide(&mut self, input: Input) -> bool {
        match self.core.decide(input) {
            Ok(_) => true,
            Err(Error::Refused(refusal)) => {
                tracing::info!(%refusal, "refused");
                true
            }
            Err(error) => {
                tracing::error!(%error, "not decided");
                false
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Decide(input, reply) => {
                // Who asked may be gone.
                let _ = reply.send(self.core.decide(*input));
            }
            Command::Look(look) => look(&self.core),
            Command::Finished(key, outcome) => self.finished(key, outcome),
            Command::Progress(lease, done, total) => {
                self.core.fetching.insert(lease, (done, total));
                let _ = self.core.events.send(Event::Fetching { lease, done, total });
            }
            Command::Health(lease, health) => self.checked(lease, health),
            Command::Publish => self.publish(),
            Command::Tested(tested) => {
                self.sandbox.tested = Some(tested);
                self.publish();
            }
            Command::Seen(seen) => {
                let presence = seen.presence.clone();
                self.core.seen = seen;
                self.decide(Input::Owner(Owner::First(owner::Command::See(presence))));
            }
            Command::Stop(_) => {}
        }
    }

    fn finished(&mut self, key: Key, outcome: Outcome) {
        let now = self.core.now();
        match outcome {
            // Say the disk is full: it is done once more, which changes nothing, and told again.
            Outcome::Done(Some(news)) if !self.decide(news.clone()) => self.core.outbox.failed(now, key),
            Outcome::Done(_) => self.core.outbox.done(key),
            Outcome::Again(news) => {
                self.core.outbox.failed(now, key);
                if let Some(news) = news {
                    self.decide(news);
                }
            }
            Outcome::Answered(topic, response) => self.answered(key, topic, response),
            Outcome::Unreachable(peer, topic) => {
                self.core.outbox.failed(now, key);
                let since = *self.core.silent.entry(peer).or_insert(now);
                if let Topic::Where(lease, _) = topic {
                    self.decide(Input::Unreachable { lease, since });
                }
            }
        }
        match key {
            Key::Fetch(lease) => {
                self.core.fetching.remove(&lease);
            }
            // The lease may have ended while its guest was being started.
            Key::Start(lease) if self.is_ended(lease) => self.stop_stray(guest(lease), false),
            Key::Start(_)
            | Key::Send(_)
            | Key::Still(..)
            | Key::Pace(..)
            | Key::Stop(_)
            | Key::Remove(_)
            | Key::Meter(..)
            | Key::Share(_) => {}
        }
    }

    fn answered(&mut self, key: Key, topic: Topic, response: Response) {
        let denied = match &response {
            Response::Denied(denial) => {
                tracing::info!(?topic, code = denial.code, sentence = denial.sentence, "denied");
                true
            }
            Response::Quote(_)
            | Response::Lease(_)
            | Response::Tick(_)
            | Response::Renewal(_)
            | Response::Standing(_)
            | Response::Done => false,
        };
        if let Response::Standing(standing) = &response
            && let Some((done, total)) = standing.fetched
        {
            self.core.fetching.insert(standing.lease, (done, total));
            let _ = self.core.events.send(Event::Fetching { lease: standing.lease, done, total });
        }
        let health = match &response {
            Response::Standing(standing) => standing.health.clone().map(|health| (standing.lease, health)),
            Response::Quote(_)
            | Response::Lease(_)
            | Response::Tick(_)
            | Response::Renewal(_)
            | Response::Done
            | Response::Denied(_) => None,
        };
        let decided = self.core.decide(Input::Answer { topic, response });
        if let (Topic::Where(asked, _), Some((lease, health))) = (topic, health)
            && asked == lease
        {
            self.is_now(lease, health.as_heard());
        }
        match decided {
            Ok(_) if !denied => self.core.outbox.done(key),
            Ok(_) => self.core.outbox.failed(self.core.now(), key),
            Err(error) => {
                tracing::info!(%error, "an answer that proves nothing");
                self.core.outbox.failed(self.core.now(), key);
            }
        }
    }

    fn net_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::PeerUp { peer } => {
                self.core.silent.remove(&peer);
                let now = self.core.now();
                let waiting = self
                    .core
                    .engine
                    .wanted(now)
                    .into_iter()
                    .filter(|effect| matches!(effect, Effect::Send { to, .. } if *to == peer));
                let keys: Vec<Key> = waiting.map(|effect| effect.key()).collect();
                self.core.outbox.hurry(keys);
                let _ = self.core.events.send(Event::PeerUp { peer });
            }
            NetEvent::PeerDown { peer } => {
                let _ = self.core.events.send(Event::PeerDown { peer });
            }
            NetEvent::Request { id, from, request } => {
                self.core.silent.remove(&from);
                let response = self.answer(from, request);
                if !self.hands.net.respond(id, response) {
                    tracing::debug!(%from, "the asker no longer waits");
                }
            }
            NetEvent::Stream { from, head, stream } => {
                let allowed = judge(&self.core.engine, from, &head);
                tokio::spawn(serve(self.hands.clone(), stream, allowed));
            }
            NetEvent::Objects { from, objects } => {
                tracing::debug!(%from, count = objects.len(), "objects came");
                objects.iter().for_each(|bytes| self.learn(bytes, Some(from)));
            }
            NetEvent::Addresses(addresses) => {
                self.hands.internet.know(hosts_in(&addresses));
                self.core.addresses = addresses;
                self.publish();
            }
        }
    }

    fn answer(&mut self, from: PeerKey, request: Request) -> Response {
        let wanted = Wanted::of(&request);
        let response = self.respond(from, request);
        if let Some(wanted) = wanted {
            self.keep_demand(from, &wanted, &response);
        }
        response
    }

    /// Keeps what was wanted, and what came of it.
    fn keep_demand(&mut self, from: PeerKey, wanted: &Wanted, response: &Response) {
        let (now, market) = (self.core.now(), &self.core.engine.state().market);
        let ours = market.standing(now).map(|offer| offer.id());
        let rate = |resources| rate_here(market.share.as_ref(), market.speed, resources);
        match (wanted, response) {
            (Wanted::Ask(ask), Response::Quote(_)) => {
                let rate = rate(&ask.resources);
                self.core.demands.asked(now, from, ask, rate, DemandOutcome::Quoted);
            }
            (Wanted::Ask(ask), Response::Denied(denial)) => {
                let (code, sentence) = (denial.code.clone(), denial.sentence.clone());
                let rate = rate(&ask.resources);
                self.core.demands.asked(now, from, ask, rate, DemandOutcome::Refused { code, sentence });
            }
            (Wanted::Lease(ask), Response::Lease(_)) => self.core.demands.taken(*ask),
            (Wanted::Passed(passed), Response::Done) if ours == Some(passed.offer) => {
                let rate = rate(&passed.resources);
                self.core.demands.passed(now, from, passed, rate);
            }
            (Wanted::Ask(_) | Wanted::Lease(_) | Wanted::Passed(_), _) => {}
        }
    }

    fn respond(&mut self, from: PeerKey, request: Request) -> Response {
        if let Some(heard) = self.hear_health(from, &request) {
            return heard;
        }
        match self.core.decide(Input::Request { from, request }) {
            Ok(Reply::Peer(Response::Standing(mut standing))) => {
                standing.fetched = self.core.fetching.get(&standing.lease).copied();
                standing.health = self.core.health(standing.lease).cloned();
                Response::Standing(standing)
            }
            Ok(Reply::Peer(response)) => response,
            Ok(Reply::Done | Reply::Asked(_)) => Response::Done,
            Err(Error::Refused(refusal)) => Response::Denied(refusal.denial()),
            Err(error) => {
                tracing::error!(%error, "a request could not be answered");
                // What is wrong inside is nobody's outside.
                Response::Denied(model::Denial {
                    code: "fault".to_owned(),
                    sentence: "this host has a fault of its own; try later".to_owned(),
                })
            }
        }
    }

    /// An object of others: remembered as a way to reach its signer, kept, and passed on.
    fn learn(&mut self, bytes: &[u8], from: Option<PeerKey>) {
        let learned = match self.core.engine.book_mut().learn(self.core.clock.now(), bytes) {
            Ok(learned) => learned,
            Err(error) => {
                tracing::debug!(%error, "an object that proves nothing was dropped");
                return self.complain(from, &error);
            }
        };
        let (certificate, signer, addresses) = match &learned {
            Learned::Offer(offer) => (&offer.certificate, offer.signer(), offer.addresses.clone()),
            Learned::Profile(profile) => (&profile.certificate, profile.signer(), profile.addresses.clone()),
            Learned::Nothing => return,
            Learned::Cheat(device) => {
                tracing::warn!(%device, "a device says two different things under one number");
                return self.pass_on(bytes);
            }
        };
        if let Ok(host) = Person::proven(certificate, signer, self.core.now()) {
            self.hands.net.know(host.peer, addresses);
        }
        self.pass_on(bytes);
        let _ = self.core.events.send(Event::Market);
    }

    /// A signature that does not fit is no accident. What expired on the way, or will be true soon, is.
    fn complain(&self, from: Option<PeerKey>, error: &Invalid) {
        if let (Some(peer), Invalid::Signature | Invalid::Malformed(_)) = (from, error) {
            let net = self.hands.net.clone();
            tokio::spawn(async move { net.complain(peer).await });
        }
    }

    /// Keeps a verified object on disk, and lets all peers have it.
    fn pass_on(&mut self, bytes: &[u8]) {
        let Some(object) = object(bytes) else { return };
        // Without the disk a restart has to ask peers again, and nothing else.
        if let Err(error) = tokio::task::block_in_place(|| self.core.store.put(&object)) {
            tracing::warn!(%error, "an object was not kept");
        }
        self.hands.net.share(vec![bytes.to_vec()]);
    }

    /// Reads the objects of others from disk into the book and the shared set.
    fn remember_others(&mut self) {
        let now = self.core.now();
        let mut objects = Vec::new();
        let read =
            tokio::task::block_in_place(|| self.core.store.live(now, |object| objects.push(object.bytes)));
        if let Err(error) = read {
            tracing::warn!(%error, "the objects of others cannot be read");
        }
        objects.iter().for_each(|bytes| self.learn(bytes, None));
    }

    fn publish(&mut self) {
        let publish = Owner::Publish {
            addresses: self.core.addresses.clone(),
            sandbox: self.sandbox.clone(),
            name: self.name.get(),
        };
        self.decide(Input::Owner(publish));
    }

    async fn guest_event(&mut self, event: GuestEvent) {
        // What it used is not in the event, so it is looked up with all others.
        tracing::info!(?event, "a guest ended");
        self.reconcile_guests().await;
    }

    /// Compares what should be with what is: a lost message delays, and never strands.
    async fn reconcile(&mut self) {
        self.decide(Input::Time);
        self.reconcile_guests().await;
        // It asks the loop, so it cannot be waited for here.
        tokio::spawn(crate::volumes::tidy(self.hands.clone()));
        self.forget_secrets(true);
        self.publish();
        self.find_friends();
        let now = self.core.now();
        self.core.engine.book_mut().forget_expired(now);
        match tokio::task::block_in_place(|| self.core.store.expire(now)) {
            Ok(expired) if expired.is_empty() => {}
            Ok(expired) => self.hands.net.withdraw(expired),
            Err(error) => tracing::warn!(%error, "expired objects stay on disk"),
        }
        tokio::task::spawn_blocking(machine::memory::give_back);
    }

    /// Guests that run against leases that live: takes up what ended unseen, and ends what has no lease.
    async fn reconcile_guests(&mut self) {
        let seen = match self.hands.guests.seen().await {
            Ok(seen) => seen,
            Err(error) => return tracing::error!(%error, "the guests cannot be seen"),
        };
        let hosted: Vec<(Id<Lease>, Phase)> =
            self.core.engine.state().lease.hosted().map(|lease| (lease.id(), lease.phase)).collect();
        for (lease, phase) in &hosted {
            let guest = seen.iter().find(|seen| seen.id == guest(*lease));
            if let Some(news) = news(*lease, *phase, guest) {
                self.decide(Input::Machine(news));
            }
        }
        for guest in &seen {
            let lease = Id::of(model::ObjectId(*guest.id.as_bytes()));
            let known =
                self.core.engine.state().lease.get(lease).is_some_and(|lease| lease.side == Side::Host);
            let runs = matches!(guest.state, GuestState::Starting | GuestState::Running | GuestState::Frozen);
            if !known || (runs && self.is_ended(lease)) {
                self.stop_stray(guest.id, !known);
            }
        }
    }

    fn is_ended(&self, lease: Id<Lease>) -> bool {
        self.core.engine.state().lease.get(lease).is_some_and(|lease| lease.phase.is_ended())
    }

    /// Ends a guest that no live lease wants.
    fn stop_stray(&self, id: GuestId, and_remove: bool) {
        tracing::warn!(guest = %id, "a guest without a lease is stopped");
        let guests = self.hands.guests.clone();
        tokio::spawn(async move {
            let stopped = guests.stop(id, Duration::from_secs(1)).await;
            let removed = if and_remove { guests.remove(id).await } else { Ok(()) };
            if let Err(error) = stopped.and(removed) {
                tracing::error!(guest = %id, %error, "a guest without a lease does not go");
            }
        });
    }
}

/// What a request wants of this host, to be kept.
enum Wanted {
    Ask(Asked),
    Lease(Id<model::Ask>),
    Passed(Passed),
}

impl Wanted {
    fn of(request: &Request) -> Option<Wanted> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all others want something of a lease that there is"
        )]
        match request {
            Request::Ask(ask) => Asked::of(ask).map(Wanted::Ask),
            Request::Lease(lease) => lease.verify_past().ok().map(|lease| Wanted::Lease(lease.ask)),
            Request::Passed(passed) => Some(Wanted::Passed(passed.clone())),
            _ => None,
        }
    }
}

/// What of the machine a policy asks about.
fn wants(policy: &Policy, closely: bool) -> Wants {
    let is_asked = |kind: &ReasonKind| {
        policy.lending == Lending::ByRules
            && *kind > ReasonKind::OutsideSchedule
            && policy.answer(*kind) != Answer::Ignore
    };
    Wants {
        kinds: ReasonKind::ALL.into_iter().filter(is_asked).collect(),
        programs: policy.programs.names.clone(),
        alone_after: Span::seconds(policy.in_use.level.into()),
        closely,
    }
}

/// What a guest's state tells about its lease; none where the two agree.
fn news(lease: Id<Lease>, phase: Phase, guest: Option<&GuestSeen>) -> Option<Machine> {
    let runs = phase.is_live();
    match guest {
        Some(seen) if runs || matches!(phase, Phase::Closing(_)) => ended(lease, &seen.state, &seen.usage),
        Some(_) => None,
        None if runs => Some(Machine::Gone { lease, detail: "no guest runs under this lease".to_owned() }),
        None => None,
    }
}

/// The addresses at which we are reached from outside, such as that of our router. Those of relays are not ours.
fn hosts_in(addresses: &[String]) -> Vec<IpAddr> {
    let direct = addresses.iter().filter(|address| !address.contains("/p2p-circuit"));
    direct.filter_map(|address| address.split('/').nth(2)?.parse().ok()).collect()
}

/// What the store and the network sort a profile or an offer by; none for other kinds. It was verified before.
fn object(bytes: &[u8]) -> Option<store::Object> {
    let claim = Claim::of(bytes).ok()?;
    let (slot, seq, issued, expires) = match claim.domain.as_str() {
        Offer::DOMAIN => {
            read::<Offer>(bytes).map(|offer| (offer.slot, offer.seq, offer.issued, offer.expires))?
        }
        Profile::DOMAIN => {
            read::<Profile>(bytes).map(|profile| (0, profile.seq, profile.issued, profile.expires))?
        }
        _ => return None,
    };
    Some(store::Object {
        id: claim.id,
        domain: claim.domain,
        signer: claim.signer,
        slot,
        seq,
        issued,
        expires,
        bytes: bytes.to_vec(),
    })
}

fn read<T: Document>(bytes: &[u8]) -> Option<Signed<T>> {
    model::Unverified::read(bytes).and_then(|object| object.verify_past()).ok()
}
