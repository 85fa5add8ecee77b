//! Which OCI runtime runs guests, and how it is called.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where distributions keep programs; used where `PATH` says nothing, and for the runtime itself.
pub const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An OCI runtime on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    program: PathBuf,
}

impl Runtime {
    /// The best one installed: crun starts twice as fast as runc and takes a tenth of its memory.
    pub fn find() -> Option<Runtime> {
        ["crun", "runc"].into_iter().find_map(find_in_path).map(Runtime::at)
    }

    /// This one.
    pub fn at(program: PathBuf) -> Runtime {
        Runtime { program }
    }

    /// Its path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its name, by which people know it.
    pub fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    /// crun refuses to run where both versions of control groups are mounted, even when told to leave them alone; runc
    /// refuses to run where none are.
    pub fn dreads_mixed_groups(&self) -> bool {
        self.name() == "crun"
    }

    /// The arguments that run `bundle` and leave control groups and network to us. `scratch` is a directory for its
    /// own state, in which it writes the files `pid` (when the program has begun) and `log` (its complaints, as JSON).
    pub fn arguments(&self, scratch: &Path, bundle: &Path) -> Vec<OsString> {
        let in_scratch = |name: &str| scratch.join(name).into_os_string();
        let own: &[&str] = match self.name().as_str() {
            "crun" => &["--cgroup-manager=disabled"],
            "runsc" => &["--rootless", "--ignore-cgroups", "--network=host"],
            // runc then goes on where it may not make control groups, and stays in ours.
            _ => &["--rootless=true"],
        };
        let mut arguments: Vec<OsString> = own.iter().map(OsString::from).collect();
        arguments.extend(["--root".into(), in_scratch("state"), "--log".into(), in_scratch("log")]);
        arguments.extend(["--log-format=json", "run", "--pid-file"].map(OsString::from));
        arguments.extend([in_scratch("pid"), "--bundle".into(), bundle.into(), "guest".into()]);
        arguments
    }
}

/// A program in `PATH` or in the usual places: a desktop session often has no /usr/sbin in its `PATH`.
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(env::split_paths(USUAL_PATH)).map(|directory| directory.join(name)).find(
        |program| fs::metadata(program).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0),
    )
}
