//! An image of 1 GB on its way to a host: from its tenant, over libp2p on loopback, next to `skopeo copy` from a local
//! docker-registry into a directory, in turns: `cargo bench -p sublet-cli --bench images -- [--json] [--turns N]`.
//!
//! Both end with all parts held to their sha256 digests. Ours has also held each piece to its hash as it came, and is on the
//! disk for good: it is synced, which skopeo leaves to the system.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it is a program that prints, and stops at what surprises it"
)]

use api::node::machine::image::{Digest, Platform};
use api::shapes::{Build, LeaseState, RentWish};
use pair::{Node, ended, pair, percentiles, wish};
use registry::Registry;
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::sleep;

mod pair;
#[path = "../../machine/tests/images/registry.rs"]
mod registry;

/// Layers, and megabytes of each.
const LAYERS: usize = 4;
const LAYER: usize = 250;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let turns = arguments.iter().skip_while(|argument| *argument != "--turns").nth(1);
    let turns: usize = turns.and_then(|turns| turns.parse().ok()).unwrap_or(5);

    let place = TempDir::new().unwrap();
    let (host, tenant) = pair(place.path()).await;
    let digest = large(&tenant, place.path()).await;
    let registry = Registry::start();
    let at_registry = format!("docker://{}", registry.reference("large:1"));
    let layout = |path: &Path| format!("oci:{}:large:latest", path.display());
    skopeo(&["--dest-tls-verify=false", &layout(&tenant.data.join("images")), &at_registry]);

    let (mut ours, mut theirs) = (vec![], vec![]);
    // The first turn makes the list of pieces and fills caches.
    for turn in 0..=turns {
        let own = fetch(&host, &tenant, &digest).await;
        let to = place.path().join("copied");
        let since = Instant::now();
        skopeo(&["--src-tls-verify=false", &at_registry, &layout(&to)]);
        let other = since.elapsed();
        fs::remove_dir_all(to).unwrap();
        if turn > 0 {
            ours.push(own.as_secs_f64());
            theirs.push(other.as_secs_f64());
        }
    }
    let rate = |(p50, _): (f64, f64)| (LAYERS * LAYER) as f64 / p50;
    let (ours, theirs) = (percentiles(ours), percentiles(theirs));
    let ratio = theirs.0 / ours.0;
    if arguments.iter().any(|argument| argument == "--json") {
        let facts = json!({
            "bench": "images", "megabytes": LAYERS * LAYER, "turns": turns, "unit": "s p50",
            "sublet": ours.0, "skopeo": theirs.0, "sublet_mb_s": rate(ours), "skopeo_mb_s": rate(theirs),
            "faster_than_skopeo": ratio, "target": 1.0, "ok": ratio >= 1.0,
        });
        println!("{facts}");
        return;
    }
    println!("an image of {} MB in {LAYERS} layers, p50 of {turns} turns", LAYERS * LAYER);
    println!("  from a tenant on loopback   {:6.2} s  {:5.0} MB/s", ours.0, rate(ours));
    println!("  skopeo from a registry      {:6.2} s  {:5.0} MB/s", theirs.0, rate(theirs));
    println!("  {ratio:.2} x as fast as skopeo (target 1)");
}

/// From both signatures until the host has the whole image; then the host forgets it.
async fn fetch(host: &Node, tenant: &Node, digest: &str) -> Duration {
    let lease = tenant.client.rent(&RentWish { image: "large".into(), ..wish(&["true"]) }).await.unwrap();
    let since = Instant::now();
    let on_its_way = [LeaseState::Agreed, LeaseState::Fetching];
    while on_its_way.contains(&host.client.lease(&lease.id).await.unwrap().standing.state) {
        sleep(Duration::from_millis(5)).await;
    }
    let took = since.elapsed();
    ended(host, &lease).await;
    ended(tenant, &lease).await;
    host.client.remove_image(digest).await.unwrap();
    took
}

/// An image whose layers no compression shortens, of busybox below them.
async fn large(tenant: &Node, place: &Path) -> String {
    let mut base = "busybox".to_owned();
    for number in 0..LAYERS {
        let dir = place.join(format!("layer{number}"));
        fs::create_dir(&dir).unwrap();
        noise(&dir.join(format!("noise{number}")), number as u64);
        let name = if number + 1 == LAYERS { "large".to_owned() } else { format!("part{number}") };
        let build =
            Build { dir: dir.clone(), base: Some(base), name: Some(name.clone()), ..Build::default() };
        let made = tenant.client.build(&build).await.unwrap().done(|_| {}).await.unwrap();
        fs::remove_dir_all(dir).unwrap();
        if number + 1 == LAYERS {
            return made.digest;
        }
        base = name;
    }
    base
}

/// A multiplicative generator (Lehmer, modulus 2^64), stirred.
fn noise(path: &Path, seed: u64) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ seed;
    for _ in 0..LAYER * 1_000_000 / 8 {
        state = state.wrapping_mul(0xDA94_2042_E4DD_58B5).rotate_left(17) ^ 0xA5;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn skopeo(arguments: &[&str]) {
    let done = Command::new("skopeo").args(["copy", "-q"]).args(arguments).output();
    let done = done.expect("skopeo is installed: cargo xtask setup test");
    assert!(done.status.success(), "skopeo: {}", String::from_utf8_lossy(&done.stderr));
}
