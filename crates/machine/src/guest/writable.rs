//! What a guest writes over its image, and where: on the disk where this machine can, else in memory.
//!
//! On the disk it is an ext4 file system in a file of its own, whose room is taken when it is made: what was promised is
//! there, and the owner's disk does not fill. The file has a name only until the guest's supervisor has attached it. From
//! then on the kernel removes it with the last who has it open, however that one ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Gid, Mode, Uid, chownat, mkdirat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use serde::{Deserialize, Serialize};

use super::ids::Ids;
use super::spec::Limits;
use crate::volume::VolumeError;
use crate::volume::disk::{self, Cache};

/// Where guests of this machine write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writable {
    /// Into a file system in memory, counted as such.
    #[default]
    Memory,
    /// Into a file of this machine's disk.
    Disk,
}

impl Writable {
    /// The best that this process can have. It is looked for once: what an offer counts on and what guests get is the same.
    pub fn here() -> Writable {
        static HERE: OnceLock<Writable> = OnceLock::new();
        *HERE.get_or_init(|| match Writable::on_disk() {
            Ok(()) => Writable::Disk,
            Err(_) => Writable::Memory,
        })
    }

    /// For a guest with these limits, the best being this.
    pub(super) fn for_guest(self, limits: &Limits) -> Writable {
        let is_small = limits.disk <= SMALL.min(limits.memory / SMALL_PART);
        if is_small { Writable::Memory } else { self }
    }

    /// The most of this machine's memory that guests can fill who are lent so much memory and disk in all.
    pub fn most_memory(self, memory: u64, disk: u64) -> u64 {
        memory.saturating_add(match self {
            Writable::Memory => disk,
            Writable::Disk => disk.min(memory / SMALL_PART),
        })
    }

    /// Whether what guests write could lie on the disk of this machine as it is now.
    ///
    /// # Errors
    /// Says why not.
    pub fn on_disk() -> Result<(), String> {
        disk::possible()
    }
}

/// A disk that is small lives in memory all the same: a guest with one starts in half the time. It may be so large ..
const SMALL: u64 = 64 << 20;

/// .. and this part of the guest's memory, so that what a host lends of its memory also says how much more that can be.
pub const SMALL_PART: u64 = 4;

/// In the guest's directory, for the moment between its making and its attaching.
const FILE: &str = "disk";

/// Beside the guests: file systems with nothing in them, to be copied. Making one takes longer than starting a guest.
const BLANKS: &str = "blank";

/// As many sizes as are kept ready.
const MOST_BLANKS: usize = 16;

const BLOCK: u64 = 4_096;

/// Blocks that ext4 describes together.
const BLOCKS_OF_GROUP: u64 = 32_768;

/// Inodes that fill a block.
const INODES_OF_BLOCK: u64 = 16;

/// Those that ext4 keeps for itself, and our own directories.
const OWN_INODES: u64 = 16;

/// What ext4 and our own directories take of the smallest file system.
const OWN_BYTES: u64 = 48 << 10;

/// The most that ext4 keeps back for its own records.
const MOST_KEPT_BACK: u64 = 4_096 * BLOCK;

/// The size of a file system in which a guest can write so many bytes and files: what ext4 takes for itself is beside them.
fn layout(limits: &Limits) -> (u64, u64) {
    let plain = limits.disk + limits.inodes * (BLOCK / INODES_OF_BLOCK) + OWN_BYTES;
    let kept_back = (plain / 49).min(MOST_KEPT_BACK);
    let bytes = (plain + kept_back).next_multiple_of(BLOCK);
    let groups = (bytes / BLOCK).div_ceil(BLOCKS_OF_GROUP);
    // A table of inodes is whole blocks: rounded down, for a limit is not exceeded.
    let step = INODES_OF_BLOCK * groups;
    let inodes = ((limits.inodes + OWN_INODES) / step * step).max(step);
    (bytes, inodes)
}

/// As node: makes the guest's disk in its directory, `guests` being that of all of them.
///
/// # Errors
/// `Full` where the disk has no room for it beside what is kept free for the owner.
pub fn make(guests: &Path, directory: &Path, limits: &Limits) -> Result<(), VolumeError> {
    let (bytes, inodes) = layout(limits);
    crate::image::has_room(guests, bytes).map_err(|_| VolumeError::Full { needed: bytes })?;
    let blank = blank(guests, bytes, inodes)?;
    let path = directory.join(FILE);
    let copied = copy_sparse(&blank, &path).map_err(VolumeError::io("make the file", &path))?;
    disk::reserve(&copied, &path, bytes)
}

/// A file system of this size that nobody has written to.
fn blank(guests: &Path, bytes: u64, inodes: u64) -> Result<PathBuf, VolumeError> {
    let blanks = guests.join(BLANKS);
    let path = blanks.join(format!("{bytes}-{inodes}"));
    if let Ok(file) = File::open(&path) {
        // What is used stays; a clock that is wrong costs a making.
        let _ = file.set_modified(SystemTime::now());
        return Ok(path);
    }
    fs::create_dir_all(&blanks).map_err(VolumeError::io("make the directory", &blanks))?;
    make_room(&blanks).map_err(VolumeError::io("clear", &blanks))?;
    let beside = path.with_extension("new");
    let made = File::create(&beside)
        .and_then(|file| file.set_len(bytes))
        .map_err(VolumeError::io("make the file", &beside))
        .and_then(|()| make_file_system(&beside, inodes))
        .and_then(|()| fs::rename(&beside, &path).map_err(VolumeError::io("keep", &path)));
    made.inspect_err(|_| {
        // The next one made of this size is written over it.
        let _ = fs::remove_file(&beside);
    })?;
    Ok(path)
}

/// The oldest go.
fn make_room(blanks: &Path) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, PathBuf)> = fs::read_dir(blanks)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    kept.sort();
    let many = (kept.len() + 1).saturating_sub(MOST_BLANKS);
    kept.iter().take(many).try_for_each(|(_, path)| fs::remove_file(path))
}

/// No journal: what is in it is gone with the guest, so nothing needs to survive a power cut.
fn make_file_system(path: &Path, inodes: u64) -> Result<(), VolumeError> {
    let inodes = inodes.to_string();
    let fixed = ["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-N", &inodes];
    let features = ["-O", "^has_journal,^resize_inode", "-E", "nodiscard,lazy_itable_init=1,root_owner=0:0"];
    disk::run("mke2fs", Command::new("mke2fs").args(fixed).args(features).arg(path))
}

/// Copies what was written of a file, and leaves holes where nothing was.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<File> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    while let Ok(data) = rustix::fs::seek(&source, rustix::fs::SeekFrom::Data(at)) {
        let hole = rustix::fs::seek(&source, rustix::fs::SeekFrom::Hole(data))?;
        source.seek(SeekFrom::Start(data))?;
        target.seek(SeekFrom::Start(data))?;
        io::copy(&mut io::Read::take(&mut source, hole - data), &mut target)?;
        at = hole;
    }
    Ok(target)
}

/// A guest's disk, attached and mounted nowhere.
pub struct Disk {
    /// Its file system, to be mounted where the guest is to see it.
    pub mount: OwnedFd,
    /// The number of its loop device.
    pub device: (u32, u32),
}

/// Loop devices, for the kernel.
const LOOP: u32 = 7;

/// The directories of an overlay in a guest's disk.
pub const UPPER: &str = "upper";
/// For the overlay alone.
pub const WORK: &str = "work";

/// As supervisor, with root's powers and in the guest's directory: attaches its disk, and takes the name from its file.
pub fn attach(ids: &Ids) -> io::Result<Disk> {
    let file = Path::new(FILE);
    let device = disk::loop_device(file, Cache::None)?;
    fs::remove_file(file)?;
    let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", device.path.as_str())?;
    // Errors stop the writing, and do not stop the machine. The room of what the guest removes stays taken: it was promised.
    fsconfig_set_string(context.as_fd(), "errors", "remount-ro")?;
    for flag in ["noinit_itable", "nodiscard"] {
        fsconfig_set_flag(context.as_fd(), flag)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let (runtime, guest) = ids.runtime_and_root();
    let own = |name: &str, id: u32| {
        chownat(&mount, name, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)), AtFlags::SYMLINK_NOFOLLOW)
    };
    let mode = Mode::from_raw_mode(0o755);
    own(".", runtime)?;
    mkdirat(&mount, UPPER, mode)?;
    // The guest's own root, not the runtime's, owns "/".
    own(UPPER, guest)?;
    mkdirat(&mount, WORK, mode)?;
    own(WORK, runtime)?;
    Ok(Disk { mount, device: (LOOP, device.number) })
}

/// A disk that is still attached whose file was in this directory.
pub fn left(directory: &Path) -> Option<PathBuf> {
    let devices = fs::read_dir("/sys/block").ok()?;
    devices.filter_map(|entry| Some(entry.ok()?.path())).find(|device| {
        let backing = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        Path::new(backing.trim_end().trim_end_matches(" (deleted)")).starts_with(directory)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(disk: u64, inodes: u64) -> Limits {
        Limits {
            cpu_millis: 100,
            memory: 16 << 20,
            disk,
            inodes,
            pids: 8,
            open_files: 64,
            log_bytes: 64 << 10,
            io_rate: 0,
        }
    }

    #[test]
    fn files_are_never_more_than_the_limit() {
        for disk in [64 << 10, 8 << 20, 1 << 30, 100 << 30_u64] {
            for inodes in [64, 512, 4_096, disk / 16_384] {
                let (bytes, made) = layout(&limits(disk, inodes));
                let groups = (bytes / BLOCK).div_ceil(BLOCKS_OF_GROUP);
                assert!(made <= (inodes + OWN_INODES).max(INODES_OF_BLOCK * groups), "{disk} {inodes}");
                assert!(made + INODES_OF_BLOCK * groups > inodes, "{disk} {inodes}");
                assert!(bytes >= disk && bytes % BLOCK == 0);
            }
        }
    }

    #[test]
    fn small_disks_are_in_memory_and_fill_no_more_of_it_than_is_known() {
        let place = |disk| Writable::Disk.for_guest(&Limits { memory: 256 << 20, ..limits(disk, 64) });
        assert_eq!(place(64 << 20), Writable::Memory);
        assert_eq!(place(65 << 20), Writable::Disk);
        assert_eq!(Writable::Disk.for_guest(&limits(5 << 20, 64)), Writable::Disk);
        assert_eq!(Writable::Memory.for_guest(&limits(1 << 30, 64)), Writable::Memory);
        let gib = 1 << 30;
        assert_eq!(Writable::Memory.most_memory(4 * gib, 2 * gib), 6 * gib);
        assert_eq!(Writable::Disk.most_memory(4 * gib, 200 * gib), 5 * gib);
        // As many guests as the memory has room for, each with the largest disk that is in memory.
        let each = limits(4 << 20, 64);
        let all = (4 * gib / each.memory) * each.ram(Writable::Disk.for_guest(&each));
        assert!(all <= Writable::Disk.most_memory(4 * gib, 200 * gib), "{all}");
    }

    #[test]
    fn a_copy_has_holes_where_nothing_was() {
        use std::os::unix::fs::{FileExt, MetadataExt};
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let source = File::create(&from).unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(b"beginning", 0).unwrap();
        source.write_all_at(b"middle", 32 << 20).unwrap();
        copy_sparse(&from, &to).unwrap();
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20, "it takes room for what is in it");
    }

    #[test]
    fn the_oldest_blanks_go() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..20_u64 {
            let file = File::create(dir.path().join(number.to_string())).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number)).unwrap();
        }
        make_room(dir.path()).unwrap();
        let mut left: Vec<u64> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, (5..20).collect::<Vec<_>>());
    }
}
