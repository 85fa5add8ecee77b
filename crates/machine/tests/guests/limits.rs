//! A guest takes what it was given, and no more.

use std::time::Duration;

use sublet_machine::guest::{GuestError, SpecError, Writable};
use tokio::time::sleep;

use crate::house::House;

crate::truths![
    who_takes_too_much_memory_is_killed,
    a_fork_bomb_stays_in_its_guest,
    processor_time_is_limited,
    a_full_disk_is_full_for_the_guest_alone,
    too_many_files_are_too_many_for_the_guest_alone,
    a_disk_in_memory_is_limited_as_well,
    a_guest_can_write_all_of_its_disk,
    a_disk_fuller_than_memory_starves_no_program,
    what_was_promised_of_the_disk_is_taken_at_the_start_and_free_after_the_end,
    a_disk_that_does_not_fit_is_refused,
    reading_and_writing_is_held_to_its_rate,
    a_flood_of_output_is_bounded,
    usage_is_measured,
    a_limit_that_is_too_small_is_refused,
];

async fn who_takes_too_much_memory_is_killed(mut house: House) {
    // tail keeps its input until it knows where the last line begins, and there is no line in /dev/zero.
    let id = house.start("tail -n 1 /dev/zero").await;
    assert_eq!(house.exit_code(id).await, 137);
    let usage = house.see(id).await.usage;
    assert!(usage.oom_kills > 0, "{usage:?}");
    let ram = house.spec("").limits.ram(Writable::here());
    assert!(usage.memory_peak <= ram && usage.memory_peak > ram / 2, "{usage:?}");
}

pub async fn a_fork_bomb_stays_in_its_guest(house: House) {
    let id = house.start("bomb() { bomb | bomb & }; bomb; sleep 60").await;
    sleep(Duration::from_secs(1)).await;
    let processes = house.processes(id).len();
    // Its own limit, and the runtime's few.
    assert!(processes <= house.spec("").limits.pids as usize + 8, "{processes} processes");
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    assert!(house.processes(id).is_empty());
}

async fn processor_time_is_limited(house: House) {
    let mut spec = house.spec("while true; do :; done");
    spec.limits.cpu_millis = 200;
    house.guests.start(&spec).await.expect("the guest starts");
    let (started, before) = (std::time::Instant::now(), house.see(spec.id).await.usage.cpu_ms);
    sleep(Duration::from_secs(2)).await;
    let (after, passed) = (house.see(spec.id).await.usage.cpu_ms, started.elapsed());
    house.guests.stop(spec.id, Duration::ZERO).await.expect("it stops");
    // One period more than it should have is possible; less, if the machine has other work.
    let allowed = passed.as_millis() as u64 * 200 / 1000 + 40;
    assert!(after - before <= allowed, "{} ms of {allowed}", after - before);
    assert!(after > before, "it did work");
}

async fn a_full_disk_is_full_for_the_guest_alone(mut house: House) {
    let script =
        "dd if=/dev/zero of=/big bs=1M count=100; ls -s /big; rm /big; echo small > /small && cat /small";
    let (printed, code) = house.output(script).await;
    assert!(printed.contains("No space left on device"), "{printed}");
    assert!(printed.contains("small\n"), "{printed}");
    assert_eq!(code, 0);
}

async fn too_many_files_are_too_many_for_the_guest_alone(mut house: House) {
    let script = "i=0; while touch /tmp/$i; do i=$((i+1)); done; echo made $i";
    let (printed, _) = house.output(script).await;
    let made: u64 =
        printed.lines().find_map(|line| line.strip_prefix("made ")?.parse().ok()).expect("a number");
    let limit = house.spec("").limits.inodes;
    assert!((limit - 16..=limit).contains(&made), "{printed}");
}

async fn a_disk_in_memory_is_limited_as_well(mut house: House) {
    house.write_to(Writable::Memory);
    let script = "dd if=/dev/zero of=/big bs=1M count=100; rm /big; i=0; while touch /tmp/$i; do i=$((i+1)); done; echo made $i";
    let id = house.start(script).await;
    let printed = house.printed(id).await;
    assert_eq!(printed.matches("No space left on device").count(), 2, "{printed}");
    let spec = house.spec("");
    let made: u64 =
        printed.lines().find_map(|line| line.strip_prefix("made ")?.parse().ok()).expect("a number");
    assert!((spec.limits.inodes - 16..=spec.limits.inodes).contains(&made), "{printed}");
    let usage = house.see(id).await.usage;
    assert!(
        usage.memory_peak > spec.limits.disk && usage.memory_peak <= spec.limits.ram(Writable::Memory),
        "{usage:?}"
    );
}

async fn a_guest_can_write_all_of_its_disk(mut house: House) {
    for (disk, inodes) in [(8 << 20, 512), (300 << 20, 19_200)] {
        let mut spec = house.spec("dd if=/dev/zero of=/big bs=64k count=1000000 2>/dev/null; wc -c < /big");
        (spec.limits.disk, spec.limits.inodes) = (disk, inodes);
        house.guests.start(&spec).await.expect("the guest starts");
        let printed = house.printed(spec.id).await;
        let written: u64 = printed.trim().parse().expect("a number");
        assert!((disk / 100 * 99..=disk).contains(&written), "{written} of {disk}");
        house.exit_code(spec.id).await;
    }
}

/// Only on the disk: what is written is not memory of the guest for longer than the kernel likes to keep it.
async fn a_disk_fuller_than_memory_starves_no_program(mut house: House) {
    let mut spec = house.spec("dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null && cat /big | wc -c");
    (spec.limits.disk, spec.limits.memory) = (256 << 20, 32 << 20);
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.printed(spec.id).await.trim(), (200 << 20).to_string());
    assert_eq!(house.exit_code(spec.id).await, 0);
    let usage = house.see(spec.id).await.usage;
    assert!(usage.oom_kills == 0 && usage.memory_peak <= 32 << 20, "{usage:?}");
}

async fn what_was_promised_of_the_disk_is_taken_at_the_start_and_free_after_the_end(house: House) {
    let mut spec = house.spec("echo ready; sleep 600");
    spec.limits.disk = 256 << 20;
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "ready").await;
    let disk = house.attached_disk(spec.id).expect("a loop device has its disk");
    // It has no name any more, so that nothing is left of it whoever is killed.
    assert!(disk.ends_with("(deleted)"), "{disk}");
    assert!(!house.guest_dir(spec.id).join("disk").exists());
    let supervisor = house.supervisor(spec.id);
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).expect("it is killed");
    let begun = std::time::Instant::now();
    while house.attached_disk(spec.id).is_some() {
        assert!(begun.elapsed() < crate::house::PATIENCE, "the disk stays attached");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn a_disk_that_does_not_fit_is_refused(house: House) {
    let mut spec = house.spec("true");
    spec.limits.disk = 1 << 50;
    let refused = house.guests.start(&spec).await.expect_err("no disk is so large");
    assert!(refused.to_string().contains("has no room"), "{refused}");
    assert!(!house.guest_dir(spec.id).exists(), "nothing is left of it");
}

async fn reading_and_writing_is_held_to_its_rate(mut house: House) {
    let mut spec = house.spec("dd if=/dev/zero of=/big bs=1M count=24 conv=fsync 2>/dev/null && echo done");
    (spec.limits.disk, spec.limits.io_rate) = (64 << 20, 8 << 20);
    let begun = std::time::Instant::now();
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.printed(spec.id).await, "done\n");
    assert_eq!(house.exit_code(spec.id).await, 0);
    // 24 MiB at 8 MiB/s; the kernel lets a little through at the beginning.
    assert!(begun.elapsed() > Duration::from_millis(2_000), "{:?}", begun.elapsed());
}

pub async fn a_flood_of_output_is_bounded(mut house: House) {
    let id = house.start("yes 0123456789 | head -c 3000000; echo the end").await;
    assert_eq!(house.exit_code(id).await, 0);
    let limit = house.spec("").limits.log_bytes;
    let kept: u64 = std::fs::read_dir(house.guest_dir(id))
        .expect("the guest's directory")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("log."))
        .map(|entry| entry.metadata().expect("a size").len())
        .sum();
    assert!(kept <= limit, "{kept} bytes kept");
    assert!(house.see(id).await.usage.log_bytes > 3_000_000);
    assert!(house.printed(id).await.ends_with("the end\n"), "the newest is what is kept");
}

async fn usage_is_measured(mut house: House) {
    let id = house.start("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").await;
    house.exit_code(id).await;
    let usage = house.see(id).await.usage;
    assert!(usage.cpu_ms > 0, "{usage:?}");
    assert!(usage.memory_peak > 100_000, "{usage:?}");
    assert!(usage.started_at > 1_700_000_000_000, "{usage:?}");
    assert_eq!((usage.frozen_ms, usage.oom_kills), (0, 0));
}

async fn a_limit_that_is_too_small_is_refused(house: House) {
    let mut spec = house.spec("true");
    spec.limits.memory = 1;
    let refusal = house.guests.start(&spec).await.expect_err("a refusal");
    assert!(matches!(refusal, GuestError::Spec(SpecError::TooLittle { .. })), "{refusal}");
    assert!(!house.guest_dir(spec.id).exists());
}
