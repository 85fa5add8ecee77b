//! Why a command failed: an exit code, a sentence, a hint.

use api::{ClientError, Problem};
use std::io;

/// Nothing was done because a rule, a host or a peer says no.
pub const REFUSED: u8 = 1;

/// Nothing was done because what was typed makes no sense.
pub const MISUSED: u8 = 2;

/// Something is broken.
pub const FAULT: u8 = 3;

/// Ended by Ctrl-C, as shells say it: 128 and the number of the signal.
pub const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// To be told.
    Told {
        /// The exit code.
        exit: u8,
        /// For programs.
        code: String,
        /// For people.
        sentence: String,
        /// What to do about it; empty where there is nothing to do.
        hint: String,
    },
    /// Nobody reads the output any more, so there is nobody to tell.
    Unread,
    /// Whoever asked knows.
    Interrupted,
}

impl Failure {
    /// A rule, a host or a peer says no.
    pub fn refused(code: &str, sentence: impl Into<String>) -> Failure {
        Failure::told(REFUSED, code, sentence)
    }

    /// What was typed makes no sense.
    pub fn misused(sentence: impl Into<String>) -> Failure {
        Failure::told(MISUSED, "misused", sentence)
    }

    /// Something is broken.
    pub fn fault(sentence: impl Into<String>) -> Failure {
        Failure::told(FAULT, "fault", sentence)
    }

    fn told(exit: u8, code: &str, sentence: impl Into<String>) -> Failure {
        Failure::Told { exit, code: code.to_owned(), sentence: sentence.into(), hint: String::new() }
    }

    /// The same, with what to do about it.
    pub fn hint(self, text: impl Into<String>) -> Failure {
        match self {
            Failure::Told { exit, code, sentence, .. } => {
                Failure::Told { exit, code, sentence, hint: text.into() }
            }
            Failure::Unread | Failure::Interrupted => self,
        }
    }

    /// Whether it is this one.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Failure::Told { code, .. } if code == wanted)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::fault(error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::NoNode(data) => {
                let command = format!("sublet host --data {}", data.display());
                Failure::refused("no_node", format!("no node runs in {}", data.display()))
                    .hint(format!("Start one: `{command}`."))
            }
            ClientError::Problem(problem) => problem.into(),
            ClientError::Timeout(_) | ClientError::Io(_) | ClientError::Http(_) | ClientError::Answer(_) => {
                Failure::fault(error.to_string())
            }
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let exit = match problem.status {
            400 | 422 => MISUSED,
            500 | 503 => FAULT,
            _ => REFUSED,
        };
        Failure::Told { exit, code: problem.code, sentence: problem.detail, hint: problem.hint }
    }
}
