//! A guest's container: what an engine is asked to make, hold and remove. By its name it is found again, whoever was killed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, ImageSummary, ResourcesUlimits,
};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, ListImagesOptions, RemoveContainerOptions,
};
use bollard::{Docker, body_try_stream};
use bytes::Bytes;
use futures::TryStreamExt;
use rustix::process::{Pid, Resource, getrlimit};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{ANSWER_WITHIN, Engine, Kind, block_on, envoy, root, said};
use crate::guest::cgroup::Group;
use crate::guest::oci;
use crate::guest::record::{Orders, Usage};
use crate::guest::sandbox;
use crate::guest::seccomp;
use crate::guest::spec::{GuestId, GuestSpec, Limits};

/// The container of one guest.
#[derive(Clone, Debug)]
pub struct Container {
    engine: Engine,
    name: String,
    /// The groups in which it is, once it runs.
    groups: RefCell<Option<Group>>,
    /// What it had used when that was last seen: its groups go with it.
    used: Cell<Usage>,
}

/// Marks images that are ours, and says which.
const LABEL: &str = "sublet.root";

/// More imports than these, and those in use, are not kept: each is a copy of an image that is here already.
const MOST_IMPORTS: usize = 16;

/// A large image on a slow disk.
const IMPORT_WITHIN: Duration = Duration::from_secs(600);

/// How long a container may be about to end.
const REMOVED_WITHIN: Duration = Duration::from_secs(3);

/// Pieces of an archive on their way to the engine.
const PIECES: usize = 4;
const PIECE: usize = 256 << 10;

impl Engine {
    /// The container of this guest; it need not be there.
    pub fn container(&self, id: &GuestId) -> Container {
        let name = format!("sublet-{id}");
        Container { engine: self.clone(), name, groups: RefCell::default(), used: Cell::default() }
    }

    /// Whether it has a container of this guest, or does not say.
    pub fn has_container(&self, id: &GuestId) -> bool {
        let container = self.container(id);
        // A thread that runs asynchronous work must not wait.
        std::thread::spawn(move || container.is_left()).join().unwrap_or(true)
    }

    /// Has the engine hold the image of these layers, if it does not yet.
    pub async fn import(&self, layers: &[PathBuf]) -> Result<(), String> {
        let key = root::key(layers).map_err(|error| format!("its image's layers cannot be read: {error}"))?;
        let api = self.connect()?;
        if find(&api, &key).await?.is_some() {
            return Ok(());
        }
        let import = timeout(IMPORT_WITHIN, import(&api, &key, layers.to_vec())).await;
        import.map_err(|_| "it did not take the image in time".to_owned())??;
        clear_imports(&api).await
    }
}

/// The image of an import.
async fn find(api: &Docker, key: &str) -> Result<Option<ImageSummary>, String> {
    Ok(ours(api, &format!("{LABEL}={key}")).await?.into_iter().next())
}

async fn ours(api: &Docker, label: &str) -> Result<Vec<ImageSummary>, String> {
    let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let options = ListImagesOptions { filters: Some(filters), ..ListImagesOptions::default() };
    timed(api.list_images(Some(options))).await
}

async fn import(api: &Docker, key: &str, layers: Vec<PathBuf>) -> Result<(), String> {
    let (pieces, mut archive) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let packing = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE, Pieces(pieces.clone()));
        let packed = root::write(&layers, &mut out).and_then(|()| out.flush());
        if let Err(error) = packed {
            // Without an error the engine would take what came for the whole.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    let body = futures::stream::poll_fn(move |context| archive.poll_recv(context));
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some("localhost/sublet".to_owned()),
        tag: Some(key.to_owned()),
        changes: vec![format!("LABEL {LABEL}={key}")],
        ..CreateImageOptions::default()
    };
    let done = api.create_image(Some(options), Some(body_try_stream(body)), None);
    let done: Result<Vec<_>, Error> = done.try_collect().await;
    let _ = packing.await;
    let failed = done.map_err(said)?.into_iter().find_map(|one| one.error_detail?.message);
    failed.map_or(Ok(()), Err)
}

/// Sends what is written to it, piece by piece.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Removes the oldest imports beyond those that are kept. What a container is made of stays: the engine sees to that.
async fn clear_imports(api: &Docker) -> Result<(), String> {
    let mut imports = ours(api, LABEL).await?;
    imports.sort_by_key(|image| std::cmp::Reverse(image.created));
    for old in imports.iter().skip(MOST_IMPORTS) {
        let _ = timed(api.remove_image(&old.id, None::<bollard::query_parameters::RemoveImageOptions>, None))
            .await;
    }
    Ok(())
}

/// An answer, in time.
async fn timed<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    timeout(ANSWER_WITHIN, answer).await.map_err(|_| "it does not answer".to_owned())?.map_err(said)
}

impl Container {
    /// Makes it and starts its keeper, which finds its envoy in the directory `place`.
    pub(super) fn begin(&self, orders: &Orders, place: &Path) -> Result<(), String> {
        let key = root::key(&orders.spec.layers).map_err(|error| error.to_string())?;
        block_on(async {
            let api = self.engine.connect()?;
            let image = find(&api, &key).await?.ok_or("the image is gone that was imported for it")?;
            let body = body(orders, self.engine.kind, image.id, place)?;
            let named = CreateContainerOptions { name: Some(self.name.clone()), ..Default::default() };
            timed(api.create_container(Some(named), body)).await.map_err(|said| {
                // In Podman's words: its user `containers` has none, or all of them are in use.
                let lacks_ids = self.engine.kind == Kind::Podman && said.contains("available IDs");
                if lacks_ids { format!("{said}: {}", super::GIVE_IDS) } else { said }
            })?;
            timed(api.start_container(&self.name, None)).await
        })
    }

    /// Takes note of where it runs, by its first process.
    pub fn runs_as(&self, keeper: Pid) {
        *self.groups.borrow_mut() = Group::around(keeper);
    }

    /// What it has used; when it is gone, what it had used when it was last looked at.
    pub fn usage(&self) -> Usage {
        let groups = self.groups.borrow();
        let now = groups.as_ref().filter(|groups| groups.left().is_some()).map(Group::usage);
        if let Some(now) = now {
            self.note(now);
        }
        self.used.get()
    }

    /// Somebody else has seen that it had used so much.
    pub fn note(&self, used: Usage) {
        // A group that is being removed is emptied first.
        if used.cpu_ms >= self.used.get().cpu_ms {
            self.used.set(used);
        }
    }

    pub fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        self.ask(async |api| match frozen {
            true => api.pause_container(&self.name).await,
            false => api.unpause_container(&self.name).await,
        })
    }

    /// Gives it another share of the processor: by its groups where we may, since older engines of Podman's cannot.
    pub fn set_cpu(&self, millis: u32) -> io::Result<()> {
        let groups = self.groups.borrow();
        if groups.as_ref().is_some_and(|groups| groups.set_cpu(millis).is_ok()) {
            return Ok(());
        }
        let body = ContainerUpdateBody { nano_cpus: Some(nanos(millis)), ..Default::default() };
        self.ask(async |api| api.update_container(&self.name, body).await)
    }

    /// Kills all in it, and removes it. It need not be there.
    pub fn remove(&self) -> io::Result<()> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        let begun = Instant::now();
        loop {
            let removed =
                self.ask(async |api| match api.remove_container(&self.name, Some(options.clone())).await {
                    Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
                    removed => removed,
                });
            // One that is about to end by itself is not removed in that moment.
            if removed.is_ok() || begun.elapsed() > REMOVED_WITHIN {
                return removed;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the engine still has it.
    pub fn is_left(&self) -> bool {
        let look = async |api: &Docker| match api.inspect_container(&self.name, None).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        };
        self.ask(look).unwrap_or(true)
    }

    fn ask<T>(&self, question: impl AsyncFnOnce(&Docker) -> Result<T, Error>) -> io::Result<T> {
        let answer = block_on(async {
            let api = self.engine.connect()?;
            timed(question(&api)).await
        });
        answer.map_err(|said| io::Error::other(format!("{}: {said}", self.engine.name())))
    }
}

fn nanos(cpu_millis: u32) -> i64 {
    i64::from(cpu_millis) * 1_000_000
}

/// As many processes of one user as an engine may allow that was itself started with fewer.
const PROCESSES: u64 = 32_768;

/// All that is asked for: as little as a guest by an OCI runtime has, in the words of the API.
fn body(orders: &Orders, kind: Kind, image: String, place: &Path) -> Result<ContainerCreateBody, String> {
    let Orders { spec, runtime, writable, .. } = orders;
    let keep = runtime.keep();
    let limits = &spec.limits;
    let memory = limits.ram(*writable).saturating_add(keep.memory);
    let memory = i64::try_from(memory).map_err(|_| "that is more memory than there is")?;
    let place = place.to_str().ok_or("the path of its meeting place is not text")?;
    let most = getrlimit(Resource::Nproc).maximum.unwrap_or(PROCESSES).min(PROCESSES);
    let limited = [("nofile", sandbox::open_files(spec)), ("core", 0), ("nproc", most)];
    let limited = limited.map(|(name, most)| {
        let most = Some(i64::try_from(most).unwrap_or(i64::MAX));
        ResourcesUlimits { name: Some(name.to_owned()), soft: most, hard: most }
    });
    let meeting = [format!("{place}:/{}/in:ro", root::OWN)];
    let files = envoy::files(spec).into_iter().map(|(name, _)| format!("{place}/{name}:/etc/{name}:ro"));
    let log = HostConfigLogConfig { typ: Some("none".to_owned()), config: None };
    let host = HostConfig {
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(nanos(limits.cpu_millis)),
        // A quarter of the usual share: the owner's programs come first where both want the processor.
        cpu_shares: Some((i64::from(limits.cpu_millis) * 256 / 1_000).max(2)),
        pids_limit: Some(limits.pids.saturating_add(keep.pids).into()),
        ulimits: Some(limited.to_vec()),
        // Those that it begins go before it.
        oom_score_adj: Some(899),
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        userns_mode: (kind == Kind::Podman).then(|| "auto:size=65536".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(oci::POWERS.map(str::to_owned).to_vec()),
        security_opt: Some(security(orders, kind)?),
        masked_paths: (kind == Kind::Docker).then(|| oci::MASKED.map(str::to_owned).to_vec()),
        readonly_paths: (kind == Kind::Docker).then(|| oci::READ_ONLY.map(str::to_owned).to_vec()),
        readonly_rootfs: Some(true),
        tmpfs: Some(in_memory(spec, kind)),
        binds: Some(meeting.into_iter().chain(files).collect()),
        sysctls: Some(HashMap::from([("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())])),
        log_config: Some(log),
        init: Some(false),
        ..HostConfig::default()
    };
    let keeper = [format!("/{}/keeper", root::OWN), format!("/{}/in/{}", root::OWN, envoy::SOCKET)];
    Ok(ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(keeper.to_vec()),
        user: Some("0:0".to_owned()),
        hostname: Some(spec.hostname.clone()),
        // The engine makes it where the image lacks it.
        working_dir: Some(spec.cwd.clone()),
        labels: Some(HashMap::from([("sublet.guest".to_owned(), spec.id.to_string())])),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        network_disabled: Some(true),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    })
}

/// Where Podman, which runs on this machine, finds the list of calls, in the guest's directory.
const CALLS: &str = "calls.json";

fn security(orders: &Orders, kind: Kind) -> Result<Vec<String>, String> {
    let mut options = vec!["no-new-privileges".to_owned()];
    let calls = seccomp::for_engines().to_string();
    if orders.defences.calls {
        options.push(match kind {
            Kind::Docker => format!("seccomp={calls}"),
            Kind::Podman => {
                let path = std::path::absolute(CALLS).map_err(|error| error.to_string())?;
                std::fs::write(&path, calls).map_err(|error| error.to_string())?;
                format!("seccomp={}", path.display())
            }
        });
    }
    if kind == Kind::Podman {
        options.push(format!("mask={}:/sys/fs", oci::MASKED.join(":")));
    }
    Ok(options)
}

/// Directories in memory: those that were asked for, and those that engines have anyway, without a limit.
fn in_memory(spec: &GuestSpec, kind: Kind) -> HashMap<String, String> {
    // Podman counts no files; they take the guest's memory all the same.
    let options = |options: &[String; 2], more: &str| {
        let [size, files] = options;
        let files = match kind {
            Kind::Docker => format!("{files},"),
            Kind::Podman => "notmpcopyup,".to_owned(),
        };
        format!("{size},{files}nosuid,nodev,{more}")
    };
    let shared = options(&oci::shm_options(spec), "noexec,mode=1777");
    let mut all = HashMap::from([("/dev/shm".to_owned(), shared)]);
    all.insert(
        "/sys".to_owned(),
        format!("ro,size=4k{}", if kind == Kind::Docker { ",nr_inodes=8" } else { "" }),
    );
    if kind == Kind::Podman {
        let size =
            [format!("size={}", spec.limits.shared_memory()), format!("nr_inodes={}", Limits::SHARED_FILES)];
        for path in ["/run", "/tmp", "/var/tmp"] {
            all.insert(path.to_owned(), options(&size, "mode=1777"));
        }
    }
    for tmpfs in &spec.run.tmpfs {
        all.insert(tmpfs.path.clone(), options(&oci::tmpfs_options(tmpfs), "exec,mode=1777"));
    }
    all
}
