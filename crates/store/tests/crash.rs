//! What a process leaves behind when it is killed, and when the disk is full, for real: this binary runs itself again
//! as the process that dies.

use libtest_mimic::{Arguments, Failed, Trial};
use model::record::Record;
use model::{Id, ObjectId, Timestamp};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;
use sublet_store::{Store, StoreError};

/// Names the data directory to the process that is killed.
const DIR: &str = "SUBLET_TEST_DIR";

fn main() -> ExitCode {
    if let Some(dir) = std::env::var_os(DIR) {
        append_for_ever(Path::new(&dir));
    }
    let trials = vec![
        Trial::test("a_killed_writer_leaves_whole_batches", killed_writer),
        Trial::test("a_killed_holder_lets_the_directory_go", killed_holder),
        Trial::test("a_full_disk_leaves_the_record_whole", full_disk),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Batch `n` has `1 + n % 5` records, each of which says so. A line is printed for each batch that is on the disk.
fn append_for_ever(dir: &Path) -> ! {
    let mut store = Store::open(dir).expect("the directory is free");
    let mut batch = batches(&store).len();
    loop {
        store.append(Timestamp(1), &batch_of(batch)).expect("there is room");
        batch += 1;
        writeln!(std::io::stdout(), "{batch}").expect("somebody listens");
    }
}

fn batch_of(number: usize) -> Vec<Record> {
    let size = 1 + number % 5;
    let part = |part| Record::Refused {
        ask: Id::of(ObjectId([number as u8; 32])),
        code: number.to_string(),
        // Longer than a page now and then, so that a batch is many writes.
        sentence: format!("{part} of {size} {}", "-".repeat(number % 7 * 1_000)),
    };
    (0..size).map(part).collect()
}

/// The batches of a record, which must be whole and in their order.
fn batches(store: &Store) -> Vec<usize> {
    let records: Vec<_> = store
        .entries(0, usize::MAX)
        .expect("the chain holds")
        .into_iter()
        .map(|entry| entry.record)
        .collect();
    let mut rest = records.as_slice();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let expected = batch_of(batches.len());
        assert!(rest.starts_with(&expected), "batch {} is not whole", batches.len());
        rest = &rest[expected.len()..];
        batches.push(expected.len());
    }
    batches
}

fn killed_writer() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut written = 0;
    for round in 0..30 {
        let (mut writer, mut told) = start(dir.path())?;
        // It writes by now; how much more it gets to write is chance.
        let mut promised = next(&mut told)?;
        std::thread::sleep(Duration::from_micros(RandomState::new().hash_one(round) % 20_000));
        writer.kill()?;
        writer.wait()?;
        while let Ok(more) = next(&mut told) {
            promised = more;
        }

        let mut store = Store::open(dir.path())?;
        let found = batches(&store).len();
        assert!(found >= promised, "{promised} batches were on the disk, {found} are left");
        assert!(found > written, "round {round} wrote nothing");
        assert_eq!(store.verify()?.records, store.head());
        store.rebuild()?;
        written = found;
    }
    Ok(())
}

fn killed_holder() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let (mut writer, mut told) = start(dir.path())?;
    next(&mut told)?;
    match Store::open(dir.path()) {
        Err(StoreError::InUse { holder: Some(holder), .. }) => assert_eq!(holder.pid, writer.id()),
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("two processes hold one directory".into()),
    }
    assert_eq!(sublet_store::holder(dir.path())?.map(|holder| holder.pid), Some(writer.id()));
    writer.kill()?;
    writer.wait()?;
    assert_eq!(sublet_store::holder(dir.path())?, None);
    Store::open(dir.path())?;
    Ok(())
}

fn start(dir: &Path) -> std::io::Result<(Child, BufReader<ChildStdout>)> {
    let mut child = Command::new(std::env::current_exe()?).env(DIR, dir).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().expect("it is piped");
    Ok((child, BufReader::new(stdout)))
}

/// How many batches the writer says are on the disk.
fn next(told: &mut BufReader<ChildStdout>) -> Result<usize, Failed> {
    let mut line = String::new();
    told.read_line(&mut line)?;
    // The last line may be cut off where the writer was killed: without its end it promises nothing.
    Ok(line.strip_suffix('\n').ok_or("the writer has ended")?.parse()?)
}

/// A file system of one MiB, which only root can make.
fn full_disk() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).output();
    if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED a_full_disk_leaves_the_record_whole: no small file system can be mounted here ({mounted:?})"
        );
        return Ok(());
    }
    let mount = Mount(dir.path());
    let mut store = Store::open(mount.0)?;
    let mut written = 0;
    let error = loop {
        match store.append(Timestamp(1), &batch_of(written)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(written > 0);
    assert_eq!(batches(&store).len(), written);
    drop(store);

    // The disk is as full after a restart; once there is room, all goes on.
    match Store::open(mount.0) {
        Ok(store) => assert_eq!(batches(&store).len(), written),
        Err(error) => assert!(matches!(error, StoreError::Full), "{error}"),
    }
    let larger = Command::new("mount").args(["-o", "remount,size=8m"]).arg(mount.0).status()?;
    assert!(larger.success());
    let mut store = Store::open(mount.0)?;
    store.append(Timestamp(1), &batch_of(written))?;
    assert_eq!(batches(&store).len(), written + 1);
    Ok(())
}

struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}
