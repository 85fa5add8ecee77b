//! `sublet exec` and `sublet attach`: programs in guests, spoken to from here.

use crate::Done;
use crate::desk::Desk;
use crate::fail::{Failure, INTERRUPTED};
use crate::interrupt::Interrupt;
use crate::parse;
use crate::show::short;
use crate::terminal::{self, Detach, Raw};
use api::shapes::{ExecWish, SessionOrder};
use api::{ProgramInput, ProgramOutput, ProgramSaid};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use std::io::{self, Write};
use tokio::sync::mpsc;

/// What to run in a guest.
#[derive(Args, Debug)]
pub struct ExecArgs {
    /// Pass on what is typed here.
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal; with -i, this one.
    #[arg(short, long)]
    tty: bool,
    /// A variable for it; NAME alone passes on the value here. May be given several times.
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = parse::variable)]
    env: Vec<String>,
    /// The directory to start in.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// A user of the image, and perhaps a group: NAME, NUMBER, NAME:GROUP.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// The lease: the first digits of its id are enough.
    lease: String,
    /// The program, and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// Runs a program in a guest, and passes on its exit code.
pub async fn exec(desk: &Desk<'_>, args: ExecArgs) -> Done {
    if args.tty && args.interactive && !terminal::is_here() {
        return Err(Failure::misused("there is no terminal here to give to the program")
            .hint("Leave out -t: its input and output are then passed on as they are."));
    }
    let mut env = args.env;
    if args.tty
        && !env.iter().any(|entry| entry.starts_with("TERM="))
        && let Ok(term) = std::env::var("TERM")
    {
        env.push(format!("TERM={term}"));
    }
    let wish = ExecWish {
        command: args.command,
        env,
        cwd: args.workdir,
        user: args.user,
        terminal: args.tty.then(terminal::size),
    };
    let begun = desk.client.exec(&args.lease, &wish).await.map_err(Failure::from).map_err(not_begun);
    let (input, output) = begun?;
    let talk = Talk {
        desk,
        lease: args.lease,
        input,
        output,
        raw: (args.tty && args.interactive).then(Raw::begin).transpose()?,
        typed: args.interactive.then(terminal::typed),
        detach: None,
        interrupt: Interrupt::listen()?,
        interrupted: false,
    };
    talk.go_on().await
}

/// As shells have it: 127 where there is no such program, 126 where it cannot run.
fn not_begun(failure: Failure) -> Failure {
    match failure {
        Failure::Told { exit: _, code, sentence, hint } if code == "no_program" => {
            Failure::Told { exit: 127, code, sentence, hint }
        }
        Failure::Told { exit: _, code, sentence, hint } if code == "not_begun" => {
            Failure::Told { exit: 126, code, sentence, hint }
        }
        Failure::Told { .. } | Failure::Unread | Failure::Interrupted => failure,
    }
}

/// Whose program to speak to.
#[derive(Args, Debug)]
pub struct AttachArgs {
    /// Only listen.
    #[arg(long)]
    no_stdin: bool,
    /// Begin with all that it has printed and is kept.
    #[arg(long)]
    all: bool,
    /// The lease: the first digits of its id are enough.
    lease: String,
}

/// Speaks to a guest's own program. Ctrl-P Ctrl-Q leaves it alone; so does Ctrl-C where it has no terminal.
pub async fn attach(desk: &Desk<'_>, args: &AttachArgs) -> Done {
    let lease = desk.client.lease(&args.lease).await?;
    let own_terminal = lease.workload.options.terminal;
    let (input, output) = desk.client.attach(&lease.id, args.all.then_some(0)).await?;
    let raw = own_terminal && !args.no_stdin && terminal::is_here();
    speak(desk, lease.id, (input, output), !args.no_stdin, raw).await
}

/// Speaks to a guest's own program until it ends or is left alone.
pub async fn speak(
    desk: &Desk<'_>,
    lease: String,
    (mut input, output): (ProgramInput, ProgramOutput),
    typed: bool,
    raw: bool,
) -> Done {
    if raw {
        desk.out.note("Ctrl-P Ctrl-Q leaves it running");
        input.order(SessionOrder::Resize(terminal::size())).await?;
    }
    let talk = Talk {
        desk,
        lease,
        input,
        output,
        raw: raw.then(Raw::begin).transpose()?,
        typed: typed.then(terminal::typed),
        detach: raw.then(Detach::default),
        interrupt: Interrupt::listen()?,
        interrupted: false,
    };
    talk.go_on().await
}

/// A conversation with a program elsewhere.
struct Talk<'a> {
    desk: &'a Desk<'a>,
    lease: String,
    input: ProgramInput,
    output: ProgramOutput,
    raw: Option<Raw>,
    typed: Option<mpsc::Receiver<Vec<u8>>>,
    detach: Option<Detach>,
    interrupt: Interrupt,
    interrupted: bool,
}

enum Next {
    Said(ProgramSaid),
    Typed(Option<Vec<u8>>),
    Resized,
    Interrupt,
}

impl Talk<'_> {
    async fn go_on(mut self) -> Done {
        let done = self.until_its_end().await;
        // Before anything is told.
        self.raw = None;
        done
    }

    async fn until_its_end(&mut self) -> Done {
        loop {
            let next = tokio::select! {
                said = self.output.next() => Next::Said(said?),
                typed = next_typed(&mut self.typed) => Next::Typed(typed),
                () = resized(&mut self.raw) => Next::Resized,
                () = self.interrupt.asked() => Next::Interrupt,
            };
            match next {
                Next::Said(ProgramSaid::Ended(code)) => return Ok(u8::try_from(code).unwrap_or(u8::MAX)),
                Next::Said(ProgramSaid::Out(bytes)) => self.print(&bytes, false)?,
                Next::Said(ProgramSaid::Err(bytes)) => self.print(&bytes, true)?,
                Next::Typed(Some(typed)) => {
                    let (passed, leave) = match &mut self.detach {
                        Some(detach) => detach.keys(&typed),
                        None => (typed, false),
                    };
                    self.input.give(Bytes::from(passed)).await?;
                    if leave {
                        return self.leave();
                    }
                }
                Next::Typed(None) => {
                    self.typed = None;
                    self.input.order(SessionOrder::InputEnds).await?;
                }
                Next::Resized => self.input.order(SessionOrder::Resize(terminal::size())).await?,
                // The first is the program's, which may want to end in order; the second is ours.
                Next::Interrupt if !self.interrupted => {
                    self.interrupted = true;
                    self.input.order(SessionOrder::Signal(2)).await?;
                }
                Next::Interrupt => return Ok(INTERRUPTED),
            }
        }
    }

    fn leave(&mut self) -> Done {
        self.raw = None;
        let lease = short(&self.lease);
        self.desk.out.note(format!("\nleft running; `sublet attach {lease}` comes back"));
        Ok(0)
    }

    fn print(&self, bytes: &[u8], error: bool) -> Result<(), Failure> {
        if self.desk.out.is_json() {
            let event = if error { "error_output" } else { "output" };
            return self.desk.out.json(&json!({ "event": event, "text": String::from_utf8_lossy(bytes) }));
        }
        if !error {
            return self.desk.out.bytes(bytes);
        }
        // Who cannot be told cannot be told that either.
        let _ = io::stderr().write_all(bytes);
        Ok(())
    }
}

async fn next_typed(typed: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}

async fn resized(raw: &mut Option<Raw>) {
    match raw {
        Some(raw) => raw.resized().await,
        None => std::future::pending().await,
    }
}
