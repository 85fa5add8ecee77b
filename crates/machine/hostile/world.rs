//! What there is on the machine that a guest must not reach, and how much of it the guest was given.

use std::net::IpAddr;
use std::path::PathBuf;

/// The words of the command line. What is not named is nought or empty.
#[derive(Default)]
pub struct World {
    /// A file of the owner's, readable for everybody.
    pub secret: PathBuf,
    /// A listening Unix socket in the abstract name space.
    pub socket: String,
    /// A TCP port on which a program of the machine listens, at all of the machine's addresses.
    pub port: u16,
    /// These addresses.
    pub addresses: Vec<IpAddr>,
    /// Names a segment of System V shared memory, and a queue of messages.
    pub key: i32,
    /// The guest's limits, in the units of `Limits`.
    pub cpu_millis: u64,
    pub memory: u64,
    pub disk: u64,
    pub inodes: u64,
    pub shm: u64,
    pub shm_inodes: u64,
    pub dev: u64,
    pub pids: u64,
    pub open_files: u64,
    pub log: u64,
    /// Only probes whose names begin so.
    pub only: String,
    /// But for those of these names.
    pub without: String,
    /// What the machine's kernel says that it is.
    pub kernel: String,
}

impl World {
    pub fn parse(words: &[String]) -> World {
        let mut world = World::default();
        for (name, value) in words.iter().filter_map(|word| word.split_once('=')) {
            let number = || value.parse().unwrap_or(0);
            match name {
                "secret" => world.secret = value.into(),
                "socket" => world.socket = value.to_owned(),
                "port" => world.port = value.parse().unwrap_or(0),
                "addresses" => world.addresses = value.split(',').filter_map(|a| a.parse().ok()).collect(),
                "key" => world.key = value.parse().unwrap_or(0),
                "cpu_millis" => world.cpu_millis = number(),
                "memory" => world.memory = number(),
                "disk" => world.disk = number(),
                "inodes" => world.inodes = number(),
                "shm" => world.shm = number(),
                "shm_inodes" => world.shm_inodes = number(),
                "dev" => world.dev = number(),
                "pids" => world.pids = number(),
                "open_files" => world.open_files = number(),
                "log" => world.log = number(),
                "only" => world.only = value.to_owned(),
                "without" => world.without = value.to_owned(),
                "kernel" => world.kernel = value.to_owned(),
                _ => {}
            }
        }
        world
    }

    pub fn wants(&self, name: &str) -> bool {
        let starts = self.only.is_empty() || self.only.split(',').any(|start| name.starts_with(start));
        starts && !self.without.split(',').any(|other| name == other)
    }

    /// Whether this guest runs on another kernel than the machine.
    pub fn has_own_kernel(&self) -> bool {
        let own = std::fs::read_to_string("/proc/version").unwrap_or_default();
        !own.trim().is_empty() && !self.kernel.is_empty() && own.trim() != self.kernel.trim()
    }
}
