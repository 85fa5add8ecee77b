//! What every command works with: the node to ask, and the output to write to.

use crate::fail::{FAULT, Failure, INTERRUPTED};
use api::Client;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The node to ask, and the output to write to.
pub struct Desk<'a> {
    /// The running node.
    pub client: Client,
    /// Its data directory.
    pub data: PathBuf,
    /// Where to write.
    pub out: &'a Out,
}

/// Standard output and error: for people, or for programs.
pub struct Out {
    json: bool,
    colour: bool,
}

impl Out {
    /// For programs, if `json`.
    pub fn new(json: bool) -> Out {
        Out { json, colour: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    /// Whether it is for programs.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A line that was asked for.
    ///
    /// # Errors
    /// [`Failure::Unread`] when nobody reads it; what the system says.
    pub fn line(&self, text: impl Display) -> Result<(), Failure> {
        writeln!(io::stdout(), "{text}").map_err(unwritten)
    }

    /// Bytes that were asked for, as they are.
    ///
    /// # Errors
    /// As for [`Out::line`].
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(unwritten)
    }

    /// One JSON document in one line.
    ///
    /// # Errors
    /// As for [`Out::line`].
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.line(text)
    }

    /// JSON for programs, and something else for people.
    ///
    /// # Errors
    /// As for [`Out::line`].
    pub fn either(&self, value: &impl Serialize, people: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            return self.json(value);
        }
        let text = people();
        if text.is_empty() { Ok(()) } else { self.line(text.trim_end()) }
    }

    /// What goes on, for people: on standard error, so that the output stays what was asked for.
    pub fn note(&self, text: impl Display) {
        if !self.json {
            // Who cannot be told cannot be told that either.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// The head of a table on standard output.
    pub fn head(&self, text: &str) -> String {
        if self.colour && io::stdout().is_terminal() {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Tells why, and gives the exit code.
    pub fn fail(&self, failure: &Failure) -> ExitCode {
        let (exit, code, sentence, hint) = match failure {
            Failure::Told { exit, code, sentence, hint } => (*exit, code, sentence, hint),
            Failure::Unread => return ExitCode::SUCCESS,
            Failure::Interrupted => return ExitCode::from(INTERRUPTED),
        };
        let mut stderr = io::stderr();
        let told = if self.json {
            let error = serde_json::json!({ "error": { "code": code, "detail": sentence, "hint": hint } });
            writeln!(stderr, "{error}")
        } else {
            let (red, cyan, plain) = if self.colour && stderr.is_terminal() {
                ("\x1b[1;31m", "\x1b[36m", "\x1b[0m")
            } else {
                ("", "", "")
            };
            let hint = if hint.is_empty() { String::new() } else { format!("{cyan}hint:{plain} {hint}\n") };
            write!(stderr, "{red}error:{plain} {sentence}\n{hint}")
        };
        if told.is_ok() { ExitCode::from(exit) } else { ExitCode::from(FAULT) }
    }
}

fn unwritten(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::Unread;
    }
    Failure::fault(format!("the output cannot be written: {error}"))
}
