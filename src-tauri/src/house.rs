//! The node that is shown: one of our own, or the one that runs already.

use anyhow::{Context as _, Result};
use api::node::store::StoreError;
use api::node::{Config, Fault, NodeHandle, Settings, start};
use api::{Client, Guard, Passage, Serving, router, serve};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use tokio::sync::Mutex;

/// Either keeps guests: built beside this program, or installed beside it from the packages.
const SUPERVISORS: [&str; 2] = ["sublet-supervisor", "sublet"];

/// The node that is shown.
pub struct House {
    data: PathBuf,
    supervisor: Supervisor,
    now: RwLock<Passage>,
    own: Mutex<Own>,
}

/// What is our own of it.
enum Own {
    Node(NodeHandle, Serving),
    /// Somebody else runs it.
    Nothing,
    /// It was closed, and is not begun again.
    Closed,
}

impl House {
    /// Starts a node in the user's data directory; attaches to the one that runs there, if one does.
    pub async fn open() -> Result<House> {
        let data = data()?;
        let supervisor = Supervisor::find();
        let (passage, own) = begin(&data, &supervisor).await?;
        Ok(House { data, supervisor, now: RwLock::new(passage), own: Mutex::new(own) })
    }

    /// The way to its routes, as it is now.
    pub fn passage(&self) -> Passage {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client of whatever node runs here.
    pub fn client(&self) -> Client {
        Client::of(&self.data)
    }

    /// Whether the node is our own.
    pub async fn is_own(&self) -> bool {
        matches!(*self.own.lock().await, Own::Node(..))
    }

    /// Where no node answers: begins one, or attaches to one that has come. Does nothing where one answers.
    pub async fn mend(&self) -> Result<()> {
        let mut own = self.own.lock().await;
        if matches!(*own, Own::Closed) || self.client().status().await.is_ok() {
            return Ok(());
        }
        // What is left of it must let go of the data directory first.
        if let Own::Node(node, serving) = std::mem::replace(&mut *own, Own::Nothing) {
            stop(node, serving).await;
        }
        let (passage, begun) = begin(&self.data, &self.supervisor).await?;
        *own = begun;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = passage;
        Ok(())
    }

    /// Stops the node, if it is our own. What it was doing is written down.
    pub async fn close(&self) {
        if let Own::Node(node, serving) = std::mem::replace(&mut *self.own.lock().await, Own::Closed) {
            stop(node, serving).await;
        }
    }
}

async fn begin(data: &Path, supervisor: &Supervisor) -> Result<(Passage, Own)> {
    let settings =
        Settings::load(data).with_context(|| format!("read the settings in {}", data.display()))?;
    match start(Config { supervisor: supervisor.command(), ..Config::with(settings, data.to_owned()) }).await
    {
        Ok(node) => {
            // So that `sublet` on a terminal reaches this node as well.
            let serving = serve(node.clone(), data, None).await.context("serve the API")?;
            let passage = Passage::Inside(router(node.clone(), Guard::Owner));
            Ok((passage, Own::Node(node, serving)))
        }
        Err(Fault::Store(StoreError::InUse { .. })) => Ok((Passage::Socket(data.to_owned()), Own::Nothing)),
        Err(fault) => Err(fault).with_context(|| format!("start a node in {}", data.display())),
    }
}

/// The program that keeps guests, as it was when this one started: an update of both while this one runs would bring
/// supervisors that speak another language than its node. Closed when dropped.
struct Supervisor(Option<File>);

impl Supervisor {
    /// Finds it beside this program.
    fn find() -> Supervisor {
        let here = std::env::current_exe().unwrap_or_default();
        let found = SUPERVISORS.iter().find_map(|name| File::open(here.with_file_name(name)).ok());
        if found.is_none() {
            eprintln!("no guest can be kept: {} is missing beside {}", SUPERVISORS[0], here.display());
        }
        Supervisor(found)
    }

    fn command(&self) -> Vec<OsString> {
        let program = match &self.0 {
            Some(file) => format!("/proc/self/fd/{}", file.as_raw_fd()),
            None => SUPERVISORS[0].to_owned(),
        };
        vec![program.into(), "supervise".into()]
    }
}

async fn stop(node: NodeHandle, serving: Serving) {
    serving.stop().await;
    node.shut_down().await;
}

/// Where the XDG base directory specification puts a user's data; the same place as for `sublet`.
pub fn data() -> Result<PathBuf> {
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(data) = var("SUBLET_DATA") {
        return Ok(data);
    }
    let base = var("XDG_DATA_HOME").or_else(|| Some(var("HOME")?.join(".local/share")));
    Ok(base.context("this user has no home directory")?.join("sublet"))
}
