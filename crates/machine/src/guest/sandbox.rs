//! The inside of a guest, from the birth of its first process until the OCI runtime takes over.
//!
//! That process has namespaces of its own for users, mounts, network and processes. First thing it goes under its
//! limits; then it mounts the image with a sized layer over it, and becomes the runtime. As the first process of its
//! namespace it takes all others with it when it dies, and it dies with the supervisor.
//!
//! What it mounts, on top of a directory that every Linux has, seen by nobody else. The names are what a guest can
//! read in its /proc/self/mountinfo, so they say nothing about this machine:
//!
//! ```text
//! /mnt        scratch: config.json, and the runtime's own files
//! /mnt/l0 ..  the image's layers, read-only, lowest first
//! /mnt/top    what the guest writes: a file system of a fixed size, on the disk or in memory
//! /mnt/devices  nodes of devices that it has
//! /mnt/secrets  its secrets, in memory
//! /mnt/root   all of them, laid over each other, and volumes in it
//! ```

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, chownat, fstat, mkdirat, openat, openat2, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount,
    open_tree,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Gid, Resource, Signal, Uid, WaitOptions, getrlimit, set_parent_process_death_signal, umask, waitpid,
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::cgroup::{Entrance, Hierarchy};
use super::defences::Defences;
use super::error::StartError;
use super::grip::HeldBy;
use super::ids::{Ids, write_maps};
use super::image_users::{self, User};
use super::nodes::NODES;
use super::record::Orders;
use super::secrets::{self, Secret};
use super::spec::GuestSpec;
use super::warden::{Stdio, Warden};
use super::writable::{UPPER, WORK};
use super::{mounts, oci, own_kernel, sys, wire};

/// Where the sandbox is built.
pub const STAGE: &str = "/mnt";

/// What the guest writes, in it.
pub const DISK: &str = "top";

/// All that the guest sees, in it.
const ROOT: &str = "root";

/// The namespaces of a guest's first process.
pub fn namespaces(defences: Defences) -> libc::c_int {
    let own = |has_own: bool, kind| if has_own { kind } else { 0 };
    libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | own(defences.users, libc::CLONE_NEWUSER)
        | own(defences.network, libc::CLONE_NEWNET)
}

/// What the supervisor hands to the first process.
pub struct Inheritance {
    /// The way under the guest's limits.
    pub entrance: Entrance,
    /// Says when the process has its ids; takes back the first thing that goes wrong.
    pub channel: OwnedFd,
    /// Layers as detached mounts under the guest's ids, if the supervisor could make them; else they are opened here.
    pub layers: Option<Vec<OwnedFd>>,
    /// Where the guest's input comes from and its output goes.
    pub stdio: Stdio,
    /// The guest's volumes, likewise.
    pub volumes: Vec<OwnedFd>,
    /// What it may write over its image, if that lies on the disk.
    pub disk: Option<OwnedFd>,
    /// Its device nodes, if it has any of its own.
    pub nodes: Option<OwnedFd>,
    /// Its secrets, with their values.
    pub secrets: Vec<Secret>,
}

/// From the supervisor: the process has its ids.
pub const GO: &str = "go";

/// From the first process: the runtime is about to take over (with it comes the directory of its files), or what went
/// wrong.
pub type Launch = Result<(), StartError>;

/// Opens the image's layers under the guest's ids, read-only. Root alone can; others get `None`.
pub fn open_layers(spec: &GuestSpec, ids: &Ids) -> Result<Option<Vec<OwnedFd>>, StartError> {
    let Some(map) = ids.layer_map() else { return Ok(None) };
    let namespace =
        user_namespace(&map).map_err(StartError::sandbox("make a user namespace for the image's layers"))?;
    let open = |path: &PathBuf| {
        let layer = clone_mount(path)?;
        sys::seal_and_map(layer.as_fd(), namespace.as_fd()).map_err(StartError::sandbox(
            "show the image's layers under ids of the guest's own (Linux 5.19 or newer)",
        ))?;
        Ok(layer)
    };
    spec.layers.iter().map(open).collect::<Result<_, _>>().map(Some)
}

/// Opens the guest's volumes under its ids.
pub fn open_volumes(spec: &GuestSpec, ids: &Ids) -> Result<Vec<OwnedFd>, StartError> {
    if spec.mounts.is_empty() {
        return Ok(Vec::new());
    }
    let failed = || StartError::sandbox("give a guest volumes, which only root can");
    let map = ids.layer_map().ok_or(io::Error::from(Errno::PERM)).map_err(failed())?;
    let namespace = user_namespace(&map).map_err(failed())?;
    mounts::open(&spec.mounts, namespace.as_fd())
}

/// A user namespace with this map, kept alive by its file alone.
fn user_namespace(map: &str) -> io::Result<File> {
    let (wait, release) = pipe_with(PipeFlags::CLOEXEC)?;
    let Some(child) = sys::clone_into(libc::CLONE_NEWUSER, None)? else {
        drop(release);
        // Ends when the supervisor lets go of the pipe, for whatever reason.
        let _ = File::from(wait).read(&mut [0]);
        process::exit(0);
    };
    let namespace = write_maps(child.pid, map)
        .and_then(|()| File::open(format!("/proc/{}/ns/user", child.pid.as_raw_pid())));
    drop(release);
    waitpid(Some(child.pid), WaitOptions::empty())?;
    namespace
}

fn clone_mount(layer: &Path) -> Result<OwnedFd, StartError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, layer, flags).map_err(|os| StartError::Layer { path: layer.to_owned(), os: os.into() })
}

/// Runs in the first process, which becomes the guest's warden. What goes wrong before is told to the supervisor.
pub fn enter(orders: &Orders, inheritance: Inheritance) -> ! {
    let Inheritance { entrance, channel, layers, volumes, disk, nodes, stdio, secrets } = inheritance;
    let limited = entrance.join().map_err(StartError::sandbox("put the guest under its limits"));
    let begun = limited
        .and_then(|()| let_go(&channel, layers.as_deref(), volumes.iter().chain(&disk).chain(&nodes), &stdio))
        .and_then(|()| build(orders, channel.as_fd(), layers, volumes, (disk, nodes), secrets))
        .and_then(|root| Warden::begin(orders, channel.as_fd(), root, stdio));
    match begun {
        Ok(mut warden) => process::exit(warden.stay()),
        Err(error) => {
            let _ = wire::send(channel.as_fd(), &Launch::Err(error), None);
            process::exit(1)
        }
    }
}

/// Closes what the supervisor has open: its lock, its socket, its way to the node.
fn let_go<'a>(
    channel: &'a OwnedFd,
    layers: Option<&'a [OwnedFd]>,
    disks: impl Iterator<Item = &'a OwnedFd>,
    stdio: &'a Stdio,
) -> Result<(), StartError> {
    let (input, outputs) = stdio;
    let kept =
        [channel].into_iter().chain(layers.into_iter().flatten()).chain(disks).chain(input).chain(outputs);
    let kept: Vec<BorrowedFd<'_>> = kept.map(AsFd::as_fd).collect();
    let null = || {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        drop(null);
        sys::close_all_but(&kept)
    };
    null().map_err(StartError::sandbox("let go of the supervisor's files"))
}

/// Builds the sandbox around this process, and returns the guest's root directory.
fn build(
    orders: &Orders,
    channel: BorrowedFd<'_>,
    layers: Option<Vec<OwnedFd>>,
    volumes: Vec<OwnedFd>,
    (disk, nodes): (Option<OwnedFd>, Option<OwnedFd>),
    secrets: Vec<Secret>,
) -> Result<OwnedFd, StartError> {
    if !matches!(wire::receive::<String>(channel), Ok(Some((word, _))) if word == GO) {
        process::exit(1);
    }
    umask(Mode::from_raw_mode(0o022));
    become_root().map_err(StartError::sandbox("become root of the guest's user namespace"))?;
    die_with_supervisor(channel).map_err(StartError::sandbox("tie the guest to its supervisor"))?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(StartError::sandbox("make the guest's mounts private"))?;
    mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .map_err(StartError::sandbox("mount /proc for the runtime"))?;
    let groups = show_groups(orders).map_err(StartError::sandbox("show the control groups to a test"))?;
    hide_groups(orders).map_err(StartError::sandbox("hide the control groups from the runtime"))?;
    open_loopback().map_err(StartError::sandbox("bring the guest's loopback device up"))?;

    let layers = match layers {
        Some(layers) => layers,
        None => orders.spec.layers.iter().map(|path| clone_mount(path)).collect::<Result<_, _>>()?,
    };
    let root = lay_over_each_other(&layers, disk, orders)?;
    if let Some(nodes) = nodes {
        place(nodes, NODES).map_err(StartError::sandbox("mount the guest's device nodes"))?;
    }
    if let Some(groups) = groups {
        place(groups, GROUPS).map_err(StartError::sandbox("show the control groups to a test"))?;
    }
    let user = furnish(orders, root.as_fd(), &volumes)?;
    secrets::lay_down(&secrets, &user).map_err(StartError::sandbox("lay down the guest's secrets"))?;
    drop(secrets);
    write_config(orders, &user)?;
    let scratch = File::open(".").map_err(StartError::sandbox("open the runtime's directory"))?;
    wire::send(channel, &Launch::Ok(()), Some(scratch.as_fd()))
        .map_err(StartError::sandbox("speak to the supervisor"))?;
    Ok(root)
}

pub(super) fn become_root() -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// Must follow the change of ids, which would undo it.
fn die_with_supervisor(channel: BorrowedFd<'_>) -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Had it died just before, no signal would come; but its end of the channel is closed.
    let mut closed = [PollFd::from_borrowed_fd(channel, PollFlags::empty())];
    if poll(&mut closed, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0 {
        process::exit(1);
    }
    Ok(())
}

/// Where a test without defences finds the control groups.
pub const GROUPS: &str = "/mnt/groups";

fn show_groups(orders: &Orders) -> rustix::io::Result<Option<OwnedFd>> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if orders.defences.paths { Ok(None) } else { open_tree(CWD, "/sys/fs/cgroup", flags).map(Some) }
}

fn hide_groups(orders: &Orders) -> rustix::io::Result<()> {
    match orders.held_by {
        HeldBy::Groups(Hierarchy::V1 { .. }) if orders.runtime.dreads_mixed_groups() => {
            mount("tmpfs", "/sys/fs/cgroup", "tmpfs", MountFlags::RDONLY, c"size=0,mode=555")
        }
        HeldBy::Groups(Hierarchy::V1 { .. } | Hierarchy::V2 { .. }) | HeldBy::Engine(_) => Ok(()),
    }
}

fn open_loopback() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::raise_loopback(socket.as_fd())?;
    // The network is the guest's alone, so that port 80 is as good as any other.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
}

/// Mounts everything and stands in the scratch directory afterwards. Returns the guest's root directory.
fn lay_over_each_other(
    layers: &[OwnedFd],
    disk: Option<OwnedFd>,
    orders: &Orders,
) -> Result<OwnedFd, StartError> {
    let (limits, defences) = (&orders.spec.limits, orders.defences);
    let tmpfs = |at: &str, size: u64, inodes: u64| {
        let options =
            CString::new(format!("size={size},nr_inodes={inodes},mode=755")).map_err(io::Error::from)?;
        mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
            .map_err(io::Error::from)
    };
    tmpfs(STAGE, 4 << 20, 512)
        .and_then(|()| std::env::set_current_dir(STAGE))
        .map_err(StartError::sandbox(format!("mount a scratch directory on {STAGE}")))?;

    for (i, layer) in layers.iter().enumerate() {
        place(layer, &layer_name(i)).map_err(StartError::sandbox(format!("mount layer {i} of the image")))?;
    }

    let (upper, work) = (format!("{DISK}/{UPPER}"), format!("{DISK}/{WORK}"));
    let top = match disk {
        Some(disk) => place(disk, DISK),
        // The three are the file system's root and the two directories in it.
        None => fs::create_dir(DISK)
            .and_then(|()| tmpfs(DISK, limits.disk, limits.inodes.saturating_add(3)))
            .and_then(|()| fs::create_dir(&upper))
            .and_then(|()| fs::create_dir(&work))
            // The guest's own root, not the runtime's, owns "/".
            .and_then(|()| Ok(give_to_guest_root(CWD, &upper)?)),
    };
    top.and_then(|()| fs::create_dir(ROOT)).map_err(StartError::sandbox("make the guest's disk"))?;

    let own = |on: bool, flag| if on { flag } else { MountFlags::empty() };
    let lower: Vec<String> = (0..layers.len()).rev().map(layer_name).collect();
    let options = format!("lowerdir={},upperdir={upper},workdir={work},userxattr", lower.join(":"));
    CString::new(options)
        .map_err(io::Error::from)
        .and_then(|options| {
            Ok(mount(
                "overlay",
                ROOT,
                "overlay",
                own(defences.powers, MountFlags::NOSUID) | own(defences.devices, MountFlags::NODEV),
                options.as_c_str(),
            )?)
        })
        .map_err(StartError::sandbox("lay the guest's disk over its image"))?;
    rustix::fs::open(ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(StartError::sandbox("open the guest's root directory"))
}

/// The place of a layer in the stage. Short: all their names have to fit into the options of one mount.
fn layer_name(number: usize) -> String {
    format!("l{number}")
}

/// Makes a directory of this name, and mounts a tree there that is mounted nowhere yet.
pub(super) fn place(tree: impl AsFd, name: &str) -> io::Result<()> {
    fs::create_dir(name)?;
    Ok(move_mount(tree, "", CWD, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Gives a file that we made to the guest's user 0, who is 1 in the runtime's namespace.
pub(super) fn give_to_guest_root(
    parent: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
) -> rustix::io::Result<()> {
    let (user, group) = (Uid::from_raw(1), Gid::from_raw(1));
    chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}

/// Puts into the image what every container has, and checks what the runtime would only stumble over.
fn furnish(orders: &Orders, root: BorrowedFd<'_>, volumes: &[OwnedFd]) -> Result<User, StartError> {
    let spec = &orders.spec;
    let user = image_users::resolve(root, &spec.user)?;
    if user.uid >= orders.ids.count() || user.gid >= orders.ids.count() {
        return Err(StartError::NoUser { user: spec.user.clone() });
    }
    make_directories(root, &spec.cwd)
        .map_err(StartError::sandbox(format!("make the working directory {}", spec.cwd)))?;
    write_hosts(root, &spec.hostname).map_err(StartError::sandbox("write /etc/hosts"))?;
    write_resolver(root, spec).map_err(StartError::sandbox("write /etc/resolv.conf"))?;
    // After our own files are written: a volume over /etc hides them, and none of them is written into it.
    mounts::place(&spec.mounts, volumes, root)?;
    if orders.runtime.has_own_kernel() {
        own_kernel::furnish(spec, root)
            .map_err(StartError::sandbox("mount directories for the guest's kernel"))?;
    }
    find_program(root, spec, &user)?;
    Ok(user)
}

/// Opens `path` as the guest would see it: no link of the image leads out of the image.
pub(super) fn open_inside(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "." } else { path };
    openat2(root, path, flags | OFlags::CLOEXEC, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

pub(super) fn make_directories(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<()> {
    let mut done = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let parent = open_inside(root, &done, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        // "..", which exists, is then resolved inside the root.
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => give_to_guest_root(parent.as_fd(), name)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        done = format!("{done}/{name}");
    }
    open_inside(root, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map(drop)
}

/// Without it, "localhost" means nothing in a guest that has no name server.
fn write_hosts(root: BorrowedFd<'_>, hostname: &str) -> io::Result<()> {
    make_directories(root, "/etc")?;
    let etc = open_inside(root, "/etc", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    match openat(&etc, "hosts", flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644)) {
        Ok(file) => {
            let mut file = File::from(file);
            let names = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost\n");
            file.write_all(names.as_bytes())?;
            Ok(give_to_guest_root(etc.as_fd(), "hosts")?)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A guest that reaches anything by name has a resolver of ours, whatever the image says.
fn write_resolver(root: BorrowedFd<'_>, spec: &GuestSpec) -> io::Result<()> {
    let Some(text) = crate::network::resolv_conf(&spec.network) else { return Ok(()) };
    let etc = open_inside(root, "/etc", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    match unlinkat(&etc, "resolv.conf", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(&etc, "resolv.conf", flags, Mode::from_raw_mode(0o644))?);
    file.write_all(text.as_bytes())?;
    Ok(give_to_guest_root(etc.as_fd(), "resolv.conf")?)
}

/// Runtimes say in many ways that there is no such program; we look first, and say it in one.
fn find_program(root: BorrowedFd<'_>, spec: &GuestSpec, user: &User) -> Result<(), StartError> {
    let program = &spec.args[0];
    let is_program = |path: &str| {
        open_inside(root, path, OFlags::PATH, Mode::empty()).and_then(|file| fstat(&file)).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
        })
    };
    if program.contains('/') {
        let path = if program.starts_with('/') { program.clone() } else { format!("{}/{program}", spec.cwd) };
        let missing = || StartError::NoProgram { program: program.clone(), searched: spec.cwd.clone() };
        return if is_program(&path) { Ok(()) } else { Err(missing()) };
    }
    let environment = oci::environment(spec, user);
    let searched = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    if searched.split(':').any(|directory| is_program(&format!("{directory}/{program}"))) {
        return Ok(());
    }
    Err(StartError::NoProgram { program: program.clone(), searched: searched.to_owned() })
}

fn write_config(orders: &Orders, user: &User) -> Result<(), StartError> {
    let open_files = open_files(&orders.spec);
    let config = oci::config(orders, user, &format!("{STAGE}/{ROOT}"), open_files);
    fs::write("config.json", config.to_string())
        .map_err(StartError::sandbox("write the runtime's configuration"))
}

/// Nobody can raise this limit above what the machine gives us.
pub fn open_files(spec: &GuestSpec) -> u64 {
    spec.limits.open_files.min(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX))
}
