//! Devices of this machine that its owner lends: what a name of the owner's stands for, and what a guest gets for it.
//!
//! A name stands for a file such as `/dev/video0`, or for a device of the Container Device Interface, such as
//! `nvidia.com/gpu=0`: a file in /etc/cdi or /var/run/cdi says which nodes, files and variables that is. Its hooks, which are
//! programs to be run here as root, are not run.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where files of the Container Device Interface are; the later ones come first.
const PLACES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Larger than any honest one.
const LARGEST_FILE: u64 = 4 << 20;

/// What a guest gets for its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Nodes in its /dev.
    pub nodes: Vec<Node>,
    /// Files of this machine that it may read: what programs need to use the device.
    pub files: Vec<Shown>,
    /// `NAME=value`.
    pub env: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Here.
    pub host: PathBuf,
    /// In the guest.
    pub path: String,
    /// The device's numbers.
    pub device: (u32, u32),
}

/// A file, or a directory, that a guest may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Here.
    pub host: PathBuf,
    /// In the guest.
    pub path: String,
}

/// Why a device cannot be lent.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// Neither a device file that can be lent, nor a name of the interface.
    #[error(
        "{source_name} is nothing that can be lent: name a device of a CDI file, such as nvidia.com/gpu=0, or one of /dev/dri/renderD*, /dev/video*, /dev/ttyUSB*, /dev/ttyACM*, /dev/ttyS*, /dev/snd/*"
    )]
    NotLent {
        /// As it was given.
        source_name: String,
    },
    /// No file of the interface names it.
    #[error("no file in {places} names the device {source_name}")]
    Unknown {
        /// As it was given.
        source_name: String,
        /// Where was looked.
        places: String,
    },
    /// The file says something that is not done.
    #[error("{}: {why}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What.
        why: String,
    },
    /// Not there, or not what it should be.
    #[error("{}: {why}", .path.display())]
    Node {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// What a guest gets for a device that the owner names so.
///
/// # Errors
/// Why it cannot be had.
pub fn resolve(source: &str) -> Result<Devices, DeviceError> {
    resolve_in(&PLACES.map(PathBuf::from), source)
}

/// The same, with CDI files in these directories alone.
///
/// # Errors
/// Why it cannot be had.
pub fn resolve_in(places: &[PathBuf], source: &str) -> Result<Devices, DeviceError> {
    if source.starts_with('/') {
        return named_file(source);
    }
    let not_lent = || DeviceError::NotLent { source_name: source.to_owned() };
    let (kind, name) = source.split_once('=').ok_or_else(not_lent)?;
    if !kind.contains('/') || name.is_empty() {
        return Err(not_lent());
    }
    // The last one that names a device is the one that counts.
    for file in places.iter().rev().flat_map(|place| files(place)) {
        let specification = read(&file)?;
        if specification.kind != kind {
            continue;
        }
        if let Some(device) = specification.devices.iter().find(|device| device.name == name) {
            let edits = [&specification.container_edits, &device.container_edits];
            return given(edits).map_err(|error| match error {
                Odd::Said(why) => DeviceError::File { file: file.clone(), why },
                Odd::Node(error) => error,
            });
        }
    }
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    Err(DeviceError::Unknown { source_name: source.to_owned(), places: places.join(" and ") })
}

/// What this machine has that could be lent, by the name that the owner would give: devices of CDI files, and device files.
pub fn lendable() -> BTreeMap<String, Devices> {
    let files = PLACES.iter().flat_map(|place| files(Path::new(place)));
    let read = files.filter_map(|file| read(&file).ok());
    let named = read.flat_map(|specification| {
        let kind = specification.kind;
        specification
            .devices
            .into_iter()
            .map(move |device| format!("{kind}={}", device.name))
            .collect::<Vec<_>>()
    });
    let nodes = ["/dev", "/dev/dri", "/dev/snd"].into_iter().flat_map(|place| {
        let entries = fs::read_dir(place).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok()).collect::<Vec<_>>()
    });
    // Serial lines of the kind that every board says to have, and few do.
    let usual = nodes.filter(|path| !path.starts_with("/dev/ttyS"));
    named.chain(usual).filter_map(|source| resolve(&source).ok().map(|devices| (source, devices))).collect()
}

impl Devices {
    /// Whether one of its nodes is this device.
    pub fn has(&self, device: (u32, u32)) -> bool {
        self.nodes.iter().any(|node| node.device == device)
    }

    /// Adds what another device brings. Devices of one kind share nodes and files, and none is shown twice.
    pub fn add(&mut self, other: Devices) {
        add_missing(&mut self.nodes, other.nodes);
        add_missing(&mut self.files, other.files);
        add_missing(&mut self.env, other.env);
    }

    /// Whether a guest of this process can open its nodes. Root makes it nodes of its own; others can only show it theirs,
    /// and what the machine's administrator allows everybody there.
    ///
    /// # Errors
    /// The first node that it could not open.
    pub fn can_be_opened(&self) -> Result<(), DeviceError> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        for node in &self.nodes {
            let mode = fs::metadata(&node.host).map(|found| found.mode()).unwrap_or(0);
            if mode & 0o006 != 0o006 {
                let why =
                    "its mode lets nobody else open it, and a guest is somebody else: run the node as root"
                        .to_owned();
                return Err(DeviceError::Node { path: node.host.clone(), why });
            }
        }
        Ok(())
    }
}

fn add_missing<T: PartialEq>(to: &mut Vec<T>, others: Vec<T>) {
    for other in others {
        if !to.contains(&other) {
            to.push(other);
        }
    }
}

/// Names of device files that a guest cannot take the machine over with.
fn named_file(path: &str) -> Result<Devices, DeviceError> {
    const LENT: [&str; 5] = ["dri/renderD", "video", "ttyUSB", "ttyACM", "ttyS"];
    let below = path.strip_prefix("/dev/").unwrap_or_default();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = LENT.iter().any(|start| below.strip_prefix(start).is_some_and(digits));
    let sound = below
        .strip_prefix("snd/")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if !numbered && !sound {
        return Err(DeviceError::NotLent { source_name: path.to_owned() });
    }
    Ok(Devices { nodes: vec![node(Path::new(path), path)?], ..Devices::default() })
}

fn node(host: &Path, path: &str) -> Result<Node, DeviceError> {
    let odd = |why: String| DeviceError::Node { path: host.to_owned(), why };
    let found = fs::metadata(host).map_err(|error| odd(error.to_string()))?;
    if !found.file_type().is_char_device() {
        // With a disk of the owner's, a guest would have all that is on it.
        return Err(odd("only character devices are lent".to_owned()));
    }
    let number = found.rdev();
    let device = (rustix::fs::major(number), rustix::fs::minor(number));
    if let Some(what) = forbidden(device) {
        return Err(odd(format!("{what} is never lent: who has it has this machine")));
    }
    Ok(Node { host: host.to_owned(), path: path.to_owned(), device })
}

/// Devices by which a guest would leave its sandbox, whatever file names them.
fn forbidden(device: (u32, u32)) -> Option<&'static str> {
    match device {
        (1, 1 | 2 | 4 | 11) => Some("the machine's memory and kernel log"),
        (4, 0..=63) | (5, 0 | 1) => Some("the owner's console"),
        (10, 232) => Some("/dev/kvm"),
        (10, 200) => Some("the machine's network"),
        (10, 229 | 237) => Some("a way to mount file systems"),
        (13, _) => Some("the owner's keyboard and mouse"),
        (21, _) => Some("a disk by its commands"),
        _ => None,
    }
}

fn files(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "json" || end == "yaml" || end == "yml"));
    files.sort();
    files
}

/// A file of the Container Device Interface: what we do of it. What it asks for besides is refused where it would be missed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    kind: String,
    devices: Vec<Named>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<NodeEdit>,
    mounts: Vec<MountEdit>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeEdit {
    path: String,
    #[serde(default)]
    host_path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MountEdit {
    host_path: PathBuf,
    container_path: String,
}

fn read(file: &Path) -> Result<Specification, DeviceError> {
    let odd = |why: String| DeviceError::File { file: file.to_owned(), why };
    let length = fs::metadata(file).map_err(|error| odd(error.to_string()))?.len();
    if length > LARGEST_FILE {
        return Err(odd(format!("it has {length} bytes, and at most {LARGEST_FILE} are read")));
    }
    let text = fs::read_to_string(file).map_err(|error: io::Error| odd(error.to_string()))?;
    if file.extension().is_some_and(|end| end == "json") {
        serde_json::from_str(&text).map_err(|error| odd(error.to_string()))
    } else {
        serde_saphyr::from_str(&text).map_err(|error| odd(error.to_string()))
    }
}

enum Odd {
    Said(String),
    Node(DeviceError),
}

fn given(edits: [&Edits; 2]) -> Result<Devices, Odd> {
    let mut devices = Devices::default();
    for edits in edits {
        for edit in &edits.device_nodes {
            let below = edit.path.strip_prefix("/dev/").unwrap_or_default();
            if !is_clean(below) {
                return Err(Odd::Said(format!(
                    "{} is no path of a device in a guest: it lies in /dev",
                    edit.path
                )));
            }
            let host = edit.host_path.clone().unwrap_or_else(|| PathBuf::from(&edit.path));
            devices.nodes.push(node(&host, &edit.path).map_err(Odd::Node)?);
        }
        for edit in &edits.mounts {
            let below = edit.container_path.strip_prefix('/').unwrap_or_default();
            let ours = ["proc", "sys", "dev"].contains(&below.split('/').next().unwrap_or_default());
            if !is_clean(below) || ours {
                return Err(Odd::Said(format!("{} is no place for a file in a guest", edit.container_path)));
            }
            // A directory above others of the owner's would show more than a driver.
            if edit.host_path.components().count() < 3 || !edit.host_path.is_absolute() {
                return Err(Odd::Said(format!("{} is too much to show a guest", edit.host_path.display())));
            }
            devices.files.push(Shown { host: edit.host_path.clone(), path: edit.container_path.clone() });
        }
        if let Some(odd) = edits.env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
            return Err(Odd::Said(format!("{odd} is not NAME=value")));
        }
        devices.env.extend(edits.env.iter().cloned());
    }
    Ok(devices)
}

fn is_clean(below: &str) -> bool {
    !below.contains('\0') && below.split('/').all(|step| !matches!(step, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, text: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        let places = vec![dir.path().to_owned()];
        (dir, places)
    }

    const YAML: &str = "cdiVersion: \"0.6.0\"\nkind: example.com/dice\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - path: /dev/dice\n      hostPath: /dev/urandom\n    env:\n    - SIDES=6\ncontainerEdits:\n  mounts:\n  - hostPath: /usr/lib/os-release\n    containerPath: /usr/lib/dice\n    options: [ro, nosuid, bind]\n  hooks:\n  - hookName: createContainer\n    path: /bin/false\n";

    #[test]
    fn a_device_is_what_its_file_says() {
        let (_dir, places) = place("dice.yaml", YAML);
        let dice = resolve_in(&places, "example.com/dice=0").unwrap();
        assert_eq!(
            dice.nodes,
            [Node { host: "/dev/urandom".into(), path: "/dev/dice".into(), device: (1, 9) }]
        );
        assert_eq!(dice.files, [Shown { host: "/usr/lib/os-release".into(), path: "/usr/lib/dice".into() }]);
        assert_eq!(dice.env, ["SIDES=6"]);
        let json = r#"{"cdiVersion":"0.6.0","kind":"example.com/dice","devices":[{"name":"a","containerEdits":{"deviceNodes":[{"path":"/dev/zero"}]}}]}"#;
        let (_dir, places) = place("dice.json", json);
        assert_eq!(resolve_in(&places, "example.com/dice=a").unwrap().nodes[0].device, (1, 5));
        assert!(matches!(resolve_in(&places, "example.com/dice=b"), Err(DeviceError::Unknown { .. })));
        assert!(matches!(resolve_in(&places, "example.com/card=a"), Err(DeviceError::Unknown { .. })));
    }

    #[test]
    fn what_devices_share_is_there_once() {
        let two = YAML.replace(
            "devices:\n",
            "devices:\n- name: \"1\"\n  containerEdits:\n    deviceNodes:\n    - path: /dev/zero\n    - path: /dev/dice\n      hostPath: /dev/urandom\n    env:\n    - SIDES=20\n",
        );
        let (_dir, places) = place("dice.yaml", &two);
        let mut all = Devices::default();
        for name in ["0", "1", "0"] {
            all.add(resolve_in(&places, &format!("example.com/dice={name}")).unwrap());
        }
        let paths: Vec<&str> = all.nodes.iter().map(|node| node.path.as_str()).collect();
        assert_eq!(paths, ["/dev/dice", "/dev/zero"]);
        assert_eq!(all.files.len(), 1);
        assert_eq!(all.env, ["SIDES=6", "SIDES=20"]);
    }

    #[test]
    fn nothing_is_lent_that_takes_the_machine_over() {
        for source in [
            "/dev/sda",
            "/dev/mem",
            "/dev/video0/../mem",
            "/dev/videos",
            "/dev/snd/",
            "/etc/passwd",
            "gpu",
            "gpu=0",
            "a/b=",
        ] {
            assert!(matches!(resolve_in(&[], source), Err(DeviceError::NotLent { .. })), "{source}");
        }
        let refused = |from: &str, to: &str| {
            let (_dir, places) = place("dice.yaml", &YAML.replace(from, to));
            resolve_in(&places, "example.com/dice=0").unwrap_err().to_string()
        };
        assert!(refused("/dev/dice", "/etc/dice").contains("lies in /dev"));
        assert!(refused("/dev/dice", "/dev/../dice").contains("lies in /dev"));
        assert!(refused("/dev/urandom", "/dev/kmsg").contains("never lent"));
        assert!(refused("/dev/urandom", "/etc/hostname").contains("character devices"));
        assert!(refused("hostPath: /usr/lib/os-release", "hostPath: /etc").contains("too much"));
        assert!(refused("/usr/lib/dice", "/proc/dice").contains("no place"));
        assert!(refused("SIDES=6", "SIDES").contains("NAME=value"));
        assert!(refused("kind: example.com/dice", "kind: [").contains("dice.yaml"));
    }
}
