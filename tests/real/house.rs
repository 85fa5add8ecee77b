//! Nodes as processes of the very program, and busybox as their guest.

use crate::wish::PATIENCE;
pub use crate::wish::{euro, eventually, shell, terms};
use api::shapes::{Event, Lease, LeaseState, ShareWish};
use api::{Client, ClientError};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// The program under test: all of `sublet`, built with the tests.
pub const SUBLET: &str = env!("CARGO_BIN_EXE_sublet-under-test");

/// A host and a tenant that know each other.
pub struct House {
    dir: TempDir,
    pub host: Node,
    pub tenant: Node,
}

/// A node that can be killed and started again.
pub struct Node {
    pub data: PathBuf,
    name: &'static str,
    process: Option<Child>,
    pub client: Client,
}

impl House {
    /// A host that lends by short terms, and a tenant that sees its offer and has busybox.
    pub async fn open() -> House {
        House::lending(terms()).await
    }

    /// The same, lending as wished.
    pub async fn lending(wish: ShareWish) -> House {
        House::empty().furnished(wish).await
    }

    /// The same, in directories that are there.
    pub async fn furnished(self, wish: ShareWish) -> House {
        let mut house = self;
        copy(measured().await, &house.host.data);
        house.host.start().await;
        house.tenant.start().await;
        house.host.client.set_offer(&wish).await.unwrap();
        house.meet().await;
        image(&house.tenant, house.dir.path(), "busybox", 0).await;
        house
    }

    /// Two directories, and nothing that runs.
    pub fn empty() -> House {
        let dir = tempfile::tempdir().unwrap();
        let (host, tenant) = (Node::new(dir.path(), "host"), Node::new(dir.path(), "tenant"));
        House { dir, host, tenant }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Has the tenant meet the host, wherever the host is now.
    pub async fn meet(&self) {
        let address = self.host.client.status().await.unwrap().addresses.remove(0);
        eventually("the two to meet", async || {
            let _ = self.tenant.client.dial(&address).await;
            let met = self.tenant.client.peers().await.is_ok_and(|peers| !peers.peers.is_empty());
            met && self.tenant.client.offers(None).await.is_ok_and(|offers| !offers.offers.is_empty())
        })
        .await;
    }

    /// Leases a guest that runs `command` of busybox's shell.
    pub async fn rent(&self, command: &str) -> Lease {
        self.tenant.client.rent(&shell(command)).await.unwrap()
    }

    /// Both say that the lease has ended, and hold the same last receipt; returns the tenant's view.
    pub async fn ended_alike(&self, lease: &Lease) -> Lease {
        let (here, there) = (self.tenant.ended(lease).await, self.host.ended(lease).await);
        assert_eq!(here.standing.reason, there.standing.reason);
        assert_eq!(here.receipt, there.receipt);
        // A supervisor says that its guest has ended, and ends itself a moment after.
        eventually("the guest's last process to be gone", async || self.host.guests().is_empty()).await;
        here
    }

    /// Each book says what the last receipt says, and not a millionth more or less.
    pub async fn books_agree(&self, owed: i64) {
        let mut sums = vec![];
        for node in [&self.host, &self.tenant] {
            let ledger = node.client.ledger().await.unwrap();
            assert_eq!(
                ledger.balances.iter().map(|balance| balance.amount.micros).sum::<i64>(),
                0,
                "{ledger:?}"
            );
            sums.push(ledger.balances.iter().map(|balance| balance.amount.micros.abs()).max().unwrap_or(0));
        }
        assert_eq!(sums, [owed, owed]);
        for node in [&self.host, &self.tenant] {
            assert!(node.client.record().await.unwrap().records > 0);
        }
    }
}

impl Node {
    pub fn new(place: &Path, name: &'static str) -> Node {
        let data = place.join(name);
        let client = Client::of(&data);
        Node { data, name, process: None, client }
    }

    /// Starts it, and waits until it answers.
    pub async fn start(&mut self) {
        self.spawn();
        let client = self.client.clone();
        eventually("a node to answer", async || client.status().await.is_ok()).await;
    }

    fn spawn(&mut self) {
        fs::create_dir_all(self.data.parent().unwrap()).unwrap();
        let log = File::options().create(true).append(true).open(self.data.with_extension("log")).unwrap();
        let mut host = self.command(&["host", "--no-mdns", "--name", self.name, "--port", "0"]);
        host.args(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        self.process = Some(host.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// SIGKILL: no word, no clean-up.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Option<i32> {
        self.process.take().and_then(|mut process| process.wait().unwrap().code())
    }

    /// The program, with this node's data directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SUBLET);
        command.arg("--data").arg(&self.data).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end, which has to come.
    pub fn sublet(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "90", SUBLET, "--data"])
            .arg(&self.data)
            .args(arguments)
            .stdin(Stdio::null());
        Said::of(command.output().unwrap())
    }

    /// The same, with a line typed into it.
    pub fn typed(&self, arguments: &[&str], line: &str) -> Said {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{line}").unwrap();
        Said::of(child.wait_with_output().unwrap())
    }

    pub async fn lease(&self, lease: &Lease) -> Result<Lease, ClientError> {
        self.client.lease(&lease.id).await
    }

    pub async fn reaches(&self, lease: &Lease, wanted: LeaseState) -> Lease {
        self.lease_when(lease, |lease| lease.standing.state == wanted).await
    }

    /// Ended, and all that was used is signed by both.
    pub async fn ended(&self, lease: &Lease) -> Lease {
        self.lease_when(lease, |lease| {
            let settled = lease.tick.as_ref().is_none_or(|tick| {
                lease.receipt.as_ref().is_some_and(|receipt| receipt.number == tick.number && receipt.last)
            });
            lease.standing.state == LeaseState::Ended
                && (lease.started.is_none() || settled && lease.tick.is_some())
        })
        .await
    }

    pub async fn lease_when(&self, lease: &Lease, wanted: impl Fn(&Lease) -> bool) -> Lease {
        let since = Instant::now();
        loop {
            let found = self.lease(lease).await;
            match found {
                Ok(found) if wanted(&found) => return found,
                Ok(_) | Err(_) if since.elapsed() < PATIENCE => sleep(Duration::from_millis(25)).await,
                Ok(found) => panic!(
                    "{} waited in vain; the lease stands at {:?}, tick {:?}, receipt {:?}",
                    self.name, found.standing, found.tick, found.receipt
                ),
                Err(error) => panic!("{} waited in vain: {error}", self.name),
            }
        }
    }

    /// The ids of guests whose first process lives, read from the machine and not from the node.
    pub fn guests(&self) -> Vec<String> {
        let guests = fs::canonicalize(self.data.join("guests")).unwrap_or_else(|_| self.data.join("guests"));
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let places = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
        places
            .filter_map(|place| Some(place.strip_prefix(&guests).ok()?.to_string_lossy().into_owned()))
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Supervisors notice within their grace; tests do not wait for that.
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What the program said, and with which code it left.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It was refused with this code, in a sentence that holds these words.
    pub fn is_refusal(&self, code: i32, words: &[&str]) {
        let all = words.iter().all(|word| self.err.contains(word));
        assert!(
            self.code == Some(code) && all && self.err.starts_with("error: "),
            "{:?}, {}{}",
            self.code,
            self.out,
            self.err
        );
    }
}

/// The data directory of a host that has measured itself: once for all tests, for it takes 20 seconds.
async fn measured() -> &'static Path {
    static MEASURED: OnceCell<TempDir> = OnceCell::const_new();
    let place = MEASURED.get_or_init(async || {
        let place = tempfile::tempdir().unwrap();
        let mut node = Node::new(place.path(), "host");
        node.start().await;
        node.client.benchmark().await.unwrap().done(|_| {}).await.unwrap();
        node.client.shut_down().await.unwrap();
        node.wait();
        place
    });
    place.await.path()
}

/// Copies the files of a node that does not run.
fn copy(place: &Path, data: &Path) {
    let from = place.join("host/.");
    let copied = Command::new("cp").arg("-aT").arg(from).arg(data).status().unwrap();
    assert!(copied.success());
}

/// As [`wish::image`](crate::wish::image), by a node of the house.
pub async fn image(node: &Node, place: &Path, name: &str, ballast: usize) -> String {
    crate::wish::image(&node.client, place, name, ballast).await
}

/// Whether a lease is fetching, and some of its image has come.
pub async fn some_of_it_came(node: &Node, lease: &Lease) {
    let mut events = node.client.events().await.unwrap();
    while let Ok(Some(event)) = events.next().await {
        if matches!(&event, Event::Fetching { lease: id, done, total } if *id == lease.id && *done > 0 && done < total)
        {
            return;
        }
        if node.lease(lease).await.is_ok_and(|lease| {
            lease.standing.state != LeaseState::Fetching && lease.standing.state != LeaseState::Agreed
        }) {
            return;
        }
    }
}
