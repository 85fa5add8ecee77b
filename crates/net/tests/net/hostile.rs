//! A peer that speaks the names of our protocols and nothing else of them: the node goes on serving others.

use crate::house::{self, Over, question};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Multiaddr, PeerId, StreamProtocol, SwarmBuilder, identify, noise, tcp, yamux};
use model::message::Response;
use net::{Net, NetEvent};
use std::time::Duration;
use tokio::time::timeout;

const DEAL: StreamProtocol = StreamProtocol::new("/sublet/deal/1");
const STREAM: StreamProtocol = StreamProtocol::new("/sublet/stream/1");
const SYNC: StreamProtocol = StreamProtocol::new("/sublet/sync/1");
const PUSH: StreamProtocol = StreamProtocol::new("/sublet/push/1");

/// Which libp2p of its own a hostile peer runs.
#[derive(NetworkBehaviour)]
struct Raw {
    identify: identify::Behaviour,
    streams: libp2p_stream::Behaviour,
}

/// A connected hostile peer; its swarm runs until it is dropped.
struct Hostile {
    control: libp2p_stream::Control,
    victim: PeerId,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hostile {
    /// Connects to a node, and waits until that has met it.
    async fn at(node: &mut house::Node, family: &str) -> Hostile {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key| Raw {
                identify: identify::Behaviour::new(identify::Config::new(family.to_owned(), key.public())),
                streams: libp2p_stream::Behaviour::new(),
            })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(house::PATIENCE))
            .build();
        let control = swarm.behaviour().streams.new_control();
        swarm.dial(node.address().await.parse::<Multiaddr>().unwrap()).unwrap();
        let victim = Net::peer_id(node.net.me()).parse().unwrap();
        let task = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Hostile { control, victim, task }
    }

    /// Opens a stream, sends `bytes`, ends its direction, and reads what comes back. None when it could not be opened.
    async fn say(&self, protocol: StreamProtocol, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut stream = self.control.clone().open_stream(self.victim, protocol).await.ok()?;
        let mut answer = Vec::new();
        // It may well be cut off while it talks.
        let _ = stream.write_all(bytes).await;
        let _ = stream.close().await;
        let _ = stream.read_to_end(&mut answer).await;
        Some(answer)
    }
}

async fn met(node: &mut house::Node) -> model::PeerKey {
    node.wait("the hostile peer", |event| match event {
        NetEvent::PeerUp { peer } => Ok(peer),
        other => Err(other),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_gets_nothing_then_the_door_and_others_are_served() {
    let garbage: Vec<u8> = (0..2_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for protocol in [DEAL, STREAM, SYNC, PUSH] {
        let mut node = house::node(1, Over::Tcp).await;
        let hostile = Hostile::at(&mut node, "/sublet/id/1").await;
        let enemy = met(&mut node).await;
        // The few mistakes that are forgiven get no answer; after them the connection ends.
        let answers = timeout(house::PATIENCE, async {
            let mut answers = Vec::new();
            while let Some(answer) = hostile.say(protocol.clone(), &garbage).await {
                answers.push(answer);
            }
            answers
        });
        let answers = answers.await.unwrap();
        assert!(answers.iter().all(Vec::is_empty), "{protocol}: {answers:?}");
        // At most the mistakes that are forgiven, and what is turned away unread before the peer is sent off.
        assert!(answers.len() < 400, "{protocol}: {}", answers.len());
        node.down(enemy).await;
        still_serves(node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_without_bytes_costs_nothing_and_is_given_up() {
    let mut node = house::node(1, Over::Tcp).await;
    let hostile = Hostile::at(&mut node, "/sublet/id/1").await;
    met(&mut node).await;
    let mut waiting = Vec::new();
    for protocol in [DEAL, STREAM, SYNC, PUSH].iter().cycle().take(30) {
        let mut stream = hostile.control.clone().open_stream(hostile.victim, protocol.clone()).await.unwrap();
        // A quarter of a megabyte to come, and a head of some bytes, and then silence. The node may refuse at once.
        let _ = stream.write_all(&[0, 4, 0, 0]).await;
        let _ = stream.flush().await;
        waiting.push(stream);
    }
    for mut stream in waiting {
        let given_up = timeout(house::PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(given_up.is_ok(), "the node waits for ever");
    }
    still_serves(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_allowed_is_not_read() {
    let mut node = house::node(1, Over::Tcp).await;
    let hostile = Hostile::at(&mut node, "/sublet/id/1").await;
    met(&mut node).await;
    let answer = hostile.say(DEAL, &vec![0; 4 << 20]).await;
    assert_eq!(answer, Some(Vec::new()));
    let answer = hostile.say(SYNC, &[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]).await;
    assert_eq!(answer, Some(Vec::new()));
    still_serves(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_turned_away_then_sent_off_and_others_are_served() {
    let mut node = house::node(1, Over::Tcp).await;
    let hostile = Hostile::at(&mut node, "/sublet/id/1").await;
    let enemy = met(&mut node).await;
    let before = memory();
    let serving = node.answer_everyone();
    let request = model::message::write(&question());
    let flood = timeout(house::PATIENCE, async {
        let mut served = 0_usize;
        loop {
            let burst = (0..64).map(|_| hostile.say(DEAL, &request));
            let answers = futures::future::join_all(burst).await;
            served += answers.iter().flatten().filter(|answer| !answer.is_empty()).count();
            if answers.iter().all(Option::is_none) {
                return served;
            }
        }
    });
    let served = flood.await.expect("a flood is ended");
    assert!(served >= 50, "an honest number is answered: {served}");
    house::until("the enemy's end", async || serving.peers().await.iter().all(|seen| seen.peer != enemy))
        .await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    let friend = house::node(3, Over::Tcp).await;
    let address = serving.addresses().await.first().unwrap().clone();
    friend.net.dial(&address).await.unwrap();
    assert_eq!(friend.net.request(serving.me(), question()).await.unwrap(), Response::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_nobody_wanted_are_a_mistake() {
    let mut node = house::node(1, Over::Tcp).await;
    let hostile = Hostile::at(&mut node, "/sublet/id/1").await;
    let enemy = met(&mut node).await;
    let bodies =
        model::to_bytes(&std::collections::BTreeMap::from([("bodies", vec![Bytes(house::object(1))])]));
    let frame = [&u32::try_from(bodies.len()).unwrap().to_be_bytes(), bodies.as_slice()].concat();
    while hostile.say(PUSH, &frame).await.is_some() {}
    node.down(enemy).await;
    assert_eq!(node.net.shared(), 0);
    still_serves(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaints_of_the_node_have_the_same_end() {
    let (mut one, other) = house::pair(Over::Tcp).await;
    for _ in 0..8 {
        one.net.complain(other.net.me()).await;
    }
    assert_eq!(one.net.peers().await.len(), 1, "eight are forgiven");
    one.net.complain(other.net.me()).await;
    one.down(other.net.me()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_is_nobody_to_us() {
    let mut node = house::node(1, Over::Tcp).await;
    let stranger = Hostile::at(&mut node, "/ipfs/0.1.0").await;
    let cut = timeout(house::PATIENCE, async { while stranger.say(DEAL, b"").await.is_some() {} });
    cut.await.expect("the stranger is disconnected");
    // Our own end hears of it a moment later.
    let forgotten = timeout(house::PATIENCE, async {
        while !node.net.peers().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    forgotten.await.expect("the stranger is no peer");
}

async fn still_serves(node: house::Node) {
    let address = node.address().await;
    let friend = house::node(3, Over::Tcp).await;
    let to = node.net.me();
    let _serving = node.answer_everyone();
    friend.net.dial(&address).await.unwrap();
    let answer = timeout(Duration::from_secs(20), friend.net.request(to, question())).await;
    assert_eq!(answer.unwrap().unwrap(), Response::Done);
}

/// A byte string in canonical form.
struct Bytes(Vec<u8>);

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Resident memory of this process, in bytes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
