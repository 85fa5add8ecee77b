//! `sublet completions`: what a shell needs to complete commands.

use crate::Done;
use crate::args::Cli;
use crate::desk::Out;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

/// For which shell.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints them.
pub fn run(args: &CompletionsArgs, out: &Out) -> Done {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "sublet", &mut script);
    out.bytes(&script).map(|()| 0)
}
