//! A small world of real engines: one host, some tenants, a clock that jumps from event to event, and a network that
//! loses, delays, doubles and reorders as a seed says. Only what engines do not do themselves is pretended.

mod node;
mod people;
mod pretend;

pub use node::{Kill, Node};
pub use people::{EUR, ONE_CORE, person, rules, share, speed, wish};
pub use pretend::{BEGIN, Dice, Goes, PretendClock};

use engine::effect::Key;
use engine::input::{Machine, Owner, Tenant};
use engine::lease::Outcome;
use engine::{Effect, Input, Refusal, Reply, Topic};
use model::{Ask, AskTerms, Id, Lease, Nonce, Offer, PeerKey, Phase, Request, Response, Sandbox, Share, Side, Signed, Span, Timestamp};
use node::Died;
use std::collections::{BTreeMap, BTreeSet};

/// The node that lends.
pub const HOST: usize = 0;
/// The node that rents.
pub const TENANT: usize = 1;
/// A second one that rents.
pub const OTHER: usize = 2;

/// How long a peer is waited for.
const TIMEOUT: Span = Span::seconds(5);

/// What the network does to messages.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Lost of a hundred.
    pub lost: u64,
    /// Delivered twice of a hundred.
    pub doubled: u64,
    /// The longest time on the way.
    pub late: Span,
}

/// Nothing is lost, and nothing is late.
pub const CALM: Faults = Faults { lost: 0, doubled: 0, late: Span(20) };

/// One thing that is going to happen.
enum Event {
    /// A request reaches a node.
    Asks { from: PeerKey, to: usize, request: Box<Request>, back: Back },
    /// An answer reaches the node that has asked.
    Answers { back: Back, response: Box<Response> },
    /// A node gives up to wait for an answer.
    Misses { back: Back },
    /// The machine has done what it was told.
    Does { node: usize, life: u32, effect: Box<Effect> },
    /// A node starts again.
    Boots { node: usize },
}

/// Where an answer belongs.
#[derive(Clone, Copy)]
struct Back {
    node: usize,
    life: u32,
    topic: Topic,
    peer: PeerKey,
}

/// The world.
pub struct World {
    pub now: Timestamp,
    pub nodes: Vec<Node>,
    pub faults: Faults,
    /// Pairs that cannot reach each other.
    pub cut: BTreeSet<(usize, usize)>,
    /// How long a node that dies is away.
    pub away: Span,
    dice: Dice,
    events: BTreeMap<(Timestamp, u64), Event>,
    serial: u64,
}

impl World {
    /// A host that lends its usual share, and so many tenants.
    pub fn of(tenants: u8) -> World {
        World::lending(share(), tenants, 1)
    }

    /// A host that lends this share, and so many tenants, by the dice of a seed.
    pub fn lending(share: Share, tenants: u8, seed: u64) -> World {
        let nodes = (0..=tenants).map(|number| Node::new(number, BEGIN)).collect();
        let mut world = World {
            now: BEGIN,
            nodes,
            faults: CALM,
            cut: BTreeSet::new(),
            away: Span::ZERO,
            dice: Dice(seed),
            events: BTreeMap::new(),
            serial: 0,
        };
        world.owner(Owner::Measured(speed())).unwrap();
        world.lend(Some(share));
        world
    }

    /// The host's owner lends something else, or nothing, and says so.
    pub fn lend(&mut self, share: Option<Share>) {
        self.owner(Owner::Share(share)).unwrap();
        let sandbox = Sandbox { runtime: "pretend 1".to_owned(), user_namespace: true };
        self.owner(Owner::Publish { addresses: Vec::new(), sandbox, name: "host".to_owned() }).unwrap();
    }

    /// The offer that the host has made.
    pub fn offer(&self) -> Signed<Offer> {
        self.nodes[HOST].engine.state().market.offer.clone().expect("an offer")
    }

    /// The host's owner wants something.
    pub fn owner(&mut self, command: Owner) -> Result<Reply, Refusal> {
        self.decide(HOST, Input::Owner(command)).expect("the host lives")
    }

    /// A tenant wants something; hosts can rate, too.
    pub fn tenant(&mut self, node: usize, command: Tenant) -> Result<Reply, Refusal> {
        self.decide(node, Input::Tenant(command)).expect("the tenant lives")
    }

    /// A tenant asks for something of the host's offer.
    pub fn ask(&mut self, node: usize, terms: AskTerms) -> Id<Ask> {
        let nonce = Nonce(self.dice.roll(u64::MAX).to_le_bytes().repeat(2).try_into().expect("sixteen bytes"));
        let ask = Tenant::Ask { offer: Box::new(self.offer()), terms: Box::new(terms), nonce };
        match self.tenant(node, ask).unwrap() {
            Reply::Asked(ask) => ask,
            other @ (Reply::Done | Reply::Peer(_)) => panic!("{other:?} to an ask"),
        }
    }

    /// What became of an ask.
    pub fn outcome(&self, node: usize, ask: Id<Ask>) -> &Outcome {
        &self.nodes[node].engine.state().lease.asking(ask).expect("an ask that is remembered").outcome
    }

    /// The code and the sentence with which an ask was refused.
    pub fn refusal(&mut self, node: usize, ask: Id<Ask>) -> (String, String) {
        self.until(Span::minutes(10), |world| !matches!(world.outcome(node, ask), Outcome::Waiting | Outcome::Accepted { .. }));
        match self.outcome(node, ask) {
            Outcome::Refused { code, sentence } => (code.clone(), sentence.clone()),
            other @ (Outcome::Waiting | Outcome::Accepted { .. } | Outcome::Agreed(_)) => panic!("{other:?}"),
        }
    }

    /// A tenant asks, and both agree.
    pub fn deal(&mut self, node: usize, terms: AskTerms) -> Id<Lease> {
        let ask = self.ask(node, terms);
        self.until(Span::minutes(1), |world| matches!(world.outcome(node, ask), Outcome::Agreed(_)));
        match self.outcome(node, ask) {
            Outcome::Agreed(lease) => *lease,
            other @ (Outcome::Waiting | Outcome::Accepted { .. } | Outcome::Refused { .. }) => panic!("{other:?}"),
        }
    }

    /// A tenant asks, both agree, and both know that the guest runs.
    pub fn running(&mut self) -> Id<Lease> {
        let lease = self.deal(TENANT, wish());
        self.until(Span::minutes(1), |world| world.both(lease, |lease| lease.phase == Phase::Running));
        lease
    }

    /// A lease as a node sees it.
    pub fn lease(&self, node: usize, id: Id<Lease>) -> &engine::lease::Lease {
        self.nodes[node].lease(id)
    }

    /// Whether this is so on both sides.
    pub fn both(&self, id: Id<Lease>, is: impl Fn(&engine::lease::Lease) -> bool) -> bool {
        let known: Vec<_> = self.nodes.iter().filter_map(|node| node.engine.state().lease.get(id)).collect();
        known.len() == 2 && known.into_iter().all(is)
    }

    /// Goes on until both sides have ended a lease, and have told each other all.
    pub fn ended(&mut self, id: Id<Lease>) {
        self.until(Span::hours(3), |world| world.both(id, |lease| lease.phase.is_ended()));
        self.run(Span::minutes(5));
    }

    /// Says something to a node as another, past the network.
    pub fn say(&mut self, from: usize, to: usize, request: Request) -> Response {
        let from = self.nodes[from].peer();
        self.say_as(from, to, request)
    }

    /// The same as whoever owns a connection.
    pub fn say_as(&mut self, from: PeerKey, to: usize, request: Request) -> Response {
        let decided = self.decide(to, Input::Request { from, request }).expect("the node lives");
        answer(decided)
    }

    /// A computer is gone for ever.
    pub fn vanish(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.nodes[node].life += 1;
    }

    /// A node dies and starts again when it has been away.
    pub fn crash(&mut self, node: usize) {
        self.vanish(node);
        self.push(self.away, Event::Boots { node });
    }

    /// Goes on for a while.
    pub fn run(&mut self, span: Span) {
        let end = self.now + span;
        self.until_time(end, |_| false);
        self.now = end;
    }

    /// Goes on until something is so.
    pub fn until(&mut self, limit: Span, is: impl Fn(&World) -> bool) {
        let met = self.until_time(self.now + limit, is);
        assert!(met, "not within {limit}: {}", self.picture());
    }

    /// Each node's leases in a line, to see what went on.
    pub fn picture(&self) -> String {
        let leases = self.nodes.iter().enumerate().flat_map(|(number, node)| {
            node.engine.state().lease.all().map(move |lease| {
                let receipt = lease.receipt.as_ref().map(|receipt| (receipt.number, receipt.usage.billed()));
                format!("\n  node {number}: {} {}, receipt {receipt:?}", lease.id().short(), lease.phase)
            })
        });
        format!("after {}{}", self.now.since(BEGIN), leases.collect::<String>())
    }

    fn until_time(&mut self, end: Timestamp, is: impl Fn(&World) -> bool) -> bool {
        loop {
            (0..self.nodes.len()).for_each(|node| self.settle(node));
            if is(self) {
                return true;
            }
            if !self.step(end) {
                return false;
            }
        }
    }

    /// Begins what a node wants.
    fn settle(&mut self, node: usize) {
        if !self.nodes[node].up {
            return;
        }
        let (life, eager) = (self.nodes[node].life, self.nodes[node].eager);
        for effect in self.nodes[node].begin(self.now, &mut self.dice) {
            if eager {
                self.execute(node, life, effect.clone());
            }
            self.execute(node, life, effect);
        }
    }

    /// The next thing that happens, when it happens before `end`.
    fn step(&mut self, end: Timestamp) -> bool {
        let event = self.events.keys().next().copied();
        let guest = (0..self.nodes.len()).filter_map(|node| self.nodes[node].machine.next_end().map(|(at, lease)| (at, node, lease))).min();
        let wake = (0..self.nodes.len()).filter(|node| self.nodes[*node].up).map(|node| (self.nodes[node].wake, node)).min();
        let times = [event.map(|(at, _)| at), guest.map(|(at, ..)| at), wake.map(|(at, _)| at)];
        let Some(next) = times.into_iter().flatten().min().filter(|next| *next <= end) else { return false };
        self.now = self.now.max(next);
        if let Some(key) = event.filter(|(at, _)| *at == next) {
            let event = self.events.remove(&key).expect("it was seen");
            self.happen(event);
        } else if let Some((_, node, lease)) = guest.filter(|(at, ..)| *at == next) {
            self.nodes[node].machine.end(self.now, lease);
            self.look_at_guest(node, lease);
        } else if let Some((_, node)) = wake {
            let _ = self.decide(node, Input::Time);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Asks { from, to, request, back } => self.deliver(from, to, *request, back),
            Event::Answers { back, response } if self.lives(back.node, back.life) => self.answered(back, *response),
            Event::Misses { back } if self.lives(back.node, back.life) => {
                let node = &mut self.nodes[back.node];
                // An answer may have come, and another try may go on.
                node.failed(self.now, Key::Send(back.topic));
                let since = node.missed(self.now, back.peer);
                if let Topic::Where(lease, _) = back.topic {
                    let _ = self.decide(back.node, Input::Unreachable { lease, since });
                }
            }
            Event::Does { node, life, effect } if self.lives(node, life) => self.does(node, *effect),
            Event::Boots { node } => self.boot(node),
            // Nobody is left who waits for it.
            Event::Answers { .. } | Event::Misses { .. } | Event::Does { .. } => {}
        }
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].up && self.nodes[node].life == life
    }

    fn execute(&mut self, node: usize, life: u32, effect: Effect) {
        let machine = &self.nodes[node].machine;
        let takes = match &effect {
            Effect::Send { to, topic, request } => return self.send(node, life, *to, *topic, request.clone()),
            Effect::Fetch { .. } => machine.fetching,
            Effect::Start { .. } => machine.starting,
            Effect::Stop(_) => Goes::Well(machine.stopping),
            Effect::Freeze(..) | Effect::Thaw(..) | Effect::Remove(_) | Effect::Meter(..) | Effect::Share(..) => Goes::Well(Span(1)),
        };
        let takes = match takes {
            Goes::Well(span) => span,
            Goes::Wrong { .. } => Span(1),
            Goes::Never => return,
        };
        self.push(takes, Event::Does { node, life, effect: Box::new(effect) });
    }

    /// The machine acts, and tells.
    fn does(&mut self, node: usize, effect: Effect) {
        let now = self.now;
        self.nodes[node].done(effect.key());
        let Node { machine, clock, .. } = &mut self.nodes[node];
        let failed = |lease, goes| match goes {
            Goes::Wrong { workload } => Some(Machine::Failed { lease, workload, detail: "it pretends to fail".to_owned() }),
            Goes::Well(_) | Goes::Never => None,
        };
        let news = match effect {
            Effect::Fetch { lease, .. } => failed(lease, machine.fetching).or(Some(Machine::Fetched(lease))),
            Effect::Start { lease, .. } => failed(lease, machine.starting).or_else(|| {
                machine.start(now, lease);
                Some(Machine::Started(lease))
            }),
            Effect::Freeze(lease, _) => {
                machine.freeze(now, lease);
                None
            }
            Effect::Thaw(lease, _) => {
                machine.thaw(now, lease);
                None
            }
            Effect::Stop(lease) => {
                machine.stop(now, lease);
                Some(machine.tells(clock, now, lease))
            }
            Effect::Remove(lease) => {
                machine.remove(lease);
                None
            }
            Effect::Meter(lease, _) => Some(machine.tells(clock, now, lease)),
            Effect::Share(..) | Effect::Send { .. } => None,
        };
        if let Some(news) = news {
            let _ = self.decide(node, Input::Machine(news));
        }
    }

    fn send(&mut self, node: usize, life: u32, to: PeerKey, topic: Topic, request: Request) {
        let from = self.nodes[node].peer();
        let back = Back { node, life, topic, peer: to };
        self.push(TIMEOUT, Event::Misses { back });
        let Some(to) = self.nodes.iter().position(|node| node.peer() == to) else { return };
        for _ in 0..self.copies(node, to) {
            let late = self.lateness();
            self.push(late, Event::Asks { from, to, request: Box::new(request.clone()), back });
        }
    }

    fn deliver(&mut self, from: PeerKey, to: usize, request: Request, back: Back) {
        if !self.nodes[to].up {
            return;
        }
        self.nodes[to].heard(from);
        let Ok(decided) = self.decide(to, Input::Request { from, request }) else { return };
        let response = answer(decided);
        for _ in 0..self.copies(to, back.node) {
            let late = self.lateness();
            self.push(late, Event::Answers { back, response: Box::new(response.clone()) });
        }
    }

    fn answered(&mut self, back: Back, response: Response) {
        let key = Key::Send(back.topic);
        // It does not fail any more.
        self.events.retain(|_, event| !matches!(event, Event::Misses { back: missed } if missed.node == back.node && missed.topic == back.topic));
        self.nodes[back.node].heard(back.peer);
        let denied = matches!(response, Response::Denied(_));
        match self.decide(back.node, Input::Answer { topic: back.topic, response }) {
            Ok(Ok(_)) if !denied => self.nodes[back.node].done(key),
            Ok(_) => self.nodes[back.node].failed(self.now, key),
            Err(Died) => {}
        }
    }

    /// How many copies of a message arrive.
    fn copies(&mut self, from: usize, to: usize) -> u64 {
        if self.cut.contains(&(from.min(to), from.max(to))) || self.dice.chance(self.faults.lost) {
            return 0;
        }
        1 + u64::from(self.dice.chance(self.faults.doubled))
    }

    fn lateness(&mut self) -> Span {
        Span(1 + self.dice.roll(self.faults.late.0))
    }

    /// A node starts: from its record, with what it finds on its machine.
    fn boot(&mut self, node: usize) {
        let hosted: Vec<Id<Lease>> = {
            let (node, dice) = (&mut self.nodes[node], &mut self.dice);
            node.up = true;
            node.wake = self.now;
            node.replay(dice);
            node.engine.state().lease.hosted().map(|lease| lease.id()).collect()
        };
        for lease in hosted {
            self.look_at_guest(node, lease);
        }
    }

    /// Compares what should run with what does.
    fn look_at_guest(&mut self, node: usize, id: Id<Lease>) {
        let Node { machine, clock, engine, up, .. } = &self.nodes[node];
        let Some(lease) = engine.state().lease.get(id).filter(|_| *up) else { return };
        let has_run = lease.phase.is_live() || (matches!(lease.phase, Phase::Closing(_)) && machine.has(id));
        let news = machine.tells(clock, self.now, id);
        if has_run && !matches!(news, Machine::Metered { .. }) {
            let _ = self.decide(node, Input::Machine(news));
        }
    }

    fn decide(&mut self, node: usize, input: Input) -> Result<Result<Reply, Refusal>, Died> {
        let decided = self.nodes[node].decide(self.now, input);
        if decided.is_err() {
            self.crash(node);
        }
        self.check_loss();
        decided
    }

    /// What a host has given away without a signature is bounded as its lease says.
    fn check_loss(&self) {
        let host = &self.nodes[HOST];
        let measures_well = host.up && host.clock.pace == 1_000;
        for lease in host.engine.state().lease.all().filter(|lease| measures_well && lease.side == Side::Host) {
            let rules = &lease.contract.rules;
            let signed = lease.receipt.as_ref().map_or(Span::ZERO, |receipt| receipt.usage.billed());
            let unsigned = host.machine.worked(self.now, lease.id()).less(signed);
            let most = rules.tick + rules.tick + rules.sign_within + Span::minutes(1);
            assert!(unsigned <= most, "{unsigned} unsigned, and {most} is the most: {}", self.picture());
        }
    }

    fn push(&mut self, after: Span, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + after, self.serial), event);
    }
}

/// A decision as it travels back.
fn answer(decided: Result<Reply, Refusal>) -> Response {
    match decided {
        Ok(Reply::Peer(response)) => response,
        Ok(Reply::Done | Reply::Asked(_)) => Response::Done,
        Err(refusal) => Response::Denied(refusal.denial()),
    }
}

/// The code of a denial.
pub fn code(response: Response) -> String {
    match response {
        Response::Denied(denial) => denial.code,
        other => panic!("{other:?} is no denial"),
    }
}
