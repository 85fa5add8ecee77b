//! A terminal in the window, which leads into a guest on another node.

use crate::session::{PATIENCE, Second, Session, Tested, always, meet};
use crate::wish::{eventually, image, shell, terms};
use api::Client as Node;
use api::shapes::LeaseState;
use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::{Client, Locator};
use serde_json::json;

/// Presses each key on the keyboard, wherever the page has it now.
async fn press(window: &Client, keys: &str) -> Tested {
    let mut pressed = KeyActions::new("keys".to_owned());
    for value in keys.chars() {
        pressed = pressed.then(KeyAction::Down { value }).then(KeyAction::Up { value });
    }
    Ok(window.perform_actions(pressed).await?)
}

/// Waits until a part of the page has this in its text.
async fn reads(window: &Client, part: &str, text: &str) {
    eventually(&format!("`{text}` in {part}"), async || {
        let asked = "return [...document.querySelectorAll(arguments[0])].some((part) => part.textContent.includes(arguments[1]))";
        window.execute(asked, vec![json!(part), json!(text)]).await.is_ok_and(|found| found == json!(true))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_of_a_rental_is_typed_into_and_read() -> Tested {
    let session = Session::whole()?;
    // For its loopback addresses.
    session.furnish().await?;
    let desktop = session.window().await?;
    let tenant = Node::of(&desktop.session.data());
    let host = Second::at(&desktop.home().join("host"), "attic").await?;
    host.measure().await?;
    always(&host.client).await?;
    host.client.set_offer(&terms()).await?;
    meet(&tenant, &host.client).await;
    image(&tenant, desktop.home(), "busybox", 0).await;
    let lease = tenant.rent(&shell("sleep 300")).await?;
    eventually("the guest to run", async || {
        tenant.lease(&lease.id).await.is_ok_and(|lease| lease.standing.state == LeaseState::Running)
    })
    .await;

    let window = &desktop.window;
    window.execute(&format!("location.hash = '#/rentals/{}'", lease.id), vec![]).await?;
    // By the keyboard: what is above it still grows, and would take a click.
    let program =
        Locator::XPath("//form[.//button[normalize-space() = 'Open a terminal' and not(@disabled)]]//input");
    window.wait().at_most(PATIENCE).for_element(program).await?.send_keys("\u{E007}").await?;
    reads(window, ".chip.on", "Open").await;
    press(window, "echo $((6 * 7)) in $TERM\u{E007}").await?;
    reads(window, ".xterm-rows", "42 in xterm-256color").await;
    press(window, "exit 7\u{E007}").await?;
    reads(window, "[role=status]", "Ended with exit code 7").await;

    tenant.stop(&lease.id).await?;
    eventually("the end", async || tenant.lease(&lease.id).await.is_ok_and(|lease| lease.ended.is_some()))
        .await;
    host.end().await;
    Ok(desktop.window.clone().close().await?)
}
