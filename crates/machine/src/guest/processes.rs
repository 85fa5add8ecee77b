//! What goes on in a guest, as it sees it itself: read from this machine's /proc, without entering the guest.

use std::fs::{self, File};
use std::io::{self, Read};

use rustix::process::Pid;

use super::cgroup::Group;
use super::ids::Ids;

/// Processes of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// By their numbers; at most [`Processes::MOST`].
    pub listed: Vec<Process>,
    /// How many more there are.
    pub left_out: u32,
}

impl Processes {
    /// The most that are listed.
    pub const MOST: usize = 256;
}

/// One process of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number in the guest.
    pub pid: u32,
    /// That of the process that began it; nought: outside of the guest.
    pub parent: u32,
    /// The guest's user whose it is.
    pub user: u32,
    /// As ps(1) has it: R, S, D, Z, T.
    pub state: char,
    /// Processor time, in milliseconds of one core.
    pub cpu_ms: u64,
    /// Bytes of memory that it has, pages that it shares with others among them.
    pub memory_bytes: u64,
    /// Its command and arguments, or its name in brackets; cut off at 256 characters, and without control characters.
    pub command: String,
}

/// The most characters of a command.
const LONGEST_COMMAND: usize = 256;

/// A guest's process has a number here, one in the warden's namespace and one in its own.
const DEPTH: usize = 3;

/// Lists the processes in a guest's group that are the guest's own.
pub fn list(group: &Group, ids: Ids) -> io::Result<Processes> {
    look(group, |status| status.numbers.len() >= DEPTH, |user| ids.inside(user))
}

/// The same for a container of this first process, which is not the guest's.
pub fn list_behind(keeper: Pid) -> io::Result<Processes> {
    let group = Group::around(keeper).ok_or(io::ErrorKind::NotFound)?;
    let map = fs::read_to_string(format!("/proc/{}/uid_map", keeper.as_raw_pid()))?;
    let mut map = map.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
    let (Some(0), Some(first), Some(count)) = (map.next(), map.next(), map.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let inside = |user: u32| user.checked_sub(first).filter(|id| *id < count).unwrap_or(u32::MAX);
    look(&group, |status| status.numbers.len() > 1 && status.number() != 1, inside)
}

fn look(
    group: &Group,
    is_of_guest: impl Fn(&Status) -> bool,
    inside: impl Fn(u32) -> u32,
) -> io::Result<Processes> {
    let here = group.processes()?;
    // One that ends while we look is left out.
    let mut found: Vec<(i32, Status)> = here
        .into_iter()
        .filter_map(|pid| Some((pid, Status::of(pid)?)))
        .filter(|(_, status)| is_of_guest(status))
        .collect();
    found.sort_by_key(|(_, status)| status.number());
    let left_out = found.len().saturating_sub(Processes::MOST);
    let number_of = |parent: i32| {
        let parent = found.iter().find(|(pid, _)| *pid == parent);
        parent.map_or(0, |(_, status)| status.number())
    };
    let listed = found.iter().take(Processes::MOST).filter_map(|(pid, status)| {
        Some(Process {
            pid: status.number(),
            parent: number_of(status.parent),
            user: inside(status.user),
            state: status.state,
            cpu_ms: cpu_ms(*pid)?,
            memory_bytes: status.memory_bytes,
            command: command(*pid).unwrap_or_else(|| format!("[{}]", plain(&status.name))),
        })
    });
    Ok(Processes { listed: listed.collect(), left_out: u32::try_from(left_out).unwrap_or(u32::MAX) })
}

/// How many tasks of a guest's group are not the guest's: its warden's, and those of runtimes that the warden began.
pub fn of_the_runtime(warden: Pid) -> u64 {
    let warden = warden.as_raw_pid();
    let children = fs::read_to_string(format!("/proc/{warden}/task/{warden}/children")).unwrap_or_default();
    let began = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let all = [warden].into_iter().chain(began).filter_map(Status::of);
    // What the guest began and left behind is the warden's child, too.
    all.filter(|status| status.numbers.len() < DEPTH).map(|status| status.threads).sum()
}

/// What /proc/PID/status says.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    name: String,
    state: char,
    parent: i32,
    user: u32,
    /// In each namespace from ours to its own.
    numbers: Vec<u32>,
    threads: u64,
    memory_bytes: u64,
}

impl Status {
    fn of(pid: i32) -> Option<Status> {
        Status::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(text: &str) -> Option<Status> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        let number = |name| field(name)?.split_whitespace().next()?.parse::<u64>().ok();
        Some(Status {
            name: field("Name")?.to_owned(),
            state: field("State")?.chars().next()?,
            parent: field("PPid")?.parse().ok()?,
            user: field("Uid")?.split_whitespace().next()?.parse().ok()?,
            numbers: field("NSpid")?.split_whitespace().filter_map(|number| number.parse().ok()).collect(),
            threads: number("Threads")?,
            // A dead process has none.
            memory_bytes: number("VmRSS").unwrap_or(0).saturating_mul(1024),
        })
    }

    fn number(&self) -> u32 {
        self.numbers.last().copied().unwrap_or(0)
    }
}

/// Its time in programs and in the kernel.
fn cpu_ms(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    ticks(&text).map(|ticks| ticks.saturating_mul(1000) / TICKS)
}

/// In a second; the same on every machine that we run on, whatever its kernel counts by.
const TICKS: u64 = 100;

/// The 14th and the 15th field. The second is a name in brackets, with anything in it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()?.saturating_add(next()?))
}

fn command(pid: i32) -> Option<String> {
    let mut bytes = Vec::new();
    // Four bytes a character at the most.
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(4 * LONGEST_COMMAND as u64).read_to_end(&mut bytes).ok()?;
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let command = plain(words.join(" ").trim_end());
    (!command.is_empty()).then_some(command)
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(LONGEST_COMMAND).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_as_the_kernel_tells_it() {
        let text = "Name:\tsh\nUmask:\t0022\nState:\tS (sleeping)\nPPid:\t41\nUid:\t1610612737\t1\t1\t1\n\
                    NSpid:\t42\t7\t1\nVmRSS:\t     812 kB\nThreads:\t3\n";
        let status = Status::parse(text).unwrap();
        assert_eq!((status.number(), status.parent, status.state), (1, 41, 'S'));
        assert_eq!((status.user, status.threads, status.memory_bytes), (0x6000_0001, 3, 812 << 10));
        assert_eq!(status.numbers.len(), DEPTH);
        assert_eq!(Status::parse("Name:\tsh\n"), None);
    }

    #[test]
    fn a_name_cannot_move_the_fields_after_it() {
        let stat = "42 (a) R 1 2) S 41 42 42 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("42 (sh"), None);
    }

    #[test]
    fn this_process_has_a_command_and_time() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(command(pid).unwrap().contains("machine"), "{:?}", command(pid));
        assert!(cpu_ms(pid).is_some());
    }

    #[test]
    fn what_a_process_calls_itself_draws_nothing() {
        assert_eq!(plain("a\x1b[2Jb\nc"), "a?[2Jb?c");
        assert_eq!(plain(&"x".repeat(1000)).len(), LONGEST_COMMAND);
    }
}
