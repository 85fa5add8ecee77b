//! Packages for Fedora, openSUSE and their relatives, by `rpmbuild`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{PACKAGES, VERSION, Yard, empty, package_version, stage};
use crate::workshop::run;

/// Packs both, and says where they are.
pub fn pack(yard: &Yard) -> Result<Vec<PathBuf>> {
    let top = yard.folder.join("rpm");
    empty(&top)?;
    for package in PACKAGES {
        let list: String = stage::files(&yard.staged(package))?.iter().map(|file| line(file)).collect();
        fs::write(yard.folder.join("staged").join(format!("{package}.files")), list)?;
    }
    let mut build = Command::new("rpmbuild");
    build.arg("-bb").arg("--quiet");
    let payload = if yard.debug { "w1.gzdio" } else { "w7.xzdio" };
    let version = package_version(VERSION);
    let staged = yard.folder.join("staged");
    for (name, value) in [
        ("_topdir", top.to_string_lossy()),
        ("staged", staged.to_string_lossy()),
        ("sublet_version", version.as_str().into()),
        ("_binary_payload", payload.into()),
        ("use_source_date_epoch_as_buildtime", "1".into()),
        ("clamp_mtime_to_source_date_epoch", "1".into()),
    ] {
        build.args(["--define", &format!("{name} {value}")]);
    }
    build.arg(yard.root.join("installers/linux/rpm/sublet.spec"));
    build.env("SOURCE_DATE_EPOCH", &yard.date).stdout(io::stderr());
    run(build)?;
    let made = stage::files(&top.join("RPMS"))?;
    let file = |package: &str| {
        let start = format!("{package}-{version}-");
        let found = made
            .iter()
            .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)));
        let from = top.join("RPMS").join(found.with_context(|| format!("rpmbuild made no {package}"))?);
        let to = yard.folder.join(from.file_name().context("a package has a name")?);
        fs::copy(&from, &to)?;
        Ok(to)
    };
    PACKAGES.into_iter().map(file).collect()
}

/// A line of what `%files` reads.
fn line(file: &Path) -> String {
    let doc =
        if file.starts_with("usr/share/doc") || file.starts_with("usr/share/man") { "%doc " } else { "" };
    let mode = if file.starts_with("usr/bin") { "0755" } else { "0644" };
    format!("%attr({mode}, root, root) {doc}\"/{}\"\n", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_may_be_run_and_texts_are_known_as_such() {
        assert_eq!(line(Path::new("usr/bin/sublet")), "%attr(0755, root, root) \"/usr/bin/sublet\"\n");
        let manual = line(Path::new("usr/share/man/man1/sublet.1.gz"));
        assert_eq!(manual, "%attr(0644, root, root) %doc \"/usr/share/man/man1/sublet.1.gz\"\n");
    }
}
