//! The window: what it shows, and what its page cannot do.

use crate::session::{PATIENCE, Session, Tested};
use fantoccini::Locator;
use serde_json::json;
use std::net::TcpListener;
use std::path::Path;
use std::{env, fs};

#[tokio::test]
async fn the_window_shows_the_page() -> Tested {
    let desktop = Session::open("C.UTF-8")?.window().await?;
    // A first run: three decisions, asked of the node behind the window.
    let first = desktop.text("h1").await?;
    assert!(!first.is_empty(), "a page has a title");
    let asked = "const [done] = arguments; window.__TAURI_INTERNALS__.invoke('api', { method: 'GET', path: '/v1/status', body: null }) \
                 .then((answer) => done([answer.status, JSON.parse(answer.body).data]), (error) => done(String(error)))";
    let status = desktop.window.execute_async(asked, vec![]).await?;
    let data = desktop.home().join(".local/share/sublet");
    assert_eq!(status, json!([200, data.to_str()]), "the node of this home answers");
    desktop.window.execute("location.hash = '#/overview'", vec![]).await?;
    desktop.window.wait().at_most(PATIENCE).for_element(Locator::Css("i.live")).await?;
    // The content security policy lets our own type and pictures in.
    let looks = "const [done] = arguments; const mark = document.querySelector('img'); \
                 Promise.all([document.fonts.load('16px \"Inter Variable\"'), mark.decode()]) \
                 .then(([faces]) => done(faces.length > 0 && mark.naturalWidth > 0), (error) => done(String(error)))";
    assert_eq!(desktop.window.execute_async(looks, vec![]).await?, json!(true));
    if let Ok(folder) = env::var("SUBLET_SCREENSHOTS") {
        fs::write(Path::new(&folder).join("desktop.png"), desktop.window.screenshot().await?)?;
    }
    Ok(desktop.window.clone().close().await?)
}

#[tokio::test]
async fn a_language_that_is_none_does_not_break_the_page() -> Tested {
    let desktop = Session::open("C")?.window().await?;
    assert!(!desktop.text("h1").await?.is_empty());
    let language =
        desktop.window.execute("return new Intl.NumberFormat(navigator.language).format(0.5)", vec![]);
    assert_eq!(language.await?, json!("0.5"));
    Ok(desktop.window.clone().close().await?)
}

/// What the content security policy forbids: a page that was made to load foreign code, or to tell tales, cannot.
#[tokio::test]
async fn the_page_reaches_nobody() -> Tested {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let desktop = Session::open("C.UTF-8")?.window().await?;
    desktop.text("h1").await?;
    let frozen = desktop.window.execute("return Object.isFrozen(Object.prototype)", vec![]);
    assert_eq!(frozen.await?, json!(true), "what all objects inherit is as it was");
    let ask = "const [url, done] = arguments; fetch(url, { mode: 'no-cors' }).then(() => done('reached'), () => done('refused'))";
    let url = json!(format!("http://{}/", listener.local_addr()?));
    assert_eq!(desktop.window.execute_async(ask, vec![url]).await?, json!("refused"));
    assert!(listener.accept().is_err(), "the page opened a connection");
    Ok(desktop.window.clone().close().await?)
}
