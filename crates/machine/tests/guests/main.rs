//! What is true of guests, tried with a real OCI runtime, real limits and a real busybox. Needs root where control
//! groups are of version 1.
//!
//! This program is also the guests' supervisor: called with the word `supervise`, it is one.

mod beside;
mod copying;
mod devices;
mod ending;
mod engine;
mod hostile;
mod house;
mod isolation;
#[path = "../unpacking/layer.rs"]
mod layer;
mod limits;
mod network;
mod own_kernel;
mod secrets;
mod siege;
#[path = "../unpacking/stack.rs"]
mod stack;
mod stats;
mod systems;
mod talking;
mod town;
mod volumes;

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use sublet_machine::doctor::{Health, doctor};
use sublet_machine::guest;
use tokio::time::timeout;

use house::House;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("supervise") => guest::supervise(),
        Some("supervise-without") => guest::supervise_without(&words[1].split(',').collect::<Vec<_>>()),
        Some("hostile") => return hostile::run(&words[1..]),
        Some(_) | None => {}
    }
    let mut arguments = Arguments::from_args();
    // Guests share the processors with each other and with the machine's other work; times stay meaningful.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let trials = [
        hostile::trials(),
        isolation::trials(),
        limits::trials(),
        ending::trials(),
        talking::trials(),
        beside::trials(),
        copying::trials(),
        devices::trials(),
        network::trials(),
        secrets::trials(),
        own_kernel::trials(),
        engine::trials(),
        siege::trials(),
        stats::trials(),
        systems::trials(),
        volumes::trials(),
    ]
    .concat();
    let trials = trials.into_iter().map(Truth::into_trial).chain([systems::slow()]).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Something that is true of guests.
#[derive(Clone)]
struct Truth {
    name: &'static str,
    check: fn() -> Result<(), Failed>,
}

impl Truth {
    fn into_trial(self) -> Trial {
        match why_not_here(self.name) {
            Some(why) => {
                eprintln!("SKIPPED: {}: {why}", self.name);
                Trial::test(self.name, || Ok(())).with_ignored_flag(true)
            }
            None => Trial::test(self.name, self.check),
        }
    }
}

/// Root is expected to be able to have guests, so that there a test fails where something is missing. Others may lack
/// control groups that they can divide, and what root alone can give a guest.
fn why_not_here(name: &str) -> Option<String> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    if volumes::trials().iter().any(|truth| truth.name == name)
        && let Err(why) = sublet_machine::volume::Volumes::possible()
    {
        return Some(why.to_string());
    }
    if ROOT_ONLY.contains(&name) {
        return Some("only a node that is root can give a guest the files of its image".into());
    }
    let missing = doctor().into_iter().find(|finding| finding.state == Health::Missing)?;
    Some(format!("{}: {}", missing.name, missing.detail))
}

/// What needs volumes, devices, or files of the image that the guest may change.
const ROOT_ONLY: [&str; 23] = [
    "the_sandbox_holds_by_podman",
    "the_sandbox_holds_by_docker",
    "no_other_device_opens_even_by_a_node_that_appears",
    "a_layer_beside_a_merged_usr_leaves_the_guest_its_loader",
    "a_program_that_fails_is_begun_again_with_its_disk",
    "a_transfer_that_breaks_off_leaves_no_half_file",
    "what_cannot_be_copied_says_why",
    "what_is_copied_in_is_there_for_the_guest_and_comes_out_again",
    "a_guest_with_a_device_can_use_it_and_another_cannot",
    "a_device_is_the_guest_s_own_node_and_the_machine_s_stays_as_it_was",
    "the_sandbox_holds_as_root",
    "the_sandbox_holds_without_root",
    "every_probe_gets_through_where_there_is_no_sandbox",
    "a_guest_has_no_power_over_the_machine_even_as_root",
    "a_guest_is_nobody_on_this_machine",
    "layers_lie_over_each_other",
    "what_a_guest_writes_does_not_reach_its_image",
    "too_many_files_are_too_many_for_the_guest_alone",
    "a_disk_in_memory_is_limited_as_well",
    "a_disk_fuller_than_memory_starves_no_program",
    "what_was_promised_of_the_disk_is_taken_at_the_start_and_free_after_the_end",
    "a_disk_that_does_not_fit_is_refused",
    "reading_and_writing_is_held_to_its_rate",
];

/// Runs a test in a house of its own.
fn run<F: Future<Output = ()>>(test: fn(House) -> F) -> Result<(), Failed> {
    run_within(Duration::from_secs(120), test)
}

fn run_within<F: Future<Output = ()>>(time: Duration, test: impl FnOnce(House) -> F) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(async { timeout(time, test(House::new())).await });
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
