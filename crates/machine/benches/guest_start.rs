//! From start to exit of `true`: our guest, by crun and on a kernel of its own, a bare `crun run`, `runc run` and `runsc run`
//! of the same bundle, `podman run` and `docker run`, in turns, so that other work on the machine hits all alike. Then fifty guests at once, how long freezing takes, and the
//! whole isolation test. Needs root, crun, busybox; runc, runsc and podman where they are installed, docker where it runs.
//!
//! `cargo bench -p sublet-machine --bench guest_start -- [--json] [--runs N] [--disk]`, the last for a guest whose disk is
//! not in memory

#![allow(clippy::print_stdout)] // its purpose

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sublet_machine::guest::{
    Grace, GuestEvent, GuestId, GuestSpec, Guests, Limits, Runtime, Settings, Writable, supervise,
};
use sublet_machine::network::{Internet, Network};
use sublet_machine::selftest::{Report, Setup, isolation};
use tokio::sync::mpsc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The first turns fill caches.
const WARM_UP: usize = 3;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("supervise") => supervise(),
        Some("laps") => laps(&arguments[1..]),
        _ => tokio::runtime::Runtime::new()?.block_on(compare(&arguments)),
    }
}

async fn compare(arguments: &[String]) -> Outcome<()> {
    let runs = arguments.iter().skip_while(|word| *word != "--runs").nth(1).map_or(Ok(30), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let image = dir.path().join("image");
    make_image(&image)?;
    let (sender, mut events) = mpsc::channel(16);
    let supervisor = ["/proc/self/exe", "supervise"].map(Into::into).to_vec();
    let guests = Guests::open(dir.path().join("guests"), supervisor, sender, Arc::new(Internet::default()))?;
    let on_disk = arguments.iter().any(|word| word == "--disk");
    let guests = if on_disk { guests.with_writable(Writable::Disk) } else { guests };
    write_bundle(&guests, &image, dir.path()).await?;
    events.recv().await;

    let mut kernels = own_kernel(dir.path())?;
    let (state, bundle) = (dir.path().join("state"), dir.path());
    let bare = |program: &str, own: &[&str], name| {
        let (state, bundle) = (state.join(program), path_text(bundle)?);
        let words = ["--root", path_text(&state)?, "run", "--bundle", bundle, name];
        Lapped::new(&[&[program], own, &words].concat())
    };
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let podman = ["podman", "run", "--rm", "--cgroups=disabled", "--network=none"];
    let podman_what = ["--rootfs", path_text(&image)?, "/bin/true"];
    let docker = ["docker", "run", "--rm", "--network=none", "--cap-drop=ALL", "--read-only"];
    let docker_what = [DOCKER_IMAGE, "/bin/true"];
    let mut rivals = vec![("crun", bare("crun", &["--cgroup-manager=disabled"], "bare")?)];
    if answers("runc", &["--version"]) {
        rivals.push(("runc", bare("runc", &["--rootless=true"], "barer")?));
    }
    if answers("runsc", &["--version"]) {
        rivals.push(("runsc", bare("runsc", &["--ignore-cgroups", "--network=none"], "barest")?));
    }
    if answers("podman", &["--version"]) {
        rivals.push(("podman", Lapped::new(&[&podman[..], &limits, &podman_what].concat())?));
    }
    // Only where its daemon runs.
    if answers("docker", &["info"]) {
        import_into_docker(&image)?;
        rivals.push(("docker", Lapped::new(&[&docker[..], &limits, &docker_what].concat())?));
    }

    let mut times = Times::default();
    for turn in 0..WARM_UP + runs {
        let mut lap = vec![("sublet", one_guest(&guests, &mut events, &image).await?)];
        if let Some((guests, events)) = &mut kernels {
            lap.push(("sublet_runsc", one_guest(guests, events, &image).await?));
        }
        for (name, rival) in &mut rivals {
            lap.push((name, rival.lap()?));
        }
        if turn >= WARM_UP {
            lap.into_iter().for_each(|(name, took)| times.entry(name).or_default().push(took));
        }
    }
    let crowd = crowd(&guests, &mut events, &image).await?;
    let freezing = freezing(&guests, &image).await?;
    let setup = Setup {
        dir: dir.path().join("isolation"),
        supervisor: ["/proc/self/exe", "supervise"].map(Into::into).to_vec(),
        runtime: None,
        only: String::new(),
    };
    let suite = isolation(setup, |_| {}).await?;
    report(arguments.iter().any(|word| word == "--json"), times, crowd, freezing, &suite);
    Ok(())
}

/// By what was timed.
type Times = BTreeMap<&'static str, Vec<Duration>>;

/// Our guests on a kernel of their own, where there is what brings one.
fn own_kernel(dir: &Path) -> Outcome<Option<(Guests, mpsc::Receiver<GuestEvent>)>> {
    let Some(runtime) = Runtime::named("runsc") else { return Ok(None) };
    let (sender, events) = mpsc::channel(16);
    let supervisor = ["/proc/self/exe", "supervise"].map(Into::into).to_vec();
    let guests = Guests::open(dir.join("kernels"), supervisor, sender, Arc::new(Internet::default()))?;
    Ok(Some((guests.with_runtime(runtime), events)))
}

fn answers(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).output().is_ok_and(|done| done.status.success())
}

const DOCKER_IMAGE: &str = "sublet-bench:latest";

fn import_into_docker(image: &Path) -> Outcome<()> {
    let mut tar =
        Command::new("tar").arg("-C").arg(image).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
    let archive = tar.stdout.take().ok_or("no pipe")?;
    let done = Command::new("docker").args(["import", "-", DOCKER_IMAGE]).stdin(archive).output()?;
    tar.wait()?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into()) }
}

/// Fifty guests at once: how many did not start, and when the last one ran.
async fn crowd(
    guests: &Guests,
    events: &mut mpsc::Receiver<GuestEvent>,
    image: &Path,
) -> Outcome<(usize, Duration)> {
    let specs: Vec<GuestSpec> = (0..50).map(|_| spec(image, "sleep 600")).collect::<Outcome<_>>()?;
    let begun = Instant::now();
    let started = futures::future::join_all(specs.iter().map(|spec| guests.start(spec))).await;
    let took = begun.elapsed();
    for spec in &specs {
        guests.stop(spec.id, Duration::ZERO).await?;
        events.recv().await;
        guests.remove(spec.id).await?;
    }
    Ok((started.iter().filter(|one| one.is_err()).count(), took))
}

/// From the wish to freeze a busy guest until it uses no more processor time. It is looked at afterwards.
async fn freezing(guests: &Guests, image: &Path) -> Outcome<Vec<Duration>> {
    let spec = spec(image, "yes")?;
    guests.start(&spec).await?;
    let mut times = Vec::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begun = Instant::now();
        guests.freeze(spec.id).await?;
        times.push(begun.elapsed());
        let before = guests.usage(spec.id).await?.cpu_ms;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if guests.usage(spec.id).await?.cpu_ms != before {
            return Err("a frozen guest used processor time".into());
        }
        guests.thaw(spec.id).await?;
    }
    guests.stop(spec.id, Duration::ZERO).await?;
    guests.remove(spec.id).await?;
    times.sort_unstable();
    Ok(times)
}

async fn one_guest(
    guests: &Guests,
    events: &mut mpsc::Receiver<GuestEvent>,
    image: &Path,
) -> Outcome<Duration> {
    let spec = spec(image, "true")?;
    let started = Instant::now();
    guests.start(&spec).await?;
    let event = events.recv().await;
    let took = started.elapsed();
    if event != Some(GuestEvent::Exited { id: spec.id, code: 0 }) {
        return Err(format!("the guest did not end well: {event:?}").into());
    }
    guests.remove(spec.id).await?;
    Ok(took)
}

fn report(
    as_json: bool,
    times: Times,
    (not_started, crowd): (usize, Duration),
    freezing: Vec<Duration>,
    suite: &Report,
) {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let p50 = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).map(|time| millis(*time))
    };
    let runs = times.get("sublet").map_or(0, Vec::len);
    let medians: BTreeMap<&str, f64> =
        times.into_iter().filter_map(|(name, times)| Some((name, p50(times)?))).collect();
    let (Some(ours), Some(crun)) = (medians.get("sublet"), medians.get("crun")) else { return };
    let p99 = freezing.get(freezing.len() * 99 / 100).map_or(0.0, |time| millis(*time));
    let mut facts = json!({
        "bench": "guest_start", "runs": runs, "unit": "ms p50, start to exit of true",
        "sublet_over_crun": ours / crun,
        "podman_over_sublet": medians.get("podman").map(|podman| podman / ours),
        "fifty_at_once": { "not_started": not_started, "all_run_after_ms": millis(crowd) },
        "freeze_p99_ms": p99,
        "isolation": { "passed": suite.passed(), "failed": suite.failed().count(), "ms": suite.milliseconds },
    });
    for (name, median) in &medians {
        facts[name] = json!(median);
    }
    if as_json {
        println!("{facts}");
        return;
    }
    println!("start to exit of `true`, p50 of {runs} runs in turns");
    for (name, median) in &medians {
        println!("  {name:12} {median:7.1} ms   {:.2} x a bare crun", median / crun);
    }
    println!("fifty guests at once: {not_started} did not start; all ran after {:.0} ms", millis(crowd));
    println!("freezing a busy guest, p99 of {}: {p99:.1} ms", freezing.len());
    println!("isolation test: {} of {} held, {} ms", suite.passed(), suite.probes.len(), suite.milliseconds);
}

/// A program that runs a command whenever it is told to, and says how long that took. It stands where no control groups
/// can be seen: crun refuses to run where both versions of them are mounted.
struct Lapped {
    _process: Child,
    orders: ChildStdin,
    times: BufReader<ChildStdout>,
}

impl Lapped {
    fn new(command: &[&str]) -> Outcome<Lapped> {
        // runc refuses where it sees no control groups at all, and crun where it sees both versions.
        let hide = if command[0] == "runc" { "true" } else { "mount -t tmpfs tmpfs /sys/fs/cgroup" };
        let script = format!("{hide} && exec \"$0\" laps \"$@\"");
        let mut process = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .arg(std::env::current_exe()?)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().ok_or("no pipe")?;
        let times = BufReader::new(process.stdout.take().ok_or("no pipe")?);
        Ok(Lapped { _process: process, orders, times })
    }

    fn lap(&mut self) -> Outcome<Duration> {
        writeln!(self.orders, "go")?;
        let mut line = String::new();
        self.times.read_line(&mut line)?;
        Ok(Duration::from_nanos(line.trim().parse()?))
    }
}

/// The other side of [`Lapped`].
fn laps(command: &[String]) -> Outcome<()> {
    for order in std::io::stdin().lines() {
        order?;
        let started = Instant::now();
        let done = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output()?;
        let took = started.elapsed();
        if !done.status.success() {
            return Err(format!("{}: {}", command[0], String::from_utf8_lossy(&done.stderr)).into());
        }
        println!("{}", took.as_nanos());
    }
    Ok(())
}

/// What the runtime gets from us, made complete: the ids of the inner namespace instead of the outer one's, a network
/// namespace of its own, and the image itself as root.
async fn write_bundle(guests: &Guests, image: &Path, bundle: &Path) -> Outcome<()> {
    let spec = spec(image, "sleep 600")?;
    guests.start(&spec).await?;
    let groups = ["/sys/fs/cgroup/pids/sublet", "/sys/fs/cgroup/sublet"].map(PathBuf::from);
    let group = groups.iter().map(|group| group.join(spec.id.to_string())).find(|group| group.exists());
    let processes = fs::read_to_string(group.ok_or("no control group")?.join("cgroup.procs"))?;
    let first = processes.lines().next().ok_or("no process")?;
    let mut config: Value =
        serde_json::from_slice(&fs::read(format!("/proc/{first}/root/mnt/config.json"))?)?;
    guests.stop(spec.id, Duration::ZERO).await?;

    config["process"]["args"] = json!(["true"]);
    config["root"]["path"] = json!(image);
    for map in ["uidMappings", "gidMappings"] {
        config["linux"][map][0]["hostID"] = json!(0x5000_0000);
    }
    let namespaces = config["linux"]["namespaces"].as_array_mut().ok_or("no namespaces")?;
    namespaces.push(json!({ "type": "network" }));
    fs::write(bundle.join("config.json"), config.to_string())?;
    // The bundle's ids are nobody's: they must be able to look in.
    for dir in [bundle, image] {
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

fn make_image(image: &Path) -> Outcome<()> {
    for dir in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(image.join(dir))?;
    }
    fs::copy("/bin/busybox", image.join("bin/busybox"))?;
    for tool in ["true", "sleep", "yes"] {
        symlink("busybox", image.join("bin").join(tool))?;
    }
    Ok(())
}

fn spec(image: &Path, command: &str) -> Outcome<GuestSpec> {
    let mut id = [0; 32];
    getrandom::fill(&mut id)?;
    Ok(GuestSpec {
        id: GuestId::new(id),
        layers: vec![image.to_owned()],
        args: command.split(' ').map(String::from).collect(),
        env: vec![],
        cwd: "/".into(),
        user: String::new(),
        hostname: "guest".into(),
        limits: Limits {
            cpu_millis: 2000,
            memory: 256 << 20,
            disk: 64 << 20,
            inodes: 4096,
            pids: 64,
            open_files: 1024,
            log_bytes: 1 << 20,
            io_rate: 0,
        },
        network: Network::default(),
        mounts: Vec::new(),
        devices: Default::default(),
        secrets: Vec::new(),
        grace: Grace::default(),
        run: Settings::default(),
    })
}

fn path_text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| "a path that is not text".into())
}
