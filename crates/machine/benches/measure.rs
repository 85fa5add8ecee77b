//! Our figures next to those of the tools that everybody knows, on the same machine in the same minutes:
//! `cargo bench -p sublet-machine --bench measure -- [--json] [DIR]`. Needs sysbench, stress-ng, fio and a C compiler.

#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sublet_machine::benchmark::{USUAL_BUDGET, count_primes, measure};

/// Seconds for each figure of another tool.
const SECONDS: u64 = 4;
/// stress-ng tells no rate for less.
const STREAM_SECONDS: u64 = 6;
/// What sysbench counts to by default.
const PRIMES: u64 = 10_000;

/// One figure, measured by us and by another.
struct Row {
    what: &'static str,
    unit: &'static str,
    other: &'static str,
    ours: f64,
    theirs: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let dir =
        arguments.iter().find(|argument| !argument.starts_with('-')).map_or_else(default_dir, PathBuf::from);
    let threads = thread::available_parallelism().map_or(1, usize::from);

    let begun = Instant::now();
    let measured = measure(&dir, USUAL_BUDGET, &mut |_, _| {}, &AtomicBool::new(false)).expect("measured");
    let took = begun.elapsed();
    let disk = |what, unit, ours: u64, mode, size, jobs| Row {
        what,
        unit,
        other: "fio",
        ours: ours as f64,
        theirs: fio(&dir, mode, size, jobs, unit),
    };
    let ours = measured.memory as f64;
    let memory = |what, other, theirs| Row { what, unit: "bytes/s", other, ours, theirs };
    let rows = [
        primes("primes, one core", 1),
        primes("primes, all cores", threads),
        memory("memory, best pass", "triad in C, OpenMP", triad(&dir)),
        memory("memory, best pass against their mean", "stress-ng --stream", stream(threads)),
        disk("disk, write 1 MiB", "bytes/s", measured.disk_write, "write", "1m", 1),
        disk("disk, read 1 MiB", "bytes/s", measured.disk_read, "read", "1m", 1),
        disk("disk, write 4 KiB, 4 at a time", "IO/s", measured.disk_write_iops, "randwrite", "4k", 4),
        disk("disk, read 4 KiB, 4 at a time", "IO/s", measured.disk_read_iops, "randread", "4k", 4),
    ];

    if arguments.iter().any(|argument| argument == "--json") {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({
                    "what": row.what, "unit": row.unit, "other": row.other,
                    "ours": row.ours, "theirs": row.theirs, "ratio": row.ours / row.theirs,
                })
            })
            .collect();
        println!("{}", json!({ "seconds": took.as_secs_f64(), "measurement": measured, "rows": rows }));
        return;
    }
    println!(
        "All of ours in {:.1} s. CPU events/s: {:.1} on one core, {:.1} on {threads}.",
        took.as_secs_f64(),
        measured.cpu_one as f64 / 1e3,
        measured.cpu_all as f64 / 1e3
    );
    println!("| figure | ours | theirs | by | ratio |\n| --- | ---: | ---: | --- | ---: |");
    for Row { what, unit, other, ours, theirs } in rows {
        println!("| {what} ({unit}) | {ours:.0} | {theirs:.0} | {other} | {:.2} |", ours / theirs);
    }
}

/// Where cargo builds: on the disk that the checkout is on, unlike /tmp on many machines.
fn default_dir() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a path");
    program.parent().map_or_else(std::env::temp_dir, Path::to_path_buf)
}

/// The work of `sysbench cpu`, by both.
fn primes(what: &'static str, threads: usize) -> Row {
    let work = || {
        let begun = Instant::now();
        let mut events = 0;
        while begun.elapsed() < Duration::from_secs(SECONDS) {
            std::hint::black_box(count_primes(std::hint::black_box(PRIMES)));
            events += 1;
        }
        f64::from(events) / begun.elapsed().as_secs_f64()
    };
    let ours = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("it counts")).sum()
    });
    let output = run(
        "sysbench",
        &[
            "cpu",
            &format!("--cpu-max-prime={PRIMES}"),
            &format!("--threads={threads}"),
            &format!("--time={SECONDS}"),
            "run",
        ],
    );
    Row { what, unit: "events/s", other: "sysbench cpu", ours, theirs: after(&output, "events per second:") }
}

/// Bytes per second of the same loop, compiled by another compiler.
fn triad(dir: &Path) -> f64 {
    let program = dir.join(".sublet-triad").display().to_string();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/triad.c");
    run("cc", &["-O3", "-fopenmp", "-o", &program, source]);
    let output = run(&program, &[]);
    std::fs::remove_file(program).expect("it is there");
    after(&output, "rate:")
}

/// Bytes read and written per second, by all cores: the mean of copy, scale, add and triad.
fn stream(threads: usize) -> f64 {
    let (workers, seconds) = (threads.to_string(), STREAM_SECONDS.to_string());
    let output = run("stress-ng", &["--stream", &workers, "-t", &seconds, "--metrics"]);
    // One line a worker: "memory rate: 11718.62 MB read/sec, 7812.41 MB write/sec, ..", in units of 2^20 bytes.
    let rates = output.lines().filter(|line| line.contains("memory rate:"));
    let sum: f64 = rates
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let before = |unit: &str| {
                let at = words.iter().position(|word| word.starts_with(unit)).expect("a rate");
                words[at - 2].parse::<f64>().expect("a number")
            };
            before("read/sec") + before("write/sec")
        })
        .sum();
    let workers_told = output.matches("memory rate:").count().max(1);
    sum * (1 << 20) as f64 * threads as f64 / workers_told as f64
}

fn fio(dir: &Path, mode: &str, size: &str, jobs: usize, unit: &str) -> f64 {
    let file = dir.join(".sublet-fio");
    let output = run(
        "fio",
        &[
            "--name=fio",
            &format!("--filename={}", file.display()),
            &format!("--rw={mode}"),
            &format!("--bs={size}"),
            &format!("--numjobs={jobs}"),
            "--size=1g",
            "--ioengine=psync",
            "--direct=1",
            "--end_fsync=1",
            "--time_based",
            &format!("--runtime={SECONDS}"),
            "--group_reporting",
            "--output-format=json",
        ],
    );
    std::fs::remove_file(&file).expect("fio leaves its file");
    let report: Value = serde_json::from_str(&output).expect("fio speaks JSON");
    let direction = if mode.ends_with("read") { "read" } else { "write" };
    let figure = if unit == "IO/s" { "iops" } else { "bw_bytes" };
    report["jobs"][0][direction][figure].as_f64().expect("a figure")
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}): apt-get install {program}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    // stress-ng reports on one stream in some versions and on the other in others.
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn after(output: &str, label: &str) -> f64 {
    let rest = output.split_once(label).unwrap_or_else(|| panic!("no `{label}` in {output}")).1;
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}
