//! The packages in a fresh Debian, by themselves: installed, started, removed. What happens there is a script,
//! `installers/linux/trial.sh`; here is what gives it a system to happen in. The rpm packages are then unpacked in the
//! same system, which is not theirs: what they hold starts there, what they need is not checked.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{PACKAGES, Yard, empty, output};
use crate::{step::step, workshop::run};

/// Tries them, and leaves nothing mounted.
pub fn try_out(yard: &Yard, debs: &[PathBuf], rpms: &[PathBuf]) -> Result<()> {
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("only root can make a system to try the packages in: run it by sudo, or in a container");
    }
    let base = step("a fresh Debian", || base(yard))?;
    let system = yard.folder.join("trial");
    if system.exists() {
        // Nothing is mounted below it: mounts end with the processes that made them.
        fs::remove_dir_all(&system).with_context(|| format!("remove {}", system.display()))?;
    }
    let mut copy = command("cp", &["--archive"]);
    copy.arg(&base).arg(&system);
    run(copy)?;
    step("install, start and remove the deb packages", || try_debs(yard, &system, debs))?;
    step("install, start and remove the rpm packages", || try_rpms(&system, rpms))
}

/// A minimal system of the release that we build on, made once.
fn base(yard: &Yard) -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("read which system this is")?;
    let field = |name: &str| release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let suite =
        field("VERSION_CODENAME").context("this system is not Debian or Ubuntu: no system to try in")?;
    let base = yard.folder.join(format!("fresh-{suite}"));
    // debootstrap removes this folder last.
    if base.join("etc").is_dir() && !base.join("debootstrap").exists() {
        return Ok(base);
    }
    empty(&base)?;
    let format = "$(SUITE) $(REPO_URI)";
    let targets =
        output(&mut command("apt-get", &["indextargets", "--format", format, "Created-By: Packages"]))?;
    let mirror = targets.lines().find_map(|line| line.strip_prefix(suite)?.strip_prefix(' '));
    let mut make = command("debootstrap", &["--variant=minbase", suite]);
    make.arg(&base).args(mirror).stdout(io::stderr());
    run(make)?;
    Ok(base)
}

fn try_debs(yard: &Yard, system: &Path, debs: &[PathBuf]) -> Result<()> {
    let packages = system.join("packages");
    fs::create_dir(&packages)?;
    for (name, deb) in PACKAGES.iter().zip(debs) {
        fs::copy(deb, packages.join(format!("{name}.deb")))?;
    }
    fs::copy(yard.root.join("installers/linux/trial.sh"), packages.join("trial.sh"))?;
    for file in ["resolv.conf", "hosts"] {
        fs::copy(Path::new("/etc").join(file), system.join("etc").join(file))?;
    }
    in_system(system, &["sh", "/packages/trial.sh"])
}

/// Runs it with that folder as its root. What is mounted there, and whatever it has started, ends with it.
fn in_system(system: &Path, line: &[&str]) -> Result<()> {
    const ENTER: &str =
        "mount -t proc proc \"$0/proc\" && mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" \"$@\"";
    let mut enter =
        command("unshare", &["--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-c", ENTER]);
    enter.arg(system).args(line).stdout(io::stderr());
    // A fresh login, not the builder's.
    enter
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root");
    run(enter)
}

fn try_rpms(system: &Path, rpms: &[PathBuf]) -> Result<()> {
    let rpm = |arguments: &[&str]| {
        let mut rpm = command("rpm", &["--root"]);
        rpm.arg(system).args(arguments).stdout(io::stderr());
        rpm
    };
    let mut listed = Vec::new();
    for package in rpms {
        let list = output(command("rpm", &["--query", "--list", "--package"]).arg(package))?;
        listed.extend(list.lines().map(|file| system.join(file.trim_start_matches('/'))));
    }
    // Its names for what it needs are another system's.
    let mut install = rpm(&["--install", "--nodeps"]);
    install.args(rpms);
    run(install)?;
    for file in &listed {
        ensure!(file.symlink_metadata().is_ok(), "{} is not installed", file.display());
    }
    run(rpm(&["--verify", "--nodeps", PACKAGES[0], PACKAGES[1]]))?;
    in_system(system, &["sublet", "--version"])?;
    run(rpm(&["--erase", PACKAGES[1], PACKAGES[0]]))?;
    let left: Vec<_> = listed.iter().filter(|file| file.is_file()).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    eprintln!("    {} files came and went", listed.len());
    Ok(())
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
