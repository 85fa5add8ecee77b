//! What each package installs, laid out below a folder as it will lie below `/`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{PACKAGES, VERSION, Yard, empty, filled, output};
use crate::workshop::run;

/// A file of ours, and where it goes.
const SUBLET: &[(&str, &str)] = &[
    ("installers/linux/sublet.service", "usr/lib/systemd/user/sublet.service"),
    ("installers/linux/apparmor-sublet", "usr/share/sublet/apparmor-sublet"),
    ("installers/linux/deb/copyright", "usr/share/doc/sublet/copyright"),
    ("README.md", "usr/share/doc/sublet/README.md"),
    ("CHANGELOG.md", "usr/share/doc/sublet/changelog"),
];

const DESKTOP: &[(&str, &str)] = &[
    ("installers/linux/org.sublet.desktop.desktop", "usr/share/applications/org.sublet.desktop.desktop"),
    ("icons/sublet.svg", "usr/share/icons/hicolor/scalable/apps/org.sublet.desktop.svg"),
    ("icons/32x32.png", "usr/share/icons/hicolor/32x32/apps/org.sublet.desktop.png"),
    ("icons/128x128.png", "usr/share/icons/hicolor/128x128/apps/org.sublet.desktop.png"),
    ("icons/128x128@2x.png", "usr/share/icons/hicolor/256x256/apps/org.sublet.desktop.png"),
    ("installers/linux/deb/copyright", "usr/share/doc/sublet-desktop/copyright"),
    ("CHANGELOG.md", "usr/share/doc/sublet-desktop/changelog"),
];

const METAINFO: &str = "usr/share/metainfo/org.sublet.desktop.metainfo.xml";

/// A shell, and where it looks for what completes a command. Debian's zsh has two places; this one is everybody's.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/sublet"),
    ("zsh", "usr/share/zsh/site-functions/_sublet"),
    ("fish", "usr/share/fish/vendor_completions.d/sublet.fish"),
];

/// Lays out both packages. `programs` are as [`PACKAGES`] names them.
pub fn lay_out(yard: &Yard, programs: &[PathBuf; 2]) -> Result<()> {
    for ((package, program), files) in PACKAGES.iter().zip(programs).zip([SUBLET, DESKTOP]) {
        let to = yard.staged(package);
        empty(&to)?;
        install_program(yard, program, &to.join("usr/bin").join(package))?;
        for (from, place) in files {
            install(&yard.root.join(from), &to.join(place))?;
        }
        gzip(&to.join("usr/share/doc").join(package).join("changelog"))?;
    }
    write_manual(&yard.staged("sublet"), &programs[0])?;
    let date = format!("@{}", yard.date);
    let date = output(Command::new("date").args(["--utc", "--date", &date, "+%F"]))?;
    let values = [("VERSION", VERSION), ("DATE", date.trim())];
    let metainfo = filled(&yard.template("org.sublet.desktop.metainfo.xml")?, &values)?;
    write(&yard.staged("sublet-desktop").join(METAINFO), metainfo.as_bytes())
}

/// What desktops will read, as their own tools judge it.
pub fn check(yard: &Yard) -> Result<()> {
    let desktop = yard.staged("sublet-desktop");
    run(in_c("desktop-file-validate", [&desktop.join(DESKTOP[0].1)]))?;
    let mut metainfo = in_c("appstreamcli", []);
    metainfo.args(["validate", "--no-net"]).arg(desktop.join(METAINFO)).stdout(std::io::stderr());
    run(metainfo)
}

/// The command line knows its own words best: manual and completions are what the built program says.
fn write_manual(to: &Path, sublet: &Path) -> Result<()> {
    let manual = to.join("usr/share/man/man1");
    output(Command::new(sublet).arg("man").arg(&manual))?;
    for page in fs::read_dir(&manual)? {
        let page = page?.path();
        set_mode(&page, 0o644)?;
        gzip(&page)?;
    }
    for (shell, place) in COMPLETIONS {
        let script = output(Command::new(sublet).args(["completions", shell]))?;
        write(&to.join(place), script.as_bytes())?;
    }
    Ok(())
}

fn install_program(yard: &Yard, from: &Path, to: &Path) -> Result<()> {
    install(from, to)?;
    set_mode(to, 0o755)?;
    // What is built for packages has no symbols as it is.
    if yard.debug { run(in_c("strip", [to])) } else { Ok(()) }
}

fn install(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    write(to, &bytes)
}

fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))?;
    set_mode(to, 0o644)
}

/// Whatever the umask of who builds.
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}

/// Without name and time in it: the same text gives the same bytes.
fn gzip(file: &Path) -> Result<()> {
    let mut gzip = in_c("gzip", [file]);
    gzip.args(["--best", "--no-name", "--force"]);
    run(gzip)
}

fn in_c<const N: usize>(program: &str, arguments: [&Path; N]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    command
}

/// Every file below a folder, by its path from there, sorted.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_installed_exists() -> Result<()> {
        let root = crate::workshop::Workshop::find()?.root;
        for (from, to) in SUBLET.iter().chain(DESKTOP) {
            assert!(root.join(from).is_file(), "{from}");
            assert!(to.starts_with("usr/"), "{to}");
        }
        Ok(())
    }
}
