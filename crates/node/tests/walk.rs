//! Two nodes, real in all parts, in one process: they meet on the loopback, agree, run a guest, sign, book and judge.

#[path = "walk/health.rs"]
mod health;
#[path = "walk/owner.rs"]
mod owner;
#[path = "walk/secrets.rs"]
mod secrets;
#[path = "walk/tenant.rs"]
mod tenant;

use libtest_mimic::{Arguments, Trial};
use machine::guest::supervise;
use machine::image::BuildSpec;
use machine::presence::Eyes;
use model::record::Account;
use model::{
    Audience, Currency, EndReason, Id, Lease, Mode, NetworkPolicy, Phase, Prices, RenewalTerms, Resources,
    Share, Side, Span, Speed, Terms,
};
use node::store::{Store, StoreError};
use node::{Config, Error, LogWish, NodeHandle, Port, Protocol, Rent, SNAPSHOT_VERSION};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::UdpSocket;
use tokio::time::timeout;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("supervise") {
        supervise();
    }
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("a_guest_s_whole_life", a_guest_s_whole_life),
        trial("a_tenant_reaches_a_port_and_stops", a_tenant_reaches_a_port_and_stops),
        trial("an_image_comes_from_whoever_has_it", an_image_comes_from_whoever_has_it),
        trial("a_tenant_s_datagrams_reach_a_port", a_tenant_s_datagrams_reach_a_port),
        trial("a_volume_outlives_its_lease", a_volume_outlives_its_lease),
        trial("a_tenant_knows_whether_its_guest_is_well", health::a_tenant_knows_whether_its_guest_is_well),
        trial("an_image_says_how_it_is_checked", health::an_image_says_how_it_is_checked),
        trial(
            "a_secret_reaches_the_guest_and_nothing_else",
            secrets::a_secret_reaches_the_guest_and_nothing_else,
        ),
        trial(
            "a_secret_that_is_gone_is_the_tenant_s_fault",
            secrets::a_secret_that_is_gone_is_the_tenant_s_fault,
        ),
        trial("a_price_above_the_cap_is_no_deal", a_price_above_the_cap_is_no_deal),
        trial(
            "a_command_that_is_not_there_is_the_tenant_s_fault",
            a_command_that_is_not_there_is_the_tenant_s_fault,
        ),
        trial("a_host_that_starts_again_takes_its_guest_up", a_host_that_starts_again_takes_its_guest_up),
        trial("a_tenant_reads_the_lines_that_it_wants", tenant::a_tenant_reads_the_lines_that_it_wants),
        trial("an_image_says_how_it_is_asked_to_end", tenant::an_image_says_how_it_is_asked_to_end),
        trial("both_sides_see_what_a_guest_takes", tenant::both_sides_see_what_a_guest_takes),
        trial(
            "a_pause_holds_a_guest_and_its_end_lets_it_go",
            owner::a_pause_holds_a_guest_and_its_end_lets_it_go,
        ),
        trial("a_host_learns_why_it_was_passed_by", owner::a_host_learns_why_it_was_passed_by),
        trial(
            "what_the_machine_sees_freezes_and_throttles",
            owner::what_the_machine_sees_freezes_and_throttles,
        ),
        trial(
            "a_taken_port_is_named_before_anything_is_agreed",
            a_taken_port_is_named_before_anything_is_agreed,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial<F: Future<Output = ()> + 'static>(name: &'static str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            timeout(Duration::from_secs(180), test()).await.expect("it ends within three minutes")
        });
        Ok(())
    })
}

const EUR: Currency = Currency::Iso(*b"EUR");
const MIB: u64 = 1 << 20;
const ASKED: Resources = Resources { cpu_millis: 500, memory: 32 * MIB, disk: 8 * MIB };

struct Pair {
    dir: TempDir,
    host: NodeHandle,
    tenant: NodeHandle,
}

impl Pair {
    /// A host that lends for 3.6 EUR a core-hour, and a tenant that knows it and has busybox.
    async fn meet() -> Pair {
        Pair::meet_with(blind()).await
    }

    /// The same, with a host that sees its owner with these eyes.
    async fn meet_with(eyes: Eyes) -> Pair {
        let dir = tempfile::tempdir().expect("a directory");
        let host = start_with(dir.path(), "host", eyes).await;
        let tenant = start(dir.path(), "tenant").await;
        host.measured(Speed { core: 1_000, cores: 2_000, memory: 1_000, disk: 1_000 })
            .await
            .expect("measured");
        host.share(Some(share())).await.expect("shared");
        meet(&tenant, &host).await;
        busybox(&tenant, dir.path()).await;
        Pair { dir, host, tenant }
    }

    async fn run(&self, command: &[&str]) -> Result<Id<Lease>, Error> {
        self.tenant.rent(rent(command)).await
    }
}

fn share() -> Share {
    Share {
        resources: Resources { cpu_millis: 1_000, memory: 256 * MIB, disk: 64 * MIB },
        prices: Prices { mode: Mode::Rent, currency: EUR, core: 3_600_000, memory_gib: 0, disk_gib: 0 },
        terms: Terms {
            longest: Span::hours(1),
            tick: Span::seconds(1),
            sign_within: Span::seconds(5),
            grace: Span::seconds(10),
            credit: 1_000_000,
            fetch_within: Span::seconds(30),
            start_within: Span::seconds(10),
            renewal: RenewalTerms::Automatic { longest: Span::hours(1) },
            notice: None,
            network_rate: 0,
            io_rate: 0,
        },
        audience: Audience::Everyone,
        network: NetworkPolicy::None,
        devices: Vec::new(),
        region: "EU".into(),
    }
}

fn rent(command: &[&str]) -> Rent {
    Rent {
        image: "busybox".into(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        env: vec!["GREETING=hello".into()],
        resources: ASKED,
        term: Span::minutes(1),
        cap: Some(model::Rate::hourly("2 EUR".parse().expect("an amount"))),
        mode: None,
        host: None,
        min_trust: 0,
        volumes: Vec::new(),
        devices: Vec::new(),
        secrets: Vec::new(),
        ports: Vec::new(),
        network: NetworkPolicy::None,
        options: model::document::RunOptions::default(),
    }
}

/// Sees nothing: whoever runs the tests may be on battery.
fn blind() -> Eyes {
    Eyes::new(|_| Vec::new())
}

async fn start(dir: &Path, name: &str) -> NodeHandle {
    start_with(dir, name, blind()).await
}

async fn start_with(dir: &Path, name: &str, eyes: Eyes) -> NodeHandle {
    let mut config = Config { eyes, ..Config::new(dir.join(name)) };
    config.name = name.to_owned();
    config.mdns = false;
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".into(), "/ip4/127.0.0.1/udp/0/quic-v1".into()];
    node::start(config).await.expect("a node")
}

async fn meet(tenant: &NodeHandle, host: &NodeHandle) {
    let mut events = tenant.events();
    let address = host.net().addresses().await.into_iter().next().expect("an address");
    tenant.net().dial(&address).await.expect("a connection");
    while tenant.look(|core| core.engine().book().standing(core.now()).count()).await.expect("a look") == 0 {
        events.recv().await.expect("an event");
    }
}

/// An image of nothing but Debian's static busybox.
async fn busybox(node: &NodeHandle, dir: &Path) {
    busybox_that_ends_by(node, dir, None).await;
}

/// The same, asked to end by this signal.
async fn busybox_that_ends_by(node: &NodeHandle, dir: &Path, stop_signal: Option<String>) {
    busybox_with(node, dir, BuildSpec { stop_signal, ..BuildSpec::default() }).await;
}

/// The same, with whatever else it says.
async fn busybox_with(node: &NodeHandle, dir: &Path, spec: BuildSpec) {
    let folder = dir.join("busybox/bin");
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy("/bin/busybox", folder.join("busybox")).expect("busybox-static is installed");
    fs::set_permissions(folder.join("busybox"), fs::Permissions::from_mode(0o755)).expect("a mode");
    for applet in ["sh", "echo", "sleep", "httpd"] {
        let _ = std::os::unix::fs::symlink("busybox", folder.join(applet));
    }
    let spec = BuildSpec { dir: dir.join("busybox"), name: Some("busybox".into()), ..spec };
    node.images().build(spec).await.expect("an image");
}

async fn until(node: &NodeHandle, lease: Id<Lease>, reached: fn(&Phase) -> bool) -> Phase {
    let mut events = node.events();
    loop {
        let phase = node
            .look(move |core| core.engine().state().lease.get(lease).map(|lease| lease.phase))
            .await
            .expect("a look");
        if let Some(phase) = phase.filter(reached) {
            return phase;
        }
        // Something may have been missed: look again.
        let _ = timeout(Duration::from_secs(1), events.recv()).await;
    }
}

async fn receipt(node: &NodeHandle, lease: Id<Lease>) -> Option<model::Receipt> {
    node.look(move |core| core.engine().state().lease.get(lease).and_then(|lease| lease.receipt.clone()))
        .await
        .expect("a look")
}

async fn last_receipt(node: &NodeHandle, lease: Id<Lease>) -> model::Receipt {
    loop {
        if let Some(receipt) = receipt(node, lease).await.filter(|receipt| receipt.last) {
            return receipt;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_guest_s_whole_life() {
    let pair = Pair::meet().await;
    let lease = pair.run(&["sh", "-c", "echo $GREETING; sleep 2.5; exit 3"]).await.expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    assert_eq!(printed(&pair.tenant, lease).await, "hello\n");
    let ended = until(&pair.tenant, lease, Phase::is_ended).await;
    assert_eq!(ended, Phase::Ended(EndReason::Exited { code: 3 }));

    let (here, there) = (last_receipt(&pair.tenant, lease).await, last_receipt(&pair.host, lease).await);
    assert_eq!(here, there);
    assert!(here.number >= 3, "two ticks and the last: {}", here.number);
    let seconds = here.usage.billed().0;
    assert!((2_400..4_500).contains(&seconds), "{seconds} ms were billed");
    // Half a core at 3.6 EUR a core-hour is 500 millionths a second.
    assert_eq!(here.amount.micros, i64::try_from(seconds / 2).expect("small"));

    let owed = |node: &NodeHandle, person| {
        let node = node.clone();
        async move {
            node.look(move |core| core.engine().state().ledger.balance(Account::Person(person), EUR))
                .await
                .expect("a look")
        }
    };
    let (host, tenant) = (pair.host.identity().party().person, pair.tenant.identity().party().person);
    assert_eq!(owed(&pair.host, tenant).await, here.amount);
    assert_eq!(owed(&pair.tenant, host).await, here.amount.negated().expect("small"));

    let before = trust(&pair.tenant, host).await;
    pair.tenant.rate(lease, [5, 5, 5], "quick".into()).await.expect("rated");
    pair.host.rate(lease, [5, 4, 5], String::new()).await.expect("rated");
    assert!(trust(&pair.tenant, host).await > before);
    let mut events = pair.host.events();
    while rated_by_both(&pair.host, lease).await < 2 {
        let _ = timeout(Duration::from_secs(1), events.recv()).await;
    }
    let again = pair.tenant.rate(lease, [1, 1, 1], String::new()).await.expect_err("once is enough");
    assert_eq!(again.code(), "rated_already");
}

/// All that a guest prints until its end.
async fn printed(node: &NodeHandle, lease: Id<Lease>) -> String {
    let mut logs = node.logs(lease, LogWish { follow: true, ..LogWish::default() }).await.expect("output");
    let mut printed = Vec::new();
    while let Some(piece) = logs.next().await.expect("a piece") {
        printed.extend(piece);
    }
    String::from_utf8(printed).expect("text")
}

async fn trust(node: &NodeHandle, person: model::PersonId) -> u32 {
    node.look(move |core| core.engine().state().reputation.score(person).trust()).await.expect("a look")
}

async fn rated_by_both(node: &NodeHandle, lease: Id<Lease>) -> usize {
    node.look(move |core| core.engine().state().lease.get(lease).map_or(0, |lease| lease.ratings.len()))
        .await
        .expect("a look")
}

async fn a_tenant_reaches_a_port_and_stops() {
    let pair = Pair::meet().await;
    let serve = "busybox mkdir -p /www; echo inside > /www/index.html; httpd -f -p 8080 -h /www";
    let lease = pair
        .tenant
        .rent(Rent {
            ports: vec![Port { local: 0, guest: 8080, protocol: Protocol::Tcp }],
            ..rent(&["sh", "-c", serve])
        })
        .await
        .expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    let port = pair.tenant.forwards().first().expect("a port").port.local;
    let answer = loop {
        if let Some(answer) = get(port).await {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(answer.ends_with("inside\n"), "{answer}");
    pair.tenant.stop(lease).await.expect("stopped");
    let ended = until(&pair.tenant, lease, Phase::is_ended).await;
    assert_eq!(ended, Phase::Ended(EndReason::TenantStopped));
    until(&pair.host, lease, Phase::is_ended).await;
    let sides = pair
        .host
        .look(move |core| {
            core.engine().state().lease.get(lease).map(|lease| lease.ends.contains_key(&Side::Tenant))
        })
        .await;
    assert_eq!(sides.expect("a look"), Some(true));
    while !pair.tenant.forwards().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(get(port).await.is_none(), "nothing listens after the end");
}

async fn a_tenant_s_datagrams_reach_a_port() {
    let pair = Pair::meet().await;
    perl(&pair.tenant, pair.dir.path()).await;
    // Two servers: one on each of the two loopback addresses.
    let serve = "$p = fork; socket(S, $p ? 2 : 10, 2, 0) || die; \
                 bind(S, $p ? pack('S n C4 x8', 2, 5353, 127, 0, 0, 1) : pack('S n N x15 C N', 10, 5454, 0, 1, 0)) || die; \
                 while (defined($from = recv(S, $said, 65535, 0))) { send(S, \"heard $said\", 0, $from) }";
    let udp = |guest| Port { local: 0, guest, protocol: Protocol::Udp };
    let wish = Rent {
        image: "perl".into(),
        ports: vec![udp(5353), udp(5454)],
        ..rent(&["/usr/bin/perl", "-e", serve])
    };
    let lease = pair.tenant.rent(wish).await.expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    let large = "x".repeat(20_000);
    for forward in pair.tenant.forwards() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket.connect(("127.0.0.1", forward.port.local)).await.expect("connected");
        for said in ["hello", "", &large] {
            assert_eq!(ask(&socket, said).await, format!("heard {said}"), "{forward:?}");
        }
        let second = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        second.connect(("127.0.0.1", forward.port.local)).await.expect("connected");
        assert_eq!(ask(&second, "another program").await, "heard another program");
    }
    let unnamed = pair.tenant.forward(lease, udp(9)).await.expect_err("a port that the lease does not name");
    assert_eq!(unnamed.code(), "wrong_phase");
    let tcp = Port { protocol: Protocol::Tcp, ..udp(5353) };
    assert!(pair.tenant.forward(lease, tcp).await.is_err(), "a UDP port is no TCP port");
    pair.tenant.stop(lease).await.expect("stopped");
    until(&pair.tenant, lease, Phase::is_ended).await;
}

/// Says something until it is answered: datagrams may be lost, and the guest may not listen yet.
async fn ask(socket: &UdpSocket, said: &str) -> String {
    let mut answer = vec![0; 65_535];
    loop {
        socket.send(said.as_bytes()).await.expect("sent");
        let came = timeout(Duration::from_millis(500), socket.recv(&mut answer)).await;
        // What was answered twice is heard twice.
        if let Ok(Ok(length)) = came
            && length == said.len() + "heard ".len()
        {
            return String::from_utf8_lossy(&answer[..length]).into_owned();
        }
    }
}

/// An image with perl, which every Debian has, and which speaks UDP.
async fn perl(node: &NodeHandle, dir: &Path) {
    let root = dir.join("perl");
    let needed = std::process::Command::new("ldd").arg("/usr/bin/perl").output().expect("perl is installed");
    let needed = String::from_utf8(needed.stdout).expect("text");
    let files = needed.split_whitespace().filter(|word| word.starts_with('/'));
    for file in files.chain(["/usr/bin/perl"]) {
        let copy = root.join(&file[1..]);
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        fs::copy(file, &copy).expect("a copy");
    }
    let spec = BuildSpec { dir: root, name: Some("perl".into()), ..BuildSpec::default() };
    node.images().build(spec).await.expect("an image");
}

async fn get(port: u16) -> Option<String> {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    (!answer.is_empty()).then_some(answer)
}

/// Three nodes: a tenant, its host, and a neighbour of the host who has the image too.
async fn an_image_comes_from_whoever_has_it() {
    let pair = Pair::meet().await;
    let neighbour = start(pair.dir.path(), "neighbour").await;
    busybox(&neighbour, &pair.dir.path().join("copy")).await;
    let address = neighbour.net().addresses().await.into_iter().next().expect("an address");
    pair.host.net().dial(&address).await.expect("a connection");
    let image = pair.tenant.images().resolve("busybox").expect("asked").expect("it is here").digest;
    let wanted = model::document::want(
        &model::ImageDigest(*image.as_bytes()),
        pair.host.net().me(),
        neighbour.net().me(),
    );
    let head = model::message::StreamHead::Pieces { lease: None, want: wanted };

    // An image that is not open is not here, for all that a neighbour can tell.
    let closed = pair.host.net().open(neighbour.net().me(), head.clone()).await;
    let missing = model::message::StreamAnswer::Missing;
    assert!(matches!(closed, Err(net::NetError::Refused { answer, .. }) if answer == missing), "{closed:?}");
    neighbour.images().set_open(&image, true).expect("noted");
    pair.host.net().open(neighbour.net().me(), head.clone()).await.expect("now it is");
    // What one peer may want is of no use to another.
    let other = pair.tenant.net().dial(&address).await.expect("a connection");
    let borrowed = pair.tenant.net().open(other, head).await;
    assert!(matches!(borrowed, Err(net::NetError::Refused { .. })), "{borrowed:?}");

    // The tenant has lost the image's layers after the deal was prepared: the neighbour has them.
    pair.tenant.images().set_open(&image, true).expect("noted");
    pair.tenant.images().pieces(&image).expect("a list");
    let blobs = pair.tenant.images().root().join("blobs/sha256");
    for part in pair.tenant.images().parts(&image).expect("parts") {
        fs::remove_file(blobs.join(part.digest.hex())).expect("it was here");
    }
    let lease = pair.run(&["sh", "-c", "exit 5"]).await.expect("a lease");
    let ended = until(&pair.host, lease, Phase::is_ended).await;
    assert_eq!(ended, Phase::Ended(EndReason::Exited { code: 5 }), "{}", detail(&pair.host, lease).await);
    // It has no name on the host: names there are its owner's.
    let came = pair.host.images().resolve(&image.to_string()).expect("asked").expect("it is here");
    assert!(came.names.is_empty());
    assert_eq!(pair.host.images().note(&image).came_as, "busybox:latest");
}

/// An encrypted volume: written by one guest, kept and paid for, copied out and in, taken up by another, removed.
async fn a_volume_outlives_its_lease() {
    if let Err(why) = machine::volume::Volumes::possible() {
        assert!(!is_root(), "{why}");
        return eprintln!("not tried: {why}");
    }
    let Pair { dir, host, tenant } = Pair::meet().await;
    let mut dear = share();
    dear.prices.disk_gib = 1_024_000_000;
    host.share(Some(dear)).await.expect("shared");
    let encrypted = machine::volume::Volumes::can_encrypt();
    let volume = model::Volume {
        name: "db".into(),
        path: "/srv/db".into(),
        size: 16 * MIB,
        read_only: false,
        encrypted,
        snapshots: 1,
        keep: Span::seconds(20),
    };
    let resources = Resources { disk: 40 * MIB, ..ASKED };
    let wish = |script: &str| Rent {
        volumes: vec![volume.clone()],
        devices: Vec::new(),
        resources,
        cap: None,
        ..rent(&["sh", "-c", script])
    };
    // Prices of yesterday's offer are not found any more: wait for the new one.
    let mut events = tenant.events();
    let first = loop {
        match tenant.rent(wish("echo one > /srv/db/x; sleep 0.2")).await {
            Ok(lease) => break lease,
            Err(Error::Denied { .. } | Error::Refused(_)) => drop(events.recv().await),
            Err(error) => panic!("{error}"),
        }
    };
    let ended = until(&tenant, first, Phase::is_ended).await;
    assert_eq!(ended, Phase::Ended(EndReason::Exited { code: 0 }), "{}", detail(&tenant, first).await);
    let last = last_receipt(&tenant, first).await;
    let keeping =
        tenant.look(move |core| core.engine().state().lease.get(first).and_then(|l| l.contract.keeping));
    // 32 MiB at 1024 EUR a GiB-hour for 20 s.
    assert_eq!(keeping.await.expect("a look").expect("it is kept").micros, 177_777);
    assert!(last.amount.micros > 177_777, "{}", last.amount);
    last_receipt(&host, first).await;
    let free = |node: &NodeHandle| {
        let node = node.clone();
        async move {
            let look = node.look(|core| {
                let state = core.engine().state();
                engine::capacity::promised(&state.lease, core.now()).disk
            });
            look.await.expect("a look")
        }
    };
    assert_eq!(free(&host).await, 32 * MIB, "what is kept is not lent twice");

    let state = tenant.volume(first, "db").await.expect("the host says");
    assert_eq!((state.size, state.encrypted, state.in_use), (16 * MIB, encrypted, false));
    tenant.snapshot_volume(first, "db", "monday".into()).await.expect("kept");
    let again = tenant.snapshot_volume(first, "db", "tuesday".into()).await.expect_err("one was rented");
    assert!(again.to_string().contains("1 snapshots of db were rented"), "{again}");
    let archive = dir.path().join("db.tar");
    let size = tenant.export_volume(first, "db", None, &archive, |_| {}).await.expect("copied out");
    assert_eq!(fs::metadata(&archive).expect("a file").len(), size);
    let strange = host.volume(first, "db").await.expect_err("it is the tenant's");
    assert_eq!(strange.code(), "volume");

    // The host starts again, and another guest finds the volume, over whose files the tenant has laid the archive.
    host.shut_down().await;
    drop(host);
    let host = start(dir.path(), "host").await;
    meet_again(&tenant, &host).await;
    tenant.import_volume(first, "db", &archive, |_| {}).await.expect("copied in");
    let second = loop {
        match tenant.rent(wish("cat /srv/db/x && sleep 30")).await {
            Ok(lease) => break lease,
            Err(error) => assert!(
                matches!(error.code(), "no_offer" | "network" | "no_answer" | "unknown_offer"),
                "{error}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    until(&tenant, second, Phase::is_live).await;
    let mut logs = tenant.logs(second, LogWish { follow: true, ..LogWish::default() }).await.expect("output");
    assert_eq!(logs.next().await.expect("a piece").expect("something").as_ref(), b"one\n");
    let busy = tenant.remove_volume(second, "db", None).await.expect_err("a guest has it");
    assert!(busy.to_string().contains("in use"), "{busy}");
    let twice = tenant.rent(wish("true")).await.expect_err("one guest at a time");
    assert_eq!(twice.code(), "volume_in_use");
    tenant.stop(second).await.expect("stopped");
    until(&host, second, Phase::is_ended).await;
    tenant.remove_volume(second, "db", None).await.expect("removed");
    assert!(tenant.volume(second, "db").await.is_err());
    assert!(host.hosted_volumes().await.expect("listed").is_empty());
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

async fn a_price_above_the_cap_is_no_deal() {
    let pair = Pair::meet().await;
    let cap = Some(model::Rate::hourly("0.10 EUR".parse().expect("an amount")));
    let error = pair.tenant.rent(Rent { cap, ..rent(&["echo"]) }).await.expect_err("too dear");
    assert!(matches!(error, Error::NoOffer { looked_at: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("raise the cap"), "{error}");
    assert_eq!(pair.host.look(|core| core.engine().state().lease.all().count()).await.expect("a look"), 0);
}

async fn a_command_that_is_not_there_is_the_tenant_s_fault() {
    let pair = Pair::meet().await;
    let lease = pair.run(&["/bin/nothing"]).await.expect("a lease");
    assert_eq!(until(&pair.tenant, lease, Phase::is_ended).await, Phase::Ended(EndReason::BadWorkload));
    assert!(receipt(&pair.tenant, lease).await.is_none(), "nothing ran, so nothing is owed");
    assert!(detail(&pair.tenant, lease).await.contains("/bin/nothing"));
}

async fn detail(node: &NodeHandle, lease: Id<Lease>) -> String {
    let detail =
        node.look(move |core| core.engine().state().lease.get(lease).map(|lease| lease.detail.clone()));
    detail.await.expect("a look").expect("a lease")
}

async fn a_host_that_starts_again_takes_its_guest_up() {
    let pair = Pair::meet().await;
    let lease = pair.run(&["sh", "-c", "sleep 4; exit 7"]).await.expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    let Pair { dir, host, tenant } = pair;
    host.shut_down().await;
    drop(host);
    let (snapshot, head) = kept(&dir.path().join("host")).await;
    assert_eq!(snapshot, Some(head), "who stops cleanly need not read its record again");
    let host = start(dir.path(), "host").await;
    meet_again(&tenant, &host).await;
    let ended = until(&host, lease, Phase::is_ended).await;
    assert_eq!(ended, Phase::Ended(EndReason::Exited { code: 7 }), "{}", detail(&host, lease).await);
    assert_eq!(until(&tenant, lease, Phase::is_ended).await, Phase::Ended(EndReason::Exited { code: 7 }));
    assert_eq!(last_receipt(&tenant, lease).await, last_receipt(&host, lease).await);
}

/// The last record in a snapshot, and the last of all, of a node that was stopped.
async fn kept(data: &Path) -> (Option<u64>, u64) {
    let store = loop {
        // Tasks of the node that end may hold it for a moment more.
        match Store::open(data) {
            Ok(store) => break store,
            Err(StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let snapshot = store.latest_snapshot(SNAPSHOT_VERSION).expect("it can be read");
    (snapshot.map(|(seq, _)| seq), store.head())
}

async fn meet_again(tenant: &NodeHandle, host: &NodeHandle) {
    let address = host.net().addresses().await.into_iter().next().expect("an address");
    // The host calls its tenant as soon as it is up: when both call at once from the ports they listen on, both calls fail.
    while tenant.net().dial(&address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_taken_port_is_named_before_anything_is_agreed() {
    let pair = Pair::meet().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let error = pair
        .tenant
        .rent(Rent {
            ports: vec![Port { local: port, guest: 80, protocol: Protocol::Tcp }],
            ..rent(&["echo"])
        })
        .await
        .expect_err("taken");
    assert!(matches!(error, Error::Port { port: named, .. } if named == port), "{error:?}");
    assert_eq!(pair.host.look(|core| core.engine().state().lease.all().count()).await.expect("a look"), 0);
}
