//! Which of the owner's programs run, from the kernel's list of processes. Guests' processes do not count: a guest that
//! calls itself like a game shall not hold up the others.

use super::{Fact, Source, Wants};
use model::ReasonKind;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How often a process is read again after it was seen first: it is one program, then calls itself another.
const YOUNG: u8 = 8;

/// And then in how many rounds once more.
const ROUND: u32 = 64;

/// The kernel's list of processes.
pub struct ProcList {
    proc: PathBuf,
    guests: PathBuf,
    known: BTreeMap<u32, Known>,
    round: u32,
}

struct Known {
    name: String,
    looks: u8,
}

impl ProcList {
    /// The list in `proc`, without the guests that have a directory in `guests`.
    pub fn new(proc: PathBuf, guests: PathBuf) -> ProcList {
        ProcList { proc, guests, known: BTreeMap::new(), round: 0 }
    }

    fn refresh(&mut self) -> std::io::Result<()> {
        self.round = self.round.wrapping_add(1);
        let pids: BTreeSet<u32> = std::fs::read_dir(&self.proc)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        self.known.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            let looks = self.known.get(&pid).map_or(0, |known| known.looks);
            // An old process keeps its name, but for the one in a million that takes over a number.
            if looks < YOUNG || pid % ROUND == self.round % ROUND {
                let name = name(&self.proc.join(pid.to_string()));
                self.known.insert(pid, Known { name, looks: looks.saturating_add(1) });
            }
        }
        Ok(())
    }

    fn is_guest_s(&self, pid: u32) -> bool {
        let groups =
            std::fs::read_to_string(self.proc.join(pid.to_string()).join("cgroup")).unwrap_or_default();
        let parts =
            groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(|path| path.split('/'));
        parts.filter(|part| part.len() == 64).any(|part| self.guests.join(part).exists())
    }
}

impl Source for ProcList {
    fn name(&self) -> &str {
        "/proc"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::Program]
    }

    fn look(&mut self, wants: &Wants) -> Result<Vec<Fact>, String> {
        if wants.programs.is_empty() {
            return Ok(vec![Fact::Programs(Vec::new())]);
        }
        self.refresh().map_err(|error| error.to_string())?;
        let runs = |wanted: &&String| {
            let wanted = cut(wanted);
            self.known
                .iter()
                .any(|(pid, known)| known.name.eq_ignore_ascii_case(wanted) && !self.is_guest_s(*pid))
        };
        Ok(vec![Fact::Programs(wants.programs.iter().filter(runs).cloned().collect())])
    }
}

/// The kernel keeps fifteen bytes of a name.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(15)]
}

fn name(process: &Path) -> String {
    std::fs::read_to_string(process.join("comm"))
        .map(|comm| cut(comm.trim_end()).to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn process(proc: &Path, pid: u32, comm: &str, cgroup: &str) {
        let dir = proc.join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("comm"), format!("{comm}\n")).unwrap();
        fs::write(dir.join("cgroup"), cgroup).unwrap();
    }

    fn wants(names: &[&str]) -> Wants {
        Wants { programs: names.iter().map(|name| (*name).to_owned()).collect(), ..Wants::default() }
    }

    fn told(source: &mut ProcList, names: &[&str]) -> Vec<String> {
        let told = source.look(&wants(names)).unwrap().remove(0);
        let Fact::Programs(names) = told else { panic!("{told:?}") };
        names
    }

    #[test]
    fn a_program_is_seen_by_its_name_and_a_guest_s_is_not() {
        let (proc, guests) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = "ab".repeat(32);
        fs::create_dir(guests.path().join(&id)).unwrap();
        process(proc.path(), 7, "bash", "0::/user.slice\n");
        process(proc.path(), 8, "blender", &format!("0::/sublet/{id}\n"));
        fs::create_dir(proc.path().join("sys")).unwrap();
        let mut source = ProcList::new(proc.path().to_owned(), guests.path().to_owned());
        assert!(told(&mut source, &["blender"]).is_empty(), "a guest only calls itself so");
        // A process becomes another program, as each one does that a shell starts.
        process(proc.path(), 7, "a-very-long-name", "0::/user.slice\n");
        process(proc.path(), 9, "Blender", "1:name=systemd:/user.slice\n");
        assert_eq!(
            told(&mut source, &["blender", "a-very-long-name-indeed", "cat"]),
            ["blender", "a-very-long-name-indeed"]
        );
        fs::remove_dir_all(proc.path().join("9")).unwrap();
        assert!(told(&mut source, &["blender"]).is_empty());
    }

    #[test]
    fn a_real_process_is_seen() {
        let mut sleep = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut source = ProcList::new("/proc".into(), "/nowhere".into());
        // It forks, and then becomes what it is called.
        let begun = std::time::Instant::now();
        while told(&mut source, &["sleep"]).is_empty() {
            assert!(begun.elapsed().as_secs() < 10, "it is seen");
        }
        sleep.kill().unwrap();
        sleep.wait().unwrap();
    }
}
