//! Transfers of files: a process of ours, in the guest's user namespace and under its limits, that sees the guest's root as
//! the guest sees it. It is in no process namespace of the guest's, so that nothing there can reach it; it needs no
//! program of the image.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Signal, Uid, set_parent_process_death_signal, setsid, umask};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_res_gid, set_thread_res_uid};

use super::exec::{Task, read_spec};
use super::{Main, Warden, start};
use crate::archive::{ArchiveError, MOST_ENTRIES, Place, Rules, pack, source, target, unpack};
use crate::guest::copy::CopySpec;
use crate::guest::error::{ExecRefusal, StartError};
use crate::guest::sandbox::STAGE;
use crate::guest::sys;
use crate::guest::wire::Word;

impl Warden<'_> {
    pub(super) fn start_copy(&mut self, number: u32, files: Vec<OwnedFd>) -> Result<(), ExecRefusal> {
        let mut files = files.into_iter();
        let spec: CopySpec = read_spec(files.next())?;
        let unreadable = || ExecRefusal::Unreadable("nothing to copy from or to".to_owned());
        let (Some(input), Some(output), Some(error)) = (files.next(), files.next(), files.next()) else {
            return Err(unreadable());
        };
        let seen = self.seen_by_guest().map_err(|_| ExecRefusal::NotRunning)?;
        let nobody = self.orders.ids.count();
        let child = start(|| run(&spec, seen, nobody, [input, output, error]));
        let child = child.map_err(StartError::sandbox("begin a transfer in the guest"))?;
        self.tasks.insert(number, Task::transfer(child.pid));
        self.say(&Word::Began(number), None);
        Ok(())
    }

    /// The guest's root directory as the guest sees it, with all that is mounted there, and its user namespace.
    fn seen_by_guest(&self) -> io::Result<[OwnedFd; 2]> {
        let pid = match &self.runtime {
            // What the guest sees, its kernel reads from here.
            Main::Runs { runtime, .. } if self.orders.runtime.has_own_kernel() => {
                let users = File::open(format!("/proc/{}/ns/user", runtime.as_raw_pid()))?;
                return Ok([self.root.try_clone()?, users.into()]);
            }
            Main::Runs { .. } | Main::Waits { .. } => fs::read_to_string(Path::new(STAGE).join("pid"))?,
        };
        let pid: u32 = pid.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())?;
        Ok([root, File::open(format!("/proc/{pid}/ns/user"))?.into()])
    }
}

/// The process of one transfer.
pub fn run(
    spec: &CopySpec,
    [root, users]: [OwnedFd; 2],
    nobody: u32,
    [input, output, error]: [OwnedFd; 3],
) -> io::Result<Infallible> {
    // Ended by the end of its input, so that it can clear up behind itself; a kill comes after.
    let hold = sys::signals_as_file(&[libc::SIGHUP, libc::SIGTERM, libc::SIGINT])?;
    setsid()?;
    sys::close_all_but(&[
        root.as_fd(),
        users.as_fd(),
        input.as_fd(),
        output.as_fd(),
        error.as_fd(),
        hold.as_fd(),
    ])?;
    move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User))?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    umask(Mode::empty());
    // It follows the change of ids, which would undo it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let done = match spec {
        CopySpec::Out { path, follow, limit } => {
            drop(input);
            source(Some(root.as_fd()), path, *follow).and_then(|source| {
                let to = io::BufWriter::with_capacity(64 << 10, File::from(output));
                pack(&source, *limit, to, &|| false).map(drop)
            })
        }
        CopySpec::In { path, place, owners } => {
            drop(output);
            let into = target(Some(root.as_fd()), path).and_then(|(directory, at)| match at {
                Place::As { .. } if !place => Err(match at {
                    Place::As { file: true, .. } => ArchiveError::NotADirectory(path.display().to_string()),
                    Place::As { .. } | Place::Into => ArchiveError::Missing(path.display().to_string()),
                }),
                Place::As { .. } | Place::Into => Ok((directory, at)),
            });
            let owners = owners.then_some(nobody);
            // What the guest's own disk, memory and volumes hold is the limit.
            let rules = Rules { bytes: u64::MAX, entries: MOST_ENTRIES, owners, links_out: true };
            into.and_then(|(directory, at)| {
                unpack(File::from(input), &directory, &at, rules, &|| false).map(drop)
            })
        }
    };
    let Err(why) = done else { process::exit(0) };
    // Far less than a pipe holds.
    let _ = File::from(error).write_all(&serde_json::to_vec(&why)?);
    process::exit(1)
}
