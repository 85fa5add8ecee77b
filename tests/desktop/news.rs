//! What is told outside of the window, as a real notification daemon (dunst) has it.

use crate::session::{Second, Session, Tested, always};
use crate::wish::{eventually, image, shell, terms};
use api::shapes::{Lease, LeaseState, Notice, Pause, SettingsWish};
use serde_json::{Value, json};
use std::fs;

/// It shows each text until it is told to close it, and forgets none.
const RULES: &str =
    "[global]\nmarkup = full\nhistory_length = 100\nnotification_limit = 0\n[urgency_normal]\ntimeout = 0\n";

/// Titles and texts of all that was told, the oldest first. What is shown now is closed.
fn told(session: &Session) -> Vec<[String; 2]> {
    session.command("dunstctl").arg("close-all").status().unwrap();
    let output =
        session.command("dunstctl").arg("history").stdout(std::process::Stdio::piped()).output().unwrap();
    let history: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let notices = history["data"][0].as_array().cloned().unwrap_or_default();
    let text = |notice: &Value, of: &str| notice[of]["data"].as_str().unwrap_or_default().to_owned();
    let mut told: Vec<(i64, [String; 2])> = notices
        .iter()
        .map(|notice| {
            (notice["id"]["data"].as_i64().unwrap_or(0), [text(notice, "summary"), text(notice, "body")])
        })
        .collect();
    told.sort();
    told.into_iter().map(|(_, told)| told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_comes_is_told_of_unless_there_shall_be_silence_and_a_click_leads_there() -> Tested {
    let mut session = Session::whole()?;
    session.furnish().await?;
    let rules = session.home().join("dunstrc");
    fs::write(&rules, RULES)?;
    session.begin("dunst", &["-config", rules.to_str().ok_or("a strange home")?])?;
    let desktop = session.window().await?;
    let (session, host) = (&desktop.session, api::Client::of(&desktop.session.data()));
    always(&host).await?;
    host.set_offer(&terms()).await?;
    let tenant = Second::at(&session.home().join("tenant"), "<b>laptop</b>").await?;
    tenant.meets(&host).await;
    image(&tenant.client, session.home(), "busybox", 0).await;
    let rent = async || {
        let lease = tenant.client.rent(&shell("sleep 300")).await.unwrap();
        let runs = |lease: Lease| lease.standing.state == LeaseState::Running;
        eventually("the guest to run", async || host.lease(&lease.id).await.is_ok_and(runs)).await;
    };

    // What comes after it is told, and so would this have been.
    let silent = |kinds: &[Notice]| SettingsWish {
        silent: Some(kinds.iter().copied().collect()),
        ..SettingsWish::default()
    };
    host.set_settings(&silent(&[Notice::GuestArrived])).await?;
    rent().await;
    host.pause(&Pause::default()).await?;
    let paused = ["1 guest stands still: paused by you", "Nothing is billed meanwhile."].map(str::to_owned);
    eventually("the pause to be told", async || !told(session).is_empty()).await;
    assert_eq!(told(session), std::slice::from_ref(&paused));
    host.resume().await?;

    host.set_settings(&silent(&[])).await?;
    rent().await;
    // Shown until somebody clicks it: the name is text.
    desktop.window.execute("location.hash = '#/people'", vec![]).await?;
    let shown = || {
        let count = session
            .command("dunstctl")
            .args(["count", "displayed"])
            .stdout(std::process::Stdio::piped())
            .output();
        String::from_utf8_lossy(&count.unwrap().stdout).trim() == "1"
    };
    eventually("the guest to be told of", async || shown()).await;
    assert!(session.command("dunstctl").args(["action", "0"]).status()?.success());
    let place = async || desktop.window.execute("return location.hash", vec![]).await.unwrap_or_default();
    eventually("the page of the guest", async || place().await == json!("#/overview")).await;
    let came = ["A guest has come", "From &lt;b&gt;laptop&lt;/b&gt;"].map(str::to_owned);
    assert_eq!(told(session), [paused, came]);

    for lease in tenant.client.leases(false, None).await?.leases {
        tenant.client.stop(&lease.id).await?;
    }
    eventually("the guests to end", async || host.status().await.is_ok_and(|status| status.hosting == 0))
        .await;
    tenant.end().await;
    Ok(desktop.window.clone().close().await?)
}
