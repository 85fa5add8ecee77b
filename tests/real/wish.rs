//! What the tests lend and rent: terms in which hours are seconds, and busybox as the guest.

use api::Client;
use api::node::model::{Amount, Currency, Span};
use api::shapes::{Build, Money, Network, Port, Prices, RentWish, Seconds, ShareWish};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A euro price in millionths.
pub fn euro(micros: i64) -> Money {
    Amount::new(micros, Currency::Iso(*b"EUR")).into()
}

/// Ticks each second, and little patience: what takes hours in life takes seconds here.
pub fn terms() -> ShareWish {
    let seconds = |n| Some(Seconds(Span::seconds(n)));
    ShareWish {
        cpu_millis: Some(2_000),
        memory_bytes: Some(512 << 20),
        disk_bytes: Some(256 << 20),
        prices: Some(Prices::Rent { core: euro(3_600_000), memory_gib: euro(0), disk_gib: euro(0) }),
        tick: seconds(1),
        sign_within: seconds(8),
        grace: seconds(6),
        fetch_within: seconds(60),
        start_within: seconds(30),
        credit: Some(euro(1_000_000_000)),
        ..ShareWish::default()
    }
}

/// A wish for half a core, to run `command` in busybox's shell.
pub fn shell(command: &str) -> RentWish {
    RentWish {
        image: "busybox".to_owned(),
        command: ["sh", "-c", command].map(str::to_owned).to_vec(),
        env: vec![],
        cpu_millis: 500,
        memory_bytes: 64 << 20,
        disk_bytes: 8 << 20,
        term: Seconds(Span::minutes(5)),
        max_price: None,
        mode: None,
        on: None,
        min_trust: 0,
        options: Default::default(),
        volumes: Vec::new(),
        devices: Vec::new(),
        secrets: Vec::new(),
        ports: Vec::<Port>::new(),
        network: Network::None,
    }
}

/// An image of nothing but Debian's static busybox, and bytes to make it as large as wanted, some of them in many files
/// that take a while to unpack.
pub async fn image(node: &Client, place: &Path, name: &str, ballast: usize) -> String {
    let dir = place.join(name);
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::create_dir_all(dir.join("files")).unwrap();
    for file in 0..ballast >> 15 {
        fs::write(dir.join("files").join(file.to_string()), name).unwrap();
    }
    fs::copy("/bin/busybox", dir.join("bin/busybox")).expect("busybox-static is installed");
    fs::set_permissions(dir.join("bin/busybox"), Permissions::from_mode(0o755)).unwrap();
    for applet in ["sh", "echo", "sleep", "httpd", "mkdir", "cat", "wget", "nc", "nslookup"] {
        let _ = std::os::unix::fs::symlink("busybox", dir.join("bin").join(applet));
    }
    // Bytes that no compression shortens: a multiplicative generator (Lehmer, modulus 2^64).
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let noise = (0..ballast / 8).flat_map(|_| {
        state = state.wrapping_mul(0xDA94_2042_E4DD_58B5).rotate_left(17) ^ 0xA5;
        state.to_le_bytes()
    });
    fs::write(dir.join("ballast"), noise.collect::<Vec<u8>>()).unwrap();
    let build = Build { dir, name: Some(name.to_owned()), ..Build::default() };
    node.build(&build).await.unwrap().done(|_| {}).await.unwrap().digest
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !so().await {
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(25)).await;
    }
}
