//! A device that one owner lends to one guest at a time, over two nodes.

use crate::house::{House, eventually, shell, terms};
use api::shapes::{LeaseState, LentDevice, RentWish, ShareWish};
use std::path::PathBuf;
use std::process::Command;

/// A node in this machine's /dev by a name that can be lent: it gives random bytes, and nobody else uses it.
struct Pretend(PathBuf);

impl Pretend {
    fn camera() -> Pretend {
        let path = PathBuf::from(format!("/dev/video{}", 900_000 + std::process::id()));
        let made =
            Command::new("mknod").arg("-m").arg("600").arg(&path).args(["c", "1", "9"]).status().unwrap();
        assert!(made.success(), "this test makes a device node: run it as root");
        Pretend(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Pretend {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lent_device_is_one_guest_s_until_its_end() {
    let camera = Pretend::camera();
    let lent = LentDevice { name: "camera".into(), source: camera.path().into() };
    let house = House::lending(ShareWish { devices: Some(vec![lent]), ..terms() }).await;
    let tenant = &house.tenant;
    let found = tenant.sublet(&["market", "--device", "camera", "--json"]);
    assert!(found.out.contains("camera"), "{}{}", found.out, found.err);
    let found = tenant.sublet(&["market", "--device", "piano", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(found["matches"], serde_json::json!([]), "nobody lends that");

    let small = ["--cpus", "0.5", "--memory", "64M", "--disk", "8M"];
    let run = |device: &[&str], script: &str| {
        tenant.sublet(&[&["run"][..], &small, device, &["busybox", "sh", "-c", script]].concat())
    };
    let look = format!("busybox head -c 16 {0} | busybox wc -c; busybox ls -l {0}", camera.path());
    let seen = run(&["--device", "camera"], &look);
    assert!(seen.out.starts_with("16\n") && seen.out.contains("1,   9"), "{}{}", seen.out, seen.err);
    let unseen = run(&[], &look);
    // Whichever of its outputs comes first.
    assert!(
        unseen.out.lines().any(|line| line == "0"),
        "who does not rent it has none: {}{}",
        unseen.out,
        unseen.err
    );
    run(&["--device", "piano"], "true").is_refusal(1, &["piano", "hint:"]);

    // A second lease is refused while the first has it, by name and with what to do; without it, there is room.
    let wish = RentWish { devices: vec!["camera".into()], ..shell("sleep 600") };
    let first = tenant.client.rent(&wish).await.unwrap();
    house.tenant.reaches(&first, LeaseState::Running).await;
    run(&["--device", "camera"], "true").is_refusal(1, &["camera", "hint:"]);
    assert_eq!(run(&[], "exit 0").code, Some(0));

    // The first one's end sets it free, also when the host was killed meanwhile.
    let mut house = house;
    house.host.kill();
    house.host.start().await;
    house.meet().await;
    // A host that starts signs its offer anew, which takes a moment to get here.
    eventually("the host to say that it is had still", async || {
        house.tenant.client.rent(&wish).await.unwrap_err().to_string().contains("camera")
    })
    .await;
    house.tenant.client.stop(&first.id).await.unwrap();
    house.ended_alike(&first).await;
    let second = house.tenant.client.rent(&RentWish { devices: wish.devices, ..shell(&look) }).await.unwrap();
    let over = house.ended_alike(&second).await;
    assert_eq!(over.standing.exit_code, Some(0), "{:?}", over.standing);
    let said = house.tenant.sublet(&["logs", &second.id[..8]]);
    assert!(said.out.starts_with("16\n"), "{}{}", said.out, said.err);
}
