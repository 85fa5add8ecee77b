//! A guest takes what it was given, and no more.

use std::time::Duration;

use sublet_machine::guest::{GuestError, SpecError};
use tokio::time::sleep;

use crate::house::House;

crate::truths![
    who_takes_too_much_memory_is_killed,
    a_fork_bomb_stays_in_its_guest,
    processor_time_is_limited,
    a_full_disk_is_full_for_the_guest_alone,
    too_many_files_are_too_many_for_the_guest_alone,
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
    let ram = house.spec("").limits.ram();
    assert!(usage.memory_peak <= ram && usage.memory_peak > ram / 2, "{usage:?}");
}

async fn a_fork_bomb_stays_in_its_guest(house: House) {
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
    let (before, started) = (house.see(spec.id).await.usage.cpu_ms, std::time::Instant::now());
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
    assert!((limit - 10..=limit).contains(&made), "{printed}");
}

async fn a_flood_of_output_is_bounded(mut house: House) {
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
