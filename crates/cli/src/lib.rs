//! The command line: shows and asks through the door of the node, and holds no rule.
//!
//! One file for each subject in `command/`; what they share is [`desk`](crate::desk) (the node, the output),
//! `parse` (what people type) and `show` (what people read).

mod args;
mod command;
mod demo;
mod desk;
mod fail;
mod interrupt;
mod parse;
mod show;
mod template;
mod terminal;

use args::Cli;
use clap::Parser;
use desk::Out;
use fail::Failure;
use std::process::ExitCode;
use tokio::runtime::Builder;

/// What a command comes to: the exit code, or why it failed.
type Done = Result<u8, Failure>;

/// The whole program.
pub fn main() -> ExitCode {
    // Before anything else, and before there is a second thread: a supervisor becomes another kind of process.
    if std::env::args_os().nth(1).is_some_and(|word| word == "supervise") {
        api::node::machine::guest::supervise();
    }
    api::node::machine::memory::keep_small();
    let cli = Cli::parse();
    let out = Out::new(cli.json);
    let done =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::from).and_then(
            |runtime| {
                let done = runtime.block_on(command::run(cli, &out));
                // A blocking thread may still wait for the disk; nobody waits for it.
                runtime.shutdown_background();
                done
            },
        );
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => out.fail(&failure),
    }
}
