//! Taking more than one was given. Each bomb goes somewhat past the limit, and no further.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::time::{Duration, Instant};

use crate::sys::number::{MEMFD_CREATE, SHMCTL, SHMGET};
use crate::sys::{self, call};
use crate::world::World;
use crate::{Probe, Verdict, holds};

/// The first of all: what was printed before it would be lost in its flood.
pub const FLOOD: &[Probe] = &[Probe { name: "bomb.log", attempt: log }];

pub const PROBES: &[Probe] = &[
    Probe { name: "bomb.forks", attempt: forks },
    Probe { name: "bomb.threads", attempt: threads },
    Probe { name: "bomb.descriptors", attempt: descriptors },
    Probe { name: "bomb.processor", attempt: processor },
    Probe { name: "bomb.disk", attempt: |world| bytes("/tmp/big", world.disk) },
    Probe { name: "bomb.sparse", attempt: sparse },
    Probe { name: "bomb.inodes", attempt: |world| inodes("/tmp/many", world.inodes) },
    Probe { name: "bomb.shared_bytes", attempt: |world| bytes("/dev/shm/big", world.shm) },
    Probe { name: "bomb.shared_inodes", attempt: |world| inodes("/dev/shm/many", world.shm_inodes) },
    Probe { name: "bomb.device_bytes", attempt: |world| bytes("/dev/big", world.dev) },
    Probe { name: "bomb.dirty_pages", attempt: dirty_pages },
    Probe { name: "bomb.memory", attempt: |world| killed_for(world, own_memory) },
    Probe { name: "bomb.memory_file", attempt: |world| killed_for(world, memory_file) },
    Probe { name: "bomb.memory_segments", attempt: |world| killed_for(world, memory_segments) },
];

/// Held or not is for the machine to say, which keeps the log: this only fills it.
fn log(world: &World) -> Verdict {
    let line = [b'x'; 1024];
    let mut error = io::stderr();
    for _ in 0..3 * world.log / 1024 {
        if error.write_all(&line).is_err() {
            break;
        }
    }
    Verdict::Held(format!("{} bytes printed", 3 * world.log))
}

fn forks(world: &World) -> Verdict {
    let aim = world.pids + 64;
    let mut made = 0;
    while made < aim {
        match sys::fork() {
            Ok(0) => sys::pause(),
            Ok(_) => made += 1,
            Err(error) if error.raw_os_error() == Some(sys::EAGAIN) => break,
            Err(error) => return Verdict::Held(format!("{made} processes: {error}")),
        }
    }
    holds(made < aim && made <= world.pids, format!("{made} processes"))
}

fn threads(world: &World) -> Verdict {
    let aim = world.pids + 64;
    let mut made = 0;
    while made < aim {
        let thread = std::thread::Builder::new().stack_size(32 << 10).spawn(|| sys::pause());
        if thread.is_err() {
            break;
        }
        made += 1;
    }
    holds(made < aim && made <= world.pids, format!("{made} threads"))
}

fn descriptors(world: &World) -> Verdict {
    let aim = world.open_files + 64;
    let mut open = Vec::new();
    while (open.len() as u64) < aim {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(_) => break,
        }
    }
    let count = open.len() as u64;
    drop(open);
    holds(count <= world.open_files, format!("{count} files"))
}

/// Two processes more than a guest on any machine has processors to itself.
fn processor(world: &World) -> Verdict {
    let started = Instant::now();
    let last = Duration::from_millis(1500);
    let count = world.cpu_millis / 1000 + 3;
    let children: Vec<i32> = (0..count)
        .filter_map(|_| match sys::fork() {
            Ok(0) => {
                while started.elapsed() < last {
                    std::hint::spin_loop();
                }
                std::process::exit(0)
            }
            Ok(child) => Some(child),
            Err(_) => None,
        })
        .collect();
    for child in children {
        let _ = sys::wait(child);
    }
    let (used, passed) = (sys::children_time(), started.elapsed());
    // A period of the kernel's shares at each end.
    let allowed = (passed + Duration::from_millis(200)).as_micros() as u64 * world.cpu_millis / 1000;
    holds(used.as_micros() as u64 <= allowed, format!("{} of {} ms", used.as_millis(), passed.as_millis()))
}

fn bytes(path: &str, limit: u64) -> Verdict {
    let block = vec![1_u8; 64 << 10];
    let aim = limit + (4 << 20);
    let mut written = 0;
    let outcome = File::create(path).and_then(|mut file| {
        while written < aim {
            written += file.write(&block)? as u64;
        }
        Ok(())
    });
    let _ = fs::remove_file(path);
    match outcome {
        Ok(()) => Verdict::Breached(format!("{written} bytes")),
        Err(error) => holds(written <= limit, format!("{written} bytes: {error}")),
    }
}

/// A file that says to be large takes nothing, until it is filled from its end.
fn sparse(world: &World) -> Verdict {
    use std::os::unix::fs::FileExt;
    let block = vec![1_u8; 64 << 10];
    let limit = world.disk;
    let outcome = File::create("/tmp/sparse").and_then(|file| {
        file.set_len(limit * 4)?;
        for at in (0..limit + (4 << 20)).step_by(block.len()) {
            file.write_all_at(&block, limit * 4 - at)?;
        }
        Ok(())
    });
    let _ = fs::remove_file("/tmp/sparse");
    match outcome {
        Ok(()) => Verdict::Breached("it was filled".into()),
        Err(error) => Verdict::Held(error.to_string()),
    }
}

fn inodes(directory: &str, limit: u64) -> Verdict {
    let aim = limit + 64;
    let _ = fs::create_dir(directory);
    let mut made = 0;
    while made < aim && File::create(format!("{directory}/{made}")).is_ok() {
        made += 1;
    }
    let _ = fs::remove_dir_all(directory);
    holds(made <= limit, format!("{made} files"))
}

/// Writes a file of half the disk over and over, and has it brought to the disk: memory for it is the guest's own.
fn dirty_pages(world: &World) -> Verdict {
    let block = vec![7_u8; 256 << 10];
    let outcome = (0..4).try_for_each(|_| {
        let mut file = File::create("/tmp/dirty")?;
        for _ in 0..world.disk / 2 / block.len() as u64 {
            file.write_all(&block)?;
        }
        file.sync_all()
    });
    let _ = fs::remove_file("/tmp/dirty");
    // Held or not is for the machine to say, which sees how much memory that took.
    Verdict::Held(outcome.map_or_else(|error| error.to_string(), |()| "written".into()))
}

/// Runs `fill` with half as much again as the guest may have, in a process that the kernel should kill for it.
fn killed_for(world: &World, fill: fn(u64) -> io::Result<()>) -> Verdict {
    let aim = (world.memory + world.disk) / 2 * 3;
    let child = match sys::fork() {
        Ok(0) => {
            let _ = fs::write("/proc/self/oom_score_adj", "1000");
            std::process::exit(i32::from(fill(aim).is_err()))
        }
        Ok(child) => child,
        Err(error) => return Verdict::Breached(error.to_string()),
    };
    match sys::wait(child) {
        Ok(sys::End::Code(0)) => Verdict::Breached(format!("{aim} bytes filled")),
        Ok(end) => Verdict::Held(format!("{end:?}")),
        Err(error) => Verdict::Breached(error.to_string()),
    }
}

fn own_memory(aim: u64) -> io::Result<()> {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    while ((blocks.len() as u64) << 20) < aim {
        let mut block = Vec::new();
        block.try_reserve_exact(1 << 20).map_err(|_| io::ErrorKind::OutOfMemory)?;
        block.resize(1 << 20, 1);
        blocks.push(block);
    }
    std::hint::black_box(&blocks);
    Ok(())
}

fn memory_file(aim: u64) -> io::Result<()> {
    let file = call(MEMFD_CREATE, [c"x".as_ptr() as usize, 0])?;
    // SAFETY: the kernel has just made it for us.
    let mut file = unsafe { File::from_raw_fd(file as i32) };
    let block = vec![1_u8; 1 << 20];
    (0..aim >> 20).try_for_each(|_| file.write_all(&block))
}

fn memory_segments(aim: u64) -> io::Result<()> {
    for _ in 0..aim >> 20 {
        let id = call(SHMGET, [0, 1 << 20, 0o600])?;
        let at = sys::attach(id)?;
        // It is gone when this process is, and still of the guest's memory until then.
        call(SHMCTL, [id, 0, 0])?;
        for page in (0..1 << 20).step_by(4096) {
            // SAFETY: the segment is that long, and attached for writing.
            unsafe { at.add(page).write_volatile(1) };
        }
    }
    Ok(())
}
