//! What is true of guests, tried with a real OCI runtime, real limits and a real busybox. Needs root where control
//! groups are of version 1.
//!
//! This program is also the guests' supervisor: called with the word `supervise`, it is one.

mod ending;
mod house;
mod isolation;
mod limits;
mod talking;

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use sublet_machine::doctor::{Health, doctor};
use sublet_machine::guest;
use tokio::time::timeout;

use house::House;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("supervise") {
        guest::supervise();
    }
    let mut arguments = Arguments::from_args();
    // Guests share the processors with each other and with the machine's other work; times stay meaningful.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let trials = [isolation::trials(), limits::trials(), ending::trials(), talking::trials()].concat();
    libtest_mimic::run(&arguments, trials.into_iter().map(Truth::into_trial).collect()).exit_code()
}

/// Something that is true of guests.
#[derive(Clone)]
struct Truth {
    name: &'static str,
    check: fn() -> Result<(), Failed>,
}

impl Truth {
    fn into_trial(self) -> Trial {
        match why_not_here() {
            Some(why) => {
                eprintln!("SKIPPED: {}: {why}", self.name);
                Trial::test(self.name, || Ok(())).with_ignored_flag(true)
            }
            None => Trial::test(self.name, self.check),
        }
    }
}

/// Root is expected to be able to have guests, so that there a test fails where something is missing. Others may lack
/// control groups that they can divide.
fn why_not_here() -> Option<String> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let missing = doctor().into_iter().find(|finding| finding.state == Health::Missing)?;
    Some(format!("{}: {}", missing.name, missing.detail))
}

/// Runs a test in a house of its own.
fn run<F: Future<Output = ()>>(test: fn(House) -> F) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(async { timeout(Duration::from_secs(120), test(House::new())).await });
    done.map_err(|_| Failed::from("it hangs"))
}

/// The truths of a module, by the names of their functions.
macro_rules! truths {
    ($($name:ident),* $(,)?) => {
        pub fn trials() -> Vec<crate::Truth> {
            vec![$(crate::Truth { name: stringify!($name), check: || crate::run($name) }),*]
        }
    };
}
use truths;
