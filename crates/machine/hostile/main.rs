//! A hostile guest: tries, one after the other, what a program could do to the machine that it is a guest of, and says of
//! each attempt whether the sandbox held. It does no harm where it gets through: a file is opened and not written, a
//! clock is set to the time that it shows.
//!
//! `build.rs` links it statically, so that it runs in an image that holds nothing else, and puts it into the program
//! that runs guests. It prints one line of JSON for each probe, and one at the end:
//!
//! ```text
//! {"probe":"call.bpf","held":true,"found":"Operation not permitted (os error 1)"}
//! {"probes":112}
//! ```
//!
//! Arguments are `name=value` words that tell what there is to be found on the machine: see [`World`].

#![allow(unsafe_code, missing_docs, clippy::print_stdout)] // a program of system calls, whose output is its purpose

mod bombs;
mod calls;
mod files;
mod network;
mod powers;
mod sys;
mod world;

use std::fs::File;
use std::io::{self, Read, Write};
use std::process;
use std::time::Duration;

use world::World;

/// Whether the sandbox stood up to a probe, and what the probe saw.
pub enum Verdict {
    Held(String),
    Breached(String),
}

/// An attempt.
pub struct Probe {
    pub name: &'static str,
    pub attempt: fn(&World) -> Verdict,
}

/// Attempts upon the kernel that a guest runs on, and on nothing else: where that is one of its own, which runs for no
/// other, what they get is nothing of the machine's.
const OF_THE_KERNEL: &[&str] = &[
    "bomb.device_bytes", // in its memory, which is judged by itself
    "bomb.processor",    // by its own count; the machine has another
    "device.fuse",
    "device.list",
    "network.tunnel",
    "power.nice",
    "power.oom",
    "power.user",
    "proc.boot",
    "proc.overcommit",
    "proc.sysctl_network",
    "proc.sysrq",
];

/// A probe that takes longer hangs, whatever the machine has to do besides.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "whoami") {
        // Run by a probe under another user's rights.
        process::exit(if sys::effective_user() == 0 { 0 } else { 1 });
    }
    let world = World::parse(&arguments);
    let groups = [bombs::FLOOD, calls::PROBES, network::PROBES, files::PROBES, powers::PROBES, bombs::PROBES];
    let probes = groups.iter().copied().flatten().filter(|probe| world.wants(probe.name));
    let own_kernel = world.has_own_kernel();
    let mut tried = 0;
    // What a probe leaves is ours to bury: the dead count as processes until then.
    sys::adopt_orphans();
    for probe in probes {
        let (held, found) = match alone(probe, &world) {
            Verdict::Held(found) => (true, found),
            Verdict::Breached(found) if own_kernel && OF_THE_KERNEL.contains(&probe.name) => {
                (true, format!("of the guest's own kernel: {found}"))
            }
            Verdict::Breached(found) => (false, found),
        };
        println!(r#"{{"probe":"{}","held":{held},"found":"{}"}}"#, probe.name, escaped(&found));
        tried += 1;
    }
    println!(r#"{{"probes":{tried}}}"#);
}

/// Makes the attempt in a process of its own, which it may lose.
fn alone(probe: &Probe, world: &World) -> Verdict {
    let Ok((mut reader, writer)) = sys::pipe() else { return Verdict::Breached("no pipe".into()) };
    let _ = io::stdout().flush();
    let child = match sys::fork() {
        Ok(0) => {
            drop(reader);
            sys::lead_group();
            sys::alarm(PATIENCE);
            let (mark, found) = match (probe.attempt)(world) {
                Verdict::Held(found) => ("+", found),
                Verdict::Breached(found) => ("-", found),
            };
            let _ = write!(File::from(writer), "{mark}{found}");
            process::exit(0);
        }
        Ok(child) => child,
        Err(error) => return Verdict::Breached(format!("no process to try it in: {error}")),
    };
    drop(writer);
    let ended = sys::wait(child);
    // What it started ends with it, and closes the pipe.
    sys::kill_group(child);
    while sys::wait(-1).is_ok() {}
    let mut said = String::new();
    let _ = reader.read_to_string(&mut said);
    match (said.split_at_checked(1), ended) {
        (Some(("+", found)), _) => Verdict::Held(found.to_owned()),
        (Some(("-", found)), _) => Verdict::Breached(found.to_owned()),
        (_, Ok(sys::End::Signal(signal))) if signal == sys::SIGSYS || signal == sys::SIGKILL => {
            Verdict::Held(format!("killed by signal {signal}"))
        }
        (_, end) => Verdict::Breached(format!("the probe did not end well: {end:?}")),
    }
}

/// A system call that must be refused: everything else, other errors too, means that it was looked at.
pub fn refused(outcome: io::Result<usize>) -> Verdict {
    match outcome {
        Ok(result) => Verdict::Breached(format!("it was done: {result}")),
        Err(error) => match error.raw_os_error() {
            Some(sys::EPERM | sys::EACCES | sys::ENOSYS) => Verdict::Held(error.to_string()),
            _ => Verdict::Breached(format!("it was looked at: {error}")),
        },
    }
}

/// A thing that must not be had, for whatever reason.
pub fn failed<T>(outcome: io::Result<T>) -> Verdict {
    match outcome {
        Ok(_) => Verdict::Breached("it was done".into()),
        Err(error) => Verdict::Held(error.to_string()),
    }
}

/// What must be true.
pub fn holds(held: bool, found: impl Into<String>) -> Verdict {
    if held { Verdict::Held(found.into()) } else { Verdict::Breached(found.into()) }
}

/// The first of several that got through, else what the last one met with.
pub fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let mut last = Verdict::Held("nothing there".into());
    for verdict in verdicts {
        match verdict {
            Verdict::Breached(_) => return verdict,
            Verdict::Held(_) => last = verdict,
        }
    }
    last
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
}
