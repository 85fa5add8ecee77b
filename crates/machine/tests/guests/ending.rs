//! How guests begin and end, and what is left of them: nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use sublet_machine::guest::{GuestError, GuestEvent, GuestState, Loss, StartError};
use tokio::time::sleep;

use crate::house::House;

crate::truths![
    the_exit_code_is_passed_on,
    a_program_that_is_missing_is_named,
    a_user_that_is_missing_is_named,
    a_layer_that_is_missing_is_named,
    a_start_that_failed_leaves_nothing_and_can_be_repeated,
    started_twice_it_runs_once,
    a_polite_guest_ends_when_it_is_asked,
    who_ignores_the_request_is_killed_at_the_deadline,
    stopping_what_does_not_run_is_no_error,
    a_frozen_guest_uses_no_processor_and_goes_on_when_thawed,
    a_frozen_guest_can_be_stopped,
    without_its_supervisor_a_guest_dies_and_is_reported_lost,
    so_does_a_frozen_one,
    a_supervisor_that_hangs_hides_nobody_and_is_killed_with_its_guest,
    a_restarted_node_takes_charge_again,
    an_end_that_nobody_saw_is_told_later,
    a_guest_left_alone_is_frozen_then_stopped,
    a_running_guest_is_not_removed,
];

async fn the_exit_code_is_passed_on(mut house: House) {
    let id = house.start("exit 7").await;
    assert_eq!(house.exit_code(id).await, 7);
    assert!(matches!(house.see(id).await.state, GuestState::Exited { code: 7, .. }));
    let id = house.start("kill -9 $$; sleep 9").await;
    // The first process of a namespace cannot kill itself, so that sleep is what ends it.
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    assert_eq!(house.exit_code(id).await, 137);
}

async fn a_program_that_is_missing_is_named(house: House) {
    for program in ["no-such-program", "/bin/no-such-program", "/etc/passwd"] {
        let mut spec = house.spec("");
        spec.args = vec![program.into()];
        let refusal = house.guests.start(&spec).await.expect_err("a refusal");
        let GuestError::Start(StartError::NoProgram { program: named, .. }) = refusal else {
            panic!("{refusal}")
        };
        assert_eq!(named, program);
    }
}

async fn a_user_that_is_missing_is_named(mut house: House) {
    let mut spec = house.spec("id -u; id -g; touch /tmp/x || echo not mine");
    spec.user = "nobody-knows".into();
    let refusal = house.guests.start(&spec).await.expect_err("a refusal");
    assert!(matches!(refusal, GuestError::Start(StartError::NoUser { .. })), "{refusal}");
    spec.user = "web".into();
    house.guests.start(&spec).await.expect("the guest starts");
    assert!(house.printed(spec.id).await.starts_with("33\n33\n"));
    assert_eq!(house.exit_code(spec.id).await, 0);
}

async fn a_layer_that_is_missing_is_named(house: House) {
    let mut spec = house.spec("true");
    let missing = PathBuf::from("/no/such/layer");
    spec.layers.push(missing.clone());
    let refusal = house.guests.start(&spec).await.expect_err("a refusal");
    assert!(
        matches!(&refusal, GuestError::Start(StartError::Layer { path, .. }) if *path == missing),
        "{refusal}"
    );
}

async fn a_start_that_failed_leaves_nothing_and_can_be_repeated(mut house: House) {
    let mut spec = house.spec("exit 3");
    let args = std::mem::replace(&mut spec.args, vec!["no-such-program".into()]);
    house.guests.start(&spec).await.expect_err("a refusal");
    assert!(!house.guest_dir(spec.id).exists());
    assert_eq!(house.groups(spec.id), Vec::<PathBuf>::new());
    spec.args = args;
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.exit_code(spec.id).await, 3);
}

async fn started_twice_it_runs_once(mut house: House) {
    let spec = house.spec("echo once; sleep 1");
    let (first, second) = tokio::join!(house.guests.start(&spec), house.guests.start(&spec));
    first.expect("the guest starts");
    second.expect("and needs no second start");
    house.guests.start(&spec).await.expect("nor a third");
    assert_eq!(house.exit_code(spec.id).await, 0);
    house.guests.start(&spec).await.expect("and what has ended is not run again");
    assert_eq!(house.printed(spec.id).await, "once\n");
}

pub async fn a_polite_guest_ends_when_it_is_asked(mut house: House) {
    let id = house.start("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done").await;
    house.printed_until(id, "up").await;
    let asked = Instant::now();
    house.guests.stop(id, Duration::from_secs(20)).await.expect("it stops");
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(house.exit_code(id).await, 5);
    assert!(house.printed(id).await.ends_with("bye\n"));
}

pub async fn who_ignores_the_request_is_killed_at_the_deadline(mut house: House) {
    let id = house.start("trap '' TERM; echo up; while :; do sleep 0.05; done").await;
    house.printed_until(id, "up").await;
    let asked = Instant::now();
    house.guests.stop(id, Duration::from_millis(300)).await.expect("it stops");
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(house.exit_code(id).await, 137);
    assert!(house.processes(id).is_empty());
}

async fn stopping_what_does_not_run_is_no_error(mut house: House) {
    let id = house.start("true").await;
    house.exit_code(id).await;
    house.guests.stop(id, Duration::ZERO).await.expect("ended");
    house.guests.stop(house.spec("").id, Duration::ZERO).await.expect("unknown");
    house.guests.remove(house.spec("").id).await.expect("unknown");
    house.guests.remove(id).await.expect("removed");
    house.guests.remove(id).await.expect("removed already");
    assert_eq!(house.guests.seen().await.expect("guests are seen"), []);
    assert!(!house.guest_dir(id).exists());
}

pub async fn a_frozen_guest_uses_no_processor_and_goes_on_when_thawed(house: House) {
    let id = house.start("while :; do :; done").await;
    house.guests.freeze(id).await.expect("it freezes");
    house.guests.freeze(id).await.expect("it is frozen already");
    let before = house.see(id).await;
    assert_eq!(before.state, GuestState::Frozen);
    sleep(Duration::from_millis(500)).await;
    let after = house.see(id).await.usage;
    assert_eq!(after.cpu_ms, before.usage.cpu_ms);
    assert!(after.frozen_ms >= before.usage.frozen_ms + 500);
    house.guests.thaw(id).await.expect("it thaws");
    sleep(Duration::from_millis(500)).await;
    let thawed = house.see(id).await;
    assert_eq!(thawed.state, GuestState::Running);
    assert!(thawed.usage.cpu_ms > after.cpu_ms);
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
}

async fn a_frozen_guest_can_be_stopped(mut house: House) {
    let id = house.start("trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done").await;
    house.printed_until(id, "up").await;
    house.guests.freeze(id).await.expect("it freezes");
    house.guests.stop(id, Duration::from_secs(10)).await.expect("it stops");
    assert_eq!(house.exit_code(id).await, 5);
    let id = house.start("sleep 60").await;
    house.guests.freeze(id).await.expect("it freezes");
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    assert_eq!(house.exit_code(id).await, 137);
}

pub async fn without_its_supervisor_a_guest_dies_and_is_reported_lost(house: House) {
    lose(house, false).await;
}

async fn so_does_a_frozen_one(house: House) {
    lose(house, true).await;
}

/// The kernel counts a process out of its groups a moment before it is dead.
async fn all_are_dead(processes: Vec<u32>) {
    let deadline = Instant::now() + Duration::from_secs(2);
    while processes.iter().any(|pid| lives(*pid)) {
        assert!(Instant::now() < deadline, "one of {processes:?} is left");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The dead, whom this machine's first process has yet to bury, do not count.
fn lives(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !(state.is_empty() || state.contains(") Z ") || state.contains(") X "))
}

async fn lose(mut house: House, frozen: bool) {
    let id = house.start("sleep 60 & echo up; wait").await;
    house.printed_until(id, "up").await;
    if frozen {
        house.guests.freeze(id).await.expect("it freezes");
    }
    let processes = house.processes(id);
    assert!(processes.len() >= 3, "runtime, shell and sleep: {processes:?}");
    kill_process(house.supervisor(id), Signal::KILL).expect("the supervisor is killed");
    assert_eq!(house.event().await, GuestEvent::Lost { id, why: Loss::Supervisor });
    assert_eq!(house.see(id).await.state, GuestState::Lost { why: Loss::Supervisor });
    let refused = house.guests.start(&house.spec_of(id, "true")).await;
    assert!(matches!(refused, Err(GuestError::Lost { .. })), "{refused:?}");
    house.guests.remove(id).await.expect("removed");
    all_are_dead(processes).await;
    assert_eq!(house.groups(id), Vec::<PathBuf>::new());
    assert!(!house.guest_dir(id).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&id.to_string()), "{mounts}");
}

async fn a_supervisor_that_hangs_hides_nobody_and_is_killed_with_its_guest(mut house: House) {
    let hung = house.start("sleep 60 & sleep 60").await;
    let fine = house.start("sleep 60").await;
    let processes = house.processes(hung);
    kill_process(house.supervisor(hung), Signal::STOP).expect("the supervisor is held");
    let all = house.guests.seen().await.expect("guests are seen");
    assert!(all.iter().all(|seen| seen.state == GuestState::Running) && all.len() == 2, "{all:?}");
    house.guests.stop(hung, Duration::ZERO).await.expect("it stops");
    assert_eq!(house.event().await, GuestEvent::Lost { id: hung, why: Loss::Supervisor });
    all_are_dead(processes).await;
    house.guests.remove(hung).await.expect("removed");
    house.guests.stop(fine, Duration::ZERO).await.expect("it stops");
}

async fn a_restarted_node_takes_charge_again(mut house: House) {
    let id = house.start("while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 9").await;
    house.restart(async {}).await;
    assert_eq!(house.see(id).await.state, GuestState::Running);
    house.guests.freeze(id).await.expect("it freezes");
    house.guests.thaw(id).await.expect("it thaws");
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    assert_eq!(house.exit_code(id).await, 137);
}

async fn an_end_that_nobody_saw_is_told_later(mut house: House) {
    let id = house.start("sleep 0.3; echo last words; exit 9").await;
    let dir = house.guest_dir(id);
    house
        .restart(async {
            while !dir.join("end.json").exists() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    let seen = house.see(id).await;
    assert!(
        matches!(seen.state, GuestState::Exited { code: 9, at } if at > seen.usage.started_at),
        "{seen:?}"
    );
    assert_eq!(house.printed(id).await, "last words\n");
}

async fn a_guest_left_alone_is_frozen_then_stopped(mut house: House) {
    let mut spec = house.spec("trap 'exit 4' TERM; while :; do sleep 0.05; done");
    spec.grace.freeze = Duration::from_millis(200);
    spec.grace.stop = Duration::from_millis(600);
    house.guests.start(&spec).await.expect("the guest starts");
    sleep(Duration::from_millis(400)).await;
    assert_eq!(house.see(spec.id).await.state, GuestState::Running, "it is not alone");
    let (id, dir, events) = (spec.id, house.guest_dir(spec.id), house.freezer(spec.id));
    house
        .restart(async {
            let mut was_frozen = false;
            while !dir.join("end.json").exists() {
                was_frozen |= std::fs::read_to_string(&events).is_ok_and(|text| text.contains("frozen 1"));
                sleep(Duration::from_millis(10)).await;
            }
            assert!(was_frozen);
        })
        .await;
    let seen = house.see(id).await;
    assert!(matches!(seen.state, GuestState::Exited { code: 4, .. }), "{seen:?}");
    assert!(seen.usage.frozen_ms >= 500, "{seen:?}");
}

async fn a_running_guest_is_not_removed(house: House) {
    let id = house.start("sleep 60").await;
    assert!(matches!(house.guests.remove(id).await, Err(GuestError::StillRunning(_))));
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    house.guests.remove(id).await.expect("removed");
}
