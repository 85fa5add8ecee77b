//! Nodes for the tests: started on free ports, joined by address, waited for by what they report.

use model::message::{Request, Response, StreamHead};
use model::{DeviceCertificate, DeviceId, Id, Key, ObjectId, PeerKey, PersonId, Timestamp};
use net::{Config, IncomingStream, Limits, Net, NetEvent, RequestId};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing here takes longer, on a busy machine with an unoptimised build.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the nodes of a test talk over.
#[derive(Clone, Copy, Debug)]
pub enum Over {
    Tcp,
    Quic,
}

impl Over {
    pub const BOTH: [Over; 2] = [Over::Tcp, Over::Quic];

    pub fn listen(self) -> String {
        match self {
            Over::Tcp => "/ip4/127.0.0.1/tcp/0".to_owned(),
            Over::Quic => "/ip4/127.0.0.1/udp/0/quic-v1".to_owned(),
        }
    }
}

/// A node, and what it has reported and nobody has looked at yet.
pub struct Node {
    pub net: Net,
    events: mpsc::Receiver<NetEvent>,
    seen: VecDeque<NetEvent>,
}

/// The configuration of a node that keeps to itself.
pub fn config(seed: u8, over: Over) -> Config {
    Config {
        key_seed: [seed; 32],
        listen: vec![over.listen()],
        mdns: false,
        upnp: false,
        ..Config::default()
    }
}

pub async fn start(config: Config) -> Node {
    let (net, events) = net::start(config).await.unwrap();
    Node { net, events, seen: VecDeque::new() }
}

/// Starts a node where another has just ended, whose port is free in a moment.
pub async fn start_again(config: Config) -> Node {
    let started = timeout(PATIENCE, async {
        loop {
            match net::start(config.clone()).await {
                Ok((net, events)) => return Node { net, events, seen: VecDeque::new() },
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    started.await.expect("the port is free again")
}

pub async fn node(seed: u8, over: Over) -> Node {
    start(config(seed, over)).await
}

pub async fn node_with(seed: u8, over: Over, limits: Limits) -> Node {
    start(Config { limits, ..config(seed, over) }).await
}

/// Two nodes that know each other.
pub async fn pair(over: Over) -> (Node, Node) {
    let (mut one, mut other) = (node(1, over).await, node(2, over).await);
    join(&mut one, &mut other).await;
    (one, other)
}

/// Lets `one` dial `other`, and waits until each has met the other.
pub async fn join(one: &mut Node, other: &mut Node) {
    assert_eq!(one.net.dial(&other.address().await).await.unwrap(), other.net.me());
    one.up(other.net.me()).await;
    other.up(one.net.me()).await;
}

impl Node {
    pub async fn address(&self) -> String {
        self.net.addresses().await.first().unwrap().clone()
    }

    /// The next event that `pick` takes; what comes before it stays for others to look at.
    pub async fn wait<T>(&mut self, what: &str, pick: impl Fn(NetEvent) -> Result<T, NetEvent>) -> T {
        let mut passed = VecDeque::new();
        let found = timeout(PATIENCE, async {
            loop {
                let event = match self.seen.pop_front() {
                    Some(event) => event,
                    None => self.events.recv().await.unwrap(),
                };
                match pick(event) {
                    Ok(found) => return found,
                    Err(event) => passed.push_back(event),
                }
            }
        });
        let found = found.await.unwrap_or_else(|_| panic!("{what} did not come, but {passed:?}"));
        passed.append(&mut self.seen);
        self.seen = passed;
        found
    }

    pub async fn up(&mut self, whom: PeerKey) {
        self.wait("the peer", |event| match event {
            NetEvent::PeerUp { peer } if peer == whom => Ok(()),
            other => Err(other),
        })
        .await;
    }

    pub async fn down(&mut self, whom: PeerKey) {
        self.wait("the end of the peer", |event| match event {
            NetEvent::PeerDown { peer } if peer == whom => Ok(()),
            other => Err(other),
        })
        .await;
    }

    pub async fn request(&mut self) -> (RequestId, PeerKey, Request) {
        self.wait("a request", |event| match event {
            NetEvent::Request { id, from, request } => Ok((id, from, request)),
            other => Err(other),
        })
        .await
    }

    pub async fn stream(&mut self) -> (PeerKey, StreamHead, IncomingStream) {
        self.wait("a stream", |event| match event {
            NetEvent::Stream { from, head, stream } => Ok((from, head, stream)),
            other => Err(other),
        })
        .await
    }

    pub async fn objects(&mut self) -> Vec<Vec<u8>> {
        self.wait("objects", |event| match event {
            NetEvent::Objects { objects, .. } => Ok(objects),
            other => Err(other),
        })
        .await
    }

    /// Takes what peers send and shares it, as a node does that finds all of it good, until `count` are there.
    pub async fn gather(&mut self, count: usize) {
        while self.net.shared() < count {
            let objects = self.objects().await;
            assert_eq!(self.net.share(objects).left_out, 0);
        }
    }

    /// Answers each request with `Done`, and takes no stream, for as long as the test runs.
    pub fn answer_everyone(mut self) -> Net {
        let net = self.net.clone();
        tokio::spawn(async move {
            while let Some(event) = self.events.recv().await {
                match event {
                    NetEvent::Request { id, .. } => {
                        self.net.respond(id, Response::Done);
                    }
                    NetEvent::Stream { stream, .. } => {
                        tokio::spawn(stream.refuse(model::message::StreamAnswer::NotYours));
                    }
                    NetEvent::Objects { objects, .. } => {
                        self.net.share(objects);
                    }
                    NetEvent::PeerUp { .. } | NetEvent::PeerDown { .. } | NetEvent::Addresses(_) => {}
                }
            }
        });
        net
    }
}

/// Waits until `holds`, which somebody else brings about.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    held.await.unwrap_or_else(|_| panic!("{what} did not come true"));
}

/// A question that needs no document.
pub fn question() -> Request {
    Request::Where { lease: Id::of(ObjectId([7; 32])) }
}

pub fn head(port: u16) -> StreamHead {
    StreamHead::Port { lease: Id::of(ObjectId([7; 32])), port }
}

/// The envelope of a small signed document, the `n`th one.
pub fn object(n: u64) -> Vec<u8> {
    let key = Key::from_seed([9; 32]);
    let certificate = DeviceCertificate {
        person: PersonId(key.id().0),
        device: DeviceId([1; 32]),
        peer: PeerKey([2; 32]),
        label: "a desk".to_owned(),
        seq: n,
        issued: Timestamp(1_800_000_000_000 + i64::try_from(n).unwrap()),
        expires: Timestamp(1_900_000_000_000),
    };
    key.sign(&certificate).unwrap().bytes().to_vec()
}
