//! Packages for Debian and Ubuntu, by `dpkg-deb`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{PACKAGES, VERSION, Yard, filled, output, package_version, stage};
use crate::workshop::run;

/// Run by dpkg around an installation, where a package has them.
const SCRIPTS: [&str; 2] = ["postinst", "postrm"];

/// Packs both, and says where they are.
pub fn pack(yard: &Yard) -> Result<Vec<PathBuf>> {
    let architecture = architecture(std::env::consts::ARCH)?;
    PACKAGES.iter().map(|package| one(yard, package, architecture)).collect()
}

fn one(yard: &Yard, package: &str, architecture: &str) -> Result<PathBuf> {
    let tree = yard.folder.join("deb").join(package);
    super::empty(&tree)?;
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(yard.staged(package).join(".")).arg(&tree);
    run(copy)?;
    let size = kibibytes(&tree)?.to_string();
    let libraries = libraries(yard, &tree.join("usr/bin").join(package))?;
    let version = package_version(VERSION);
    let values = [
        ("VERSION", version.as_str()),
        ("ARCHITECTURE", architecture),
        ("SIZE", &size),
        ("LIBRARIES", &libraries),
    ];
    let control = filled(&yard.template(&format!("deb/{package}.control"))?, &values)?;
    let sums = stage::files(&tree)?.iter().map(|file| sum(&tree, file)).collect::<Result<String>>()?;
    let folder = tree.join("DEBIAN");
    fs::create_dir(&folder)?;
    fs::write(folder.join("control"), control)?;
    fs::write(folder.join("md5sums"), sums)?;
    for script in SCRIPTS {
        let from = yard.root.join("installers/linux/deb").join(format!("{package}.{script}"));
        if from.exists() {
            let to = folder.join(script);
            fs::copy(&from, &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        }
    }
    set_folder_modes(&tree)?;
    let file = yard.folder.join(format!("{package}_{version}_{architecture}.deb"));
    let mut pack = Command::new("dpkg-deb");
    // A trial has no time for the best compression, which every Debian and Ubuntu reads.
    pack.arg(if yard.debug { "-Zgzip" } else { "-Zxz" }).args(["--root-owner-group", "--build"]);
    pack.arg(&tree).arg(&file).env("SOURCE_DATE_EPOCH", &yard.date);
    pack.stdout(std::io::stderr());
    run(pack)?;
    Ok(file)
}

/// Debian's word for a processor.
fn architecture(ours: &str) -> Result<&'static str> {
    match ours {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no packages are made for {other}"),
    }
}

/// The packages of the libraries that the program is linked to, with the versions that it needs.
fn libraries(yard: &Yard, program: &Path) -> Result<String> {
    let desk = yard.folder.join("libraries");
    fs::create_dir_all(desk.join("debian"))?;
    // dpkg-shlibdeps works in a source package only.
    fs::write(desk.join("debian/control"), "Source: sublet\n\nPackage: sublet\nArchitecture: any\n")?;
    let said = output(Command::new("dpkg-shlibdeps").arg("-O").arg(program).current_dir(&desk))?;
    let line = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(line.context("dpkg-shlibdeps names no library")?.to_owned())
}

fn kibibytes(tree: &Path) -> Result<u64> {
    let sizes =
        stage::files(tree)?.into_iter().map(|file| Ok(fs::metadata(tree.join(file))?.len().div_ceil(1024)));
    sizes.sum()
}

/// A line of `md5sums`: by it, `dpkg --verify` finds what was damaged. It is no proof against malice.
fn sum(tree: &Path, file: &Path) -> Result<String> {
    output(Command::new("md5sum").arg(file).current_dir(tree))
}

/// Folders that everybody may enter, whatever the umask of who builds.
fn set_folder_modes(tree: &Path) -> Result<()> {
    let mut find = Command::new("find");
    find.arg(tree).args(["-type", "d", "-exec", "chmod", "0755", "{}", "+"]);
    run(find)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_have_debians_names() {
        assert!(architecture("x86_64").is_ok_and(|name| name == "amd64"));
        assert!(architecture("aarch64").is_ok_and(|name| name == "arm64"));
        assert!(architecture("wasm32").is_err());
    }
}
