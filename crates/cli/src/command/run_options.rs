//! How a guest's program is run: what `sublet run` takes beside what and where.

use crate::command::health::HealthArgs;
use crate::fail::Failure;
use crate::parse;
use api::shapes::{Restart, RunOptions, Seconds, Tmpfs};
use clap::Args;
use std::fs;
use std::path::PathBuf;

/// How a guest's program is run.
#[derive(Args, Debug)]
#[command(next_help_heading = "How it is run")]
pub struct OptionArgs {
    /// Keep its input open; unless --detach, pass on what is typed here.
    #[arg(short, long = "interactive", visible_alias = "stdin")]
    pub interactive: bool,
    /// Give it a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Run this instead of the image's entrypoint; the command follows it.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// A user of the image, and perhaps a group: NAME, NUMBER, NAME:GROUP.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// The directory to start in.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// What the guest calls itself.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Shared memory, which counts as memory.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    shm_size: Option<u64>,
    /// A directory kept in memory, which counts as such. May be given several times.
    #[arg(long, value_name = "PATH:SIZE", value_parser = tmpfs)]
    tmpfs: Vec<Tmpfs>,
    /// Let nothing be written over the image.
    #[arg(long)]
    read_only: bool,
    /// Variables, one NAME=VALUE to a line; lines that begin with # are passed over.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Begin it again when it ends: no, on-failure, on-failure:N, always. It is billed while it waits for that.
    #[arg(long, value_name = "WHEN", default_value = "no", value_parser = restart)]
    restart: Restart,
    /// The signal that asks it to end [default: as the image says, or TERM].
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    stop_signal: Option<u8>,
    /// How long it may take to end [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    stop_timeout: Option<Seconds>,
    /// A note of yours. May be given several times.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    health: HealthArgs,
}

impl OptionArgs {
    /// The options that were typed.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            entrypoint: self.entrypoint.clone().map(|program| vec![program]),
            user: self.user.clone(),
            cwd: self.workdir.clone(),
            hostname: self.hostname.clone(),
            shm_bytes: self.shm_size,
            tmpfs: self.tmpfs.clone(),
            read_only: self.read_only,
            stdin: self.interactive,
            terminal: self.tty,
            restart: self.restart,
            stop_signal: self.stop_signal,
            stop_within: self.stop_timeout,
            health: self.health.wish(),
            labels: self.label.iter().cloned().collect(),
        }
    }

    /// The variables in the files that were named.
    ///
    /// # Errors
    /// When a file cannot be read, or a line is no variable.
    pub fn variables(&self) -> Result<Vec<String>, Failure> {
        let mut variables = Vec::new();
        for path in &self.env_file {
            let text = fs::read_to_string(path)
                .map_err(|error| Failure::misused(format!("cannot read {}: {error}", path.display())))?;
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                let variable = parse::variable(line)
                    .map_err(|why| Failure::misused(format!("{}: {why}", path.display())))?;
                variables.push(variable);
            }
        }
        Ok(variables)
    }
}

fn tmpfs(text: &str) -> Result<Tmpfs, String> {
    let wrong = || format!("`{text}` names no directory and size: write for example /tmp:64M");
    let (path, size) = text.rsplit_once(':').ok_or_else(wrong)?;
    let size_bytes = parse::size(size).map_err(|_| wrong())?;
    if path.starts_with('/') { Ok(Tmpfs { path: path.to_owned(), size_bytes }) } else { Err(wrong()) }
}

fn restart(text: &str) -> Result<Restart, String> {
    match text.split_once(':') {
        None if text == "no" => Ok(Restart::No),
        None if text == "always" => Ok(Restart::Always),
        None if text == "on-failure" => Ok(Restart::OnFailure { most: None }),
        Some(("on-failure", most)) if most.parse::<u32>().is_ok() => {
            Ok(Restart::OnFailure { most: most.parse().ok() })
        }
        Some(_) | None => Err("write no, on-failure, on-failure:N or always".to_owned()),
    }
}

/// The signals that programs are asked to end by, and their numbers on Linux.
const SIGNALS: [(&str, u8); 10] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("WINCH", 28),
    ("PWR", 30),
];

fn signal(text: &str) -> Result<u8, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = named.or_else(|| name.parse().ok().filter(|number| (1..=31).contains(number)));
    number.ok_or_else(|| format!("`{text}` is no signal: write for example TERM, QUIT or 15"))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() { Err("write NAME=VALUE".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_as_docker_s_do() {
        assert_eq!(tmpfs("/tmp:64M"), Ok(Tmpfs { path: "/tmp".into(), size_bytes: 64 << 20 }));
        assert!(tmpfs("/tmp").is_err() && tmpfs("tmp:1M").is_err());
        assert_eq!(restart("on-failure:3"), Ok(Restart::OnFailure { most: Some(3) }));
        assert_eq!(restart("on-failure"), Ok(Restart::OnFailure { most: None }));
        assert!(restart("on-failure:x").is_err() && restart("perhaps").is_err());
        assert_eq!((signal("SIGTERM"), signal("quit"), signal("10")), (Ok(15), Ok(3), Ok(10)));
        assert!(signal("0").is_err() && signal("NOTHING").is_err());
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(label("=b").is_err());
    }
}
