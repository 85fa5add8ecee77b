//! The jobs, each as its list of steps.

use std::{
    env, fmt,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{
    bundle,
    packages::{self, Need},
    step::step,
    tally, ui,
    workshop::{Workshop, run},
};

pub const USAGE: &str = "\
usage: cargo xtask JOB

  demo [--json]     build Sublet and show its main job: two nodes, a lease, a guest that works, both paid
  test              every test: the user interface's, then the workspace's
  bench [--json] [--seconds N] [NAME..]
                    the benchmarks, each against the raw tool in the same run: guests, images, machine, network, owner,
                    record, start, lease, desktop; --seconds: how long the desktop rests while it is looked at
  check             formatting, lints, licences, the user interface's types
  desktop           build and open the desktop app
  gallery           pictures of every page, in both themes and three sizes, of a real pair of nodes: ui/gallery/
  bundle [--debug] [--test]
                    packages for Debian and rpm, and a trial of them in a fresh system; --debug: of the debug build
  setup [demo|test|bench|bundle]
                    install the system packages for the demo, or for the tests, benchmarks or packages too";

/// Where `sublet demo` and the tests find the guest program that they put into an image.
const GUEST_VARIABLE: &str = "SUBLET_DEMO_GUEST";

/// Name, package and bench target.
const BENCHES: &[(&str, &str, &str)] = &[
    ("guests", "sublet-machine", "guest_start"),
    ("images", "sublet-cli", "images"),
    ("machine", "sublet-machine", "measure"),
    ("network", "sublet-machine", "network"),
    ("owner", "sublet-node", "owner"),
    ("record", "sublet-store", "append"),
    ("start", "sublet-node", "start"),
    ("lease", "sublet-cli", "lease"),
    (DESKTOP, "sublet-desktop", "desktop"),
];

/// It needs the user interface, and measures that too.
const DESKTOP: &str = "desktop";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    Demo {
        json: bool,
    },
    Test,
    /// All benchmarks where none is named.
    Bench {
        names: Vec<String>,
        json: bool,
        /// How long the desktop rests.
        seconds: Option<u32>,
    },
    Check,
    Desktop,
    Gallery,
    Bundle(bundle::Wish),
    Setup(Need),
    Help,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Misuse {
    NoJob,
    Unknown(String),
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::NoJob => f.write_str("which job?"),
            Misuse::Unknown(given) => write!(f, "there is no job `{given}`"),
        }
    }
}

/// The job that the command line names.
pub fn named(given: &[String]) -> Result<Job, Misuse> {
    let words: Vec<&str> = given.iter().map(String::as_str).collect();
    match words[..] {
        ["demo"] => Ok(Job::Demo { json: false }),
        ["demo", "--json"] => Ok(Job::Demo { json: true }),
        ["test"] => Ok(Job::Test),
        ["bench", ref rest @ ..] => bench_named(rest),
        ["check"] => Ok(Job::Check),
        ["desktop"] => Ok(Job::Desktop),
        ["gallery"] => Ok(Job::Gallery),
        ["bundle", ref rest @ ..] => bundle_named(rest),
        ["setup"] | ["setup", "demo"] => Ok(Job::Setup(Need::Demo)),
        ["setup", "test"] => Ok(Job::Setup(Need::Test)),
        ["setup", "bench"] => Ok(Job::Setup(Need::Bench)),
        ["setup", "bundle"] => Ok(Job::Setup(Need::Bundle)),
        ["help" | "--help" | "-h"] => Ok(Job::Help),
        [] => Err(Misuse::NoJob),
        _ => Err(Misuse::Unknown(words.join(" "))),
    }
}

fn bench_named(rest: &[&str]) -> Result<Job, Misuse> {
    let (mut names, mut json, mut seconds) = (Vec::new(), false, None);
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let unknown = || Misuse::Unknown(format!("bench {}", rest.join(" ")));
        match *word {
            "--json" => json = true,
            "--seconds" => {
                let count = words.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
                seconds = Some(count.ok_or_else(unknown)?);
            }
            name if BENCHES.iter().any(|(known, ..)| *known == name) => names.push(name.to_owned()),
            _ => return Err(unknown()),
        }
    }
    Ok(Job::Bench { names, json, seconds })
}

fn bundle_named(rest: &[&str]) -> Result<Job, Misuse> {
    let unknown = rest.iter().find(|word| !["--debug", "--test"].contains(word));
    match unknown {
        Some(unknown) => Err(Misuse::Unknown(format!("bundle {unknown}"))),
        None => {
            Ok(Job::Bundle(bundle::Wish { debug: rest.contains(&"--debug"), test: rest.contains(&"--test") }))
        }
    }
}

impl Job {
    /// Does it, and says with which code to leave.
    pub fn run(self, shop: &Workshop) -> Result<ExitCode> {
        match self {
            Job::Demo { json } => demo(shop, json),
            Job::Test => test(shop),
            Job::Bench { names, json, seconds } => {
                bench(shop, &names, json, seconds).map(|()| ExitCode::SUCCESS)
            }
            Job::Check => check(shop).map(|()| ExitCode::SUCCESS),
            Job::Desktop => desktop(shop).map(|()| ExitCode::SUCCESS),
            Job::Gallery => gallery(shop).map(|()| ExitCode::SUCCESS),
            Job::Bundle(wish) => bundle::bundle(shop, wish).map(|()| ExitCode::SUCCESS),
            Job::Setup(need) => {
                packages::install(need)?;
                eprintln!("every system package is installed");
                Ok(ExitCode::SUCCESS)
            }
            Job::Help => {
                println!("{USAGE}");
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn demo(shop: &Workshop, json: bool) -> Result<ExitCode> {
    packages::install(Need::Demo)?;
    let guest = guest(shop)?;
    step("build sublet", || run(shop.cargo(["build", "--release", "--package", "sublet-cli"])))?;

    let mut sublet = Command::new(shop.built("release", "sublet"));
    sublet.arg("demo").args(json.then_some("--json")).env(GUEST_VARIABLE, guest);
    let status = sublet.status().with_context(|| format!("start {sublet:?}"))?;
    // Killed by a signal, it has no code of its own.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn test(shop: &Workshop) -> Result<ExitCode> {
    packages::install(Need::Test)?;
    ui::install(shop)?;
    step("build the user interface", || run(ui::npm(shop, &["run", "build"])))?;
    step("weigh the user interface", || run(ui::npm(shop, &["run", "size"])))?;
    step("check the user interface", || run(ui::npm(shop, &["run", "check"])))?;
    step("test the user interface", || run(ui::npm(shop, &["test"])))?;
    let guest = guest(shop)?;
    let tests = step("test the workspace", || {
        // Always the whole workspace: another selection of packages unifies features differently and builds all again.
        let mut cargo = shop.cargo(["test", "--workspace", "--no-fail-fast"]);
        cargo.env(GUEST_VARIABLE, &guest).stdout(Stdio::piped());
        tally::watch(cargo)
    })?;
    // The workspace's tests have built this very program.
    let screens = step("look at every page", || run(pages(shop, "test:screens", "sublet-under-test")));
    println!("\n{tests}");
    screens?;
    Ok(if tests.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Standard output is what the benchmarks print: with `json`, a line for each.
fn bench(shop: &Workshop, names: &[String], json: bool, seconds: Option<u32>) -> Result<()> {
    packages::install(Need::Bench)?;
    let guest = guest(shop)?;
    for (name, package, target) in BENCHES {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        if *name == DESKTOP {
            ui::install(shop)?;
            step("build the user interface", || run(ui::npm(shop, &["run", "build"])))?;
        }
        step(&format!("bench {name}"), || {
            let mut cargo = shop.cargo(["bench", "--package", package, "--bench", target, "--"]);
            cargo.args(json.then_some("--json"));
            if let (DESKTOP, Some(seconds)) = (*name, seconds) {
                cargo.args(["--seconds", &seconds.to_string()]);
            }
            cargo.env(GUEST_VARIABLE, &guest).stdout(Stdio::inherit());
            run(cargo)
        })?;
        if *name == DESKTOP {
            bench_pages(shop, json)?;
        }
    }
    Ok(())
}

/// What its pages weigh, and how soon they answer.
fn bench_pages(shop: &Workshop, json: bool) -> Result<()> {
    step("build sublet", || run(shop.cargo(["build", "--release", "--package", "sublet-cli"])))?;
    for script in ["size", "bench"] {
        step(&format!("bench the pages: {script}"), || {
            let mut npm = ui::npm(shop, &["run", "--silent", script, "--"]);
            npm.args(json.then_some("--json")).env("SUBLET", shop.built("release", "sublet"));
            npm.stdout(Stdio::inherit());
            run(npm)
        })?;
    }
    Ok(())
}

fn check(shop: &Workshop) -> Result<()> {
    packages::install(Need::Test)?;
    step("formatting", || run(shop.cargo(["fmt", "--all", "--check"])))?;
    ui::install(shop)?;
    step("the user interface's style", || run(ui::npm(shop, &["run", "lint"])))?;
    step("the user interface's types", || run(ui::npm(shop, &["run", "check"])))?;
    step("lints", || run(shop.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])))?;
    if shop.has_cargo_deny() {
        step("licences and bans", || {
            run(shop.cargo(["deny", "--workspace", "check", "bans", "licenses", "sources"]))
        })
    } else {
        eprintln!("licences and bans not checked: `cargo install cargo-deny` for that");
        Ok(())
    }
}

fn desktop(shop: &Workshop) -> Result<()> {
    if !["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some()) {
        eprintln!(
            "there is no display here for a window; a browser shows the same pages:\n  \
             cargo run --release --package sublet-cli -- host --dashboard"
        );
        return Ok(());
    }
    packages::install(Need::Test)?;
    ui::install(shop)?;
    step("build the user interface", || run(ui::npm(shop, &["run", "build"])))?;
    // With the program beside it that keeps its guests.
    step("build the desktop app", || run(shop.cargo(["build", "--package", "sublet-desktop"])))?;
    step("desktop app", || run(Command::new(shop.built("debug", "sublet-desktop"))))
}

fn gallery(shop: &Workshop) -> Result<()> {
    packages::install(Need::Test)?;
    ui::install(shop)?;
    step("build the user interface", || run(ui::npm(shop, &["run", "build"])))?;
    step("build sublet", || run(shop.cargo(["build", "--package", "sublet-cli"])))?;
    step("take the pictures", || run(pages(shop, "gallery", "sublet")))
}

/// A script of the user interface that starts nodes of this program.
fn pages(shop: &Workshop, script: &str, program: &str) -> Command {
    let mut npm = ui::npm(shop, &["run", script]);
    npm.env("SUBLET", shop.built("debug", program));
    npm
}

/// Builds the demo's guest and says where it is. Linked statically: its image holds nothing else.
fn guest(shop: &Workshop) -> Result<PathBuf> {
    step("build the guest", || {
        let build = ["rustc", "--release", "--package", "sublet-render", "--bin", "sublet-render"];
        let mut cargo = shop.cargo(build);
        cargo.args(["--", "-C", "target-feature=+crt-static"]);
        run(cargo)
    })?;
    Ok(shop.built("release", "sublet-render"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Result<Job, Misuse> {
        named(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn jobs_are_known_by_name() {
        assert_eq!(said("demo --json"), Ok(Job::Demo { json: true }));
        let bench = |names: &[&str], json, seconds| {
            Ok(Job::Bench { names: names.iter().map(|name| (*name).to_owned()).collect(), json, seconds })
        };
        assert_eq!(said("bench"), bench(&[], false, None));
        assert_eq!(said("bench record --json"), bench(&["record"], true, None));
        assert_eq!(said("bench desktop --seconds 5"), bench(&["desktop"], false, Some(5)));
        let both = bundle::Wish { debug: true, test: true };
        assert_eq!(said("bundle --test --debug"), Ok(Job::Bundle(both)));
        assert_eq!(said("bundle"), Ok(Job::Bundle(bundle::Wish::default())));
        assert_eq!(said("setup"), Ok(Job::Setup(Need::Demo)));
        assert_eq!(said("setup test"), Ok(Job::Setup(Need::Test)));
    }

    #[test]
    fn every_job_that_is_listed_exists() {
        let starts =
            USAGE.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
        let listed = starts.filter_map(|line| line.split_whitespace().next());
        for name in listed {
            assert!(said(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_does_not_exist_is_misuse() {
        assert_eq!(said(""), Err(Misuse::NoJob));
        assert_eq!(said("tset"), Err(Misuse::Unknown("tset".to_owned())));
        for bad in ["bench records", "bench --seconds", "bench --seconds 0", "bench --fast"] {
            assert_eq!(said(bad), Err(Misuse::Unknown(bad.to_owned())));
        }
        assert_eq!(said("bundle --fast"), Err(Misuse::Unknown("bundle --fast".to_owned())));
        assert_eq!(said("test --fast"), Err(Misuse::Unknown("test --fast".to_owned())));
    }
}
