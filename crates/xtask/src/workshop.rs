//! Where things are, and how other programs are started. Children stay in our process group: Ctrl-C ends them too.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

pub struct Workshop {
    /// Of the workspace.
    pub root: PathBuf,
    target: PathBuf,
}

impl Workshop {
    pub fn find() -> Result<Workshop> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root =
            here.ancestors().nth(2).context("crates/xtask lies two folders below the root")?.to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(chosen) => env::current_dir().context("find the current folder")?.join(chosen),
            None => shared_target().unwrap_or_else(|| root.join("target")),
        };
        eprintln!("building in {}", target.display());
        Ok(Workshop { root, target })
    }

    /// A `cargo` that builds in our target folder and writes nothing to standard output.
    pub fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os().filter(|(name, _)| set_by_cargo_run(name)) {
            cargo.env_remove(name);
        }
        cargo
            .args(arguments)
            .env("CARGO_TARGET_DIR", &self.target)
            .current_dir(&self.root)
            .stdout(io::stderr());
        cargo
    }

    /// Path of a program that `cargo` built.
    pub fn built(&self, profile: &str, program: &str) -> PathBuf {
        self.target.join(profile).join(program).with_extension(env::consts::EXE_EXTENSION)
    }

    /// A folder for what jobs make, beside what `cargo` makes.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    pub fn has_cargo_deny(&self) -> bool {
        let mut version = self.cargo(["deny", "--version"]);
        version.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

/// Runs it to its end; anything but success is an error.
pub fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// A target folder kept outside of the clone, if somebody made one, serves every clone.
fn shared_target() -> Option<PathBuf> {
    let cache =
        env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cache")))?;
    Some(cache.join("sublet/target")).filter(|target| target.is_dir())
}

/// `cargo run` tells us about this package. Some build scripts (ring's, for one) build anew when these change, so that
/// each of our builds would undo one made by hand.
fn set_by_cargo_run(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_workspace() -> Result<()> {
        let manifest = std::fs::read_to_string(Workshop::find()?.root.join("Cargo.toml"))?;
        assert!(manifest.contains("[workspace]"));
        Ok(())
    }

    #[test]
    fn a_failed_program_is_an_error() {
        assert!(run(Command::new("true")).is_ok());
        let failed = run(Command::new("false")).map_err(|error| error.to_string());
        assert!(failed.is_err_and(|error| error.contains("exit status: 1")));
        assert!(run(Command::new("/there/is/no/such/program")).is_err());
    }
}
