//! From a guest to a server outside: by its proxy, and caught without one, beside plain loopback, pasta and
//! slirp4netns, in turns, so that other work on the machine hits all alike. Needs root, crun, busybox; pasta (package
//! passt) and slirp4netns where they are installed.
//!
//! The server is on this computer's loopback. For pasta and slirp4netns that is their gateway's address, as they have it
//! by default; for our guests a public address leads there, since none of this computer's own is ever reached.
//!
//! `cargo bench -p sublet-machine --bench network -- [--json] [--rounds N] [--seconds N]`

#![allow(clippy::print_stdout)] // its purpose

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use model::document::Name;
use serde_json::json;
use sublet_machine::guest::{Grace, GuestEvent, GuestId, GuestSpec, Guests, Limits, Settings, supervise};
use sublet_machine::network::{Network, Outside, Own};
use tokio::sync::mpsc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// An address outside that leads to the server.
const OUTSIDE: &str = "93.184.216.34:7";

/// A guest's proxy.
const PROXY: &str = "127.0.0.1:17080";

/// What is moved at once.
const PIECE: usize = 128 * 1024;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["supervise", ..] => supervise(),
        ["serve"] => serve(),
        ["client", by, seconds, rest @ ..] => client(by, seconds.parse()?, rest),
        _ => tokio::runtime::Runtime::new()?.block_on(compare(&arguments)),
    }
}

async fn compare(arguments: &[String]) -> Outcome<()> {
    let number = |name: &str, usual| {
        arguments.iter().skip_while(|word| *word != name).nth(1).map_or(Ok(usual), |n| n.parse())
    };
    let (rounds, seconds) = (number("--rounds", 3)?, number("--seconds", 2)?);
    let mut server = Command::new(std::env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let mut port = String::new();
    BufReader::new(server.stdout.take().ok_or("no pipe")?).read_line(&mut port)?;
    let port = port.trim().to_owned();
    let compared = turns(&port, rounds, seconds, arguments.iter().any(|word| word == "--json")).await;
    server.kill()?;
    server.wait()?;
    compared
}

async fn turns(port: &str, rounds: usize, seconds: usize, as_json: bool) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let image = dir.path().join("image");
    make_image(&image)?;
    // A copy that nobody can run, too.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let me = image.join("bench");
    let me = me.to_str().ok_or("a path that is not text")?;
    let (sender, mut events) = mpsc::channel(16);
    let supervisor = ["/proc/self/exe", "supervise"].map(Into::into).to_vec();
    let server: SocketAddr = format!("127.0.0.1:{port}").parse()?;
    let guests = Guests::open(dir.path().join("guests"), supervisor, sender, Arc::new(Door(server)))?;
    let gateway = gateway();
    let mut figures: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for round in 1..=rounds {
        let mut add = |name, found: Option<Figures>| {
            eprintln!("round {round} of {rounds}: {name} measured");
            figures.entry(name).or_default().extend(found);
        };
        let time = seconds.to_string();
        let here = format!("127.0.0.1:{port}");
        add("loopback", run(Command::new(me).args(["client", "direct", &time, &here]))?);
        add("sublet caught", guest(&guests, &mut events, &image, &["direct", &time, OUTSIDE]).await?);
        add("sublet proxy", guest(&guests, &mut events, &image, &["proxy", &time, OUTSIDE]).await?);
        if let Some(gateway) = &gateway
            && has("pasta")
        {
            let there = format!("{gateway}:{port}");
            // As root it becomes nobody in the middle of its work, and hangs.
            let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "pasta"];
            let own =
                ["--config-net", "--quiet", "--foreground", "--", me, "client", "direct", &time, &there];
            add("pasta", run(Command::new("setpriv").args(nobody).args(own))?);
        }
        if has("slirp4netns") {
            add("slirp4netns", slirp(me, &time, &format!("10.0.2.2:{port}"))?);
        }
    }
    report(as_json, &figures);
    Ok(())
}

/// What a client found.
#[derive(Clone, Copy)]
struct Figures {
    /// Gbit/s to the client, and from it.
    down: f64,
    up: f64,
    /// µs for 64 bytes there and back, and for a connection and one byte, half of them are faster.
    round_trip: f64,
    connection: f64,
}

impl Figures {
    fn read(text: &str) -> Option<Figures> {
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [down, up, round_trip, connection] = numbers.try_into().ok()?;
        Some(Figures { down, up, round_trip, connection })
    }
}

fn report(as_json: bool, figures: &BTreeMap<&str, Vec<Figures>>) {
    let middle = |of: fn(&Figures) -> f64, all: &[Figures]| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let mut rows = serde_json::Map::new();
    for (name, all) in figures {
        let row = json!({
            "down_gbit": middle(|f| f.down, all), "up_gbit": middle(|f| f.up, all),
            "round_trip_us": middle(|f| f.round_trip, all), "connection_us": middle(|f| f.connection, all),
            "rounds": all.len(),
        });
        if !as_json && !all.is_empty() {
            let value = |key: &str| row[key].as_f64().unwrap_or_default();
            println!(
                "  {name:14} {:6.2} Gbit/s down  {:6.2} up  {:7.0} us there and back  {:7.0} us to connect",
                value("down_gbit"),
                value("up_gbit"),
                value("round_trip_us"),
                value("connection_us")
            );
        }
        rows.insert((*name).to_owned(), row);
    }
    if as_json {
        println!("{}", json!({ "bench": "network", "paths": rows }));
    }
}

/// Runs a client, and reads what it found.
fn run(command: &mut Command) -> Outcome<Option<Figures>> {
    let mut bounded = Command::new("timeout");
    bounded.arg("60").arg(command.get_program()).args(command.get_args());
    let done = bounded.stdin(Stdio::null()).output()?;
    let found = Figures::read(&String::from_utf8_lossy(&done.stdout));
    if found.is_none() {
        eprintln!("{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(found)
}

/// A client in a network of its own, of which slirp4netns makes the way out.
fn slirp(me: &str, time: &str, there: &str) -> Outcome<Option<Figures>> {
    let script = "read line; exec \"$@\"";
    let mut client = Command::new("unshare")
        .args(["-n", "sh", "-c", script, "sh", me, "client", "direct", time, there])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // Until the client has a network of its own.
    thread::sleep(Duration::from_millis(300));
    let mut slirp = Command::new("slirp4netns")
        .args(["--configure", "--mtu=65520", &client.id().to_string(), "tap0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(Duration::from_millis(700));
    client.stdin.take().ok_or("no pipe")?.write_all(b"go\n")?;
    let mut said = String::new();
    client.stdout.take().ok_or("no pipe")?.read_to_string(&mut said)?;
    end(&mut client)?;
    end(&mut slirp)?;
    Ok(Figures::read(&said))
}

fn end(process: &mut Child) -> io::Result<()> {
    let _ = process.kill();
    process.wait().map(drop)
}

/// A client in a guest of ours.
async fn guest(
    guests: &Guests,
    events: &mut mpsc::Receiver<GuestEvent>,
    image: &Path,
    client: &[&str],
) -> Outcome<Option<Figures>> {
    let mut id = [0; 32];
    getrandom::fill(&mut id)?;
    let spec = GuestSpec {
        id: GuestId::new(id),
        layers: vec![image.to_owned()],
        args: ["/bench", "client"].iter().chain(client).map(|word| (*word).to_owned()).collect(),
        env: vec![],
        cwd: "/".into(),
        user: String::new(),
        hostname: "guest".into(),
        limits: Limits {
            cpu_millis: 4_000,
            memory: 256 << 20,
            disk: 64 << 20,
            inodes: 4096,
            pids: 64,
            open_files: 1024,
            log_bytes: 1 << 20,
            io_rate: 0,
        },
        network: Network { policy: "internet".parse()?, rate: 0 },
        run: Settings::default(),
        mounts: Vec::new(),
        devices: Default::default(),
        secrets: Vec::new(),
        grace: Grace::default(),
    };
    guests.start(&spec).await?;
    events.recv().await;
    let chunk = guests.logs(spec.id, 0, Duration::ZERO).await?;
    let said: Vec<u8> = chunk.pieces.into_iter().flat_map(|piece| piece.bytes).collect();
    guests.remove(spec.id).await?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let found = Figures::read(&said);
    if found.is_none() {
        eprintln!("the guest said: {said}");
    }
    Ok(found)
}

/// All addresses lead to one server.
struct Door(SocketAddr);

impl Outside for Door {
    fn resolve(&self, _: &Name) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        async { Err(io::ErrorKind::NotFound.into()) }.boxed()
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<tokio::net::TcpStream>> {
        tokio::net::TcpStream::connect(self.0).boxed()
    }

    fn datagrams(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<tokio::net::UdpSocket>> {
        async { Err(io::ErrorKind::NotFound.into()) }.boxed()
    }

    fn own(&self) -> Arc<[Own]> {
        [].into()
    }
}

/// Serves until it is killed: the first byte of a connection says what is wanted.
fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // A client that has seen enough hangs up.
            let _ = serve_one(stream);
        });
    }
    Ok(())
}

fn serve_one(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wanted = [0];
    stream.read_exact(&mut wanted)?;
    let mut piece = vec![0; PIECE];
    match &wanted {
        b"D" => loop {
            stream.write_all(&piece)?;
        },
        b"U" => while stream.read(&mut piece)? > 0 {},
        _ => loop {
            let length = stream.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            stream.write_all(&piece[..length])?;
        },
    }
    Ok(())
}

/// Measures from wherever it runs, and prints four numbers.
fn client(by: &str, seconds: u64, rest: &[&str]) -> Outcome<()> {
    let [to] = rest else { return Err("no address".into()) };
    let connect = || -> Outcome<TcpStream> {
        if by != "proxy" {
            return Ok(TcpStream::connect(to)?);
        }
        let mut stream = TcpStream::connect(PROXY)?;
        write!(stream, "CONNECT {to} HTTP/1.1\r\n\r\n")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        if answer.starts_with(b"HTTP/1.1 200") { Ok(stream) } else { Err("the proxy refused".into()) }
    };
    let time = Duration::from_secs(seconds);
    let mut piece = vec![0; PIECE];
    let gbit = |bytes: usize, begun: Instant| bytes as f64 * 8e-9 / begun.elapsed().as_secs_f64();

    let mut stream = connect()?;
    stream.write_all(b"D")?;
    let (begun, mut bytes) = (Instant::now(), 0);
    while begun.elapsed() < time {
        bytes += stream.read(&mut piece)?;
    }
    let down = gbit(bytes, begun);
    drop(stream);

    let mut stream = connect()?;
    stream.write_all(b"U")?;
    let (begun, mut bytes) = (Instant::now(), 0);
    while begun.elapsed() < time {
        bytes += stream.write(&piece)?;
    }
    let up = gbit(bytes, begun);
    drop(stream);

    let mut stream = connect()?;
    stream.set_nodelay(true)?;
    stream.write_all(b"E")?;
    let mut trip = || -> Outcome<Duration> {
        let begun = Instant::now();
        stream.write_all(&piece[..64])?;
        stream.read_exact(&mut [0; 64])?;
        Ok(begun.elapsed())
    };
    let trips = (0..2_000).map(|_| trip()).collect::<Outcome<Vec<_>>>()?;
    let connection = || -> Outcome<Duration> {
        let begun = Instant::now();
        let mut stream = connect()?;
        stream.set_nodelay(true)?;
        stream.write_all(b"E.")?;
        stream.read_exact(&mut [0])?;
        Ok(begun.elapsed())
    };
    let connections = (0..200).map(|_| connection()).collect::<Outcome<Vec<_>>>()?;
    println!("{down:.3} {up:.3} {:.1} {:.1}", middle(trips), middle(connections));
    Ok(())
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// This program and the libraries that it needs.
fn make_image(image: &Path) -> Outcome<()> {
    for dir in ["dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(image.join(dir))?;
    }
    let me = std::env::current_exe()?;
    let needed = Command::new("ldd").arg(&me).output()?;
    let needed = String::from_utf8(needed.stdout)?;
    for library in needed.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = image.join(&library[1..]);
        fs::create_dir_all(copy.parent().ok_or("no directory")?)?;
        fs::copy(library, copy)?;
    }
    fs::copy(me, image.join("bench"))?;
    fs::set_permissions(image.join("bench"), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The address of this machine's router, which pasta puts before this machine's loopback.
fn gateway() -> Option<String> {
    let routes = Command::new("ip").args(["-4", "route", "show", "default"]).output().ok()?;
    let routes = String::from_utf8(routes.stdout).ok()?;
    routes.split_whitespace().nth(2).map(str::to_owned)
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}
