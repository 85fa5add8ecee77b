//! The two nodes of the demo: two processes of this program, two data directories.

use anyhow::{Context, Result, bail};
use api::Client;
use api::shapes::LeaseState;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long a node may take to answer after its start.
const START: Duration = Duration::from_secs(20);

/// How long guests and nodes may take to stop.
const STOP: Duration = Duration::from_secs(15);

/// Two nodes and the place where they live.
pub struct House {
    place: Place,
    /// The node that lends.
    pub host: Node,
    /// The node that uses.
    pub tenant: Node,
}

enum Place {
    Kept(PathBuf),
    Removed(TempDir),
}

/// One node.
pub struct Node {
    name: &'static str,
    data: PathBuf,
    process: Option<Child>,
    client: Client,
}

impl House {
    /// Makes room for two nodes, in `keep` or in a place that is removed afterwards.
    pub fn build(keep: Option<&Path>) -> Result<House> {
        let place = match keep {
            Some(dir) => {
                fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
                Place::Kept(dir.canonicalize().with_context(|| format!("find {}", dir.display()))?)
            }
            None => Place::Removed(
                tempfile::Builder::new()
                    .prefix("sublet-demo-")
                    .tempdir()
                    .context("make a temporary directory")?,
            ),
        };
        let (host, tenant) = (Node::in_dir(place.path(), "host"), Node::in_dir(place.path(), "tenant"));
        Ok(House { place, host, tenant })
    }

    /// Where files of the demo can be put.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Ends what runs: leases first, so that no guest is left, then the nodes.
    pub async fn clear(&mut self) {
        for node in [&mut self.tenant, &mut self.host] {
            node.stop_leases().await;
        }
        for node in [&mut self.tenant, &mut self.host] {
            node.stop().await;
        }
    }

    /// The last lines that each node wrote, for whoever asks why.
    pub fn last_words(&self) -> String {
        let of = |node: &Node| {
            let log = fs::read_to_string(node.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(5).collect();
            format!(
                "the {} said last:\n    {}",
                node.name,
                lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
            )
        };
        format!("the demo did not come to its end; {}\n  {}", of(&self.host), of(&self.tenant))
    }
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Place::Kept(path) => path,
            Place::Removed(dir) => dir.path(),
        }
    }
}

impl Node {
    fn in_dir(place: &Path, name: &'static str) -> Node {
        let data = place.join(name);
        let client = Client::of(&data);
        Node { name, data, process: None, client }
    }

    /// Talks to it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// Starts it, and waits until it answers.
    pub async fn start(&mut self) -> Result<()> {
        let log = File::create(self.log()).with_context(|| format!("make {}", self.log().display()))?;
        let me = std::env::current_exe().context("find this program on disk")?;
        let process = Command::new(me)
            .arg("--data")
            .arg(&self.data)
            .args(["host", "--name", self.name, "--port", "0"])
            .args(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Not ours to interrupt: a Ctrl-C goes to the demo, which ends things in their order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start the {}", self.name))?;
        let process = self.process.insert(process);
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if self.client.status().await.is_ok() {
                return Ok(());
            }
            if let Some(status) = process.try_wait().context("look after a node")? {
                bail!("the {} ended while it was being started: {status}", self.name);
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("the {} did not answer within {} s", self.name, START.as_secs())
    }

    /// Ends every lease that lives, and waits until it has.
    async fn stop_leases(&self) {
        let Ok(leases) = self.client.leases(false, None).await else { return };
        for lease in &leases.leases {
            // It may just have ended.
            let _ = self.client.stop(&lease.id).await;
        }
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            match self.client.leases(false, None).await {
                Ok(left) if left.leases.iter().any(|lease| lease.standing.state != LeaseState::Ended) => {
                    sleep(Duration::from_millis(50)).await
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // If it does not follow, it is killed when the handle is dropped.
        let _ = self.client.shut_down().await;
        let _ = timeout(STOP, process.wait()).await;
    }
}
