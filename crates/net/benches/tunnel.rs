//! How fast one stream between two peers carries bytes, next to TLS over TCP on the same machine in the same minute:
//! `cargo bench -p sublet-net --bench tunnel -- [--json] [--megabytes N]`.

#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use model::message::StreamHead;
use model::{Id, ObjectId};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use sublet_net::{Config, Net, NetEvent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What is written at once: the buffer of the node's port streams.
const CHUNK: usize = 64 * 1024;

/// How often each is measured, in turns; the median counts, so that a busy moment hits one turn only.
const TURNS: usize = 5;

/// The share of plain TLS that a tunnel must reach.
const TARGET: f64 = 0.5;

/// A pair of connected ends.
type Ends = (Box<dyn Bytes>, Box<dyn Bytes>);

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

#[tokio::main]
async fn main() {
    // The main thread is none of the runtime's workers: a task there would pay for a switch with each chunk.
    tokio::spawn(compare()).await.expect("the comparison");
}

async fn compare() {
    let arguments: Vec<String> = std::env::args().collect();
    let megabytes = arguments.iter().skip_while(|argument| *argument != "--megabytes").nth(1);
    let bytes = megabytes.and_then(|number| number.parse().ok()).unwrap_or(256) * 1_000_000;

    let tcp = Tunnel::over("/ip4/127.0.0.1/tcp/0").await;
    let quic = Tunnel::over("/ip4/127.0.0.1/udp/0/quic-v1").await;
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        rates[0].push(rate(tls().await, bytes).await);
        rates[1].push(rate(tcp.open().await, bytes).await);
        rates[2].push(rate(quic.open().await, bytes).await);
    }
    let [tls, tcp, quic] = rates.map(Rate::median);
    if arguments.iter().any(|argument| argument == "--json") {
        let facts = json!({
            "bytes": bytes, "tls_over_tcp": tls.json(), "tunnel_tcp": tcp.json(), "tunnel_quic": quic.json(),
            "ratio_tcp": tcp.speed / tls.speed, "ratio_quic": quic.speed / tls.speed,
            "target": TARGET, "ok": tcp.speed.max(quic.speed) / tls.speed >= TARGET,
        });
        println!("{facts}");
        return;
    }
    println!(
        "one stream on loopback, median of {TURNS} copies of {} MB; both ends in this process",
        bytes / 1_000_000
    );
    for (what, rate) in [("TLS 1.3 over TCP", &tls), ("tunnel over TCP", &tcp), ("tunnel over QUIC", &quic)] {
        let ratio = rate.speed / tls.speed;
        println!("{what:17} {:6.0} MB/s  {:5.2} CPU s/GB  {ratio:.2} of TLS", rate.speed, rate.cpu);
    }
    println!("target: {TARGET} of TLS by the better transport");
}

/// How fast, and at what cost.
struct Rate {
    /// Megabytes in a second of wall clock.
    speed: f64,
    /// Seconds of processor time for a gigabyte, both ends together. Other programs disturb it less than the speed.
    cpu: f64,
}

impl Rate {
    /// Of each figure the median, which one busy moment does not move.
    fn median(rates: Vec<Rate>) -> Rate {
        let median = |figure: fn(&Rate) -> f64| {
            let mut figures: Vec<f64> = rates.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Rate { speed: median(|rate| rate.speed), cpu: median(|rate| rate.cpu) }
    }

    fn json(&self) -> serde_json::Value {
        json!({ "megabytes_per_second": self.speed, "cpu_seconds_per_gigabyte": self.cpu })
    }
}

/// Measured from the first byte written until the other end says that it has the last.
async fn rate((mut from, mut to): Ends, bytes: usize) -> Rate {
    let receiving = tokio::spawn(async move {
        let mut buffer = vec![0; CHUNK];
        let mut left = bytes;
        while left > 0 {
            left -= to.read(&mut buffer).await.expect("bytes");
        }
        to.write_all(b"!").await.expect("the last word");
        to.flush().await.expect("the last word");
        to
    });
    let chunk = vec![7; CHUNK];
    let (since, cpu) = (Instant::now(), cpu_time());
    let mut left = bytes;
    while left > 0 {
        left -= from.write(&chunk[..left.min(CHUNK)]).await.expect("room");
    }
    from.flush().await.expect("room");
    from.read_u8().await.expect("the last word");
    let (took, cpu) = (since.elapsed(), cpu_time() - cpu);
    receiving.await.expect("the other end");
    Rate { speed: bytes as f64 / 1e6 / took.as_secs_f64(), cpu: cpu / (bytes as f64 / 1e9) }
}

/// Seconds of processor time that this process has used; nought where the system does not say it in this way.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets: user time is the twelfth field, system time the thirteenth, in hundredths.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Two nodes that are connected.
struct Tunnel {
    here: Net,
    _here_events: mpsc::Receiver<NetEvent>,
    there: Net,
    streams: tokio::sync::Mutex<mpsc::Receiver<NetEvent>>,
}

impl Tunnel {
    async fn over(listen: &str) -> Tunnel {
        let config = |seed| Config {
            key_seed: [seed; 32],
            listen: vec![listen.to_owned()],
            mdns: false,
            upnp: false,
            ..Config::default()
        };
        let (here, here_events) = sublet_net::start(config(1)).await.expect("a node");
        let (there, there_events) = sublet_net::start(config(2)).await.expect("another node");
        let address = there.addresses().await;
        here.dial(&address[0]).await.expect("a connection");
        Tunnel { here, _here_events: here_events, there, streams: tokio::sync::Mutex::new(there_events) }
    }

    async fn open(&self) -> Ends {
        let head = StreamHead::Port { lease: Id::of(ObjectId([0; 32])), port: 80 };
        let accepting = async {
            let mut streams = self.streams.lock().await;
            loop {
                if let NetEvent::Stream { stream, .. } = streams.recv().await.expect("events") {
                    return stream.accept().await.expect("a stream");
                }
            }
        };
        let (from, to) = tokio::join!(self.here.open(self.there.me(), head), accepting);
        (Box::new(from.expect("a stream")), Box::new(to))
    }
}

async fn tls() -> Ends {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = signed.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(signed.key_pair.serialize_der()).into();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let ring = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(ring.clone())
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a server");
    let client = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a port");
    let accepting = async {
        let (socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("an option");
        TlsAcceptor::from(Arc::new(server)).accept(socket).await.expect("a handshake")
    };
    let connecting = async {
        let socket = TcpStream::connect(address).await.expect("a connection");
        socket.set_nodelay(true).expect("an option");
        let name = "localhost".try_into().expect("a name");
        TlsConnector::from(Arc::new(client)).connect(name, socket).await.expect("a handshake")
    };
    let (from, to) = tokio::join!(connecting, accepting);
    (Box::new(from), Box::new(to))
}
