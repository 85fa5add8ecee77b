//! How long a node takes to start whose record is long: without a snapshot, as after a new version, with one that is up
//! to date, as after a clean stop, and with nothing to read at all. The record is that of a host with real leases, of
//! which a small world of real engines made an hour's each; clock, network and guests of that world are pretended.
//!
//! `cargo xtask bench start [--json]`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it prints, and stops at what surprises it")]

use model::Span;
use node::store::Store;
use node::{Config, start};
use std::path::Path;
use std::time::{Duration, Instant};
use world::{HOST, TENANT, World, share, wish};

#[path = "../../engine/tests/world/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the engine's tests need more of it")]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test names the one case that it is about")]
mod world;

const RECORDS: usize = 100_000;

#[tokio::main]
async fn main() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let empty = begin(&place.path().join("empty")).await;
    let long = place.path().join("long");
    // So that it has keys, as a node that has lived has.
    begin(&long).await;
    let (records, leases) = live(&long);
    // The first start finds no snapshot of it, and leaves one; so does each clean stop.
    let replayed = begin(&long).await;
    let again = begin(&long).await;
    let (replayed_ms, again_ms, empty_ms) = (millis(replayed), millis(again), millis(empty));
    if std::env::args().any(|argument| argument == "--json") {
        println!(
            "{{\"bench\":\"start\",\"records\":{records},\"leases\":{leases},\"replay_ms\":{replayed_ms:.1},\
             \"snapshot_ms\":{again_ms:.1},\"empty_ms\":{empty_ms:.1},\"ratio_snapshot\":{:.2}}}",
            again_ms / empty_ms
        );
        return;
    }
    println!("{records} records of {leases} leases");
    println!("without a snapshot  {replayed_ms:8.1} ms");
    println!("with one            {again_ms:8.1} ms, {:.2} x an empty record", again_ms / empty_ms);
    println!("an empty record     {empty_ms:8.1} ms");
}

/// From the call to a node that answers; then it stops, cleanly.
async fn begin(data: &Path) -> Duration {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    let config = Config { listen, mdns: false, ..Config::new(data.to_owned()) };
    let began = Instant::now();
    let node = start(config).await.unwrap();
    node.look(|core| core.store().head()).await.unwrap();
    let took = began.elapsed();
    node.shut_down().await;
    took
}

/// Writes what a host wrote down in many leases, one after the other.
fn live(data: &Path) -> (u64, usize) {
    let mut world = World::of(1);
    let mut leases = 0;
    while world.nodes[HOST].pretend_store.len() < RECORDS {
        // Months go by in that world, and an offer stands for a day.
        if world.offer().expires < world.now + Span::hours(4) {
            world.lend(Some(share()));
        }
        let terms = model::AskTerms { term: Span::hours(1), ..wish() };
        let lease = world.deal(TENANT, terms);
        world.ended(lease);
        leases += 1;
    }
    let mut store = Store::open(data).unwrap();
    for some in world.nodes[HOST].pretend_store.chunks(1_000) {
        let records: Vec<_> = some.iter().map(|entry| entry.record.clone()).collect();
        store.append(some[0].at, &records).unwrap();
    }
    (store.head(), leases)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
