//! Two real nodes as two processes on one machine, for benchmarks of what people wait for.

#![allow(dead_code, reason = "each of its users needs a part")]

use api::Client;
use api::node::model::{Amount, Currency, Span};
use api::shapes::{Build, Lease, LeaseState, Money, Network, Prices, RentWish, Seconds, ShareWish};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::sleep;

pub const SUBLET: &str = env!("CARGO_BIN_EXE_sublet");

/// One of them.
pub struct Node {
    pub process: Child,
    pub data: PathBuf,
    pub client: Client,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A host that lends, and a tenant that sees the offer and has busybox.
pub async fn pair(place: &Path) -> (Node, Node) {
    let (host, tenant) = (start(place, "host").await, start(place, "tenant").await);
    host.client.benchmark().await.unwrap().done(|_| {}).await.unwrap();
    let price = |micros| Money::from(Amount::new(micros, Currency::Iso(*b"EUR")));
    let prices = Prices::Rent { core: price(360_000), memory_gib: price(0), disk_gib: price(0) };
    host.client.set_offer(&ShareWish { prices: Some(prices), ..ShareWish::default() }).await.unwrap();
    let address = host.client.status().await.unwrap().addresses.remove(0);
    tenant.client.dial(&address).await.unwrap();
    while tenant.client.offers(None).await.unwrap().offers.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    let folder = place.join("image/bin");
    fs::create_dir_all(&folder).unwrap();
    fs::copy("/bin/busybox", folder.join("busybox")).expect("busybox-static is installed");
    fs::set_permissions(folder.join("busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    let build = Build {
        dir: place.join("image"),
        name: Some("busybox".into()),
        entrypoint: Some(vec!["/bin/busybox".into()]),
        ..Build::default()
    };
    tenant.client.build(&build).await.unwrap().done(|_| {}).await.unwrap();
    (host, tenant)
}

async fn start(place: &Path, name: &str) -> Node {
    let data = place.join(name);
    let listen = ["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let host = ["host", "--no-mdns", "--name", name, "--port", "0"];
    let quiet = || Stdio::null();
    let process = Command::new(SUBLET)
        .arg("--data")
        .arg(&data)
        .args(host)
        .args(listen)
        .stdout(quiet())
        .stderr(quiet())
        .spawn()
        .unwrap();
    let client = Client::of(&data);
    while client.status().await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    Node { process, data, client }
}

/// A wish for a core, to run a command in busybox.
pub fn wish(command: &[&str]) -> RentWish {
    RentWish {
        image: "busybox".into(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        env: vec![],
        cpu_millis: 1_000,
        memory_bytes: 64 << 20,
        disk_bytes: 1 << 20,
        term: Seconds(Span::minutes(10)),
        max_price: None,
        mode: None,
        on: None,
        min_trust: 0,
        options: Default::default(),
        volumes: Vec::new(),
        devices: Vec::new(),
        secrets: Vec::new(),
        ports: vec![],
        network: Network::None,
    }
}

/// Waits until a lease has ended.
pub async fn ended(node: &Node, lease: &Lease) {
    while node.client.lease(&lease.id).await.unwrap().standing.state != LeaseState::Ended {
        sleep(Duration::from_millis(10)).await;
    }
}

/// The median and the 95th percentile.
pub fn percentiles(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[(values.len() * 95 / 100).min(values.len() - 1)])
}
