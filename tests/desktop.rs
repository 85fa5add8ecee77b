//! The real window: WebKitWebDriver starts the desktop app, and its webview lets itself be driven.

#![cfg(target_os = "linux")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator, error::NewSessionError, wd::Capabilities};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(30);

type Tested = Result<(), Box<dyn std::error::Error>>;

/// The app in a home of its own. Fields drop in this order: the driver ends the app, then the screen goes.
struct Desktop {
    window: Client,
    _driver: Ended,
    _screen: Screen,
    home: TempDir,
}

impl Desktop {
    /// With `language` as the LANG of the session.
    async fn open(language: &str) -> Result<Desktop, Box<dyn std::error::Error>> {
        let screen = Screen::find()?;
        let home = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let driver = Command::new("WebKitWebDriver")
            .arg(format!("--port={port}"))
            .env("TAURI_AUTOMATION", "true")
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .env("DISPLAY", &screen.name)
            .env("GDK_BACKEND", "x11")
            .env("NO_AT_BRIDGE", "1")
            .env("HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path())
            // One program in a session is enough, and the tests are several.
            .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}/bus", home.path().display()))
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env("LANG", language)
            .env("LC_ALL", language)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("start WebKitWebDriver (Debian: webkit2gtk-driver): {error}"))?;
        let driver = Ended(driver);
        let window = session(port).await?;
        Ok(Desktop { window, _driver: driver, _screen: screen, home })
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    /// Asks again where the page was drawn anew between the finding and the reading.
    async fn text(&self, element: &str) -> Result<String, Box<dyn std::error::Error>> {
        let began = Instant::now();
        loop {
            let found = self.window.wait().at_most(START).for_element(Locator::Css(element)).await?;
            match found.text().await {
                Err(error) if error.is_stale_element_reference() && began.elapsed() < START => continue,
                answer => return Ok(answer?),
            }
        }
    }
}

/// Asks until the driver listens.
async fn session(port: u16) -> Result<Client, NewSessionError> {
    let app = env!("CARGO_BIN_EXE_sublet-desktop");
    let capabilities = Capabilities::from_iter([(
        "webkitgtk:browserOptions".to_owned(),
        json!({ "binary": app, "args": [] }),
    )]);
    let began = Instant::now();
    loop {
        let mut client = ClientBuilder::new(HttpConnector::new());
        match client.capabilities(capabilities.clone()).connect(&format!("http://127.0.0.1:{port}")).await {
            Err(_) if began.elapsed() < START => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return answer,
        }
    }
}

/// Where windows appear: the screen that is there, else a virtual one.
struct Screen {
    name: String,
    _server: Option<Ended>,
}

impl Screen {
    fn find() -> Result<Screen, Box<dyn std::error::Error>> {
        if let Ok(name) = env::var("DISPLAY") {
            return Ok(Screen { name, _server: None });
        }
        // It picks a free number itself and writes it to its standard output once it serves.
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("start Xvfb (Debian: xvfb): {error}"))?;
        let output = server.stdout.take();
        let server = Ended(server);
        let mut number = String::new();
        BufReader::new(output.ok_or("Xvfb has no output")?).read_line(&mut number)?;
        Ok(Screen { name: format!(":{}", number.trim()), _server: Some(server) })
    }
}

/// A program that ends with us, whatever the test came to.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_window_shows_the_page() -> Tested {
    let desktop = Desktop::open("C.UTF-8").await?;
    // A first run: three decisions, asked of the node behind the window.
    let first = desktop.text("h1").await?;
    assert!(!first.is_empty(), "a page has a title");
    let asked = "const [done] = arguments; window.__TAURI_INTERNALS__.invoke('api', { method: 'GET', path: '/v1/status', body: null }) \
                 .then((answer) => done([answer.status, JSON.parse(answer.body).data]), (error) => done(String(error)))";
    let status = desktop.window.execute_async(asked, vec![]).await?;
    let data = desktop.home().join(".local/share/sublet");
    assert_eq!(status, json!([200, data.to_str()]), "the node of this home answers");
    desktop.window.execute("location.hash = '#/overview'", vec![]).await?;
    desktop.window.wait().at_most(START).for_element(Locator::Css("i.live")).await?;
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
    let desktop = Desktop::open("C").await?;
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
    let desktop = Desktop::open("C.UTF-8").await?;
    desktop.text("h1").await?;
    let ask = "const [url, done] = arguments; fetch(url, { mode: 'no-cors' }).then(() => done('reached'), () => done('refused'))";
    let url = json!(format!("http://{}/", listener.local_addr()?));
    assert_eq!(desktop.window.execute_async(ask, vec![url]).await?, json!("refused"));
    assert!(listener.accept().is_err(), "the page opened a connection");
    Ok(desktop.window.clone().close().await?)
}
