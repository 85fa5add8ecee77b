//! A host for the tests: a directory of guests, and an image made of busybox.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use sublet_machine::guest::{
    Exec, ExecOutput, ExecSpec, Grace, GuestEvent, GuestId, GuestSeen, GuestSpec, Guests, Limits, Runtime,
    Said, Settings, Tmpfs, Writable,
};
use sublet_machine::network::Network;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::engine::TestEngine;
use crate::town::Town;

/// Longer than anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct House {
    pub guests: Guests,
    /// What lies outside.
    pub town: Arc<Town>,
    events: mpsc::Receiver<GuestEvent>,
    /// What runs guests, where that is an engine; it ends before its directory goes.
    engine: Option<TestEngine>,
    dir: TempDir,
    runtime: Option<Runtime>,
}

impl House {
    pub fn new() -> House {
        let dir = tempfile::tempdir().expect("a temporary directory");
        make_image(&dir.path().join("layer"));
        let town = Arc::new(Town::default());
        // `SUBLET_RUNTIME=/path/of/a/runtime` tries another one than the best in `PATH`.
        let runtime = std::env::var_os("SUBLET_RUNTIME").map(|program| Runtime::at(program.into()));
        let (guests, events) = open(&dir.path().join("guests"), town.clone(), runtime.as_ref());
        House { guests, town, events, engine: None, dir, runtime }
    }

    /// Runs guests by an engine of this name, which is started for that; there must be none yet.
    pub fn by_engine(mut self, name: &str) -> House {
        let (engine, runtime) = TestEngine::start(name, self.dir.path());
        (self.engine, self.runtime) = (Some(engine), Some(runtime));
        self.move_guests_to("guests");
        self
    }

    /// Whether the engine has a container of this guest.
    pub fn has_container(&self, id: GuestId) -> bool {
        let runtime = self.runtime.as_ref().expect("an engine");
        runtime.engine().expect("an engine").has_container(&id)
    }

    /// The guest's own program: the child of the container's first process.
    pub fn container_process(&self, id: GuestId) -> u32 {
        let place = self.guest_dir(id).join("container/keeper");
        let keeper: i32 = fs::read_to_string(place).expect("a file").parse().expect("a number");
        let children = self.children_of(Pid::from_raw(keeper).expect("a process"));
        children.first().expect("a program").as_raw_nonzero().get().unsigned_abs()
    }

    /// The processes that this one has started.
    pub fn children_of(&self, parent: Pid) -> Vec<Pid> {
        let parent = parent.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    /// Runs guests by the runtime of this name; there must be none yet.
    pub fn by(mut self, name: &str) -> House {
        let missing = || panic!("these tests need {name}: apt-get install {name}");
        self.runtime = Some(Runtime::named(name).unwrap_or_else(missing));
        self.move_guests_to("guests");
        self
    }

    /// The node stops, and starts again after `meanwhile`.
    pub async fn restart(&mut self, meanwhile: impl Future<Output = ()>) {
        let (nobody, _) = open(&self.dir.path().join("unused"), self.town.clone(), None);
        drop(std::mem::replace(&mut self.guests, nobody));
        meanwhile.await;
        self.move_guests_to("guests");
    }

    /// A shell that runs `script`.
    pub fn spec(&self, script: &str) -> GuestSpec {
        let mut id = [0; 32];
        getrandom::fill(&mut id).expect("chance");
        GuestSpec {
            id: GuestId::new(id),
            layers: vec![self.dir.path().join("layer")],
            args: ["sh", "-c", script].map(String::from).to_vec(),
            env: vec![],
            cwd: "/".into(),
            user: String::new(),
            hostname: "guest".into(),
            limits: Limits {
                cpu_millis: 500,
                memory: 64 << 20,
                disk: 8 << 20,
                inodes: 512,
                pids: 32,
                open_files: 256,
                log_bytes: 256 << 10,
                io_rate: 0,
            },
            network: Network::default(),
            mounts: Vec::new(),
            devices: Default::default(),
            secrets: Vec::new(),
            grace: Grace::default(),
            run: match &self.engine {
                // All that a guest by an engine can write to.
                Some(_) => {
                    let tmpfs = vec![Tmpfs { path: "/tmp".into(), size: 4 << 20 }];
                    Settings { read_only: true, tmpfs, ..Settings::default() }
                }
                None => Settings::default(),
            },
        }
    }

    pub async fn start(&self, script: &str) -> GuestId {
        let spec = self.spec(script);
        self.guests.start(&spec).await.expect("the guest starts");
        spec.id
    }

    /// A shell script beside a guest's own program.
    pub async fn exec(&self, id: GuestId, script: &str) -> Exec {
        self.guests.exec(id, &script_in(script)).await.expect("it begins")
    }

    /// What such a script prints, and its exit code.
    pub async fn exec_output(&self, id: GuestId, script: &str) -> (String, i32) {
        all(&mut self.exec(id, script).await.output).await
    }

    /// The next thing that happens.
    pub async fn event(&mut self) -> GuestEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("a living node")
    }

    pub async fn exit_code(&mut self, wanted: GuestId) -> i32 {
        let event = self.event().await;
        let GuestEvent::Exited { id, code } = event else { panic!("{event:?}") };
        assert_eq!(id, wanted);
        code
    }

    pub async fn see(&self, id: GuestId) -> GuestSeen {
        let all = self.guests.seen().await.expect("guests are seen");
        all.into_iter().find(|seen| seen.id == id).expect("the guest is among them")
    }

    /// All that the guest has printed, when it has ended.
    pub async fn printed(&self, id: GuestId) -> String {
        let (mut bytes, mut offset) = (Vec::new(), 0);
        loop {
            let chunk = self.guests.logs(id, offset, PATIENCE).await.expect("a log");
            offset = chunk.next;
            bytes.extend(chunk.pieces.into_iter().flat_map(|piece| piece.bytes));
            if chunk.ended {
                return String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }

    /// Waits until the guest has printed `words`.
    pub async fn printed_until(&self, id: GuestId, words: &str) {
        let (mut text, mut offset) = (String::new(), 0);
        while !text.contains(words) {
            let chunk = self.guests.logs(id, offset, PATIENCE).await.expect("a log");
            assert!(!chunk.ended, "it ended, and printed {text:?}");
            offset = chunk.next;
            chunk.pieces.iter().for_each(|piece| text.push_str(&String::from_utf8_lossy(&piece.bytes)));
        }
    }

    /// Runs a script to its end, and returns what it printed and its exit code.
    pub async fn output(&mut self, script: &str) -> (String, i32) {
        let id = self.start(script).await;
        let printed = self.printed(id).await;
        (printed, self.exit_code(id).await)
    }

    /// Puts the guests elsewhere; there must be none yet.
    pub fn move_guests_to(&mut self, place: &str) {
        (self.guests, self.events) =
            open(&self.dir.path().join(place), self.town.clone(), self.runtime.as_ref());
    }

    /// Keeps what guests write there; there must be none yet.
    pub fn write_to(&mut self, writable: Writable) {
        let (guests, events) =
            open(&self.dir.path().join("guests"), self.town.clone(), self.runtime.as_ref());
        (self.guests, self.events) = (guests.with_writable(writable), events);
    }

    /// Where the node has what it knows of its guests.
    pub fn dir_of_guests(&self) -> PathBuf {
        self.dir.path().join("guests")
    }

    /// What the kernel calls the file of a guest's disk, while a loop device has it.
    pub fn attached_disk(&self, id: GuestId) -> Option<String> {
        let devices = fs::read_dir("/sys/block").expect("devices").map(|entry| entry.expect("one").path());
        let files = devices.filter_map(|device| fs::read_to_string(device.join("loop/backing_file")).ok());
        files.map(|file| file.trim().to_owned()).find(|file| file.contains(&id.to_string()))
    }

    /// Another guest under the same id.
    pub fn spec_of(&self, id: GuestId, script: &str) -> GuestSpec {
        GuestSpec { id, ..self.spec(script) }
    }

    /// All processes that are under the guest's limits, the runtime's among them.
    pub fn processes(&self, id: GuestId) -> Vec<u32> {
        let groups = self.groups(id);
        let procs =
            groups.first().map(|group| fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default());
        procs.unwrap_or_default().lines().map(|pid| pid.parse().expect("a number")).collect()
    }

    /// The guest's control groups, wherever this process was given groups to divide.
    pub fn groups(&self, id: GuestId) -> Vec<PathBuf> {
        let mut found = Vec::new();
        named_below(Path::new("/sys/fs/cgroup"), &id.to_string(), &mut found);
        found
    }

    /// The file that tells whether the guest is frozen.
    pub fn freezer(&self, id: GuestId) -> PathBuf {
        let mut files = self.groups(id).into_iter().map(|group| group.join("cgroup.events"));
        files.find(|file| file.exists()).expect("a group that can be frozen")
    }

    /// The process that holds the guest: it carries the guest's id on its command line.
    pub fn supervisor(&self, id: GuestId) -> Pid {
        let id = id.to_string();
        let processes = fs::read_dir("/proc").expect("processes");
        let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let is_it = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words.nth(1) == Some(b"supervise") && words.next() == Some(id.as_bytes())
        };
        pids.filter(is_it).find_map(Pid::from_raw).expect("a supervisor")
    }

    /// Where all of the node's directories are.
    pub fn guest_root(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub fn guest_dir(&self, id: GuestId) -> PathBuf {
        self.dir.path().join("guests").join(id.to_string())
    }

    /// Makes a file of an image.
    pub fn write(&self, path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// Puts perl into the image: it speaks to the network as no shell can, and every Debian has it.
    pub fn perl(&self) {
        for file in needed_by("/usr/bin/perl") {
            let copy = self.image().join(file.strip_prefix("/").expect("absolute"));
            fs::create_dir_all(copy.parent().expect("a directory")).expect("a directory");
            fs::copy(file, &copy).expect("a copy");
        }
    }

    /// A path in the house's own directory.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn image(&self) -> PathBuf {
        self.dir.path().join("layer")
    }
}

/// A program where programs are.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())
}

/// A program of this machine, its loader and its libraries.
pub fn needed_by(program: &str) -> Vec<PathBuf> {
    let needed = std::process::Command::new("ldd").arg(program).output().expect("it is installed");
    let needed = String::from_utf8(needed.stdout).expect("text");
    let files = needed.split_whitespace().filter(|word| word.starts_with('/'));
    files.chain([program]).map(PathBuf::from).collect()
}

/// A shell that runs `script` beside a guest's own program.
pub fn script_in(script: &str) -> ExecSpec {
    let args = ["sh", "-c", script].map(String::from).to_vec();
    ExecSpec { args, env: vec![], cwd: None, user: None, terminal: None }
}

/// All that a program says, both outputs together, and its exit code.
pub async fn all(output: &mut ExecOutput) -> (String, i32) {
    let mut text = Vec::new();
    loop {
        match timeout(PATIENCE, output.next()).await.expect("in time").expect("a guest that runs") {
            Said::Out(bytes) | Said::Err(bytes) => text.extend(bytes),
            Said::Ended(code) => return (String::from_utf8_lossy(&text).into_owned(), code),
        }
    }
}

/// Reads until it says these words.
pub async fn until(output: &mut ExecOutput, words: &str) -> String {
    let mut text = String::new();
    while !text.contains(words) {
        match timeout(PATIENCE, output.next()).await.expect("in time").expect("a guest that runs") {
            Said::Out(bytes) | Said::Err(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Said::Ended(code) => panic!("it ended with {code}, and said {text:?}"),
        }
    }
    text
}

fn open(root: &Path, town: Arc<Town>, runtime: Option<&Runtime>) -> (Guests, mpsc::Receiver<GuestEvent>) {
    let (sender, events) = mpsc::channel(64);
    let supervisor = ["/proc/self/exe", "supervise"].map(Into::into).to_vec();
    let guests = Guests::open(root.to_owned(), supervisor, sender, town).expect("a directory of guests");
    // Where this machine can, on the disk, small as it is.
    let guests = guests.with_writable(Writable::here());
    match runtime {
        Some(runtime) => (guests.with_runtime(runtime.clone()), events),
        None => (guests, events),
    }
}

fn make_image(layer: &Path) {
    const TOOLS: [&str; 34] = [
        "sh", "true", "sleep", "cat", "echo", "ls", "dd", "id", "ps", "nc", "yes", "head", "wc", "touch",
        "mkdir", "rm", "hostname", "mount", "mknod", "tail", "kill", "httpd", "ip", "chmod", "wget",
        "nslookup", "tftp", "timeout", "tty", "stty", "env", "grep", "unshare", "ln",
    ];
    let busybox = Path::new("/bin/busybox");
    assert!(busybox.exists(), "these tests need /bin/busybox: apt-get install busybox-static");
    for dir in ["bin", "etc", "tmp", "proc", "dev", "root"] {
        fs::create_dir_all(layer.join(dir)).expect("a directory in the image");
    }
    fs::copy(busybox, layer.join("bin/busybox")).expect("a copy of busybox");
    for tool in TOOLS {
        symlink("busybox", layer.join("bin").join(tool)).expect("a link to busybox");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/srv:/bin/sh\n";
    fs::write(layer.join("etc/passwd"), passwd).expect("the image's users");
}

/// The directories of that name below `dir`, links not followed.
fn named_below(dir: &Path, name: &str, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name() == name {
            found.push(entry.path());
        } else {
            named_below(&entry.path(), name, found);
        }
    }
}
