//! What happens next, and what comes of it: messages on their way, machines that act, nodes that start.

use super::node::{Died, Node};
use super::pretend::Goes;
use super::{HOST, World};
use engine::effect::{Key, Start};
use engine::input::Machine;
use engine::{Effect, Input, Refusal, Reply, Topic};
use model::{Id, Lease, PeerKey, Phase, Request, Response, Side, Span, Timestamp};

/// How long a peer is waited for.
const TIMEOUT: Span = Span::seconds(5);

/// One thing that is going to happen.
pub enum Event {
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
pub struct Back {
    node: usize,
    life: u32,
    topic: Topic,
    peer: PeerKey,
}

impl World {
    pub fn until_time(&mut self, end: Timestamp, is: impl Fn(&World) -> bool) -> bool {
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
        let guest = (0..self.nodes.len())
            .filter_map(|node| self.nodes[node].machine.next_end().map(|(at, lease)| (at, node, lease)))
            .min();
        let wake = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up)
            .map(|node| (self.nodes[node].wake, node))
            .min();
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
            Event::Answers { back, response } if self.lives(back.node, back.life) => {
                self.answered(back, *response)
            }
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
            Effect::Send { to, topic, request } => {
                return self.send(node, life, *to, *topic, request.clone());
            }
            Effect::Fetch { .. } => machine.fetching,
            Effect::Start(_) => machine.starting,
            Effect::Stop(_) => Goes::Well(machine.stopping),
            Effect::Freeze(..)
            | Effect::Thaw(..)
            | Effect::Pace(..)
            | Effect::Remove(_)
            | Effect::Meter(..)
            | Effect::Share(..) => Goes::Well(Span(1)),
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
        let Node { machine, clock, engine, .. } = &mut self.nodes[node];
        let failed = |lease, goes| match goes {
            Goes::Wrong { workload } => {
                Some(Machine::Failed { lease, workload, detail: "it pretends to fail".to_owned() })
            }
            Goes::Well(_) | Goes::Never => None,
        };
        let news = match effect {
            Effect::Fetch { lease, .. } => failed(lease, machine.fetching).or(Some(Machine::Fetched(lease))),
            Effect::Start(Start { lease, .. }) => failed(lease, machine.starting).or_else(|| {
                machine.start(now, lease);
                // The lease may have ended while its guest was being started: a stray is stopped.
                if engine.state().lease.get(lease).is_none_or(|lease| lease.phase.is_ended()) {
                    machine.stop(now, lease);
                }
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
            Effect::Pace(lease, _, millis) => {
                let promised =
                    engine.state().lease.get(lease).map(|lease| lease.contract.resources.cpu_millis);
                machine.pace(now, lease, promised.is_some_and(|promised| millis < promised));
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

    pub fn decide(&mut self, node: usize, input: Input) -> Result<Result<Reply, Refusal>, Died> {
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
        for lease in host.engine.state().lease.all().filter(|lease| measures_well && lease.side == Side::Host)
        {
            let rules = &lease.contract.rules;
            let signed = lease.receipt.as_ref().map_or(Span::ZERO, |receipt| receipt.usage.billed());
            let unsigned = host.machine.worked(self.now, lease.id()).less(signed);
            let most = rules.tick + rules.tick + rules.sign_within + Span::minutes(1);
            assert!(unsigned <= most, "{unsigned} unsigned, and {most} is the most: {}", self.picture());
        }
    }

    pub fn push(&mut self, after: Span, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + after, self.serial), event);
    }
}

/// A decision as it travels back.
pub fn answer(decided: Result<Reply, Refusal>) -> Response {
    match decided {
        Ok(Reply::Peer(response)) => response,
        Ok(Reply::Done | Reply::Asked(_)) => Response::Done,
        Err(refusal) => Response::Denied(refusal.denial()),
    }
}
