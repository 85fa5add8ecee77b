//! A small world of real engines: one host, some tenants, a clock that jumps from event to event, and a network that
//! loses, delays, doubles and reorders as a seed says. Only what engines do not do themselves is pretended.

mod happen;
mod node;
mod people;
mod pretend;

pub use node::{Kill, Node};
pub use people::{EUR, ONE_CORE, person, rules, share, speed, wish};
use pretend::Dice;
pub use pretend::{BEGIN, Goes};

use engine::input::{Candidate, Owner, Tenant};
use engine::lease::Outcome;
use engine::{Input, Refusal, Reply};
use happen::{Event, answer};
use model::{
    Ask, AskTerms, Id, Lease, Nonce, Offer, PeerKey, Phase, Request, Response, Sandbox, Share, Signed, Span,
    Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// The node that lends.
pub const HOST: usize = 0;
/// The node that rents.
pub const TENANT: usize = 1;
/// A second one that rents.
pub const OTHER: usize = 2;

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
        world.lend(Some(share));
        world
    }

    /// The host's owner lends something else, or nothing, and says so.
    pub fn lend(&mut self, share: Option<Share>) {
        self.lend_as(HOST, share);
    }

    /// Another node's owner lends something, and says so.
    pub fn lend_as(&mut self, node: usize, share: Option<Share>) {
        let sandbox = Sandbox {
            runtime: "pretend 1".to_owned(),
            user_namespace: true,
            tested: None,
            volumes: false,
            secrets: true,
            without: Vec::new(),
        };
        self.lend_with(node, share, sandbox);
    }

    /// The same, with guests kept like this.
    pub fn lend_with(&mut self, node: usize, share: Option<Share>, sandbox: Sandbox) {
        let publish = Owner::Publish { addresses: Vec::new(), sandbox, name: "host".to_owned() };
        for command in [Owner::Measured(speed()), Owner::Share(share), publish] {
            self.wish(node, Input::Owner(command)).expect("the host lives").unwrap();
        }
    }

    /// The offer that the host has made.
    pub fn offer(&self) -> Signed<Offer> {
        self.offer_of(HOST)
    }

    /// The offer that a node has made.
    pub fn offer_of(&self, node: usize) -> Signed<Offer> {
        self.nodes[node].engine.state().market.offer.clone().expect("an offer")
    }

    /// A tenant asks several hosts at once, the one that it likes best first.
    pub fn ask_all(&mut self, node: usize, hosts: &[usize], terms: &AskTerms) -> Id<Ask> {
        let candidates = hosts.iter().map(|host| Candidate {
            offer: self.offer_of(*host),
            terms: terms.clone(),
            nonce: Nonce(u128::from(self.now.0.unsigned_abs()).to_le_bytes()),
        });
        let ask = Tenant::AskAll(candidates.collect());
        match self.tenant(node, ask).unwrap() {
            Reply::Asked(ask) => ask,
            other @ (Reply::Done | Reply::Peer(_)) => panic!("{other:?} to an ask"),
        }
    }

    /// The host's owner wants something.
    pub fn owner(&mut self, command: Owner) -> Result<Reply, Refusal> {
        self.wish(HOST, Input::Owner(command)).expect("the host lives")
    }

    /// A tenant wants something; hosts can rate, too.
    pub fn tenant(&mut self, node: usize, command: Tenant) -> Result<Reply, Refusal> {
        self.wish(node, Input::Tenant(command)).expect("the tenant lives")
    }

    /// Whoever sits before a computer wants something. None when the node is away, or dies of it.
    pub fn wish(&mut self, node: usize, input: Input) -> Option<Result<Reply, Refusal>> {
        if self.nodes[node].up { self.decide(node, input).ok() } else { None }
    }

    /// A tenant asks for something of the host's offer.
    pub fn ask(&mut self, node: usize, terms: AskTerms) -> Id<Ask> {
        let nonce =
            Nonce(self.dice.roll(u64::MAX).to_le_bytes().repeat(2).try_into().expect("sixteen bytes"));
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
        self.until(Span::minutes(10), |world| {
            matches!(world.outcome(node, ask), Outcome::Agreed(_) | Outcome::Refused { .. })
        });
        match self.outcome(node, ask) {
            Outcome::Refused { code, sentence } => (code.clone(), sentence.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// A tenant asks, and both agree.
    pub fn deal(&mut self, node: usize, terms: AskTerms) -> Id<Lease> {
        let ask = self.ask(node, terms);
        self.until(Span::minutes(1), |world| matches!(world.outcome(node, ask), Outcome::Agreed(_)));
        match self.outcome(node, ask) {
            Outcome::Agreed(lease) => *lease,
            other => panic!("{other:?}"),
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

    /// A number that was not there before.
    pub fn dice(&mut self) -> u128 {
        u128::from(self.dice.roll(u64::MAX))
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
}

/// The code of a denial.
pub fn code(response: Response) -> String {
    match response {
        Response::Denied(denial) => denial.code,
        other => panic!("{other:?} is no denial"),
    }
}
