//! From start to exit of `true`: our guest, a bare `crun run` of the same bundle, and `podman run`, in turns, so that
//! other work on the machine hits all alike. Needs root, crun, busybox; podman where it is installed.
//!
//! `cargo bench -p sublet-machine --bench guest_start -- [--json] [--runs N]`

#![allow(clippy::print_stdout)] // its purpose

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sublet_machine::guest::{Grace, GuestEvent, GuestId, GuestSpec, Guests, Limits, Settings, supervise};
use sublet_machine::network::{Internet, Network};
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
    write_bundle(&guests, &image, dir.path()).await?;
    events.recv().await;

    let mut crun = Lapped::new(&[
        "crun",
        "--cgroup-manager=disabled",
        "--root",
        path_text(&dir.path().join("state"))?,
        "run",
        "--bundle",
        path_text(dir.path())?,
        "bare",
    ])?;
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let podman_run = ["podman", "run", "--rm", "--cgroups=disabled", "--network=none"];
    let podman_what = ["--rootfs", path_text(&image)?, "/bin/true"];
    let mut podman = match Command::new("podman").arg("--version").output() {
        Ok(_) => Some(Lapped::new(&[&podman_run[..], &limits, &podman_what].concat())?),
        Err(_) => None,
    };

    let (mut ours, mut bare, mut engine) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..WARM_UP + runs {
        let own = one_guest(&guests, &mut events, &image).await?;
        let crun = crun.lap()?;
        let podman = podman.as_mut().map(Lapped::lap).transpose()?;
        if turn >= WARM_UP {
            ours.push(own);
            bare.push(crun);
            engine.extend(podman);
        }
    }
    report(arguments.iter().any(|word| word == "--json"), ours, bare, engine);
    Ok(())
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

fn report(as_json: bool, mut ours: Vec<Duration>, mut bare: Vec<Duration>, mut podman: Vec<Duration>) {
    let runs = ours.len();
    let p50 = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1000.0)
    };
    let (Some(ours), Some(bare)) = (p50(&mut ours), p50(&mut bare)) else { return };
    let podman = p50(&mut podman);
    let facts = json!({
        "bench": "guest_start", "runs": runs, "unit": "ms p50, start to exit of true",
        "sublet": ours, "crun": bare, "podman": podman,
        "sublet_over_crun": ours / bare, "podman_over_sublet": podman.map(|podman| podman / ours),
    });
    if as_json {
        println!("{facts}");
        return;
    }
    println!("start to exit of `true`, p50 of {runs} runs in turns");
    println!("  sublet {ours:7.1} ms");
    println!("  crun   {bare:7.1} ms   sublet takes {:.2} x as long", ours / bare);
    if let Some(podman) = podman {
        println!("  podman {podman:7.1} ms   {:.1} x as long as sublet", podman / ours);
    }
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
        let script = "mount -t tmpfs tmpfs /sys/fs/cgroup && exec \"$0\" laps \"$@\"";
        let mut process = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script])
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
    for tool in ["true", "sleep"] {
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
        },
        network: Network::default(),
        grace: Grace::default(),
        run: Settings::default(),
    })
}

fn path_text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| "a path that is not text".into())
}
