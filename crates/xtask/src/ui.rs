//! The user interface's own tools, by npm.

use std::{fs, io, path::Path, process::Command, time::SystemTime};

use anyhow::Result;

use crate::{
    step::step,
    workshop::{Workshop, run},
};

/// Fetches the packages that package-lock.json names, unless they are there.
pub fn install(shop: &Workshop) -> Result<()> {
    let ui = shop.root.join("ui");
    // npm writes this copy last.
    let installed = written(&ui.join("node_modules/.package-lock.json"));
    if installed.is_some() && written(&ui.join("package-lock.json")) <= installed {
        return Ok(());
    }
    step("install the user interface's packages", || run(npm(shop, &["ci", "--no-audit", "--no-fund"])))
}

/// npm in `ui/`, which writes nothing to standard output.
pub fn npm(shop: &Workshop, arguments: &[&str]) -> Command {
    let mut npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    npm.args(arguments).current_dir(shop.root.join("ui")).stdout(io::stderr());
    npm
}

fn written(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|file| file.modified()).ok()
}
