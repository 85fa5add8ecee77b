//! From the guest's first process to its running program.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use model::Feature;
use rustix::fs::inotify::{self, WatchFlags};
use rustix::fs::{Mode, OFlags, fchmod, fcntl_setfl, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, geteuid, getrlimit, pidfd_send_signal, setrlimit,
    waitid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, move_into_link_name_space, set_capabilities,
    set_no_new_privs,
};

use super::{Phase, RUNNING, Supervisor, now};
use crate::guest::cgroup::Group;
use crate::guest::engine::{self, Container};
use crate::guest::error::StartError;
use crate::guest::grip::Grip;
use crate::guest::ids::Ids;
use crate::guest::log::Stream;
use crate::guest::nodes;
use crate::guest::record::Orders;
use crate::guest::runtime::complaint;
use crate::guest::sandbox::{self, Inheritance, Launch};
use crate::guest::secrets;
use crate::guest::sys::{self, Child};
use crate::guest::warden::Stdio;
use crate::guest::wire;
use crate::guest::writable::{self, Writable};
use crate::network::Doors;
use crate::volume;

/// The guest's first process, the channel to it, its input and output, the sockets in its network, and its disk.
pub(super) type FirstProcess = (Child, OwnedFd, OurEnds, Doors, Option<OwnedFd>);

/// Starts the process that builds the sandbox and becomes the runtime; or has an engine make it.
pub(super) fn start_first_process(orders: &Orders, grip: &Grip) -> Result<FirstProcess, StartError> {
    match grip {
        Grip::Groups(group) => start_warden(orders, group),
        Grip::Container(container) => start_envoy(orders, container),
    }
}

fn start_envoy(orders: &Orders, container: &Container) -> Result<FirstProcess, StartError> {
    let (channel, theirs) = make_channel()?;
    let (ours, stdio) =
        make_ends(orders).map_err(StartError::sandbox("make pipes for the guest's output"))?;
    let first =
        sys::clone_into(0, None).map_err(StartError::sandbox("start a process beside the guest's"))?;
    let Some(first) = first else { engine::serve(orders, container, theirs, stdio) };
    // A guest that stands still must not hold us up.
    fcntl_setfl(&channel, OFlags::NONBLOCK).map_err(StartError::sandbox("speak to the first process"))?;
    Ok((first, channel, ours, Doors::default(), None))
}

fn make_channel() -> Result<(OwnedFd, OwnedFd), StartError> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(StartError::sandbox("make a channel to the first process"))
}

fn start_warden(orders: &Orders, group: &Group) -> Result<FirstProcess, StartError> {
    let node = rustix::stdio::stdout().try_clone_to_owned().map(File::from);
    let secrets = node
        .and_then(|node| secrets::receive(&orders.spec.secrets, node))
        .map_err(StartError::sandbox("take the guest's secrets from the node"))?;
    let layers = sandbox::open_layers(&orders.spec, &orders.ids)?;
    let volumes = sandbox::open_volumes(&orders.spec, &orders.ids)?;
    let disk = attach_disk(orders, group)?;
    let nodes = nodes::make(&orders.spec.devices, &orders.ids)
        .map_err(StartError::sandbox("make the guest's device nodes"))?;
    if geteuid().is_root() {
        volume::leave_behind().map_err(StartError::sandbox("leave other guests' volumes behind"))?;
    }
    let (channel, theirs) = make_channel()?;
    let (ours, stdio) =
        make_ends(orders).map_err(StartError::sandbox("make pipes for the guest's output"))?;
    let entrance = group.entrance().map_err(StartError::sandbox("open the guest's control groups"))?;
    let first = sys::clone_into(sandbox::namespaces(orders.defences), Some(entrance.born_into.as_fd()))
        .map_err(StartError::sandbox("make namespaces for the guest"))?;
    let Some(first) = first else {
        sandbox::enter(
            orders,
            Inheritance { entrance, channel: theirs, layers, volumes, disk, nodes, stdio, secrets },
        );
    };
    // The child has its own.
    drop(secrets);
    let mapped = if orders.defences.users { orders.ids.map(first.pid) } else { Ok(()) };
    let ready = mapped.and_then(|()| {
        let doors = enter_network(first.pid, orders)?;
        give_up_powers().map_err(StartError::sandbox("give up root's powers"))?;
        // From now on only what fits is said: a frozen guest must not hold us up.
        let flags = OFlags::NONBLOCK;
        fcntl_setfl(&channel, flags)
            .map_err(std::io::Error::from)
            .and_then(|()| wire::send(channel.as_fd(), &sandbox::GO, None))
            .map_err(StartError::sandbox("speak to the first process"))?;
        Ok(doors)
    });
    match ready {
        Ok(doors) => Ok((first, channel, ours, doors, disk)),
        Err(error) => {
            let _ = pidfd_send_signal(&first.pidfd, Signal::KILL);
            let _ = waitid(WaitId::PidFd(first.pidfd.as_fd()), WaitIdOptions::EXITED);
            Err(error)
        }
    }
}

/// The guest's disk, if it has one, with its rate limited.
fn attach_disk(orders: &Orders, group: &Group) -> Result<Option<OwnedFd>, StartError> {
    match orders.writable {
        Writable::Memory => Ok(None),
        Writable::Disk => {
            let disk =
                writable::attach(&orders.ids).map_err(StartError::sandbox("attach the guest's disk"))?;
            group.limit_io(disk.device, orders.spec.limits.io_rate)?;
            Ok(Some(disk.mount))
        }
    }
}

/// Our ends of the guest's input, if it stays open, and of its output.
pub(super) struct OurEnds {
    pub(super) input: Option<OwnedFd>,
    pub(super) output: Vec<(Stream, File)>,
}

fn make_ends(orders: &Orders) -> io::Result<(OurEnds, Stdio)> {
    let run = &orders.spec.run;
    if run.terminal && !orders.runtime.hands_over_terminal() {
        let (ours, theirs) = sys::terminal()?;
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        let output = vec![(Stream::Out, File::from(ours.try_clone()?))];
        let theirs = (Some(theirs.try_clone()?), [theirs.try_clone()?, theirs]);
        return Ok((OurEnds { input: Some(ours), output }, theirs));
    }
    let (out, their_out) = output_pipe()?;
    let (err, their_err) = output_pipe()?;
    let (input, their_input) = if run.stdin && !run.terminal {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        fchmod(&theirs, Mode::from_raw_mode(0o644))?;
        (Some(ours), Some(theirs))
    } else {
        (None, None)
    };
    let output = vec![(Stream::Out, out), (Stream::Err, err)];
    Ok((OurEnds { input, output }, (their_input, [their_out, their_err])))
}

/// Our end does not block; the guest's end does, and can be opened again by whoever runs inside (`/dev/stdout`).
pub(super) fn output_pipe() -> io::Result<(File, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    fchmod(&theirs, Mode::from_raw_mode(0o622))?;
    Ok((ours.into(), theirs))
}

/// Goes into the guest's network, and makes there what is made while we have power over it.
fn enter_network(first: Pid, orders: &Orders) -> Result<Doors, StartError> {
    join_network(first, &orders.ids).map_err(StartError::sandbox("join the guest's network"))?;
    Doors::open(&orders.spec.network).map_err(StartError::sandbox("make the sockets of the guest's way out"))
}

fn join_network(first: Pid, ids: &Ids) -> io::Result<()> {
    let namespaces = format!("/proc/{}/ns", first.as_raw_pid());
    let open = |kind: &str| File::open(format!("{namespaces}/{kind}"));
    let network = open("net")?;
    // Only root has power over a network without being in the user namespace that owns it.
    if let Ids::Subordinate { .. } = ids {
        move_into_link_name_space(open("user")?.as_fd(), Some(LinkNameSpaceType::User))?;
    }
    Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// From here on the supervisor only talks, counts and kills.
fn give_up_powers() -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    let kill = CapabilitySet::KILL;
    set_capabilities(
        None,
        CapabilitySets { effective: kill, permitted: kill, inheritable: CapabilitySet::empty() },
    )
}

/// Children inherit the limit, and those of the guest cannot raise it.
pub(super) fn allow_files(wanted: u64) {
    let now = getrlimit(Resource::Nofile);
    if now.maximum.is_some_and(|maximum| maximum < wanted) {
        // Without the right to, the guest gets what there is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.current, maximum: Some(wanted) });
    }
}

impl Supervisor<'_> {
    /// The sandbox is built, the program has begun, or neither will ever be.
    pub(super) fn advance(&mut self) {
        match &self.phase {
            Phase::Building => {
                let said = wire::receive::<Launch>(self.warden.as_fd());
                self.phase = match said {
                    Ok(Some((Ok(()), Some(scratch)))) => {
                        // Without it the guest runs all the same.
                        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                        // One in memory is made by the first process.
                        let made = || openat(&scratch, sandbox::DISK, flags, Mode::empty()).ok();
                        self.disk = self.disk.take().or_else(made);
                        let ready = self.take_over(&scratch);
                        ready.and_then(|()| self.watch_runtime(scratch)).unwrap_or_else(Phase::Failed)
                    }
                    Ok(Some((Err(error), _))) => Phase::Failed(error),
                    Ok(Some((Ok(()), None)) | None) => Phase::Failed(self.without_a_word("it ended early")),
                    Err(error) => Phase::Failed(StartError::sandbox("understand the first process")(error)),
                };
                match &self.phase {
                    Phase::Failed(_) => self.kill(),
                    // On a busy machine it can have begun before it was watched.
                    Phase::Starting { scratch } if has_begun(scratch) => self.begin_running(),
                    Phase::Starting { .. } | Phase::Building | Phase::Running => {}
                }
            }
            Phase::Starting { scratch } => {
                // Only that something changed matters; the file tells what.
                let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
                let mut reader = inotify::Reader::new(&self.changes, &mut buffer);
                while reader.next().is_ok() {}
                if has_begun(scratch) {
                    self.begin_running();
                }
            }
            Phase::Running | Phase::Failed(_) => {}
        }
    }

    /// An engine has made the container, in which there is nothing yet but our keeper: goes into its network, and lets the
    /// guest's program begin. Where we made the sandbox, that was done before.
    fn take_over(&mut self, scratch: &OwnedFd) -> Result<(), StartError> {
        let Grip::Container(container) = self.grip else { return Ok(()) };
        let keeper =
            engine::keeper_in(scratch).ok_or_else(|| self.without_a_word("its first process is gone"))?;
        container.runs_as(keeper);
        let lacks = |feature| self.orders.runtime.without().contains(&feature);
        if !lacks(Feature::Network) {
            self.doors = enter_network(keeper, self.orders)?;
        }
        give_up_powers().map_err(StartError::sandbox("give up root's powers"))?;
        wire::send(self.warden.as_fd(), &sandbox::GO, None)
            .map_err(StartError::sandbox("speak to the first process"))
    }

    fn watch_runtime(&self, scratch: OwnedFd) -> Result<Phase, StartError> {
        let path = format!("/proc/self/fd/{}", scratch.as_raw_fd());
        inotify::add_watch(&self.changes, path, WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO)
            .map_err(StartError::sandbox("wait for the runtime"))?;
        Ok(Phase::Starting { scratch })
    }

    pub(super) fn begin_running(&mut self) {
        self.phase = Phase::Running;
        self.started_at = now();
        // The node may be gone. With this the pipe is closed, too.
        let _ = rustix::io::write(rustix::stdio::stdout(), RUNNING);
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(&null);
        }
    }
}

/// The runtime writes this file when the program has begun.
pub(super) fn has_begun(scratch: &OwnedFd) -> bool {
    rustix::fs::accessat(scratch, "pid", rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()).is_ok()
}

/// The last thing that the runtime wrote into its log.
pub(super) fn runtime_complaint(scratch: &OwnedFd) -> Option<String> {
    let log = openat(scratch, "log", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    complaint(log.into())
}
