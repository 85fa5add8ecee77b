//! Whether the sandbox of this machine holds: a hostile guest of our own is run in it, by the same road as every guest,
//! and tries to get out, to look out, and to take more than it was given.
//!
//! What only the machine can see (memory, processor time, the log's size, what is left behind) is judged here; the rest
//! the guest says itself, since it is ours.

mod bait;
mod messages;
mod report;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Feature;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::mpsc;

use self::bait::Bait;
pub use self::report::{Report, Tried};
use crate::guest::{
    Grace, GuestError, GuestEvent, GuestId, GuestSpec, Guests, Keep, Limits, Runtime, Stream, Tmpfs,
    Writable, remains,
};
use crate::network::{Internet, Network};

/// The hostile guest: crates/machine/hostile, linked statically by build.rs.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile"));

/// All probes together take some fifteen seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Who is in the kernel when its share is used up comes out of it first, and is made to wait for it afterwards.
const CPU_WINDOW: Duration = Duration::from_secs(3);

/// The kernel takes more of a guest's memory for an empty file.
const LEAST_OF_FILE: u64 = 512;

/// How to run it.
pub struct Setup {
    /// A directory of the test's own. It is emptied before and after.
    pub dir: PathBuf,
    /// The command that runs this program as a supervisor, as for [`Guests::open`].
    pub supervisor: Vec<OsString>,
    /// The OCI runtime; the best installed one if none is named.
    pub runtime: Option<Runtime>,
    /// Only probes whose names begin with one of these words, separated by commas; all if empty.
    pub only: String,
}

/// Why it could not be run. A sandbox that does not hold is no error: see [`Report`].
#[derive(Debug, Error)]
pub enum SelftestError {
    /// The guest did not start, or was lost.
    #[error("the hostile guest did not run: {0}")]
    Guest(#[from] GuestError),
    /// Files or sockets of the test.
    #[error("the isolation test could not {doing}: {source}")]
    Prepare {
        /// What.
        doing: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// It ended before its last probe.
    #[error("the hostile guest ended after {0} probes, without a last word")]
    Cut(usize),
    /// It took too long.
    #[error("the hostile guest did not end within {} s", PATIENCE.as_secs())]
    Slow,
}

/// A line of the guest's.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Tried(Tried),
    End { probes: usize },
}

/// Runs the hostile guest. `told` hears of each probe as it is tried. Dropping the future leaves a guest that its grace
/// ends; the next test removes what is left of it.
pub async fn isolation(setup: Setup, mut told: impl FnMut(&Tried)) -> Result<Report, SelftestError> {
    let started = Instant::now();
    let preparing = |doing| move |source| SelftestError::Prepare { doing, source };
    let layer = setup.dir.join("layer");
    let (events_in, mut events) = mpsc::channel(4);
    let guests =
        Guests::open(setup.dir.join("guests"), setup.supervisor, events_in, Arc::new(Internet::default()))?;
    clear(&guests).await?;
    let guests = match &setup.runtime {
        Some(runtime) => guests.with_runtime(runtime.clone()),
        None => guests,
    };
    // Small as the guest's disk is, it is of the kind that larger ones are: there is more to it.
    let guests = guests.with_writable(Writable::here());
    make_layer(&layer).map_err(preparing("make the hostile guest's image"))?;
    let bait = Bait::lay(&setup.dir).map_err(preparing("lay out what the guest must not reach"))?;
    let own_kernel = guests.runtime().is_some_and(Runtime::has_own_kernel);
    let mut spec = spec(&layer, own_kernel);
    spec.args.extend(bait.words());
    let keep = guests.runtime().map_or(Keep { pids: 0, memory: 0 }, Runtime::keep);
    let mut told_of = spec.limits;
    if guests.runtime().is_some_and(|runtime| runtime.without().contains(&Feature::Writing)) {
        // All that there is to write to.
        spec.run.read_only = true;
        spec.run.tmpfs = vec![Tmpfs { path: "/tmp".into(), size: spec.limits.disk }];
        told_of.inodes = Tmpfs::files(spec.limits.disk);
    }
    spec.args.extend(words(&told_of, keep, guests.runtime()));
    let alone = alone(guests.runtime());
    spec.args.push(format!("kernel={}", fs::read_to_string("/proc/version").unwrap_or_default().trim()));
    let together = [format!("only={}", setup.only), format!("without={}", alone.join(","))];

    let mut first = spec.clone();
    first.args.extend(together);
    let (said, peaks) = run(&guests, &first, &mut events, &mut told).await?;
    let mut tried = said.whole()?;
    let mut seen = judge(&guests, &spec, keep, &layer, &peaks).await?;
    guests.remove(spec.id).await?;
    let is_wanted =
        |probe: &str| setup.only.is_empty() || setup.only.split(',').any(|start| probe.starts_with(start));
    for probe in alone.iter().filter(|probe| is_wanted(probe)) {
        let one = run_alone(&guests, &spec, keep, probe, &mut events).await?;
        told(&one);
        tried.push(one);
    }
    let left = remains(&setup.dir.join("guests"), &spec.id);
    seen.push(Tried::new("seen.remains", left.is_none(), left.unwrap_or_else(|| "nothing".into())));
    seen.retain(|one| is_wanted(&one.probe));
    seen.iter().for_each(&mut told);
    tried.append(&mut seen);
    drop(bait);
    let runtime = guests.runtime().map(Runtime::description).unwrap_or_default();
    let _ = fs::remove_dir_all(&setup.dir);
    Ok(Report::new(tried, runtime, PROGRAM, started.elapsed()))
}

/// Probes that fill a guest's memory for good, or end it as a whole: each has a guest to itself.
fn alone(runtime: Option<&Runtime>) -> Vec<&'static str> {
    const OWN_KERNEL: &[&str] =
        &["bomb.forks", "bomb.threads", "bomb.memory", "bomb.memory_file", "bomb.memory_segments"];
    const UNCOUNTED: &[&str] = &["bomb.inodes", "bomb.shared_inodes"];
    const ENGINE: &[&str] = &["bomb.device_bytes"];
    let Some(runtime) = runtime else { return Vec::new() };
    let kinds = [
        (runtime.has_own_kernel(), OWN_KERNEL),
        (!runtime.counts_files(), UNCOUNTED),
        (runtime.engine().is_some(), ENGINE),
    ];
    kinds.into_iter().filter(|(is, _)| *is).flat_map(|(_, probes)| probes.iter().copied()).collect()
}

/// Tries a single probe. A guest that dies of it has taken no more than it was given.
async fn run_alone(
    guests: &Guests,
    spec: &GuestSpec,
    keep: Keep,
    probe: &str,
    events: &mut mpsc::Receiver<GuestEvent>,
) -> Result<Tried, SelftestError> {
    let alone = alone(guests.runtime());
    let others: Vec<&str> = alone.into_iter().filter(|other| *other != probe).collect();
    let mut spec = spec.clone();
    spec.args.extend([format!("only={probe}"), format!("without={}", others.join(","))]);
    let (said, _) = run(guests, &spec, events, &mut |_| {}).await?;
    let one = match said.tried.into_iter().next() {
        Some(one) => one,
        None => {
            let peak = guests.usage(spec.id).await?.memory_peak;
            let within = peak <= most_memory(guests, &spec.limits, keep);
            Tried::new(probe, within, format!("the guest ended of it, with {peak} bytes at the most"))
        }
    };
    guests.remove(spec.id).await?;
    Ok(one)
}

/// Runs one guest to its end.
async fn run(
    guests: &Guests,
    spec: &GuestSpec,
    events: &mut mpsc::Receiver<GuestEvent>,
    told: &mut impl FnMut(&Tried),
) -> Result<(Words, Peaks), SelftestError> {
    guests.start(spec).await?;
    let Ok(followed) = tokio::time::timeout(PATIENCE, follow(guests, spec, told)).await else {
        guests.stop(spec.id, Duration::ZERO).await?;
        guests.remove(spec.id).await?;
        return Err(SelftestError::Slow);
    };
    let followed = followed?;
    match events.recv().await {
        Some(GuestEvent::Exited { .. }) => Ok(followed),
        Some(GuestEvent::Lost { .. }) | None => Err(SelftestError::Cut(followed.0.tried.len())),
    }
}

/// What an earlier test left that was ended in its middle.
async fn clear(guests: &Guests) -> Result<(), GuestError> {
    for seen in guests.seen().await? {
        guests.stop(seen.id, Duration::ZERO).await?;
        guests.remove(seen.id).await?;
    }
    Ok(())
}

fn make_layer(layer: &Path) -> io::Result<()> {
    let directory = |name: &str, mode| {
        fs::create_dir_all(layer.join(name))?;
        fs::set_permissions(layer.join(name), fs::Permissions::from_mode(mode))
    };
    ["", "dev", "etc", "proc"].iter().try_for_each(|name| directory(name, 0o755))?;
    directory("tmp", 0o1777)?;
    let program = layer.join("hostile");
    fs::write(&program, PROGRAM)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
}

/// Small limits: then the bombs are small, too.
fn spec(layer: &Path, own_kernel: bool) -> GuestSpec {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&rustix::process::getpid().as_raw_nonzero().get().to_le_bytes().repeat(2));
    GuestSpec {
        id: GuestId::new(id),
        layers: vec![layer.to_owned()],
        args: vec!["/hostile".into()],
        env: vec![],
        cwd: "/".into(),
        user: String::new(),
        hostname: "guest".into(),
        limits: Limits {
            cpu_millis: 150,
            memory: if own_kernel { 128 << 20 } else { 48 << 20 },
            disk: 12 << 20,
            inodes: 512,
            pids: 40,
            open_files: 256,
            log_bytes: 256 << 10,
            io_rate: 0,
        },
        network: Network::default(),
        run: Default::default(),
        // Who asked for the test may go away in its middle: then nobody looks after its guest.
        // Longer than the slowest of machines takes to begin it.
        grace: Grace { freeze: Duration::from_secs(30), stop: Duration::from_secs(5) },
        mounts: Vec::new(),
        devices: Default::default(),
        secrets: Vec::new(),
    }
}

/// The guest's limits, in its own words.
fn words(limits: &Limits, keep: Keep, runtime: Option<&Runtime>) -> Vec<String> {
    let Limits { cpu_millis, memory, disk, inodes, pids, open_files, log_bytes, io_rate: _ } = limits;
    // What an engine does not count, the guest's memory is the limit of.
    let ram = memory.saturating_add(*disk).saturating_add(keep.memory);
    let most = ram / LEAST_OF_FILE;
    let counts_files = runtime.is_none_or(Runtime::counts_files);
    let (inodes, shared) = if counts_files { (*inodes, Limits::SHARED_FILES) } else { (most, most) };
    let device = if runtime.is_some_and(|runtime| runtime.engine().is_some()) { ram } else { 1 << 20 };
    vec![
        format!("cpu_millis={cpu_millis}"),
        format!("memory={memory}"),
        format!("disk={disk}"),
        format!("inodes={inodes}"),
        format!("shm={}", limits.shared_memory()),
        format!("shm_inodes={shared}"),
        format!("dev={device}"),
        // What its keepers do not need, it can have.
        format!("pids={}", pids + keep.pids),
        format!("open_files={open_files}"),
        format!("log={log_bytes}"),
    ]
}

/// What the hostile guest said.
#[derive(Default)]
struct Words {
    tried: Vec<Tried>,
    /// By its own count.
    probes: Option<usize>,
}

impl Words {
    fn whole(self) -> Result<Vec<Tried>, SelftestError> {
        if self.probes == Some(self.tried.len()) {
            Ok(self.tried)
        } else {
            Err(SelftestError::Cut(self.tried.len()))
        }
    }
}

/// What was seen from outside while the guest ran.
#[derive(Default)]
struct Peaks {
    /// Processor time in thousandths of a core, the most over [`CPU_WINDOW`].
    cpu_millis: u64,
    log_kept: u64,
}

async fn follow(
    guests: &Guests,
    spec: &GuestSpec,
    told: &mut impl FnMut(&Tried),
) -> Result<(Words, Peaks), SelftestError> {
    let (mut said, mut peaks) = (Words::default(), Peaks::default());
    let (mut offset, mut rest) = (0, Vec::new());
    let (mut since, mut used) = (Instant::now(), 0);
    loop {
        let chunk = guests.logs(spec.id, offset, Duration::from_millis(250)).await?;
        offset = chunk.next;
        rest.extend(
            chunk.pieces.into_iter().filter(|piece| piece.stream == Stream::Out).flat_map(|p| p.bytes),
        );
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Line::Tried(one)) => {
                    told(&one);
                    said.tried.push(one);
                }
                Ok(Line::End { probes }) => said.probes = Some(probes),
                // The beginning of a line that the log no longer kept.
                Err(_) => {}
            }
        }
        // Without limits, all is tried in less.
        let is_last = chunk.ended && peaks.cpu_millis == 0;
        if is_last || since.elapsed() >= CPU_WINDOW {
            let usage = guests.usage(spec.id).await?;
            let passed = since.elapsed();
            let millis = u128::from(usage.cpu_ms.saturating_sub(used)) * 1000 / passed.as_millis().max(1);
            peaks.cpu_millis = peaks.cpu_millis.max(millis as u64);
            peaks.log_kept = peaks.log_kept.max(guests.log_kept(spec.id));
            (since, used) = (Instant::now(), usage.cpu_ms);
        }
        if chunk.ended {
            return Ok((said, peaks));
        }
    }
}

/// That a guest may have held at any time.
fn most_memory(guests: &Guests, limits: &Limits, keep: Keep) -> u64 {
    // The kernel lends itself a page while it ends somebody for want of memory.
    limits.ram(guests.writable(limits)).saturating_add(keep.memory).saturating_add(64 << 10)
}

async fn judge(
    guests: &Guests,
    spec: &GuestSpec,
    keep: Keep,
    layer: &Path,
    peaks: &Peaks,
) -> Result<Vec<Tried>, SelftestError> {
    let limits = &spec.limits;
    let usage = guests.usage(spec.id).await?;
    let ram = most_memory(guests, limits, keep);
    let kept = peaks.log_kept.max(guests.log_kept(spec.id));
    // The kernel hands out processor time by the tenth of a second: one more at either end.
    let cpu = u64::from(limits.cpu_millis) * 12 / 10 + 30;
    let untouched = fs::read(layer.join("hostile")).is_ok_and(|bytes| bytes == PROGRAM)
        && fs::read_dir(layer.join("tmp")).is_ok_and(|mut entries| entries.next().is_none());
    Ok(vec![
        Tried::new(
            "seen.memory",
            usage.memory_peak > 0 && usage.memory_peak <= ram,
            format!("{} of {ram} bytes", usage.memory_peak),
        ),
        Tried::new(
            "seen.processor",
            peaks.cpu_millis <= cpu,
            format!("{} of 1000 over {} s at the most", peaks.cpu_millis, CPU_WINDOW.as_secs()),
        ),
        Tried::new(
            "seen.log",
            kept <= limits.log_bytes,
            format!("{kept} of {} bytes kept, {} printed", limits.log_bytes, usage.log_bytes),
        ),
        Tried::new("seen.image", untouched, "as before"),
    ])
}
