//! How soon the owner has the machine back: from somebody touching the keyboard, as a pretended desk tells it, to the
//! guest's last use of a processor, and to its tenant knowing why. A busy guest, two nodes on the loopback.
//!
//! `cargo xtask bench owner [--json]`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where it cannot go on"
)]

use machine::guest::supervise;
use machine::image::BuildSpec;
use machine::presence::{Eyes, Fact, Source, pretended};
use model::{
    Answer, Audience, Currency, Id, Lease, Mode, NetworkPolicy, Phase, Policy, Prices, ReasonKind,
    RenewalTerms, Resources, Rule, Share, Span, Speed, Terms,
};
use node::engine::owner::Command;
use node::{Config, Event, NodeHandle, Rent, machine, model};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const ROUNDS: usize = 50;

/// After so long without use, a guest stands still.
const STILL: Duration = Duration::from_millis(300);

/// What is promised.
const MOST: Duration = Duration::from_secs(1);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("supervise") {
        supervise();
    }
    let json = std::env::args().any(|argument| argument == "--json");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (still, told, looks) = runtime.block_on(measure());
    let figures = |mut times: Vec<Duration>| {
        times.sort();
        let at = |part: usize| times[(times.len() * part).div_ceil(100).max(1) - 1].as_secs_f64() * 1_000.0;
        (at(50), at(99), at(100))
    };
    let ((still50, still99, still_most), (told50, told99, told_most)) = (figures(still), figures(told));
    if json {
        println!(
            "{{\"bench\":\"owner\",\"rounds\":{ROUNDS},\"still_ms\":{{\"p50\":{still50:.1},\"p99\":{still99:.1},\"max\":{still_most:.1}}},\
             \"told_ms\":{{\"p50\":{told50:.1},\"p99\":{told99:.1},\"max\":{told_most:.1}}},\"looks_per_second\":{looks:.2}}}"
        );
    } else {
        println!("from the keyboard, {ROUNDS} times, in ms        p50      p99      most");
        println!("to the guest's last use of a processor  {still50:8.1} {still99:8.1} {still_most:8.1}");
        println!("to the tenant knowing why               {told50:8.1} {told99:8.1} {told_most:8.1}");
        println!("looks at the machine in a second: {looks:.2}");
    }
    assert!(
        still99 <= MOST.as_secs_f64() * 1_000.0,
        "a guest stands still within a second, in 99 of 100 times"
    );
}

async fn measure() -> (Vec<Duration>, Vec<Duration>, f64) {
    let dir = tempfile::tempdir().unwrap();
    let (source, mut desk) = pretended("a pretended desk", &[ReasonKind::InUse]);
    let away = [Fact::Idle(Span::hours(1))];
    desk.tells(away.clone());
    let source = Mutex::new(Some(Box::new(source) as Box<dyn Source>));
    let eyes = Eyes::new(move |_| source.lock().unwrap().take().into_iter().collect());
    let host = start(dir.path(), "host", eyes).await;
    let tenant = start(dir.path(), "tenant", Eyes::new(|_| Vec::new())).await;
    host.measured(Speed { core: 1_000, cores: 1_000, memory: 1_000, disk: 1_000 }).await.unwrap();
    host.share(Some(share())).await.unwrap();
    let policy = Policy { in_use: Rule { answer: Answer::Freeze, level: 60 }, ..Policy::default() };
    host.first(Command::Rule(policy)).await.unwrap();
    let address = host.net().addresses().await.into_iter().next().unwrap();
    tenant.net().dial(&address).await.unwrap();
    busybox(&tenant, dir.path()).await;
    while tenant.look(|core| core.engine().book().standing(core.now()).count()).await.unwrap() == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    let lease = tenant.rent(rent()).await.unwrap();
    until(&tenant, lease, |phase| *phase == Phase::Running).await;
    let counter = counter(lease);
    let (mut still, mut told) = (Vec::new(), Vec::new());
    let (begun, looks) = (Instant::now(), desk.looks());
    for round in 0..ROUNDS {
        // Not always at the same time after a look.
        sleep(Duration::from_millis(150 + (round as u64 * 37) % 400)).await;
        let touched = Instant::now();
        desk.tells([Fact::Idle(Span::ZERO)]);
        let counter = counter.clone();
        let last_use = tokio::task::spawn_blocking(move || last_use(&counter));
        until(&tenant, lease, |phase| phase.owner().is_some()).await;
        told.push(touched.elapsed());
        still.push(last_use.await.unwrap().saturating_duration_since(touched));
        desk.tells(away.clone());
        until(&tenant, lease, |phase| *phase == Phase::Running).await;
    }
    let looks = (desk.looks() - looks) as f64 / begun.elapsed().as_secs_f64();
    tenant.stop(lease).await.unwrap();
    until(&host, lease, Phase::is_ended).await;
    (still, told, looks)
}

/// When the guest used a processor last.
fn last_use(counter: &Path) -> Instant {
    let read = || fs::read_to_string(counter).unwrap();
    let (mut used, mut at) = (read(), Instant::now());
    while at.elapsed() < STILL {
        std::thread::sleep(Duration::from_millis(2));
        let now = read();
        if now != used {
            (used, at) = (now, Instant::now());
        }
    }
    at
}

/// The file in which the kernel counts what the guest uses.
fn counter(lease: Id<Lease>) -> PathBuf {
    let files = [
        format!("/sys/fs/cgroup/cpuacct/sublet/{lease}/cpuacct.usage"),
        format!("/sys/fs/cgroup/cpu/sublet/{lease}/cpuacct.usage"),
        format!("/sys/fs/cgroup/sublet/{lease}/cpu.stat"),
    ];
    files
        .into_iter()
        .map(PathBuf::from)
        .find(|file| file.exists())
        .expect("the guest's group: run it as root")
}

async fn until(node: &NodeHandle, lease: Id<Lease>, reached: fn(&Phase) -> bool) {
    let mut events = node.events();
    loop {
        let phase = node
            .look(move |core| core.engine().state().lease.get(lease).map(|lease| lease.phase))
            .await
            .unwrap();
        if phase.is_some_and(|phase| reached(&phase)) {
            return;
        }
        let _: Result<Result<Event, _>, _> = timeout(Duration::from_secs(1), events.recv()).await;
    }
}

async fn start(dir: &Path, name: &str, eyes: Eyes) -> NodeHandle {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".into(), "/ip4/127.0.0.1/udp/0/quic-v1".into()];
    let config = Config { eyes, listen, mdns: false, name: name.to_owned(), ..Config::new(dir.join(name)) };
    node::start(config).await.unwrap()
}

/// An image of nothing but Debian's static busybox.
async fn busybox(node: &NodeHandle, dir: &Path) {
    let folder = dir.join("busybox/bin");
    fs::create_dir_all(&folder).unwrap();
    fs::copy("/bin/busybox", folder.join("sh")).expect("busybox-static is installed");
    fs::set_permissions(folder.join("sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let spec = BuildSpec { dir: dir.join("busybox"), name: Some("busybox".into()), ..BuildSpec::default() };
    node.images().build(spec).await.unwrap();
}

fn rent() -> Rent {
    Rent {
        volumes: Vec::new(),
        devices: Vec::new(),
        secrets: Vec::new(),
        image: "busybox".into(),
        command: ["sh", "-c", "trap exit TERM; while :; do :; done"].map(str::to_owned).to_vec(),
        env: Vec::new(),
        resources: Resources { cpu_millis: 1_000, memory: 32 << 20, disk: 8 << 20 },
        term: Span::hours(1),
        cap: None,
        mode: None,
        host: None,
        min_trust: 0,
        ports: Vec::new(),
        network: NetworkPolicy::None,
        options: model::document::RunOptions::default(),
    }
}

fn share() -> Share {
    let gift = Prices { mode: Mode::Gift, currency: Currency::Credit, core: 0, memory_gib: 0, disk_gib: 0 };
    Share {
        resources: Resources { cpu_millis: 1_000, memory: 256 << 20, disk: 64 << 20 },
        prices: gift,
        terms: Terms {
            longest: Span::hours(1),
            tick: Span::minutes(1),
            sign_within: Span::minutes(1),
            grace: Span::minutes(5),
            credit: 0,
            fetch_within: Span::minutes(1),
            start_within: Span::minutes(1),
            renewal: RenewalTerms::Never,
            network_rate: 0,
            io_rate: 0,
            notice: None,
        },
        audience: Audience::Everyone,
        network: NetworkPolicy::None,
        devices: Vec::new(),
        region: String::new(),
    }
}
