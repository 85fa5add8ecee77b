//! The system packages that the demo and the tests need, and their installation where that is known.

use std::{
    io,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{step::step, workshop::run};

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Demo,
    /// All of the demo's, and more.
    Test,
    /// All of the tests', and what the benchmarks compare with.
    Bench,
    /// All of the demo's and the tests', and what makes and tries packages.
    Bundle,
}

struct Package {
    /// As Debian and Ubuntu call it.
    name: &'static str,
    /// How to see on another system that it is there, whatever its name.
    proof: Proof,
}

#[derive(Clone, Copy)]
enum Proof {
    /// A program on the search path.
    Program(&'static str),
    /// A library known to pkg-config.
    Library(&'static str),
    /// A file or folder.
    File(&'static str),
}

const fn program(name: &'static str, program: &'static str) -> Package {
    Package { name, proof: Proof::Program(program) }
}

const fn library(name: &'static str, library: &'static str) -> Package {
    Package { name, proof: Proof::Library(library) }
}

const DEMO: &[Package] = &[
    program("build-essential", "c++"),
    program("pkg-config", "pkg-config"),
    program("cmake", "cmake"),
    program("crun", "crun"),        // runs the guests
    program("uidmap", "newuidmap"), // a range of user ids for each guest of a host that is not root
];

const TEST: &[Package] = &[
    program("busybox-static", "busybox"), // the tests' guest
    program("runc", "runc"),              // runs it as crun does
    program("runsc", "runsc"),            // runs it on a kernel of its own
    program("podman", "podman"),          // container engines, which hold it at their sockets
    program("docker.io", "dockerd"),
    program("iproute2", "ip"),       // networks of the tests' own
    program("chromium", "chromium"), // looks at every page
    program("docker-registry", "docker-registry"),
    program("skopeo", "skopeo"),
    // The desktop app, and a screen and a driver to press its buttons.
    library("libwebkit2gtk-4.1-dev", "webkit2gtk-4.1"),
    library("libayatana-appindicator3-dev", "ayatana-appindicator3-0.1"),
    program("webkit2gtk-driver", "WebKitWebDriver"),
    program("xvfb", "Xvfb"),
    program("xauth", "xauth"),
    program("dbus", "dbus-daemon"),
    // What shows its tray, and its window to the tests.
    program("xfce4-panel", "xfce4-panel"),
    program("openbox", "openbox"),
    program("wmctrl", "wmctrl"),
    program("dunst", "dunst"), // shows its notifications
    // What tells of an owner: keys on that screen, and services on a bus of the tests' own.
    program("xdotool", "xdotool"),
    Package { name: "python3-dbusmock", proof: Proof::File("/usr/lib/python3/dist-packages/dbusmock") },
];

const BENCH: &[Package] = &[
    program("fio", "fio"),
    program("passt", "pasta"),
    program("slirp4netns", "slirp4netns"),
    program("stress-ng", "stress-ng"),
    program("sysbench", "sysbench"),
];

const BUNDLE: &[Package] = &[
    program("dpkg-dev", "dpkg-shlibdeps"),
    program("rpm", "rpmbuild"),
    program("debootstrap", "debootstrap"), // a fresh system to try them in
    program("appstream", "appstreamcli"),
    program("desktop-file-utils", "desktop-file-validate"),
];

/// Installs what is missing, and says what that was; does and says nothing where all is there.
pub fn install(need: Need) -> Result<()> {
    let lists: &[&[Package]] = match need {
        Need::Demo => &[DEMO],
        Need::Test => &[DEMO, TEST],
        Need::Bench => &[DEMO, TEST, BENCH],
        Need::Bundle => &[DEMO, TEST, BUNDLE],
    };
    let wanted: Vec<&Package> = lists.iter().copied().flatten().collect();
    let debian = answers("dpkg-query", &["--version"]) && answers("apt-get", &["--version"]);
    let missing = if debian { missing_on_debian(&wanted)? } else { missing_elsewhere(&wanted) };
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !debian {
        bail!(
            "missing, by their names on Debian: {names}. Install them by this system's package manager, then try again"
        );
    }
    step(&format!("install {names}"), || {
        run(apt(&["update"])?)?;
        let mut install = apt(&["install", "--yes", "--no-install-recommends"])?;
        install.args(&missing);
        run(install)
    })
}

fn missing_on_debian(wanted: &[&Package]) -> Result<Vec<&'static str>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]);
    query.args(wanted.iter().map(|package| package.name));
    // It fails when it knows one of them not at all, and lists the others all the same.
    let answer = query.output().context("ask dpkg-query what is installed")?;
    Ok(not_installed(wanted, &String::from_utf8_lossy(&answer.stdout)))
}

fn not_installed(wanted: &[&Package], listed: &str) -> Vec<&'static str> {
    let installed: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    wanted.iter().map(|package| package.name).filter(|name| !installed.contains(name)).collect()
}

fn missing_elsewhere(wanted: &[&Package]) -> Vec<&'static str> {
    let there = |proof| match proof {
        Proof::Program(name) => answers("which", &[name]),
        Proof::Library(name) => answers("pkg-config", &["--exists", name]),
        Proof::File(path) => std::path::Path::new(path).exists(),
    };
    wanted.iter().filter(|package| !there(package.proof)).map(|package| package.name).collect()
}

/// `apt-get`, with the rights that it needs.
fn apt(arguments: &[&str]) -> Result<Command> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let mut apt = match root {
        true => Command::new("apt-get"),
        false if answers("sudo", &["--version"]) => {
            let mut sudo = Command::new("sudo");
            sudo.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        }
        false => bail!("only root may install packages, and there is no sudo"),
    };
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(io::stderr());
    Ok(apt)
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let wanted: Vec<&Package> = DEMO.iter().collect();
        let listed = "crun installed\ncmake config-files\nbuild-essential installed\nuidmap not-installed\n";
        assert_eq!(not_installed(&wanted, listed), ["pkg-config", "cmake", "uidmap"]);
        assert_eq!(not_installed(&wanted, "").len(), DEMO.len());
    }

    #[test]
    fn proofs_tell_what_is_there() {
        let wanted = [program("shell", "sh"), program("nothing", "no-such-program-anywhere")];
        assert_eq!(missing_elsewhere(&[&wanted[0], &wanted[1]]), ["nothing"]);
    }
}
