//! Other programs beside a guest's own.

use std::time::Duration;

use sublet_machine::guest::{ExecRefusal, ExecSpec, GuestError, GuestState, Restart, Said, Size};
use tokio::time::{Instant, sleep, timeout};

use crate::house::{House, PATIENCE, all, script_in, until};

crate::truths![
    another_program_says_what_it_has_to_and_how_it_ended,
    another_program_is_held_as_the_guest_s_own,
    another_program_reads_what_it_is_given,
    a_terminal_is_the_guest_s_and_has_the_size_that_was_asked_for,
    a_program_that_nobody_speaks_to_ends,
    what_cannot_begin_says_why,
    a_frozen_guest_begins_nothing,
    a_hundred_at_once_are_too_many,
    a_flood_of_one_program_waits_for_its_reader,
    a_node_that_stops_ends_what_it_had_begun,
    a_program_that_fails_is_begun_again_with_its_disk,
    who_may_fail_twice_is_given_up_after,
    a_guest_that_is_begun_again_can_be_stopped,
    a_guest_s_own_program_can_be_spoken_to,
    a_guest_s_own_program_has_a_terminal_if_it_was_asked_for,
];

pub async fn another_program_says_what_it_has_to_and_how_it_ended(house: House) {
    let id = house.start("sleep 60").await;
    let mut exec = house.exec(id, "echo out; sleep 0.2; echo err >&2; kill -9 $$").await;
    let mut said = Vec::new();
    loop {
        said.push(exec.output.next().await.expect("it lives"));
        if let Some(Said::Ended(_)) = said.last() {
            break;
        }
    }
    let expected = [Said::Out(b"out\n".to_vec()), Said::Err(b"err\n".to_vec()), Said::Ended(137)];
    assert_eq!(said, expected);
    // Shorter than the runtime that begins it.
    for code in 0..8 {
        assert_eq!(house.exec_output(id, &format!("exit {code}")).await, (String::new(), code));
    }
}

async fn another_program_is_held_as_the_guest_s_own(house: House) {
    let mut spec = house.spec("echo $$ > /tmp/own; sleep 1234");
    spec.env = vec!["COLOUR=red".into(), "SHAPE=round".into()];
    spec.cwd = "/work".into();
    spec.hostname = "inn".into();
    house.guests.start(&spec).await.expect("the guest starts");
    let script = "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/self/status; hostname; pwd; id -u; \
                  echo $COLOUR $SHAPE; unshare -r true || echo held; ps; ip link | grep -c ': '";
    let another = ExecSpec { env: vec!["COLOUR=blue".into()], user: Some("web".into()), ..script_in(script) };
    let mut exec = house.guests.exec(spec.id, &another).await.expect("it begins");
    let (text, _) = all(&mut exec.output).await;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for fact in ["CapEff:\t0000000000000000", "CapBnd:\t00000000000000fb", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(lines.contains(&fact), "{fact}: {text}");
    }
    for fact in ["inn", "/work", "33", "blue round", "held", "1"] {
        assert!(lines.contains(&fact), "{fact}: {text}");
    }
    assert!(text.contains("sleep 1234") && !text.contains("supervise") && !text.contains("crun"), "{text}");
    let inside = house.processes(spec.id).len();
    assert!(inside >= 2, "all are under the guest's limits: {inside}");
}

pub async fn another_program_reads_what_it_is_given(house: House) {
    let id = house.start("sleep 60").await;
    let mut exec = house.exec(id, "cat; echo over").await;
    exec.input.write(b"hello\n").await.expect("it reads");
    until(&mut exec.output, "hello\n").await;
    exec.input.close().await.expect("it is open");
    assert_eq!(all(&mut exec.output).await, ("over\n".to_owned(), 0));
    // It is stopped by a signal, and one that reads nothing is no trouble to the others.
    let mut deaf = house.exec(id, "trap 'exit 6' TERM; echo ready; while true; do sleep 0.1; done").await;
    until(&mut deaf.output, "ready").await;
    let much = vec![b'x'; 1 << 20];
    timeout(Duration::from_millis(500), deaf.input.write(&much)).await.expect_err("it waits");
    deaf.input.signal(15).await.expect("it runs");
    assert_eq!(all(&mut deaf.output).await.1, 6);
    deaf.input.write(b"x").await.expect_err("nobody reads");
}

async fn a_terminal_is_the_guest_s_and_has_the_size_that_was_asked_for(house: House) {
    let id = house.start("sleep 60").await;
    let script = "tty; stty size; echo $TERM; trap 'echo now; stty size; exit 5' WINCH; ls -ln $(tty); echo ready; \
                  while true; do sleep 0.1; done";
    let size = Some(Size { columns: 91, rows: 27 });
    let spec = ExecSpec { terminal: size, user: Some("web".into()), ..script_in(script) };
    let mut exec = house.guests.exec(id, &spec).await.expect("it begins");
    let text = until(&mut exec.output, "ready").await;
    assert!(text.contains("/dev/pts/") && text.contains("27 91") && text.contains("xterm"), "{text}");
    assert!(text.contains(" 33 "), "the terminal is the user's: {text}");
    exec.input.resize(Size { columns: 120, rows: 40 }).expect("a terminal");
    let (text, code) = all(&mut exec.output).await;
    assert!(text.contains("now") && text.contains("40 120"), "{text}");
    assert_eq!(code, 5);

    // Ctrl-C is the terminal's matter: it ends what runs in it, and nothing else.
    let spec = ExecSpec { terminal: size, ..script_in("echo ready; sleep 60; echo not here") };
    let mut exec = house.guests.exec(id, &spec).await.expect("it begins");
    until(&mut exec.output, "ready").await;
    exec.input.write(&[3]).await.expect("it reads");
    let (text, code) = all(&mut exec.output).await;
    assert!(!text.contains("not here"), "{text}");
    assert_eq!(code, 130);
    assert_eq!(house.see(id).await.state, GuestState::Running);
}

async fn a_program_that_nobody_speaks_to_ends(house: House) {
    let id = house.start("sleep 60").await;
    let before = house.processes(id).len();
    for terminal in [None, Some(Size { columns: 80, rows: 24 })] {
        let spec = ExecSpec { terminal, ..script_in("trap '' HUP; echo ready; sleep 77 & sleep 78") };
        let mut exec = house.guests.exec(id, &spec).await.expect("it begins");
        until(&mut exec.output, "ready").await;
        assert!(house.processes(id).len() > before);
        drop(exec);
        let dropped = Instant::now();
        while house.processes(id).len() > before {
            assert!(
                dropped.elapsed() < PATIENCE,
                "it goes on: {}",
                house.exec_output(id, "ps -o pid,pgid,sid,ppid,args").await.0
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn what_cannot_begin_says_why(house: House) {
    let id = house.start("sleep 60").await;
    let refusal = async |change: fn(&mut ExecSpec)| {
        let mut spec = script_in("true");
        change(&mut spec);
        match house.guests.exec(id, &spec).await {
            Ok(_) => panic!("it began"),
            Err(error) => error.to_string(),
        }
    };
    let missing = refusal(|spec| spec.args = vec!["nothing-like-it".into()]).await;
    assert!(missing.contains("nothing-like-it"), "{missing}");
    let no_program = refusal(|spec| spec.args = vec!["/etc/passwd".into()]).await;
    assert!(no_program.contains("/etc/passwd"), "{no_program}");
    assert!(refusal(|spec| spec.user = Some("nobody-like-it".into())).await.contains("nobody-like-it"));
    assert!(refusal(|spec| spec.args.clear()).await.contains("no program"));
    assert!(refusal(|spec| spec.args.push("x".repeat(1 << 20))).await.contains("128 KiB"));
    assert!(refusal(|spec| spec.cwd = Some("tmp".into())).await.contains("absolute"));
    house.guests.stop(id, Duration::ZERO).await.expect("it stops");
    let error = house.guests.exec(id, &script_in("true")).await.err().expect("a refusal");
    assert!(matches!(error, GuestError::NotRunning(_)), "{error}");
}

async fn a_frozen_guest_begins_nothing(house: House) {
    let id = house.start("sleep 60").await;
    let mut exec = house.exec(id, "while true; do echo on; sleep 0.1; done").await;
    until(&mut exec.output, "on").await;
    house.guests.freeze(id).await.expect("it freezes");
    let error = house.guests.exec(id, &script_in("true")).await.err().expect("a refusal");
    assert!(matches!(error, GuestError::Exec(ExecRefusal::Frozen)), "{error}");
    while timeout(Duration::from_millis(500), exec.output.next()).await.is_ok() {}
    // Whom nobody speaks to any more ends when it moves again, and not before.
    let before = house.processes(id).len();
    drop(exec);
    house.guests.thaw(id).await.expect("it thaws");
    let thawed = Instant::now();
    while house.processes(id).len() >= before {
        assert!(thawed.elapsed() < PATIENCE, "it goes on");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.exec_output(id, "echo again").await, ("again\n".to_owned(), 0));
}

async fn a_hundred_at_once_are_too_many(house: House) {
    let mut spec = house.spec("sleep 60");
    spec.limits.pids = 128;
    house.guests.start(&spec).await.expect("the guest starts");
    let another = script_in("sleep 60");
    let begun = futures::future::join_all((0..100).map(|_| house.guests.exec(spec.id, &another))).await;
    let (begun, refused): (Vec<_>, Vec<_>) = begun.into_iter().partition(Result::is_ok);
    assert_eq!((begun.len(), refused.len()), (16, 84));
    let why = refused.into_iter().next().and_then(Result::err).expect("a refusal").to_string();
    assert!(why.contains("16 programs"), "{why}");
    drop(begun);
    // Their places are free again once they have ended.
    let dropped = Instant::now();
    while let Err(error) = house.guests.exec(spec.id, &script_in("true")).await {
        assert!(dropped.elapsed() < PATIENCE, "{error}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn a_flood_of_one_program_waits_for_its_reader(house: House) {
    let id = house.start("sleep 60").await;
    let mut exec = house.exec(id, "yes > /dev/stdout").await;
    until(&mut exec.output, "y\n").await;
    // What is not read stays in the pipe, and the program waits: the guest uses no more time.
    sleep(Duration::from_millis(500)).await;
    let before = house.see(id).await.usage.cpu_ms;
    sleep(Duration::from_secs(1)).await;
    assert!(house.see(id).await.usage.cpu_ms - before < 100);
    assert_eq!(house.exec_output(id, "echo meanwhile").await.0, "meanwhile\n");
}

async fn a_node_that_stops_ends_what_it_had_begun(mut house: House) {
    let id = house.start("sleep 60").await;
    let before = house.processes(id).len();
    let mut exec = house.exec(id, "echo ready; sleep 60").await;
    until(&mut exec.output, "ready").await;
    drop(exec);
    house.restart(async {}).await;
    house.see(id).await;
    let restarted = Instant::now();
    while house.processes(id).len() > before {
        assert!(restarted.elapsed() < PATIENCE, "it goes on");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.exec_output(id, "echo again").await, ("again\n".to_owned(), 0));
}

pub async fn a_program_that_fails_is_begun_again_with_its_disk(mut house: House) {
    let mut spec =
        house.spec("echo x >> /tmp/times; wc -l < /tmp/times; test $(wc -l < /tmp/times) = 3 || exit 9");
    spec.run.restart = Restart::OnFailure(None);
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.exit_code(spec.id).await, 0);
    assert_eq!(house.printed(spec.id).await, "1\n2\n3\n");
    assert_eq!(house.see(spec.id).await.usage.restarts, 2);
}

async fn who_may_fail_twice_is_given_up_after(mut house: House) {
    let mut spec = house.spec("echo again; exit 9");
    spec.run.restart = Restart::OnFailure(Some(2));
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.exit_code(spec.id).await, 9);
    assert_eq!(house.printed(spec.id).await, "again\nagain\nagain\n");
    // What never begins is not tried again.
    let mut spec = house.spec("true");
    spec.args = vec!["nothing-like-it".into()];
    spec.run.restart = Restart::Always;
    house.guests.start(&spec).await.expect_err("a refusal");
}

async fn a_guest_that_is_begun_again_can_be_stopped(mut house: House) {
    let mut spec = house.spec("trap 'exit 3' USR1; echo up; while true; do sleep 0.1; done");
    spec.run.restart = Restart::Always;
    spec.run.stop_signal = Some(10);
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "up").await;
    house.guests.stop(spec.id, Duration::from_secs(20)).await.expect("it stops");
    assert_eq!(house.exit_code(spec.id).await, 3);
    // By a signal that only has a number.
    let mut spec = house.spec("trap 'exit 5' 37; echo up; while true; do sleep 0.1; done");
    spec.run.stop_signal = Some(37);
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "up").await;
    house.guests.stop(spec.id, Duration::from_secs(20)).await.expect("it stops");
    assert_eq!(house.exit_code(spec.id).await, 5);
    // In the pause, too.
    let mut spec = house.spec("exit 4");
    spec.run.restart = Restart::Always;
    house.guests.start(&spec).await.expect("the guest starts");
    let started = Instant::now();
    while house.see(spec.id).await.usage.restarts < 3 {
        assert!(started.elapsed() < PATIENCE, "it is not begun again");
        sleep(Duration::from_millis(50)).await;
    }
    house.guests.stop(spec.id, Duration::from_secs(20)).await.expect("it stops");
    assert_eq!(house.exit_code(spec.id).await, 4);
}

async fn a_guest_s_own_program_can_be_spoken_to(mut house: House) {
    let mut spec = house.spec("read a; echo got $a; cat; echo over");
    spec.run.stdin = true;
    house.guests.start(&spec).await.expect("the guest starts");
    let first = house.guests.input(spec.id).await.expect("an input");
    first.write(b"one\n").await.expect("it reads");
    house.printed_until(spec.id, "got one").await;
    drop(first);
    let mut second = house.guests.input(spec.id).await.expect("it stays open for the next");
    second.write(b"two\n").await.expect("it reads");
    second.close().await.expect("it was open");
    assert_eq!(house.exit_code(spec.id).await, 0);
    assert!(house.printed(spec.id).await.contains("two\nover\n"));

    let deaf = house.start("sleep 60").await;
    let error = house.guests.input(deaf).await.err().expect("a refusal");
    assert!(matches!(error, GuestError::Exec(ExecRefusal::NoInput)), "{error}");
}

async fn a_guest_s_own_program_has_a_terminal_if_it_was_asked_for(mut house: House) {
    let mut spec = house.spec("tty; echo ready; while read a; do echo got $a; stty size; done; exit 4");
    spec.run.terminal = true;
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "ready").await;
    let mut input = house.guests.input(spec.id).await.expect("a terminal");
    input.resize(Size { columns: 101, rows: 33 }).expect("a terminal");
    // The runtime hears of the size by a signal, and passes it on when it comes to it.
    let resized = Instant::now();
    let mut printed = String::new();
    while !printed.contains("33 101") {
        assert!(resized.elapsed() < PATIENCE, "{printed}");
        input.write(b"hello\r").await.expect("it reads");
        sleep(Duration::from_millis(100)).await;
        let chunk = house.guests.logs(spec.id, 0, Duration::ZERO).await.expect("a log");
        printed =
            chunk.pieces.iter().map(|piece| String::from_utf8_lossy(&piece.bytes).into_owned()).collect();
    }
    assert!(printed.contains("got hello"), "{printed}");
    input.close().await.expect("it reads");
    assert_eq!(house.exit_code(spec.id).await, 4);
    assert!(house.printed(spec.id).await.starts_with("/dev/"));
}
