//! Counts what `cargo test` says of each test program, for one line at the end that holds for all.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    process::Command,
};

use anyhow::{Context as _, Result};

/// Tests of all programs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: u64,
    failed: u64,
    /// `cargo test` itself ended well: all was built, and no program died in the middle.
    ended_well: bool,
}

impl Tally {
    pub fn good(self) -> bool {
        self.ended_well && self.failed == 0 && self.passed > 0
    }

    /// Takes in `test result: ok. 5 passed; 0 failed; 1 ignored; ..`, and no other line.
    fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for (count, word) in counts.split("; ").filter_map(|part| part.split_once(' ')) {
            let count: u64 = count.parse().unwrap_or(0);
            match word {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Runs `tests`, whose standard output must be piped; passes it on and counts.
pub fn watch(mut tests: Command) -> Result<Tally> {
    let mut child = tests.spawn().with_context(|| format!("start {:?}", tests.get_program()))?;
    let output = child.stdout.take().context("the tests' output is not piped")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read what the tests say")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.read(&line);
    }
    tally.ended_well = child.wait().context("wait for the tests")?.success();
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn watched(script: &str) -> Tally {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdout(Stdio::piped());
        watch(shell).expect("the shell runs")
    }

    #[test]
    fn programs_add_up() {
        let tally = watched(
            "echo 'test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s'
             echo 'test a ... ok'
             echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s'",
        );
        assert_eq!(tally.to_string(), "7 passed, 0 failed");
        assert!(tally.good());
    }

    #[test]
    fn no_test_at_all_is_not_good() {
        assert!(!watched("true").good());
    }

    #[test]
    fn a_run_that_ended_badly_is_not_good() {
        let passed = "echo 'test result: ok. 5 passed; 0 failed'";
        assert!(watched(passed).good());
        assert!(!watched(&format!("{passed}; exit 101")).good());
        assert!(!watched("echo 'test result: FAILED. 5 passed; 1 failed'").good());
    }
}
