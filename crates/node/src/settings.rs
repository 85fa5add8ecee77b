//! What the owner has set for this node, in a small file beside the record: it says how to run, not what happened.

use crate::file::write_private;
use crate::handle::NodeHandle;
use crate::run::Command;
use crate::{Config, Error, Fault};
use model::DeviceId;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What the owner has set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// What the person calls themselves; everybody sees it.
    pub name: String,
    /// Multiaddresses to listen on; empty: all interfaces, on ports that are free.
    pub listen: Vec<String>,
    /// Multiaddresses of peers to meet first.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Whether to ask the router for a port.
    pub upnp: bool,
    /// Whether to carry others' connections.
    pub relay: bool,
    /// Where releases of Sublet are: a file, or an https:// address; empty: nothing looks for them.
    pub releases: String,
    /// Keys whose word on releases counts; none: those that this program was built with.
    pub release_keys: Vec<DeviceId>,
    /// Whether previews are taken too.
    pub previews: bool,
    /// Of what the desktop app does not tell its owner.
    #[serde(deserialize_with = "known")]
    pub silent: BTreeSet<Notice>,
}

/// What the desktop app tells its owner outside of its window, unless it is to be silent of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A guest of somebody has begun to run here.
    GuestArrived,
    /// Guests make room for the owner.
    GuestPaused,
    /// A rental is nearly over.
    LeaseEnding,
    /// A guest of ours is not well.
    GuestUnwell,
    /// Something was paid, or a payment of ours was answered.
    Paid,
    /// A lease comes to an end that will count against us.
    ScoreFalling,
    /// No peer reaches this computer.
    Unreachable,
    /// The disk is nearly full.
    DiskLow,
    /// A new version can be had.
    Update,
}

/// A later version may have written kinds that this one does not know.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Notice>, D::Error> {
    let written = Vec::<serde_json::Value>::deserialize(deserializer)?;
    Ok(written.into_iter().filter_map(|kind| serde_json::from_value(kind).ok()).collect())
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            name: String::new(),
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            upnp: false,
            relay: false,
            releases: String::new(),
            release_keys: Vec::new(),
            previews: false,
            silent: BTreeSet::new(),
        }
    }
}

/// What settings may hold.
const LONGEST_NAME: usize = 64;
const MOST_ADDRESSES: usize = 16;
const LONGEST_PLACE: usize = 500;

impl Settings {
    /// What was set in a data directory; the usual where nothing was.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what we write.
    pub fn load(data: &Path) -> io::Result<Settings> {
        match fs::read(path(data)) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Settings::default()),
            Err(error) => Err(error),
        }
    }

    /// Puts them in the place of the old ones.
    fn save(&self, data: &Path) -> io::Result<()> {
        write_private(&path(data), &serde_json::to_vec_pretty(self).map_err(io::Error::other)?)
    }

    /// Says what is out of range.
    fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::Setting(what.to_owned()));
        if !model::is_plain(&self.name, LONGEST_NAME) {
            return wrong("a name has at most 64 bytes, and no control characters");
        }
        for address in self.listen.iter().chain(&self.bootstrap) {
            if let Err(error) = net::check_address(address) {
                return wrong(&format!("`{address}`: {error}"));
            }
        }
        let is_file = Path::new(&self.releases).is_absolute();
        if !(self.releases.is_empty() || is_file || self.releases.starts_with("https://"))
            || self.releases.len() > LONGEST_PLACE
        {
            return wrong("releases are in a file, by its whole path, or at an https:// address");
        }
        if self.release_keys.len() > MOST_ADDRESSES {
            return wrong("at most 16 keys of releases");
        }
        if self.listen.len() > MOST_ADDRESSES || self.bootstrap.len() > MOST_ADDRESSES {
            return wrong("at most 16 addresses");
        }
        Ok(())
    }

    /// Whether a node that runs by this configuration runs by these settings, but for what counts at once: the name, where
    /// releases are, and of what there is silence.
    pub fn are_those_of(&self, config: &Config) -> bool {
        (&self.listen, &self.bootstrap, self.mdns, self.upnp, self.relay)
            == (&config.listen, &config.bootstrap, config.mdns, config.upnp, config.relay)
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("settings.json")
}

impl Config {
    /// As it was set in `data`.
    pub fn with(settings: Settings, data: PathBuf) -> Config {
        let Settings { name, listen, bootstrap, mdns, upnp, relay, .. } = settings;
        Config { name, listen, bootstrap, mdns, upnp, relay, ..Config::new(data) }
    }
}

impl NodeHandle {
    /// What was set, for this run and the next.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn settings(&self) -> Result<Settings, Error> {
        Settings::load(&self.config().data).map_err(|error| Error::Setting(error.to_string()))
    }

    /// Sets it. The name, where releases are, and of what there is silence, count at once; the rest when the node starts
    /// again.
    ///
    /// # Errors
    /// When something is out of range, or cannot be written.
    pub async fn set(&self, settings: Settings) -> Result<(), Error> {
        settings.check()?;
        let before = self.settings()?;
        tokio::task::block_in_place(|| settings.save(&self.config().data))
            .map_err(|error| Error::Setting(format!("the settings cannot be written: {error}")))?;
        let of_releases = |set: &Settings| (set.releases.clone(), set.release_keys.clone(), set.previews);
        if of_releases(&before) != of_releases(&settings) {
            self.updates().look_again();
        }
        // One of the command line stays until another is set.
        if before.name != settings.name {
            self.rename(settings.name);
            self.command(Command::Publish).await.map_err(Fault::into)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_there_again_and_nothing_set_is_the_usual() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(dir.path()).unwrap(), Settings::default());
        let set = Settings { name: "Ada".to_owned(), relay: true, ..Settings::default() };
        set.save(dir.path()).unwrap();
        assert_eq!(Settings::load(dir.path()).unwrap(), set);
        // A later version may have written more, an older one less.
        fs::write(path(dir.path()), r#"{"name":"Bo","later":1,"silent":["paid","later"]}"#).unwrap();
        let read = Settings { name: "Bo".to_owned(), silent: [Notice::Paid].into(), ..Settings::default() };
        assert_eq!(Settings::load(dir.path()).unwrap(), read);
        fs::write(path(dir.path()), "{").unwrap();
        assert!(Settings::load(dir.path()).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_not_set() {
        let wrong = |settings: Settings| settings.check().unwrap_err().to_string();
        assert!(wrong(Settings { name: "a\nb".to_owned(), ..Settings::default() }).contains("name"));
        assert!(wrong(Settings { listen: vec!["here".to_owned()], ..Settings::default() }).contains("here"));
        assert!(wrong(Settings { releases: "http://x".to_owned(), ..Settings::default() }).contains("https"));
        assert!(Settings::default().check().is_ok());
    }
}
