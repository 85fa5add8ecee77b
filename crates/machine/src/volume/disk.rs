//! A file that holds a file system: made, grown, attached, mounted. Only the kernel ever writes into it: what a tenant
//! brings comes as files through the mounted file system, never as raw bytes, for no file system driver was made to mount
//! what an enemy wrote.
#![expect(unsafe_code, reason = "loop devices are attached by ioctl, for which rustix has no call")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FallocateFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{MOUNT, VOLUMES, VolumeError};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Makes a file system of so many bytes and files in a new file, whose room on the disk is taken at once.
pub fn make(path: &Path, size: u64, inodes: u64, encrypted: bool) -> Result<(), VolumeError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(VolumeError::io("make the file", path))?;
    reserve(&file, path, size)?;
    let features = if encrypted { "encrypt" } else { "^encrypt" };
    let inodes = inodes.to_string();
    // No blocks for root alone: a guest gets all of what it pays for.
    let fixed = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-m",
        "0",
        "-E",
        "nodiscard,root_owner=0:0",
        "-O",
        features,
        "-N",
        &inodes,
    ];
    run("mke2fs", Command::new("mke2fs").args(fixed).arg(path))
}

/// Makes a disk larger.
pub fn grow(path: &Path, size: u64) -> Result<(), VolumeError> {
    let file = OpenOptions::new().write(true).open(path).map_err(VolumeError::io("open", path))?;
    reserve(&file, path, size)?;
    // resize2fs wants a file system that was looked at.
    run_with("e2fsck", Command::new("e2fsck").arg("-fp").arg(path), &[0, 1])?;
    run("resize2fs", Command::new("resize2fs").arg(path))
}

pub(crate) fn reserve(file: &File, path: &Path, size: u64) -> Result<(), VolumeError> {
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size).map_err(|errno| match errno {
        rustix::io::Errno::NOSPC => VolumeError::Full { needed: size },
        errno => VolumeError::io("take room on the disk for", path)(errno),
    })
}

pub(crate) fn run(program: &'static str, command: &mut Command) -> Result<(), VolumeError> {
    run_with(program, command, &[0])
}

fn run_with(program: &'static str, command: &mut Command, good: &[i32]) -> Result<(), VolumeError> {
    // Where the system's own programs are, for a node that was started with a path of its own.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let failed = |said: String| VolumeError::Program { program, said };
    let output = command.env("PATH", path).output().map_err(|error| failed(error.to_string()))?;
    if output.status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no word").trim().to_owned()))
}

/// A file system that is mounted until this is dropped. Who has opened something of it, or has it mounted elsewhere, keeps
/// it and its loop device alive: the kernel removes that with the last of them.
#[derive(Debug)]
pub struct Mounted {
    pub at: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.at, UnmountFlags::DETACH) {
            tracing::warn!(path = %self.at.display(), %error, "a volume stays mounted");
        }
    }
}

/// Mounts the file system in a file. Nothing in it is a device, raises powers, or is followed when it is a link: that is for
/// the guest alone to do.
pub fn attach(disk: &Path, at: &Path) -> Result<Mounted, VolumeError> {
    fs::create_dir_all(at).map_err(VolumeError::io("make the directory", at))?;
    let device = loop_device(disk, Cache::Kept).map_err(VolumeError::io("attach", disk))?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    // Errors stop the writing, and do not stop the machine, whatever the file system says itself.
    mount(&device.path, at, "ext4", flags, c"errors=remount-ro").map_err(VolumeError::io("mount", disk))?;
    Ok(Mounted { at: at.to_path_buf() })
}

/// A loop device that goes when it was mounted and is so no longer.
pub(crate) struct LoopDevice {
    pub(crate) path: String,
    pub(crate) number: u32,
    /// Keeps the device until it is mounted.
    _file: File,
}

/// Whether the file's own bytes are kept in memory beside those of the file system in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// As for any file.
    Kept,
    /// Not where the disk allows: what is kept in memory is then what the file system keeps, for whoever asked for it.
    None,
}

/// Many may ask for one at once, and each number goes to one of them.
const TRIES: usize = 256;

pub(crate) fn loop_device(disk: &Path, cache: Cache) -> io::Result<LoopDevice> {
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    for _ in 0..TRIES {
        // SAFETY: the call takes no pointer.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = format!("/dev/loop{number}");
        let device = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(device) => device,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_node(&path, number as u32)?;
                OpenOptions::new().read(true).write(true).open(&path)?
            }
            Err(error) => return Err(error),
        };
        // SAFETY: all fields are numbers, for which zero bytes are values.
        let mut config: LoopConfig = unsafe { std::mem::zeroed() };
        config.fd = file.as_raw_fd() as u32;
        config.info.flags = match cache {
            Cache::Kept => LO_FLAGS_AUTOCLEAR,
            Cache::None => LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
        };
        // SAFETY: the kernel reads as much as the structure has.
        if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) } == 0 {
            return Ok(LoopDevice { path, number: number as u32, _file: device });
        }
        let error = io::Error::last_os_error();
        // Somebody else has taken it meanwhile.
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(error);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Containers and small systems have no program that makes these as they come to be.
fn make_node(path: &str, number: u32) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    match mknodat(CWD, path, FileType::BlockDevice, Mode::from_raw_mode(0o600), makedev(7, number)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether some loop device has this file: a guest, a copy, or somebody else is at work with it. Two of them at once would
/// ruin what is in it.
pub fn is_attached(disk: &Path) -> bool {
    let Ok(wanted) = fs::metadata(disk) else { return false };
    let Ok(devices) = fs::read_dir("/sys/block") else { return false };
    let names = devices.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with("loop")).any(|name| {
        let backing = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"));
        let same = |path: &str| {
            fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
        };
        backing.is_ok_and(|path| same(path.trim_end_matches('\n')))
    })
}

/// Unmounts what a node left mounted below this directory that was killed in the middle of something. What guests have of
/// it stays theirs.
pub fn unmount_below(root: &Path) -> io::Result<()> {
    unmount_where(|at| at.starts_with(root))
}

/// Puts this process, which has one thread, among mounts of its own, without those of volumes; and so all that it starts. A guest
/// that is started while another's volume is mounted would otherwise hold on to that for as long as it lives.
pub(crate) fn leave_behind() -> io::Result<()> {
    // SAFETY: nothing of this process is shared with another thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    unmount_where(is_of_volume)
}

fn is_of_volume(at: &Path) -> bool {
    let mut names = at.iter().rev();
    names.next().is_some_and(|name| name == MOUNT) && names.nth(1).is_some_and(|name| name == VOLUMES)
}

fn unmount_where(is_meant: impl Fn(&Path) -> bool) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for line in mounts.lines() {
        let Some(at) = line.split(' ').nth(4) else { continue };
        let at = at.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        if is_meant(Path::new(&at)) {
            unmount(at.as_str(), UnmountFlags::DETACH)?;
        }
    }
    Ok(())
}

/// A copy of a disk: at once where the file system below can share blocks, else byte for byte.
pub fn copy(from: &Path, to: &Path) -> Result<(), VolumeError> {
    let source = File::open(from).map_err(VolumeError::io("open", from))?;
    let target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(VolumeError::io("make the file", to))?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        let size = source.metadata().map_err(VolumeError::io("look at", from))?.len();
        reserve(&target, to, size)?;
        let (mut source, mut target) = (source, &target);
        io::copy(&mut source, &mut target).map_err(VolumeError::io("copy", from))?;
    }
    target.sync_all().map_err(VolumeError::io("sync", to))
}

/// Whether this process may attach and mount at all.
pub(crate) fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can mount file systems that are limited in bytes and files".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err("there are no loop devices: `modprobe loop`".to_owned());
    }
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !systems.lines().any(|line| line.trim() == "ext4") && !Path::new("/sys/fs/ext4").exists() {
        return Err("the kernel has no ext4: `modprobe ext4`".to_owned());
    }
    let there = |name: &str| {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        path.split(':').any(|directory| Path::new(directory).join(name).is_file())
    };
    match ["mke2fs", "e2fsck", "resize2fs"].into_iter().find(|name| !there(name)) {
        Some(missing) => Err(format!("{missing} is missing: install e2fsprogs")),
        None => Ok(()),
    }
}
