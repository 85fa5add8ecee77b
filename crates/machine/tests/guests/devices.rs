//! Devices that an owner lends: who has one can use it, and nobody else can.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use sublet_machine::device::{Devices, Node, resolve_in};
use sublet_machine::doctor::{Health, doctor};
use sublet_machine::guest::GuestError;

use crate::house::House;

crate::truths![
    a_guest_with_a_device_can_use_it_and_another_cannot,
    a_device_is_the_guest_s_own_node_and_the_machine_s_stays_as_it_was,
    two_guests_never_have_one_device,
    no_other_device_opens_even_by_a_node_that_appears,
];

/// A device as a file of the Container Device Interface names it.
fn dice(house: &House) -> Devices {
    let file = house.image().with_file_name("cdi").join("dice.yaml");
    let shown = house.image().with_file_name("faces");
    house.write(&shown, "six faces\n");
    // Whoever may write it here may not there.
    std::fs::set_permissions(&shown, std::fs::Permissions::from_mode(0o666)).expect("a mode");
    house.write(
        &file,
        &format!(
            "cdiVersion: \"0.6.0\"\nkind: example.com/dice\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - path: /dev/dice\n      hostPath: /dev/urandom\n    env: [\"SIDES=6\"]\n    mounts:\n    - hostPath: {}\n      containerPath: /usr/share/faces\n",
            shown.display()
        ),
    );
    resolve_in(&[file.parent().expect("a directory").to_owned()], "example.com/dice=0").expect("a device")
}

async fn a_guest_with_a_device_can_use_it_and_another_cannot(mut house: House) {
    let script =
        "head -c 16 /dev/dice | wc -c; cat /usr/share/faces; echo $SIDES; echo more >> /usr/share/faces";
    let mut spec = house.spec(script);
    spec.devices = dice(&house);
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    assert!(printed.starts_with("16\nsix faces\n6\n"), "{printed}");
    assert!(printed.contains("Read-only file system"), "{printed}");
    house.exit_code(spec.id).await;
    // Also by a user of the image who is not its root.
    let mut spec = house.spec("id -u; head -c 16 /dev/dice | wc -c");
    (spec.devices, spec.user) = (dice(&house), "web".into());
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.printed(spec.id).await, "33\n16\n");
    house.exit_code(spec.id).await;
    let (printed, _) = house.output(script).await;
    assert!(printed.contains("/dev/dice: No such file"), "{printed}");
    // Nor can it be made inside, by who knows its numbers.
    let (printed, _) = house.output("mknod /tmp/dice c 1 9; mknod /dev/dice c 1 9; ls /tmp /dev/dice").await;
    assert_eq!(printed.matches("not permitted").count(), 2, "{printed}");
}

async fn a_device_is_the_guest_s_own_node_and_the_machine_s_stays_as_it_was(mut house: House) {
    use std::os::unix::fs::MetadataExt;
    let of_the_machine = || {
        let found = std::fs::metadata("/dev/urandom").expect("a node");
        (found.mode(), found.uid(), found.gid())
    };
    let before = of_the_machine();
    let mut spec = house.spec("chmod 600 /dev/dice && ls -ln /dev/dice; cat /proc/self/mountinfo");
    spec.devices = dice(&house);
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    house.exit_code(spec.id).await;
    assert_eq!(of_the_machine(), before);
    assert!(printed.contains("1,   9"), "{printed}");
}

async fn two_guests_never_have_one_device(mut house: House) {
    let mut first = house.spec("sleep 600");
    first.devices = dice(&house);
    house.guests.start(&first).await.expect("the guest starts");
    let mut second = house.spec("head -c 16 /dev/dice | wc -c");
    second.devices = dice(&house);
    // Whatever it is called there.
    second.devices.nodes[0].path = "/dev/cube".into();
    let refused = house.guests.start(&second).await.expect_err("it is taken");
    assert!(matches!(refused, GuestError::DeviceInUse { .. }), "{refused}");
    house.guests.stop(first.id, std::time::Duration::ZERO).await.expect("it stops");
    house.exit_code(first.id).await;
    house.guests.start(&second).await.expect("it is free");
}

async fn no_other_device_opens_even_by_a_node_that_appears(mut house: House) {
    let guard = doctor().into_iter().find(|finding| finding.name == "device guard").expect("a finding");
    if guard.state != Health::Works {
        return eprintln!("SKIPPED: {}", guard.detail);
    }
    // Something that opens without any power, and that no guest has.
    let control = Node { host: "/dev/loop-control".into(), path: "/dev/own".into(), device: (10, 237) };
    for (own, opens) in [(vec![], "no"), (vec![control], "yes")] {
        let mut spec = house.spec("sleep 600");
        spec.devices.nodes = own;
        house.guests.start(&spec).await.expect("the guest starts");
        house.exec_output(spec.id, "true").await;
        // As if by a fault of ours: on a file system where nodes are nodes, made by the machine's own root.
        let comm = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let inside =
            house.processes(spec.id).into_iter().find(|pid| comm(pid) == "sleep\n").expect("it runs");
        let made = "mount -t tmpfs -o mode=755 none /tmp && mknod -m 666 /tmp/appeared c 10 237";
        let entered = ["--target", &inside.to_string(), "--mount", "/bin/sh", "-c", made].map(str::to_owned);
        let made = Command::new("nsenter").args(entered).output().expect("nsenter");
        assert!(made.status.success(), "{made:?}");
        let open = "( : < /tmp/appeared ) && echo yes || echo no";
        let (said, _) = house.exec_output(spec.id, open).await;
        assert!(said.lines().any(|line| line == opens), "{said}");
        house.guests.stop(spec.id, std::time::Duration::ZERO).await.expect("it stops");
        house.exit_code(spec.id).await;
    }
}
