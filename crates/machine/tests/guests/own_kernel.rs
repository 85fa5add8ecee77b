//! Guests on a kernel of their own: what is true of all guests is true of them, and what they go without is said.

use model::Feature;
use model::document::Readers;
use sublet_machine::device::{Devices, Node};
use sublet_machine::guest::{ExecSpec, GuestError, GuestSpec, Mount, Size, Tmpfs};
use sublet_machine::network::Network;

use crate::house::{House, all, script_in, until};
use crate::secrets::secret;
use crate::{beside, copying, ending, volumes};

crate::truths![
    on_a_kernel_of_its_own_a_guest_sees_nothing_of_this_one,
    on_a_kernel_of_its_own_all_that_is_written_has_its_limit,
    on_a_kernel_of_its_own_secrets_are_for_their_reader_alone,
    on_a_kernel_of_its_own_a_terminal_has_the_size_that_was_asked_for,
    on_a_kernel_of_its_own_what_a_guest_cannot_have_is_refused,
    on_a_kernel_of_its_own_a_polite_guest_ends_when_it_is_asked,
    on_a_kernel_of_its_own_who_ignores_the_request_is_killed_at_the_deadline,
    on_a_kernel_of_its_own_a_guest_dies_with_its_supervisor,
    on_a_kernel_of_its_own_a_frozen_guest_uses_no_processor,
    on_a_kernel_of_its_own_another_program_says_how_it_ended,
    on_a_kernel_of_its_own_another_program_reads_what_it_is_given,
    on_a_kernel_of_its_own_a_program_is_begun_again_with_its_disk,
    on_a_kernel_of_its_own_files_are_copied_in_and_out,
    on_a_kernel_of_its_own_a_volume_outlives_its_guests,
];

async fn on_a_kernel_of_its_own_a_polite_guest_ends_when_it_is_asked(house: House) {
    ending::a_polite_guest_ends_when_it_is_asked(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_who_ignores_the_request_is_killed_at_the_deadline(house: House) {
    ending::who_ignores_the_request_is_killed_at_the_deadline(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_a_guest_dies_with_its_supervisor(house: House) {
    ending::without_its_supervisor_a_guest_dies_and_is_reported_lost(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_a_frozen_guest_uses_no_processor(house: House) {
    ending::a_frozen_guest_uses_no_processor_and_goes_on_when_thawed(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_another_program_says_how_it_ended(house: House) {
    beside::another_program_says_what_it_has_to_and_how_it_ended(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_another_program_reads_what_it_is_given(house: House) {
    beside::another_program_reads_what_it_is_given(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_a_program_is_begun_again_with_its_disk(house: House) {
    beside::a_program_that_fails_is_begun_again_with_its_disk(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_files_are_copied_in_and_out(house: House) {
    copying::what_is_copied_in_is_there_for_the_guest_and_comes_out_again(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_a_volume_outlives_its_guests(house: House) {
    volumes::a_volume_outlives_its_guests_and_has_its_size(house.by("runsc")).await;
}

async fn on_a_kernel_of_its_own_a_guest_sees_nothing_of_this_one(house: House) {
    let mut house = house.by("runsc");
    let script = "cat /proc/version /proc/cpuinfo; ls /proc /sys/class/net; id -u; ls -ln /bin/sh; exit 3";
    let (printed, code) = house.output(script).await;
    assert_eq!(code, 3);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    assert!(!printed.contains(kernel.trim()), "{printed}");
    // The image's files are its root's.
    assert!(printed.contains("\n0\n") && printed.contains(" 0        0 "), "{printed}");
}

/// In /tmp and /dev/shm, too, which such a kernel would keep in its own memory.
async fn on_a_kernel_of_its_own_all_that_is_written_has_its_limit(house: House) {
    let house = house.by("runsc");
    let fill = |path: &str, mib: u32| {
        format!("dd if=/dev/zero of={path} bs=64k count={} 2>&1 | grep -c space; rm {path}; ", mib * 16)
    };
    let script = ["/tmp/x", "/x", "/dev/shm/x", "/small/x"].map(|path| fill(path, 40)).concat();
    let mut spec = house.spec(&format!("{script} touch /kept/x 2>&1 | grep -c Read-only"));
    spec.run.tmpfs = vec![Tmpfs { path: "/small".into(), size: 1 << 20 }];
    std::fs::create_dir(house.place("kept")).expect("a directory");
    spec.mounts = vec![Mount { source: house.place("kept"), target: "/kept".into(), read_only: true }];
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    let full: Vec<&str> = printed.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
    assert_eq!(full, ["1"; 5], "{printed}");
}

async fn on_a_kernel_of_its_own_secrets_are_for_their_reader_alone(house: House) {
    let mut house = house.by("runsc");
    let script = "cd /run/secrets; cat db; echo x 2>/dev/null > db || echo sealed; cat team; exit 7";
    let mut spec = house.spec(script);
    spec.user = "1234:77".into();
    spec.secrets = vec![secret("db", Readers::User, b"pearl\n"), secret("team", Readers::Group, b"ruby\n")];
    spec.run.tmpfs = vec![Tmpfs { path: "/run".into(), size: 1 << 20 }];
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.printed(spec.id).await, "pearl\nsealed\nruby\n");
    assert_eq!(house.exit_code(spec.id).await, 7);
    // Others have no part in them.
    let mut spec = house.spec("sleep 60");
    spec.secrets = vec![secret("db", Readers::User, b"pearl\n")];
    house.guests.start(&spec).await.expect("the guest starts");
    let web = ExecSpec { user: Some("web".into()), ..script_in("cat /run/secrets/db") };
    let mut exec = house.guests.exec(spec.id, &web).await.expect("it begins");
    let (said, code) = all(&mut exec.output).await;
    assert!(said.contains("denied") && code == 1, "{said}");
}

async fn on_a_kernel_of_its_own_a_terminal_has_the_size_that_was_asked_for(house: House) {
    let house = house.by("runsc");
    let id = house.start("sleep 60").await;
    let mut another =
        script_in("for i in 1 2 3 4 5 6; do stty size; sleep 0.3; done; read line; stty size; read line");
    another.terminal = Some(Size { columns: 101, rows: 41 });
    let mut exec = house.guests.exec(id, &another).await.expect("it begins");
    until(&mut exec.output, "41 101").await;
    exec.input.resize(Size { columns: 88, rows: 22 }).expect("a terminal");
    exec.input.write(b"\n").await.expect("it reads");
    until(&mut exec.output, "22 88").await;
}

async fn on_a_kernel_of_its_own_what_a_guest_cannot_have_is_refused(house: House) {
    let house = house.by("runsc");
    let without = house.guests.runtime().expect("runsc").without();
    let refused = |outcome: Result<(), GuestError>| match outcome {
        Err(GuestError::Without { feature, .. }) => Some(feature),
        Err(error) => panic!("{error}"),
        Ok(()) => None,
    };
    let node = Node { path: "/dev/null2".into(), host: "/dev/null".into(), device: (1, 3) };
    let device = Devices { nodes: vec![node], ..Devices::default() };
    let spec = GuestSpec { devices: device, ..house.spec("true") };
    assert_eq!(refused(house.guests.start(&spec).await), Some(Feature::Devices));

    let network = Network { policy: "internet".parse().expect("a policy"), rate: 0 };
    let lacks_network = without.contains(&Feature::Network);
    let spec = GuestSpec { network, ..house.spec("sleep 60") };
    assert_eq!(refused(house.guests.start(&spec).await), lacks_network.then_some(Feature::Network));
    // One of its own it has in any case.
    let id = house.start("nc -ll -p 80 -e echo hello & sleep 0.5; nc 127.0.0.1 80; echo up; sleep 60").await;
    house.printed_until(id, "hello\nup").await;
    let reached = house.guests.connect(id, 80).await.map(drop);
    assert_eq!(refused(reached), lacks_network.then_some(Feature::Network));
    assert_eq!(refused(house.guests.processes(id).await.map(drop)), Some(Feature::Processes));
}
