//! `cargo xtask bundle`: packages of the whole product for Debian and for rpm, and a trial of them in a fresh system.
//!
//! Two packages: `sublet`, the command line and the host without a screen, and `sublet-desktop`, which needs the first.
//! What they hold lies as it will be installed in a folder for each ([`stage`]); [`deb`] and [`rpm`] pack that.

mod deb;
mod rpm;
mod stage;
mod trial;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    packages::{self, Need},
    step::step,
    ui,
    workshop::{Workshop, run},
};

/// What to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Of the debug build: quick to make, for trials only.
    pub debug: bool,
    /// Install them in a fresh system, start what they hold, and remove them again.
    pub test: bool,
}

/// Both packages, by the names that they and their main programs have.
const PACKAGES: [&str; 2] = ["sublet", "sublet-desktop"];

/// Where everything lies while packages are made.
struct Yard {
    /// Of the workspace.
    root: PathBuf,
    /// Below the target folder: ours alone.
    folder: PathBuf,
    debug: bool,
    /// When the sources were last changed, in seconds: packages of the same sources have the same times in them.
    date: String,
}

impl Yard {
    /// What the package installs, as it lies below `/`.
    fn staged(&self, package: &str) -> PathBuf {
        self.folder.join("staged").join(package)
    }

    /// A file that packages are made with.
    fn template(&self, name: &str) -> Result<String> {
        let path = self.root.join("installers/linux").join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }
}

/// Builds, packs, and says what came of it on standard output: a line for each package.
pub fn bundle(shop: &Workshop, wish: Wish) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("deb and rpm are made on Linux; installers/README.md says how the others are made");
    }
    packages::install(Need::Bundle)?;
    ui::install(shop)?;
    step("build the user interface", || run(ui::npm(shop, &["run", "build"])))?;
    step("build Sublet", || {
        let mut cargo = shop.cargo(["build", "--package", "sublet-cli", "--package", "sublet-desktop"]);
        cargo.args((!wish.debug).then_some("--profile=dist"));
        run(cargo)
    })?;
    let yard = Yard {
        root: shop.root.clone(),
        folder: shop.folder("bundle"),
        debug: wish.debug,
        date: source_date(&shop.root),
    };
    let profile = if wish.debug { "debug" } else { "dist" };
    step("lay out what is installed", || {
        stage::lay_out(&yard, &PACKAGES.map(|program| shop.built(profile, program)))
    })?;
    step("check what desktops will read", || stage::check(&yard))?;
    let debs = step("deb", || deb::pack(&yard))?;
    let rpms = step("rpm", || rpm::pack(&yard))?;
    for package in debs.iter().chain(&rpms) {
        println!("{}  {} KiB", package.display(), fs::metadata(package)?.len().div_ceil(1024));
    }
    if wish.test { trial::try_out(&yard, &debs, &rpms) } else { Ok(()) }
}

/// The version that all crates share.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// As both kinds of package write it: there, `~` sorts before the release itself, as semver's `-` does.
fn package_version(version: &str) -> String {
    version.replacen('-', "~", 1)
}

fn source_date(root: &Path) -> String {
    if let Ok(given) = env::var("SOURCE_DATE_EPOCH") {
        return given;
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(root).stderr(Stdio::null());
    let said = git.output().map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    // A tarball without a history: the beginning of time is as good as any other moment, and always the same.
    said.ok().filter(|date| !date.is_empty()).unwrap_or_else(|| "0".to_owned())
}

/// Runs it and gives what it prints.
fn output(command: &mut Command) -> Result<String> {
    let said = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    if !said.status.success() {
        bail!("{command:?}: {}", said.status);
    }
    String::from_utf8(said.stdout).with_context(|| format!("read what {:?} says", command.get_program()))
}

/// Makes the folder anew, empty.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

/// Puts a value in the place of each `@NAME@`; one that stays empty-handed is our mistake.
fn filled(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let text = values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value));
    match text.split_whitespace().find(|word| word.matches('@').count() > 1) {
        Some(unknown) => bail!("nothing is known for {unknown}"),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_sorts_before_its_release() {
        assert_eq!(package_version("1.2.3"), "1.2.3");
        assert_eq!(package_version("1.2.3-rc.1"), "1.2.3~rc.1");
    }

    #[test]
    fn each_place_of_a_template_is_filled_or_named() -> Result<()> {
        assert_eq!(filled("Version: @V@\nMail: a@b", &[("V", "1")])?, "Version: 1\nMail: a@b");
        let error = filled("Size: @SIZE@", &[]).map_err(|error| error.to_string());
        assert_eq!(error, Err("nothing is known for @SIZE@".to_owned()));
        Ok(())
    }
}
