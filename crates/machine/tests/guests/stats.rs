//! What is seen of a guest from outside: how much it takes, and what goes on in it.

use std::time::Duration;

use sublet_machine::guest::{GuestError, GuestState};
use tokio::time::sleep;

use crate::house::House;

crate::truths![
    what_a_guest_takes_is_its_own_and_not_its_keeper_s,
    its_processes_are_seen_as_it_sees_them,
    a_frozen_guest_is_still_seen_and_one_that_is_over_is_not,
];

async fn what_a_guest_takes_is_its_own_and_not_its_keeper_s(house: House) {
    let id = house
        .start(
            "dd if=/dev/zero of=/filled bs=1024 count=2048 2>/dev/null; sleep 60 & sleep 61 & echo up; wait",
        )
        .await;
    house.printed_until(id, "up").await;
    let usage = house.guests.look(id).await.expect("it is seen").usage;
    // The runtime and what holds it are no processes of the guest.
    assert_eq!(usage.pids, 3, "{usage:?}");
    assert!((2 << 20..3 << 20).contains(&usage.disk_bytes), "{usage:?}");
    assert!(usage.working_memory() < 8 << 20, "what it wrote is no memory of its own: {usage:?}");
    assert!(usage.memory_bytes > 2 << 20, "{usage:?}");
    // Another program counts, and no longer than it runs.
    let beside = house.exec(id, "sleep 62").await;
    until(&house, id, 4).await;
    drop(beside);
    until(&house, id, 3).await;
    assert_eq!(house.exec_output(id, "rm /filled").await, (String::new(), 0));
    assert!(house.see(id).await.usage.disk_bytes < 1 << 20);
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
}

async fn until(house: &House, id: sublet_machine::guest::GuestId, pids: u64) {
    while house.see(id).await.usage.pids != pids {
        sleep(Duration::from_millis(20)).await;
    }
}

async fn its_processes_are_seen_as_it_sees_them(house: House) {
    let mut spec = house.spec("echo up; sleep 60 & while :; do :; done");
    spec.user = "web".into();
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "up").await;
    let beside = house.exec(spec.id, "echo; sleep 63").await;
    let seen = loop {
        let seen = house.guests.processes(spec.id).await.expect("processes");
        let has = |command: &str| seen.listed.iter().any(|process| process.command == command);
        if has("sleep 60")
            && seen.listed.iter().any(|process| process.command.ends_with("sleep 63"))
            && seen.listed[0].cpu_ms > 0
        {
            break seen;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let first = &seen.listed[0];
    assert_eq!((first.pid, first.parent, first.user, seen.left_out), (1, 0, 33, 0), "{seen:?}");
    assert!(first.command.starts_with("sh -c echo up") && first.memory_bytes > 0, "{first:?}");
    let sleeping = seen.listed.iter().find(|process| process.command == "sleep 60").expect("it is there");
    assert_eq!((sleeping.parent, sleeping.state, sleeping.user), (1, 'S', 33), "{sleeping:?}");
    assert!(!seen.listed.iter().any(|process| process.command.contains("run")), "no runtime: {seen:?}");
    drop(beside);
    house.guests.stop(spec.id, Duration::ZERO).await.expect("it stops");
}

pub async fn a_frozen_guest_is_still_seen_and_one_that_is_over_is_not(mut house: House) {
    let id = house.start("echo up; sleep 60; true").await;
    house.printed_until(id, "up").await;
    // What was printed does not tell that the next program has begun.
    until(&house, id, 2).await;
    house.guests.freeze(id).await.expect("frozen");
    let seen = house.guests.look(id).await.expect("it is seen");
    assert_eq!((seen.state, seen.usage.pids), (GuestState::Frozen, 2));
    assert_eq!(house.guests.processes(id).await.expect("processes").listed.len(), 2);
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    house.exit_code(id).await;
    let over = house.guests.processes(id).await.expect_err("it is over");
    assert!(matches!(over, GuestError::NotRunning(_)), "{over}");
    house.guests.remove(id).await.expect("removed");
    assert!(matches!(house.guests.look(id).await.expect_err("gone"), GuestError::NotRunning(_)));
}
