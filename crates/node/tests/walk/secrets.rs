//! Secrets, from the tenant's vault to the guest's file and no further.

use crate::{Pair, detail, printed, rent, until};
use machine::guest::Secret;
use model::document::{Readers, SecretFile};
use model::{EndReason, Hidden, Phase};
use node::Rent;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::sleep;

const VALUE: &[u8] = b"pearl-Zq81-oyster";

fn secret(name: &str, value: &[u8]) -> Secret {
    let file = SecretFile { name: name.into(), readers: Readers::User };
    Secret { file, value: Hidden::new(value.to_vec()) }
}

fn with_secrets(script: &str) -> Rent {
    Rent { secrets: vec![secret("db", VALUE), secret("key", &[0, 255])], ..rent(&["sh", "-c", script]) }
}

pub async fn a_secret_reaches_the_guest_and_nothing_else() {
    let pair = Pair::meet().await;
    let script =
        "busybox wc -c < /run/secrets/key; busybox sed s/pearl/PEARL/ /run/secrets/db; sleep 1; exit 6";
    let lease = pair.tenant.rent(with_secrets(script)).await.expect("a lease");
    assert_eq!(bundles(&pair).len(), 1, "it is sealed while somebody may need it");
    until(&pair.tenant, lease, Phase::is_live).await;
    assert_eq!(printed(&pair.tenant, lease).await, "2\nPEARL-Zq81-oyster");
    assert_eq!(files_with(pair.dir.path(), VALUE), [] as [PathBuf; 0]);
    let named = |workload: &model::Workload| {
        workload
            .secrets
            .iter()
            .flat_map(|secrets| &secrets.named)
            .map(|file| file.name.clone())
            .collect::<Vec<_>>()
    };
    for node in [&pair.tenant, &pair.host] {
        let names = node.look(move |core| {
            core.engine().state().lease.get(lease).map(|lease| named(&lease.contract.workload))
        });
        assert_eq!(names.await.expect("a look").expect("a lease"), ["db", "key"]);
    }
    let ended = until(&pair.tenant, lease, Phase::is_ended).await;
    assert_eq!(ended, Phase::Ended(EndReason::Exited { code: 6 }));
    while !bundles(&pair).is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(files_with(pair.dir.path(), VALUE), [] as [PathBuf; 0]);
}

pub async fn a_secret_that_is_gone_is_the_tenant_s_fault() {
    let pair = Pair::meet().await;
    // Nothing is agreed, and nothing stays.
    let no_deal = Rent {
        cap: Some(model::Rate::hourly("0.01 EUR".parse().expect("an amount"))),
        ..with_secrets("exit")
    };
    assert_eq!(pair.tenant.rent(no_deal).await.expect_err("too dear").code(), "no_offer");
    let empty = Rent { secrets: vec![secret("db", b"")], ..with_secrets("exit") };
    let large = Rent { secrets: vec![secret("db", &[7; SecretFile::LARGEST + 1])], ..with_secrets("exit") };
    let outside = Rent { secrets: vec![secret("../db", VALUE)], ..with_secrets("exit") };
    let twice = Rent { secrets: vec![secret("db", VALUE), secret("db", VALUE)], ..with_secrets("exit") };
    for wrong in [empty, large, outside, twice] {
        let error = pair.tenant.rent(wrong).await.expect_err("no guest can have it");
        let refused = matches!(error.code(), "out_of_range" | "invalid_document");
        assert!(refused && !error.to_string().contains("pearl"), "{error}");
    }
    // Its key is another now: what was sealed cannot be opened.
    let key = pair.dir.path().join("tenant/keys/secrets");
    let lease = pair.tenant.rent(with_secrets("exit 0"));
    let (lease, ()) = tokio::join!(lease, async {
        // Sealed before the first host is asked, so that there is time for it.
        while bundles(&pair).is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        fs::write(&key, hex("00")).expect("a key");
    });
    let lease = lease.expect("a lease");
    assert_eq!(until(&pair.host, lease, Phase::is_ended).await, Phase::Ended(EndReason::BadWorkload));
    assert!(detail(&pair.host, lease).await.contains("no longer has the secrets"));
    until(&pair.tenant, lease, Phase::is_ended).await;
    while !bundles(&pair).is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
}

fn hex(byte: &str) -> String {
    byte.repeat(32)
}

fn bundles(pair: &Pair) -> Vec<PathBuf> {
    let dir = pair.dir.path().join("tenant/secrets");
    fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect()
}

fn files_with(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        if kind.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if kind.is_file() {
            // It may be removed meanwhile.
            let held = fs::read(&path).unwrap_or_default();
            found.extend(held.windows(bytes.len()).any(|part| part == bytes).then_some(path));
        }
    }
    found
}
