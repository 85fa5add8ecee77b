//! What the command line may say.

use std::{fmt, net::SocketAddr, thread, time::Duration};

pub const USAGE: &str = "\
usage: sublet-render [options]
  --size WxH       pixels, at most 8192 a side (960x640)
  --samples N      light paths a pixel, 1 to 65536: the amount of work (80)
  --threads N      1 to 1024 (every core that this process may use)
  --listen ADDR    where to serve /progress, /result and /hash (0.0.0.0:8080)
  --linger SECS    how long to stay once the picture is done (until told to stop)
  --self-check     draw, print the SHA-256 of the result, and leave";

/// Longest side of a picture: one of 8192 x 8192 takes 192 MiB.
const MAX_SIDE: u32 = 8192;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Help,
    SelfCheck,
    Serve,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    pub task: Task,
    pub size: Size,
    pub samples: u32,
    pub threads: u32,
    pub listen: SocketAddr,
    /// None: until told to stop.
    pub linger: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Misuse {
    Unknown(String),
    MissingValue(String),
    BadValue { option: String, value: String },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::Unknown(option) => write!(f, "unknown option {option}"),
            Misuse::MissingValue(option) => write!(f, "{option} needs a value"),
            Misuse::BadValue { option, value } => write!(f, "{option} cannot be {value:?}"),
        }
    }
}

pub fn parse(given: impl Iterator<Item = String>) -> Result<Arguments, Misuse> {
    let mut arguments = Arguments {
        task: Task::Serve,
        size: Size { width: 960, height: 640 },
        samples: 80,
        threads: thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
        linger: None,
    };
    let mut given = given;
    while let Some(option) = given.next() {
        match option.as_str() {
            "--help" | "-h" => arguments.task = Task::Help,
            "--self-check" => arguments.task = Task::SelfCheck,
            "--size" => arguments.size = value(&option, &mut given, size)?,
            "--samples" => arguments.samples = value(&option, &mut given, |v| whole(v, 65536))?,
            "--threads" => arguments.threads = value(&option, &mut given, |v| whole(v, 1024))?,
            "--listen" => arguments.listen = value(&option, &mut given, |v| v.parse().ok())?,
            "--linger" => {
                let seconds = value(&option, &mut given, |v| v.parse::<u32>().ok())?;
                arguments.linger = Some(Duration::from_secs(seconds.into()));
            }
            _ => return Err(Misuse::Unknown(option)),
        }
    }
    Ok(arguments)
}

fn value<T>(
    option: &str,
    given: &mut impl Iterator<Item = String>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, Misuse> {
    let Some(value) = given.next() else { return Err(Misuse::MissingValue(option.to_owned())) };
    read(&value).ok_or_else(|| Misuse::BadValue { option: option.to_owned(), value })
}

fn size(text: &str) -> Option<Size> {
    let (width, height) = text.split_once('x')?;
    Some(Size { width: whole(width, MAX_SIDE)?, height: whole(height, MAX_SIDE)? })
}

fn whole(text: &str, most: u32) -> Option<u32> {
    text.parse().ok().filter(|n| (1..=most).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, Misuse> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_said_is_done() -> Result<(), Misuse> {
        let arguments = parsed("--size 30x20 --samples 4 --threads 2 --listen 127.0.0.1:9 --linger 3")?;
        assert_eq!(arguments.size, Size { width: 30, height: 20 });
        assert_eq!((arguments.samples, arguments.threads), (4, 2));
        assert_eq!(arguments.listen.to_string(), "127.0.0.1:9");
        assert_eq!(arguments.linger, Some(Duration::from_secs(3)));
        Ok(())
    }

    #[test]
    fn sizes_have_limits() {
        for wrong in ["0x10", "10x0", "8193x1", "99999999999x1", "10", "x", "-1x4"] {
            let misuse = Misuse::BadValue { option: "--size".to_owned(), value: wrong.to_owned() };
            assert_eq!(parsed(&format!("--size {wrong}")), Err(misuse));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(parsed("--colour"), Err(Misuse::Unknown("--colour".to_owned())));
        assert_eq!(parsed("--samples"), Err(Misuse::MissingValue("--samples".to_owned())));
    }
}
