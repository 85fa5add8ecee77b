//! A session of a test's own: a home, a screen, a bus, and the app in it.

use api::Client as Node;
use api::node::engine::benchmark::{Figures, speed};
use api::node::{Config, NodeHandle, Settings, start};
use api::shapes::{Lending, OwnerPolicy};
use api::{Serving, serve};
use fantoccini::error::NewSessionError;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};
use tempfile::TempDir;

pub use crate::wish::PATIENCE;

pub type Tested = Result<(), Box<dyn std::error::Error>>;

pub const APP: &str = env!("CARGO_BIN_EXE_sublet-desktop");

/// A panel with nothing in it but the tray.
const PANEL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array">
    <value type="int" value="1"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=0;y=0"/>
      <property name="length" type="uint" value="100"/>
      <property name="size" type="uint" value="32"/>
      <property name="plugin-ids" type="array"><value type="int" value="1"/></property>
    </property>
  </property>
  <property name="plugins" type="empty"><property name="plugin-1" type="string" value="systray"/></property>
</channel>
"#;

/// Fields drop in this order: the programs end, then the screen goes, then the home.
pub struct Session {
    programs: Vec<Ended>,
    screen: Screen,
    language: &'static str,
    home: TempDir,
}

impl Session {
    /// With `language` as its LANG, on the screen that is there or on a virtual one, and without a bus.
    pub fn open(language: &'static str) -> Result<Session, Box<dyn std::error::Error>> {
        let screen = match env::var("DISPLAY") {
            Ok(name) => Screen { name, _server: None },
            Err(_) => Screen::pretended()?,
        };
        Ok(Session { programs: Vec::new(), screen, language, home: tempfile::tempdir()? })
    }

    /// With a bus, on a virtual screen: what the tests start there puts itself on nobody's desktop.
    pub fn whole() -> Result<Session, Box<dyn std::error::Error>> {
        let screen = Screen::pretended()?;
        let home = tempfile::tempdir()?;
        let mut session = Session { programs: Vec::new(), screen, language: "C.UTF-8", home };
        let address = format!("--address={}", session.bus());
        session.begin("dbus-daemon", &["--session", "--nofork", "--nopidfile", &address])?;
        let bus = session.home().join("bus");
        soon("the bus to be there", || bus.exists())?;
        Ok(session)
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The data directory of the app's node.
    pub fn data(&self) -> PathBuf {
        self.home().join(".local/share/sublet")
    }

    /// One program in a session is enough, and the tests are several: each has a bus of its own, or none.
    pub fn bus(&self) -> String {
        format!("unix:path={}/bus", self.home().display())
    }

    /// A program in this session.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.screen.name)
            .env("GDK_BACKEND", "x11")
            .env("NO_AT_BRIDGE", "1")
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.home())
            .env("DBUS_SESSION_BUS_ADDRESS", self.bus())
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("SUBLET_DATA")
            .env("LANG", self.language)
            .env("LC_ALL", self.language)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Starts a program that ends with the session.
    pub fn begin(&mut self, program: &str, arguments: &[&str]) -> Tested {
        let mut command = self.command(program);
        let child = command.args(arguments).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("start {program} (`cargo xtask setup test`): {error}"))?;
        self.programs.push(Ended(child));
        Ok(())
    }

    /// Starts a panel that shows trays.
    pub fn panel(&mut self) -> Tested {
        let settings = self.home().join(".config/xfce4/xfconf/xfce-perchannel-xml");
        fs::create_dir_all(&settings)?;
        fs::write(settings.join("xfce4-panel.xml"), PANEL)?;
        self.begin("xfce4-panel", &["--disable-wm-check"])
    }

    /// Starts the app as at login, without a window; returns its process, and a client of its node.
    pub async fn at_login(&self) -> Result<(Ended, Node), Box<dyn std::error::Error>> {
        let app = Ended(self.command(APP).arg("--hidden").stderr(Stdio::null()).spawn()?);
        let node = Node::of(&self.data());
        crate::wish::eventually("the app's node to answer", async || node.status().await.is_ok()).await;
        Ok((app, node))
    }

    /// Starts the app with its window, and takes hold of that.
    pub async fn window(self) -> Result<Desktop, Box<dyn std::error::Error>> {
        self.window_of(Path::new(APP)).await
    }

    /// The same, where the app is started by another program.
    pub async fn window_of(self, app: &Path) -> Result<Desktop, Box<dyn std::error::Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let driver = self
            .command("WebKitWebDriver")
            .arg(format!("--port={port}"))
            .env("TAURI_AUTOMATION", "true")
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("start WebKitWebDriver (Debian: webkit2gtk-driver): {error}"))?;
        let driver = Ended(driver);
        let window = driven(port, app).await?;
        Ok(Desktop { window, _driver: driver, session: self })
    }

    /// Gives the app's node, before it runs, the loopback to listen on and a measured speed: measuring takes 20 seconds.
    pub async fn furnish(&self) -> Tested {
        let second = Second::at(&self.data(), "attic").await?;
        second.measure().await?;
        second.end().await;
        Ok(())
    }
}

/// The app's window. Fields drop in this order: the driver ends the app, then its session goes.
pub struct Desktop {
    pub window: Client,
    _driver: Ended,
    pub session: Session,
}

impl Desktop {
    pub fn home(&self) -> &Path {
        self.session.home()
    }

    /// Asks again where the page was drawn anew between the finding and the reading.
    pub async fn text(&self, element: &str) -> Result<String, Box<dyn std::error::Error>> {
        let began = Instant::now();
        loop {
            let found = self.window.wait().at_most(PATIENCE).for_element(Locator::Css(element)).await?;
            match found.text().await {
                Err(error) if error.is_stale_element_reference() && began.elapsed() < PATIENCE => continue,
                answer => return Ok(answer?),
            }
        }
    }
}

/// Asks until the driver listens.
async fn driven(port: u16, app: &Path) -> Result<Client, NewSessionError> {
    let options = json!({ "binary": app, "args": [] });
    let capabilities = Capabilities::from_iter([("webkitgtk:browserOptions".to_owned(), options)]);
    let began = Instant::now();
    loop {
        let mut client = ClientBuilder::new(HttpConnector::new());
        match client.capabilities(capabilities.clone()).connect(&format!("http://127.0.0.1:{port}")).await {
            Err(_) if began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => return answer,
        }
    }
}

/// A node of the test's own.
pub struct Second {
    pub node: NodeHandle,
    pub client: Node,
    serving: Serving,
}

impl Second {
    /// Starts it; it listens on the loopback alone, and the next node there does so too.
    pub async fn at(data: &Path, name: &str) -> Result<Second, Box<dyn std::error::Error>> {
        let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned(), "/ip4/127.0.0.1/udp/0/quic-v1".to_owned()];
        let settings = Settings { name: name.to_owned(), listen, mdns: false, ..Settings::default() };
        fs::create_dir_all(data)?;
        let supervisor = [env!("CARGO_BIN_EXE_sublet-supervisor"), "supervise"].map(Into::into).to_vec();
        let config = Config { supervisor, ..Config::with(settings.clone(), data.to_owned()) };
        let node = start(config).await?;
        node.set(settings).await?;
        let serving = serve(node.clone(), data, None).await?;
        Ok(Second { node, client: Node::of(data), serving })
    }

    /// Gives it a measured speed.
    pub async fn measure(&self) -> Tested {
        let figures = Figures {
            core_events: 500_000,
            cores_events: 1_000_000,
            memory_bytes: 10 << 30,
            disk_read_bytes: 1 << 30,
            disk_write_bytes: 1 << 30,
            disk_read_ops: 10_000,
            disk_write_ops: 10_000,
        };
        self.node.measured(speed(&figures)).await?;
        Ok(())
    }

    /// Has it meet another, and see what that one offers.
    pub async fn meets(&self, other: &Node) {
        meet(&self.client, other).await;
    }

    pub async fn end(self) {
        self.serving.stop().await;
        self.node.shut_down().await;
    }
}

/// Has one node meet another, and see what that one offers.
pub async fn meet(tenant: &Node, host: &Node) {
    let address = host.status().await.unwrap().addresses.remove(0);
    crate::wish::eventually("the two to meet", async || {
        let _ = tenant.dial(&address).await;
        tenant.offers(None).await.is_ok_and(|offers| !offers.offers.is_empty())
    })
    .await;
}

/// Lends by no rules but a pause by hand: what the tests do on their screen is not an owner's doing.
pub async fn always(node: &Node) -> Tested {
    let policy = node.owner().await?.policy;
    node.set_policy(&OwnerPolicy { lending: Lending::Always, ..policy }).await?;
    Ok(())
}

/// Where windows appear.
struct Screen {
    name: String,
    _server: Option<Ended>,
}

impl Screen {
    fn pretended() -> Result<Screen, Box<dyn std::error::Error>> {
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
pub struct Ended(pub Child);

impl Ended {
    /// Waits until it ends by itself.
    pub fn code(&mut self) -> Result<Option<i32>, Box<dyn std::error::Error>> {
        let mut code = None;
        soon("a program to end", || {
            code = self.0.try_wait().ok().flatten();
            code.is_some()
        })?;
        Ok(code.and_then(|code| code.code()))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn soon(what: &str, mut so: impl FnMut() -> bool) -> Tested {
    let began = Instant::now();
    while !so() {
        if began.elapsed() > PATIENCE {
            return Err(format!("waited in vain for {what}").into());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    Ok(())
}
