//! How soon the window can be used, beside a bare browser window of the same engine, and what the app takes while it is closed. The real
//! program, in a session of its own on a virtual screen, with its icon in a real panel.
//!
//! `cargo xtask bench desktop [--json] [--seconds N]`; it rests for so many seconds, usually 60.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it prints, and stops at what surprises it")]

#[path = "../../tests/desktop/session.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod session;
#[path = "../../tests/real/wish.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod wish;

use api::shapes::ShareWish;
use serde_json::{Value, json};
use session::{APP, Session};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use wish::{PATIENCE, eventually};

/// After one that nobody counts, so that files are in memory.
const STARTS: usize = 9;
const REST: u64 = 60;
/// Until what a start or a closed window has set going is over.
const SETTLES: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let named = arguments.iter().skip_while(|argument| *argument != "--seconds").nth(1);
    let seconds = named.map_or(REST, |text| text.parse().unwrap());

    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..=STARTS {
        ours.push(usable().await);
        theirs.extend(browser().map(|browser| drawn(&browser)));
    }
    let (ours, theirs) = (counted(ours), (!theirs.is_empty()).then(|| counted(theirs)));
    let ratio = theirs.as_ref().map(|theirs| middle(&ours) / middle(theirs));
    let (never_opened, closed) = rest(Duration::from_secs(seconds)).await;

    if arguments.iter().any(|argument| argument == "--json") {
        let told = json!({
            "bench": "desktop", "starts": STARTS, "usable_ms": ours, "usable_p50_ms": middle(&ours),
            "browser_ms": theirs, "ratio_browser": ratio,
            "rest_seconds": seconds, "never_opened": never_opened.json(), "closed": closed.json(),
        });
        println!("{told}");
        return;
    }
    println!(
        "the window can be used after {:.0} ms, at most {:.0} ms of {STARTS}",
        middle(&ours),
        most(&ours)
    );
    if let (Some(theirs), Some(ratio)) = (theirs, ratio) {
        println!("a bare window of WebKit has drawn a page after {:.0} ms: {ratio:.2} x", middle(&theirs));
    }
    println!("at rest for {seconds} s, its window never opened: {}", never_opened.sentence());
    println!("at rest for {seconds} s, its window closed:       {}", closed.sentence());
}

/// Milliseconds from the start of the app, whose node begins with it, until its page has all that it shows first.
async fn usable() -> f64 {
    let session = Session::open("C.UTF-8").unwrap();
    session.furnish().await.unwrap();
    let (app, began) = (session.home().join("app"), session.home().join("began"));
    fs::write(&app, format!("#!/bin/sh\ndate +%s%N > {}\nexec {APP} \"$@\"\n", began.display())).unwrap();
    fs::set_permissions(&app, fs::Permissions::from_mode(0o755)).unwrap();
    let desktop = session.window_of(&app).await.unwrap();
    let asked = "const mark = performance.getEntriesByName('usable')[0]; \
                 return mark ? performance.timeOrigin + mark.startTime : 0";
    let mut at = 0.0;
    eventually("the page to be usable", async || {
        at = desktop.window.execute(asked, vec![]).await.unwrap().as_f64().unwrap_or_default();
        at > 0.0
    })
    .await;
    let began: f64 = fs::read_to_string(&began).unwrap().trim().parse().unwrap();
    desktop.window.clone().close().await.unwrap();
    at - began / 1e6
}

/// The window of the same engine that comes with it, where it does.
fn browser() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    libraries.map(|path| path.join("webkit2gtk-4.1/MiniBrowser")).find(|path| path.is_file())
}

/// Milliseconds from the start of a browser until its second frame of a page with nothing on it.
fn drawn(browser: &Path) -> f64 {
    let session = Session::open("C.UTF-8").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let mut command = session.command(browser.to_str().unwrap());
    command.arg(format!("http://{}/", listener.local_addr().unwrap())).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let page = "<!doctype html><link rel=icon href='data:,'>\
                <script>requestAnimationFrame(() => requestAnimationFrame(() => fetch('/drawn')))</script>";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    let took = loop {
        assert!(began.elapsed() < PATIENCE, "the browser shows nothing");
        let (mut asker, _) = listener.accept().unwrap();
        let mut asked = [0; 4096];
        let length = asker.read(&mut asked).unwrap();
        if asked[..length].starts_with(b"GET /drawn ") {
            break began.elapsed();
        }
        let _ = asker.write_all(answer.as_bytes());
    };
    child.kill().unwrap();
    child.wait().unwrap();
    took.as_secs_f64() * 1e3
}

/// What the app with its node takes: before its window was ever opened, and once that is closed again.
async fn rest(span: Duration) -> (Taken, Taken) {
    let mut session = Session::whole().unwrap();
    session.furnish().await.unwrap();
    session.panel().unwrap();
    session.begin("openbox", &[]).unwrap();
    let (app, node) = session.at_login().await.unwrap();
    node.set_offer(&ShareWish::default()).await.unwrap();
    sleep(SETTLES);
    let never_opened = taken(app.0.id(), span);

    // A second start shows the window of the first.
    assert!(session.command(APP).stderr(Stdio::null()).status().unwrap().success());
    let pages = || tree(app.0.id()).values().filter(|name| name.starts_with("WebKitWeb")).count();
    let window = |arguments: &[&str]| {
        let mut asked: Command = session.command("wmctrl");
        asked.args(arguments).stderr(Stdio::null()).status().unwrap().success()
    };
    eventually("the window", async || pages() > 0 && window(&["-a", "Sublet"])).await;
    sleep(SETTLES);
    eventually("the window to close", async || {
        window(&["-c", "Sublet"]);
        sleep(Duration::from_secs(1));
        pages() == 0
    })
    .await;
    sleep(SETTLES);
    (never_opened, taken(app.0.id(), span))
}

/// What processes took together.
struct Taken {
    /// By their names.
    processes: Vec<String>,
    /// Pages that several have count for each.
    resident_mib: f64,
    /// They count in parts.
    proportional_mib: f64,
    /// Of one core.
    cpu_percent: f64,
}

impl Taken {
    fn json(&self) -> Value {
        json!({
            "processes": self.processes, "rss_mib": self.resident_mib, "pss_mib": self.proportional_mib,
            "cpu_percent": self.cpu_percent,
        })
    }

    fn sentence(&self) -> String {
        format!(
            "{:.0} MiB ({:.0} with shared pages counted once), {:.2} % of a core: {}",
            self.resident_mib,
            self.proportional_mib,
            self.cpu_percent,
            self.processes.join(", ")
        )
    }
}

fn taken(root: u32, span: Duration) -> Taken {
    let ticks = || tree(root).keys().map(|pid| stat(*pid).map_or(0, |stat| stat.ticks)).sum::<u64>();
    let before = ticks();
    sleep(span);
    // A process that has ended takes its ticks with it, to those of who waited for it.
    let used = ticks().saturating_sub(before);
    let processes = tree(root);
    let sum = |file: &str, key: &str| processes.keys().map(|pid| kib(*pid, file, key)).sum::<f64>() / 1024.0;
    Taken {
        processes: processes.values().cloned().collect(),
        resident_mib: sum("status", "VmRSS:"),
        proportional_mib: sum("smaps_rollup", "Pss:"),
        // A tick is a hundredth of a second on every Linux.
        cpu_percent: used as f64 / span.as_secs_f64(),
    }
}

/// A process and all below it, with their names.
fn tree(root: u32) -> BTreeMap<u32, String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all: Vec<(u32, Stat)> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut found = BTreeMap::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        parents.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
        if let Some((_, stat)) = all.iter().find(|(pid, _)| *pid == parent) {
            found.insert(parent, stat.name.clone());
        }
    }
    found
}

struct Stat {
    name: String,
    parent: u32,
    /// Its own, and those of its children that have ended.
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Stat { name: head.split_once('(')?.1.to_owned(), parent: fields.get(1)?.parse().ok()?, ticks })
}

/// A figure of a process, such as its memory.
fn kib(pid: u32, file: &str, key: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

/// Sorted, without the first.
fn counted(mut times: Vec<f64>) -> Vec<f64> {
    times.remove(0);
    times.sort_by(f64::total_cmp);
    times
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn most(sorted: &[f64]) -> f64 {
    sorted[sorted.len() - 1]
}
