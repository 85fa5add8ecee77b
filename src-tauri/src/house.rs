//! The node that is shown: one of our own, or the one that runs already.

use anyhow::{Context as _, Result};
use api::node::store::StoreError;
use api::node::{Config, Fault, NodeHandle, Settings, start};
use api::{Guard, Passage, Serving, router, serve};
use std::path::PathBuf;
use tokio::sync::Mutex;

/// The node that is shown.
pub struct House {
    passage: Passage,
    /// None where it is somebody else's, or was closed.
    own: Mutex<Option<(NodeHandle, Serving)>>,
}

impl House {
    /// Starts a node in the user's data directory; attaches to the one that runs there, if one does.
    pub async fn open() -> Result<House> {
        let data = data()?;
        let settings =
            Settings::load(&data).with_context(|| format!("read the settings in {}", data.display()))?;
        match start(Config::with(settings, data.clone())).await {
            Ok(node) => {
                // So that `sublet` on a terminal reaches this node as well.
                let serving = serve(node.clone(), &data, None).await.context("serve the API")?;
                let passage = Passage::Inside(router(node.clone(), Guard::Owner));
                Ok(House { passage, own: Mutex::new(Some((node, serving))) })
            }
            Err(Fault::Store(StoreError::InUse { .. })) => {
                Ok(House { passage: Passage::Socket(data), own: Mutex::new(None) })
            }
            Err(fault) => Err(fault).with_context(|| format!("start a node in {}", data.display())),
        }
    }

    /// The way to its routes.
    pub fn passage(&self) -> Passage {
        self.passage.clone()
    }

    /// Stops the node, if it is our own. What it was doing is written down.
    pub async fn close(&self) {
        if let Some((node, serving)) = self.own.lock().await.take() {
            serving.stop().await;
            node.shut_down().await;
        }
    }
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
