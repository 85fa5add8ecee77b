//! The first process of a guest that a container engine holds: begins the guest's programs, reaps, and ends, and the guest
//! with it, when nobody speaks to it any more. Through it a guest's supervisor has what an engine does not give it: its
//! own pipes, and that the guest does not outlive it.
//!
//! `build.rs` links it statically, since it runs on whatever image the tenant has brought. Nobody in the guest can end it
//! (it is the init of its process namespace), or look into it.

#![allow(unsafe_code, missing_docs)] // a program of system calls

mod sys;
#[allow(dead_code, reason = "the envoy, which has it too, writes what is read here")]
mod words;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process;

use words::{BEGAN, ENDED, FAILED, Packet, Program, RUN, SIGNAL};

fn main() {
    let place = std::env::args().nth(1).unwrap_or_default();
    let ended = sys::hide().and_then(|()| serve(&place));
    if let Err(error) = ended {
        eprintln!("sublet keeper: {error}");
        process::exit(1);
    }
}

/// The guest's own program.
const MAIN: u32 = 0;

fn serve(place: &str) -> io::Result<()> {
    let (children, line) = (sys::children()?, sys::call(place)?);
    let mut running: Vec<(i32, u32)> = Vec::new();
    loop {
        let [ended, asked] = sys::wait_for([children.as_raw_fd(), line.as_raw_fd()]);
        if ended {
            let _ = File::from(children.try_clone()?).read(&mut [0; 128]);
            while let Some((pid, code)) = sys::reap() {
                let Some(at) = running.iter().position(|(other, _)| *other == pid) else { continue };
                let (_, number) = running.swap_remove(at);
                if number == MAIN {
                    // What it leaves behind ends with it. Neither this process nor its own is meant.
                    sys::kill(-1, sys::SIGKILL);
                }
                sys::send(&line, Packet { kind: ENDED, number, value: code })?;
            }
        }
        if asked {
            let Some((packet, files)) = sys::receive(&line)? else { return Ok(()) };
            answer(&line, packet, files, &mut running)?;
        }
    }
}

fn answer(
    line: &OwnedFd,
    packet: Packet,
    files: Vec<OwnedFd>,
    running: &mut Vec<(i32, u32)>,
) -> io::Result<()> {
    let number = packet.number;
    let failed = |error: io::Error| Packet { kind: FAILED, number, value: error.raw_os_error().unwrap_or(5) };
    match packet.kind {
        RUN => match run(files) {
            Ok(pid) => {
                running.push((pid, number));
                sys::send(line, Packet { kind: BEGAN, number, value: pid })
            }
            Err(error) => sys::send(line, failed(error)),
        },
        SIGNAL => {
            if let Some((pid, _)) = running.iter().find(|(_, other)| *other == number) {
                // Each leads a group of its own; the guest's own program hears what is meant for it alone.
                sys::kill(if number == MAIN { *pid } else { -pid }, packet.value);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Begins what the first of these files says, with the others as its input and outputs.
fn run(files: Vec<OwnedFd>) -> io::Result<i32> {
    let mut files = files.into_iter();
    let mut bytes = Vec::new();
    File::from(files.next().ok_or(io::ErrorKind::InvalidInput)?).read_to_end(&mut bytes)?;
    let program = Program::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    sys::begin(&program, &files.collect::<Vec<_>>())
}
