//! What a guest cannot see, and cannot do.

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use crate::house::House;

crate::truths![
    a_guest_sees_only_the_files_of_its_image,
    a_guest_sees_only_its_own_processes,
    a_guest_has_nothing_but_the_loopback_device,
    a_guest_has_no_power_over_the_machine_even_as_root,
    a_guest_is_nobody_on_this_machine,
    layers_lie_over_each_other,
    what_a_guest_writes_does_not_reach_its_image,
    forbidden_system_calls_fail,
    sockets_that_there_are_not_are_unknown_to_the_kernel,
];

async fn a_guest_sees_only_the_files_of_its_image(mut house: House) {
    let secret = house.image().parent().expect("a parent").join("secret");
    std::fs::write(&secret, "of the owner").expect("a secret");
    let script = format!(
        "cat {}; ls /; cat /proc/self/mountinfo; ls /sys; cat /proc/1/environ | wc -c",
        secret.display()
    );
    let (printed, _) = house.output(&script).await;
    assert!(printed.contains("No such file"), "{printed}");
    assert!(!printed.contains("of the owner"), "{printed}");
    let root: Vec<&str> = printed.lines().filter(|line| !line.contains(' ')).collect();
    for name in root {
        assert!(
            ["bin", "dev", "etc", "proc", "root", "tmp"].contains(&name) || name.parse::<u32>().is_ok(),
            "{name}"
        );
    }
    // Where the host keeps its guests is not the guest's business.
    let place = house.image().display().to_string();
    assert!(!printed.contains(&place), "{printed}");
    assert!(!printed.contains("guests/"), "{printed}");
}

async fn a_guest_sees_only_its_own_processes(mut house: House) {
    let (printed, _) = house.output("ls -d /proc/[0-9]*").await;
    assert!((1..=2).contains(&printed.lines().count()), "{printed}");
}

async fn a_guest_has_nothing_but_the_loopback_device(mut house: House) {
    let (printed, _) = house
        .output("cat /proc/net/dev; cat /proc/net/route; ip addr; nc -w 1 192.0.2.1 80 </dev/null; echo nc says $?")
        .await;
    let devices = printed.lines().take_while(|line| !line.starts_with("Iface")).skip(2);
    let names: Vec<&str> = devices.filter_map(|line| Some(line.trim().split_once(':')?.0)).collect();
    assert_eq!(names, ["lo"], "{printed}");
    assert!(printed.contains("127.0.0.1/8"), "loopback is up: {printed}");
    assert!(printed.contains("nc says 1"), "{printed}");
}

async fn a_guest_has_no_power_over_the_machine_even_as_root(mut house: House) {
    let (printed, _) = house
        .output("id -u; cat /proc/self/status; mount -t tmpfs x /tmp; mknod /tmp/d b 8 0; echo 1 > /proc/sys/kernel/panic")
        .await;
    assert!(printed.starts_with("0\n"), "{printed}");
    // Over files and processes of its own ids, and nothing else.
    for (set, powers) in [("CapInh", 0), ("CapPrm", 0xfb), ("CapEff", 0xfb), ("CapBnd", 0xfb), ("CapAmb", 0)]
    {
        assert!(printed.contains(&format!("{set}:\t{powers:016x}")), "{printed}");
    }
    assert!(printed.contains("NoNewPrivs:\t1"), "{printed}");
    assert!(printed.contains("Seccomp:\t2"), "{printed}");
    assert!(printed.contains("mount: permission denied"), "{printed}");
    assert!(printed.contains("mknod: /tmp/d: Operation not permitted"), "{printed}");
    assert!(printed.contains("Read-only file system"), "sysctl: {printed}");
}

async fn a_guest_is_nobody_on_this_machine(mut house: House) {
    let (printed, _) = house.output("cat /proc/self/uid_map /proc/self/gid_map").await;
    for line in printed.lines() {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [inside, outside, count] = numbers[..] else { panic!("{printed}") };
        // As seen from the outer namespace, whose own 0 is the runtime.
        assert_eq!((inside, outside, count), (0, 1, 65_535));
    }
    let id = house.start("sleep 60").await;
    for pid in house.processes(id) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
        let uid: u32 = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())
            .expect("a user");
        assert!(uid >= 0x6000_0000, "process {pid} of the guest is user {uid}");
    }
    house.guests.stop(id, std::time::Duration::ZERO).await.expect("it stops");
}

async fn layers_lie_over_each_other(house: House) {
    let [lower, upper] = ["lower", "upper"].map(|name| house.image().with_file_name(name));
    for file in ["kept", "gone", "dir/old"] {
        house.write(&lower.join(file), "lower");
    }
    house.write(&upper.join("kept"), "upper");
    house.write(&upper.join("dir/new"), "upper");
    mknodat(CWD, upper.join("gone"), FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
        .expect("a whiteout");
    setxattr(upper.join("dir"), "user.overlay.opaque", b"y", XattrFlags::empty())
        .expect("an opaque directory");

    let mut spec =
        house.spec("cat /kept; ls /gone; ls /dir; rm -r /dir && mkdir /dir && ls /dir; ls -n /kept");
    spec.layers.extend([lower, upper]);
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    assert!(printed.starts_with("upper"), "{printed}");
    assert!(printed.contains("/gone: No such file"), "{printed}");
    assert!(printed.contains("new\n") && !printed.contains("old"), "{printed}");
    // The owner's root made the files; the guest's root has them.
    assert!(printed.contains(" 0        0 "), "{printed}");
}

async fn what_a_guest_writes_does_not_reach_its_image(mut house: House) {
    let script = "echo changed > /etc/passwd && rm /bin/ls && mkdir /new && echo it did";
    let (printed, code) = house.output(script).await;
    assert_eq!((printed.as_str(), code), ("it did\n", 0));
    let (printed, _) = house.output("cat /etc/passwd; ls /new").await;
    assert!(printed.contains("root:x:0:0"), "{printed}");
    assert!(printed.contains("No such file"), "{printed}");
}

async fn forbidden_system_calls_fail(mut house: House) {
    // busybox brings no tool for most of them; these two stand for the tables, which have tests of their own.
    let (printed, _) = house.output("busybox unshare -U true; busybox chroot / true; echo done").await;
    assert_eq!(printed.matches("permitted").count(), 2, "{printed}");
}

async fn sockets_that_there_are_not_are_unknown_to_the_kernel(mut house: House) {
    // PAM asks for the first, to log to the audit system, and lets nobody in who cannot tell it that there is none.
    house.perl();
    let script = "socket(my $s, $_->[0], 3, $_->[1]) or print $! + 0, qq( ) for [16, 9], [40, 0]";
    let mut spec = house.spec("");
    spec.args = ["/usr/bin/perl", "-e", script].map(String::from).to_vec();
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    house.exit_code(spec.id).await;
    assert_eq!(printed, format!("{} {} ", libc::EPROTONOSUPPORT, libc::EAFNOSUPPORT));
}
