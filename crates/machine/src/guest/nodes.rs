//! Device nodes of a guest. As root they are nodes of the guest's own, which nobody else sees: those of the machine keep
//! their owner and mode, and a guest, who is nobody here, could not open them. They lie in a small file system that the
//! supervisor makes and the guest's first process mounts for the runtime, which shows each at its place.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chownat, makedev, mknodat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use serde_json::{Value, json};

use super::ids::Ids;
use super::sandbox::STAGE;
use crate::device::{Devices, Node};

/// Where the first process mounts it, in its stage.
pub const NODES: &str = "devices";

/// As supervisor, with root's powers: makes the nodes, or none where the guest sees those of the machine.
pub fn make(devices: &Devices, ids: &Ids) -> io::Result<Option<OwnedFd>> {
    let Ids::Own { .. } = ids else { return Ok(None) };
    if devices.nodes.is_empty() {
        return Ok(None);
    }
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("size", "64k"), ("nr_inodes", "128"), ("mode", "755")] {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let (_, guest) = ids.runtime_and_root();
    for (number, node) in devices.nodes.iter().enumerate() {
        let name = number.to_string();
        let (major, minor) = node.device;
        mknodat(&mount, &name, FileType::CharacterDevice, Mode::from_raw_mode(0o600), makedev(major, minor))?;
        // A guest's program need not be its root. The mask of this process must not take that away.
        rustix::fs::chmodat(&mount, &name, Mode::from_raw_mode(0o666), AtFlags::empty())?;
        chownat(&mount, &name, Some(Uid::from_raw(guest)), Some(Gid::from_raw(guest)), AtFlags::empty())?;
    }
    Ok(Some(mount))
}

/// For the runtime: the nodes, and the files that belong to the devices, which are never written.
pub fn mounts(devices: &Devices, ids: &Ids) -> Vec<Value> {
    let bind = |from: String, to: &str, options: &[&str]| json!({ "destination": to, "type": "bind", "source": from, "options": options });
    let node = |(number, node): (usize, &Node)| {
        let from = match ids {
            Ids::Own { .. } => format!("{STAGE}/{NODES}/{number}"),
            Ids::Subordinate { .. } | Ids::OfEngine => node.host.display().to_string(),
        };
        bind(from, &node.path, &["bind", "rw", "nosuid", "noexec"])
    };
    let nodes = devices.nodes.iter().enumerate().map(node);
    let files = devices
        .files
        .iter()
        .map(|file| bind(file.host.display().to_string(), &file.path, &["rbind", "ro", "nosuid", "nodev"]));
    nodes.chain(files).collect()
}
