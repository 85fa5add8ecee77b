//! Keyboard and mouse as the kernel passes them on: where there is no session to ask, and we may read the devices.

use super::{Fact, Source, Wants, word};
use model::{ReasonKind, Span};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often new devices are looked for.
const EVERY: Duration = Duration::from_secs(10);

/// The kernel's input devices.
pub struct InputDevices {
    dev: PathBuf,
    sys: PathBuf,
    open: BTreeMap<PathBuf, File>,
    listed: Option<Instant>,
    /// When somebody was last seen to type or point, or when looking began.
    used: Instant,
}

impl InputDevices {
    /// Those in `dev`, of which `sys` says what they are.
    pub fn new(dev: PathBuf, sys: PathBuf) -> InputDevices {
        InputDevices { dev, sys, open: BTreeMap::new(), listed: None, used: Instant::now() }
    }

    fn list(&mut self) {
        if self.listed.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.listed = Some(Instant::now());
        let entries = std::fs::read_dir(&self.dev).into_iter().flatten().filter_map(|entry| entry.ok());
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_new = name.starts_with("event") && !self.open.contains_key(&path);
            if !is_new || !is_of_people(&self.sys.join(name)) {
                continue;
            }
            let file =
                File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(&path);
            if let Ok(file) = file {
                self.open.insert(path, file);
            }
        }
    }
}

/// Keys or movement: not the lid, not the temperature of a tablet.
fn is_of_people(sys: &Path) -> bool {
    let has = |kind: &str| {
        word(&sys.join("device/capabilities").join(kind))
            .is_some_and(|bits| bits.split(' ').any(|bits| bits != "0"))
    };
    // A power button is a key, too; whoever presses it is there.
    has("key") || has("rel")
}

impl Source for InputDevices {
    fn name(&self) -> &str {
        "/dev/input"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::InUse]
    }

    fn look(&mut self, _wants: &Wants) -> Result<Vec<Fact>, String> {
        self.list();
        let mut events = [0; 4096];
        let mut used = false;
        self.open.retain(|_, file| {
            loop {
                match file.read(&mut events) {
                    Ok(0) => return false,
                    Ok(_) => used = true,
                    Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
                }
            }
        });
        if self.open.is_empty() {
            return Err("no keyboard or mouse that this user may read".to_owned());
        }
        if used {
            self.used = Instant::now();
        }
        Ok(vec![Fact::Idle(Span::from(self.used.elapsed()))])
    }
}
