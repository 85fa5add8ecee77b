//! What people wait for, between two real nodes as two processes on one machine:
//! `cargo bench -p sublet-cli --bench lease -- [--json] [--turns N] [--rest SECONDS]`.
//!
//! - ask to agreed: from the request to the tenant's node until both have signed;
//! - run to first byte: from the start of the `sublet run` process until the guest's first byte, image present on the host;
//! - port: bytes out of a guest through the tenant's own port, next to TLS over TCP on the same machine in turns;
//! - rest: what a node that hosts nothing takes of memory and processor.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it is a program that prints, and stops at what surprises it"
)]

use api::shapes::{Port, Protocol, RentWish};
use pair::{Node, SUBLET, ended, pair, percentiles, wish};
use serde_json::json;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

mod pair;

/// Bytes of one copy.
const COPY: usize = 256 << 20;

/// Copies of each kind, in turns.
const COPIES: usize = 5;

/// The targets, in milliseconds, MiB, and parts.
const DEAL: f64 = 100.0;
const FIRST_BYTE: f64 = 500.0;
const MEMORY: f64 = 40.0;
const PROCESSOR: f64 = 0.005;
const PORT: f64 = 0.5;

#[tokio::main]
async fn main() {
    // Two are built in, as other crates need them: it is for the program to say which.
    ring::default_provider().install_default().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        arguments
            .iter()
            .skip_while(|argument| *argument != name)
            .nth(1)
            .and_then(|number| number.parse().ok())
    };
    let (turns, rest) = (number("--turns").unwrap_or(20), number("--rest").unwrap_or(60));

    let place = TempDir::new().unwrap();
    let (host, tenant) = pair(place.path()).await;
    let deal = percentiles(deals(&tenant, turns).await);
    let first_byte = percentiles(first_bytes(&tenant, turns).await);
    let (port, tls) = copies(&tenant).await;
    let (memory, processor) = at_rest(&host, Duration::from_secs(rest as u64)).await;

    let ratio = port / tls;
    let ok = deal.0 <= DEAL
        && first_byte.0 <= FIRST_BYTE
        && ratio >= PORT
        && memory < MEMORY
        && processor < PROCESSOR;
    if arguments.iter().any(|argument| argument == "--json") {
        let facts = json!({
            "deal_ms": { "p50": deal.0, "p95": deal.1, "target_p50": DEAL },
            "first_byte_ms": { "p50": first_byte.0, "p95": first_byte.1, "target_p50": FIRST_BYTE },
            "port_mb_s": port, "tls_mb_s": tls, "port_ratio": ratio, "target_port_ratio": PORT,
            "rest": { "seconds": rest, "memory_mib": memory, "target_memory_mib": MEMORY, "cores": processor, "target_cores": PROCESSOR },
            "turns": turns, "ok": ok,
        });
        println!("{facts}");
        return;
    }
    println!("ask to agreed          p50 {:6.0} ms  p95 {:6.0} ms  (target p50 {DEAL:.0})", deal.0, deal.1);
    println!(
        "run to first byte      p50 {:6.0} ms  p95 {:6.0} ms  (target p50 {FIRST_BYTE:.0})",
        first_byte.0, first_byte.1
    );
    println!(
        "port of a guest        {port:6.0} MB/s, TLS over TCP {tls:.0} MB/s: {ratio:.2} (target {PORT})"
    );
    println!(
        "a node at rest, {rest} s  {memory:6.1} MiB, {:.2} % of a core (targets {MEMORY:.0} MiB, {:.1} %)",
        processor * 100.0,
        PROCESSOR * 100.0
    );
}

async fn deals(tenant: &Node, turns: usize) -> Vec<f64> {
    let mut took = vec![];
    for _ in 0..turns {
        let since = Instant::now();
        let lease = tenant.client.rent(&wish(&["true"])).await.unwrap();
        took.push(since.elapsed().as_secs_f64() * 1e3);
        ended(tenant, &lease).await;
    }
    took
}

async fn first_bytes(tenant: &Node, turns: usize) -> Vec<f64> {
    let mut took = vec![];
    for _ in 0..turns {
        let since = Instant::now();
        let mut run = tokio::process::Command::new(SUBLET);
        let run = run
            .arg("--data")
            .arg(&tenant.data)
            .args(["run", "--cpus", "1", "--memory", "64M", "--disk", "1M", "busybox", "echo", "x"]);
        let mut run = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        run.stdout.take().unwrap().read_u8().await.expect("a first byte");
        took.push(since.elapsed().as_secs_f64() * 1e3);
        run.wait().await.unwrap();
    }
    took
}

/// Median rates, in megabytes a second: through a guest's port, and of TLS over TCP.
async fn copies(tenant: &Node) -> (f64, f64) {
    let count = format!("count={}", COPY / (128 << 10));
    let serve = ["nc", "-ll", "-p", "9000", "-e", "/bin/busybox", "dd", "if=/dev/zero", "bs=128k", &count];
    let lease = tenant
        .client
        .rent(&RentWish {
            ports: vec![Port { local: 0, guest: 9000, protocol: Protocol::Tcp }],
            ..wish(&serve)
        })
        .await
        .unwrap();
    let port = lease.ports.first().unwrap().local;
    let (mut through, mut plain) = (vec![], vec![]);
    while through.len() < COPIES {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        match rate(stream).await {
            Some(rate) => {
                through.push(rate);
                plain.push(rate_of_tls().await);
            }
            // The guest does not listen yet.
            None => sleep(Duration::from_millis(50)).await,
        }
    }
    tenant.client.stop(&lease.id).await.unwrap();
    ended(tenant, &lease).await;
    (percentiles(through).0, percentiles(plain).0)
}

/// Megabytes a second from the first byte to the last; none when there is no first.
async fn rate(mut stream: impl AsyncRead + Unpin) -> Option<f64> {
    let mut buffer = vec![0; 128 << 10];
    let mut left = COPY - stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
    let since = Instant::now();
    while left > 0 {
        left -= stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)
            .expect("all of it comes")
            .min(left);
    }
    Some(COPY as f64 / since.elapsed().as_secs_f64() / 1e6)
}

async fn rate_of_tls() -> f64 {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.key_pair.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(stream).await.unwrap();
        let chunk = vec![0; 128 << 10];
        for _ in 0..COPY / chunk.len() {
            stream.write_all(&chunk).await.unwrap();
        }
        stream.shutdown().await.unwrap();
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    rate(TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap())
        .await
        .expect("a first byte")
}

/// Resident MiB, and cores used, of a node that nobody asks anything.
async fn at_rest(node: &Node, time: Duration) -> (f64, f64) {
    // What the work before has left over is done first.
    sleep(Duration::from_secs(5)).await;
    let (before, since) = (ticks(node), Instant::now());
    sleep(time).await;
    let used = (ticks(node) - before) as f64 / 100.0;
    let status = fs::read_to_string(format!("/proc/{}/status", node.process.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (kib / 1024.0, used / since.elapsed().as_secs_f64())
}

/// Hundredths of a second of processor time (proc(5), utime and stime).
fn ticks(node: &Node) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
