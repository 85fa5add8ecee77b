//! A lost host, a full disk, a directory in use, a newer version, an interrupted run.

use crate::house::{House, Node, SUBLET, eventually, terms};
use api::shapes::{LeaseState, ShareWish};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_comes_back_is_left_with_what_was_signed() {
    let mut house = House::open().await;
    let lease = house.rent("sleep 600").await;
    house
        .tenant
        .lease_when(&lease, |lease| lease.receipt.as_ref().is_some_and(|receipt| receipt.number >= 2))
        .await;
    house.host.kill();
    let signed = house.tenant.lease(&lease).await.unwrap().receipt.unwrap();
    let over = house.tenant.reaches(&lease, LeaseState::Ended).await;
    assert_eq!(
        (over.standing.reason.as_deref(), over.standing.counts_against),
        (Some("host_gone"), Some(api::shapes::Side::Host))
    );
    assert_eq!(over.receipt, Some(signed.clone()));
    let spent = house.tenant.client.ledger().await.unwrap();
    assert!(spent.balances.iter().all(|balance| balance.amount.micros.abs() == signed.amount.micros));
    // The guest's supervisor is alone now, and ends it by its own grace; here the host comes back late and ends it.
    house.host.start().await;
    house.meet().await;
    house.host.reaches(&lease, LeaseState::Ended).await;
    eventually("the guest to be gone", async || house.host.guests().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_has_one_node() {
    let mut house = House::empty();
    house.host.start().await;
    house.host.sublet(&["host", "--no-mdns", "--port", "0"]).is_refusal(1, &["in use"]);
    assert!(house.host.client.status().await.is_ok(), "the first is not disturbed");
    house.host.kill();
    house.host.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_version_is_left_alone() {
    let mut house = House::empty();
    house.host.start().await;
    house.host.client.shut_down().await.unwrap();
    assert_eq!(house.host.wait(), Some(0));
    let database = house.host.data.join("sublet.db");
    // What is not in the database itself yet would be read before it.
    for beside in ["sublet.db-wal", "sublet.db-shm"] {
        let _ = fs::remove_file(house.host.data.join(beside));
    }
    let mut bytes = fs::read(&database).unwrap();
    // SQLite keeps user_version at offset 60 of its header, big-endian.
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&database, &bytes).unwrap();
    house.host.sublet(&["host", "--no-mdns", "--port", "0"]).is_refusal(1, &["version 99", "update Sublet"]);
    assert_eq!(fs::read(&database).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_loses_nothing() {
    let house = House::empty();
    let place = house.path().join("small");
    let _small = Small::mount(&place, "3m");
    let mut node = Node::new(&place, "host");
    node.start().await;
    let before = node.client.record().await.unwrap();
    fs::write(place.join("ballast"), vec![1; 8 << 20]).unwrap_err();
    // Whatever is asked, the answer is a sentence, and the node stays up.
    let mut refused = None;
    for _ in 0..200 {
        if let Err(error) = node.client.unset_offer().await {
            refused = Some(error.to_string());
            break;
        }
    }
    let refused = refused.expect("a record of 200 wishes does not fit");
    assert!(refused.contains("full"), "{refused}");
    fs::remove_file(place.join("ballast")).unwrap();
    node.client.unset_offer().await.expect("with room there is no refusal");
    let after = node.client.record().await.unwrap();
    assert!(after.records > before.records, "the chain is whole");
    node.kill();
}

/// A file system of a few megabytes.
pub struct Small(PathBuf);

impl Small {
    pub fn mount(place: &Path, size: &str) -> Small {
        fs::create_dir(place).unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(place).status().unwrap();
        assert!(mounted.success(), "this test mounts a small file system: run it as root");
        Small(place.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_leaves_no_guest() {
    let house = House::open().await;
    // While it is agreed, fetched, started, and while it runs.
    for pause in [0, 60, 250, 1_500] {
        // Whoever runs the tests in the background has Ctrl-C ignored, and children inherit that.
        let mut run = tokio::process::Command::new("env");
        let run = run
            .args(["--default-signal=INT", SUBLET])
            .arg("--data")
            .arg(&house.tenant.data)
            .args(["run", "--cpus", "0.5", "--memory", "64M", "--disk", "8M"]);
        let mut run = run
            .args(["busybox", "sleep", "600"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(run.stderr.take().unwrap()).lines();
        if pause > 0 {
            // Its first words come when it has begun.
            let _ = said.next_line().await;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let pid = run.id().unwrap().to_string();
        // Before the program has begun to listen, Ctrl-C may still be ignored as it was for whoever started it.
        let signal = if pause == 0 { "-TERM" } else { "-INT" };
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let ended = tokio::time::timeout(Duration::from_secs(60), run.wait()).await;
        let status = ended.expect("an interrupted run ends").unwrap();
        assert_ne!(status.code(), Some(0), "after {pause} ms");
        eventually("every lease to end", async || {
            house.tenant.client.leases(false, None).await.unwrap().leases.is_empty()
        })
        .await;
        eventually("every guest to end", async || house.host.guests().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_wants_the_machine_back_gets_it() {
    let house = House::lending(ShareWish { cpu_millis: Some(500), ..terms() }).await;
    let lease = house.rent("trap '' TERM; while :; do sleep 1; done").await;
    house.host.reaches(&lease, LeaseState::Running).await;
    let full = house.tenant.client.rent(&crate::house::shell("exit 0")).await.unwrap_err();
    assert!(full.to_string().contains("free"), "nothing is promised twice: {full}");
    house.host.client.stop(&lease.id).await.unwrap();
    let lease = house.ended_alike(&lease).await;
    assert_eq!(lease.standing.reason.as_deref(), Some("owner_stopped"));
    assert_eq!(lease.standing.counts_against, Some(api::shapes::Side::Host));
    house.books_agree(lease.receipt.unwrap().amount.micros).await;
    house.tenant.client.rent(&crate::house::shell("exit 0")).await.expect("what was used is free again");
}
