//! The node that is shown: one of our own, or the one that runs already.

use anyhow::{Context as _, Result};
use api::node::store::StoreError;
use api::node::{Config, Fault, NodeHandle, Settings, start};
use api::{Client, Guard, Passage, Serving, router, serve};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use tokio::sync::Mutex;

/// The node that is shown.
pub struct House {
    data: PathBuf,
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
        let (passage, own) = begin(&data).await?;
        Ok(House { data, now: RwLock::new(passage), own: Mutex::new(own) })
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
        let (passage, begun) = begin(&self.data).await?;
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

async fn begin(data: &Path) -> Result<(Passage, Own)> {
    let settings =
        Settings::load(data).with_context(|| format!("read the settings in {}", data.display()))?;
    match start(Config::with(settings, data.to_owned())).await {
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
