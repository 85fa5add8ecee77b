//! Directories of this machine that a guest is given: its volumes. They are cloned and put under the guest's ids by the
//! supervisor, as layers are, and mounted by the guest's first process where the guest is to see them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use serde::{Deserialize, Serialize};

use super::error::StartError;
use super::sandbox::{make_directories, open_inside};
use super::sys;

/// A directory that a guest is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The directory: mounted when the guest is started, and needed no longer after.
    pub source: PathBuf,
    /// Where the guest sees it: absolute; made where the image lacks it.
    pub target: String,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

/// As supervisor, with root's powers: opens the directories under the guest's ids.
pub fn open(mounts: &[Mount], namespace: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, StartError> {
    let open = |mount: &Mount| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, &mount.source, flags)
            .map_err(StartError::sandbox(format!("open the volume for {}", mount.target)))?;
        sys::lend_and_map(tree.as_fd(), namespace, mount.read_only).map_err(StartError::sandbox(format!(
            "show the volume on {} under ids of the guest's own",
            mount.target
        )))?;
        Ok(tree)
    };
    mounts.iter().map(open).collect()
}

/// As the guest's first process: mounts them. No link of the image leads out of it, and what is below a volume's place in
/// the image is hidden by it.
pub fn place(mounts: &[Mount], trees: &[OwnedFd], root: BorrowedFd<'_>) -> Result<(), StartError> {
    for (mount, tree) in mounts.iter().zip(trees) {
        let failed = || StartError::sandbox(format!("mount the volume on {}", mount.target));
        make_directories(root, &mount.target).map_err(failed())?;
        let target = open_inside(root, &mount.target, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
            .map_err(failed())?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(tree, "", &target, "", flags).map_err(failed())?;
    }
    Ok(())
}
