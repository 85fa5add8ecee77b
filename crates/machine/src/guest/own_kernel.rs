//! What differs for a runtime that brings a kernel of its own: a program that is root of the guest's user namespace and of
//! nothing else, in which the guest's processes are only data.
//!
//! It is given a user namespace of the guest's ids that the warden has made, instead of making one: it could not become
//! the guest's root in one that has not its own id. And it would keep what is written to /tmp, /dev/shm and other
//! directories in memory in its own, without a limit; so it is shown sized file systems of the sandbox there.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use model::document::SecretFile;
use rustix::fs::{CWD, Mode, OFlags, fchmod};
use rustix::mount::{MountFlags, OpenTreeFlags, mount, open_tree};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use super::defences;
use super::ids::write_maps;
use super::oci;
use super::record::Orders;
use super::sandbox::{STAGE, become_root, give_to_guest_root, make_directories, open_inside, place};
use super::spec::GuestSpec;
use super::sys::{self, Child};

/// Beside the image in the stage: /dev/shm.
const SHARED: &str = "shm";

/// A directory of the guest's that is mounted for its kernel apart from the image.
struct Apart<'a> {
    path: &'a str,
    read_only: bool,
}

/// Each, those further up first: its number names it in the stage.
fn apart(spec: &GuestSpec) -> Vec<Apart<'_>> {
    let volumes = spec.mounts.iter().map(|mount| Apart { path: &mount.target, read_only: mount.read_only });
    let memory = spec.run.tmpfs.iter().map(|tmpfs| Apart { path: &tmpfs.path, read_only: false });
    let mut all: Vec<Apart<'_>> = volumes.chain(memory).collect();
    if !all.iter().any(|one| one.path.trim_end_matches('/') == "/tmp") {
        all.push(Apart { path: "/tmp", read_only: spec.run.read_only });
    }
    all.sort_by_key(|one| one.path.matches('/').count());
    all
}

/// As the guest's first process, in the stage: mounts all that its kernel is to be shown. Volumes are in their places.
pub fn furnish(spec: &GuestSpec, root: BorrowedFd<'_>) -> io::Result<()> {
    // The runtime writes its own files here, and is the guest's root.
    give_to_guest_root(CWD, ".")?;
    fs::create_dir(SHARED)?;
    mount_memory(SHARED, &oci::shm_options(spec))?;
    // Where the image's files are not the guest's, the runtime could not make them.
    make_directories(root, "/dev/shm")?;
    if !spec.secrets.is_empty() {
        make_directories(root, SecretFile::PLACE)?;
    }
    for tmpfs in &spec.run.tmpfs {
        make_directories(root, &tmpfs.path)?;
        let place = open_inside(root, &tmpfs.path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        mount_memory(&format!("/proc/self/fd/{}", place.as_raw_fd()), &oci::tmpfs_options(tmpfs))?;
    }
    for (number, one) in apart(spec).iter().enumerate() {
        let open = |flags| open_inside(root, one.path, flags | OFlags::DIRECTORY, Mode::empty());
        if open(OFlags::PATH).is_err() {
            make_directories(root, one.path)?;
            fchmod(open(OFlags::RDONLY)?, Mode::from_raw_mode(0o1777))?;
        }
        // Not by its path: a link of the image would be followed out of the image.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(open(OFlags::PATH)?, "", flags)?;
        place(tree, &number.to_string())?;
    }
    Ok(())
}

fn mount_memory(at: &str, options: &[String]) -> io::Result<()> {
    let options = CString::new(format!("{},mode=1777,uid=1,gid=1", options.join(",")))?;
    Ok(mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
}

/// Changes a runtime's `config.json` accordingly.
pub fn configure(config: &mut Value, orders: &Orders) {
    let linux = &mut config["linux"];
    defences::remove(linux, "uidMappings");
    defences::remove(linux, "gidMappings");
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "user");
    }
    let bind = |from: &str, to: &str, access: &str, more: &[&str]| {
        let options = [&["rbind", access, "nosuid", "nodev"], more].concat();
        json!({ "destination": to, "type": "bind", "source": format!("{STAGE}/{from}"), "options": options })
    };
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "tmpfs" || mount["destination"] == "/dev");
        // Secrets, over which nothing lies.
        let last: Vec<Value> = mounts.extract_if(.., |mount| mount["type"] == "bind").collect();
        mounts.push(bind(SHARED, "/dev/shm", "rw", &["noexec"]));
        mounts.extend(apart(&orders.spec).iter().enumerate().map(|(number, one)| {
            bind(&number.to_string(), one.path, if one.read_only { "ro" } else { "rw" }, &[])
        }));
        mounts.extend(last);
    }
}

/// Makes this process the guest's root, as the runtime is that runs it: to others it does not listen.
pub fn become_runtime(runtime: Pid) -> io::Result<()> {
    let users = File::open(format!("/proc/{}/ns/user", runtime.as_raw_pid()))?;
    move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User))?;
    Ok(become_root()?)
}

/// Starts a process that does this as the guest's root, in a user namespace that has the guest's ids and no other.
pub fn start(ids: u32, work: impl FnOnce() -> io::Result<Infallible>) -> io::Result<Child> {
    let (wait, release) = pipe_with(PipeFlags::CLOEXEC)?;
    // Whoever has changed its ids cannot be looked at, nor can a copy of it; and its map is looked at.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let Some(child) = sys::clone_into(libc::CLONE_NEWUSER | libc::CLONE_NEWNS, None)? else {
        drop(release);
        let mut word = [0];
        // Without a map it is nobody.
        let mapped = File::from(wait).read_exact(&mut word);
        let Err(_) = mapped.and_then(|()| Ok(become_root()?)).and_then(|()| work());
        std::process::exit(127)
    };
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    write_maps(child.pid, &format!("0 1 {ids}\n"))?;
    rustix::io::write(&release, &[1])?;
    Ok(child)
}
