//! `cargo xtask`: what people run who work on Sublet, from a bare machine on. Each job installs what it needs and is
//! missing, so that one command is enough.

#![expect(clippy::print_stdout, reason = "a command line tool speaks through its output")]

mod bundle;
mod job;
mod packages;
mod step;
mod tally;
mod ui;
mod workshop;

use std::{env, process::ExitCode};

use job::Job;
use workshop::Workshop;

fn main() -> ExitCode {
    let given: Vec<String> = env::args().skip(1).collect();
    let job = match job::named(&given) {
        Ok(job) => job,
        Err(misuse) => {
            eprintln!("{misuse}\n\n{}", job::USAGE);
            return ExitCode::from(2);
        }
    };
    let json = job == (Job::Demo { json: true });
    match Workshop::find().and_then(|shop| job.run(&shop)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\ncargo xtask: {error:#}");
            if json {
                println!("{}", serde_json::json!({ "ok": false, "error": format!("{error:#}") }));
            }
            ExitCode::FAILURE
        }
    }
}
