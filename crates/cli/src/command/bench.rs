//! `sublet bench`: how fast this computer is.

use crate::Done;
use crate::desk::Desk;
use crate::fail::INTERRUPTED;
use crate::interrupt::Interrupt;
use crate::show::{Table, moment};
use crate::show::{bar, bytes, fields, time};
use api::shapes::{BenchmarkProgress, Benchmarks, Measured};
use clap::Args;

/// Whether to measure.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Do not measure, but list what was measured before.
    #[arg(long)]
    history: bool,
}

/// The stages, in their order.
const STAGES: [(&str, &str); 7] = [
    ("cpu_one", "one core"),
    ("cpu_all", "all cores"),
    ("memory", "memory"),
    ("disk_write", "disk, writing"),
    ("disk_read", "disk, reading"),
    ("disk_random_read", "disk, reading at random"),
    ("disk_random_write", "disk, writing at random"),
];

/// Parts of a stage on the bar.
const PARTS: u64 = 100;

/// Measures, unless it is interrupted; or lists what was measured.
pub async fn run(desk: &Desk<'_>, args: &BenchArgs) -> Done {
    if args.history {
        let before = desk.client.benchmarks().await?;
        return desk.out.either(&before, || history(desk, &before)).map(|()| 0);
    }
    let bar = bar(STAGES.len() as u64 * PARTS);
    let mut interrupt = Interrupt::listen()?;
    let measuring = desk.client.benchmark().await?;
    let measured = measuring.done(|progress: BenchmarkProgress| {
        if let Some(at) = STAGES.iter().position(|(stage, _)| *stage == progress.stage) {
            bar.set_message(STAGES.get(at).map_or("", |(_, name)| name));
            bar.set_position(at as u64 * PARTS + (progress.fraction * PARTS as f32) as u64);
        }
    });
    let measured = tokio::select! {
        measured = measured => measured?,
        () = interrupt.asked() => {
            bar.finish_and_clear();
            desk.out.note("cancelled");
            return Ok(INTERRUPTED);
        }
    };
    bar.finish_and_clear();
    desk.out.either(&measured, || story(&measured)).map(|()| 0)
}

fn history(desk: &Desk<'_>, before: &Benchmarks) -> String {
    if before.measurements.is_empty() {
        return "this computer was not measured yet: `sublet bench`".to_owned();
    }
    let mut table = Table::new(&["MEASURED", ">ONE CORE", ">ALL CORES", ">MEMORY", ">DISK"]);
    for one in &before.measurements {
        let units = [one.speed.core, one.speed.cores, one.speed.memory, one.speed.disk];
        let [core, cores, memory, disk] = units.map(|units| units.to_string());
        table.row([moment(one.at), core, cores, memory, disk]);
    }
    table.text(|head| desk.out.head(head))
}

fn story(measured: &Measured) -> String {
    let (speed, figures) = (&measured.speed, &measured.figures);
    let events = |millis: u64| format!("{}.{:03} events/s", millis / 1_000, millis % 1_000);
    let rate = |rate: u64| format!("{}/s", bytes(rate));
    let cache = if figures.disk_direct { "" } else { "; through the page cache, so better than the disk is" };
    fields([
        ("one core", format!("{} ({})", speed.core, events(figures.cpu_one))),
        ("all cores", format!("{} ({}, {} threads)", speed.cores, events(figures.cpu_all), figures.threads)),
        ("memory", format!("{} ({})", speed.memory, rate(figures.memory))),
        (
            "disk",
            format!(
                "{} (writes {}, reads {}{cache})",
                speed.disk,
                rate(figures.disk_write),
                rate(figures.disk_read)
            ),
        ),
        (
            "",
            format!(
                "4 KiB at random: {} writes/s, {} reads/s",
                figures.disk_write_iops, figures.disk_read_iops
            ),
        ),
        (
            "measured in",
            format!("{}; rating units: 1000 is as fast as the reference machine", time(measured.took)),
        ),
    ])
}
