//! Which OCI runtime runs guests, and how it is called.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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

    /// The one of this name, if it is installed.
    pub fn named(name: &str) -> Option<Runtime> {
        find_in_path(name).map(Runtime::at)
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

    /// Its name and version, as in an offer: `crun 1.8.1`.
    pub fn description(&self) -> String {
        let version = Command::new(&self.program).arg("--version").output();
        let text =
            version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let number = first.split_whitespace().last().unwrap_or_default();
        format!("{} {number}", self.name()).trim().to_owned()
    }

    /// Whether it brings a kernel of its own, whose threads and memory count as the guest's.
    pub fn is_heavy(&self) -> bool {
        self.name() == "runsc"
    }

    /// crun refuses to run where both versions of control groups are mounted, even when told to leave them alone; runc
    /// refuses to run where none are.
    pub fn dreads_mixed_groups(&self) -> bool {
        self.name() == "crun"
    }

    /// Whether it hands the terminal of the guest's own program over. Others keep it, copy between it and their own, and
    /// pass on its size; crun copies and does not.
    pub fn hands_over_terminal(&self) -> bool {
        self.name() == "crun"
    }

    /// The arguments that run `bundle` and leave control groups and network to us. `scratch` is a directory for its
    /// own state, in which it writes the files `pid` (when the program has begun) and `log` (its complaints, as JSON).
    pub fn arguments(&self, scratch: &Path, bundle: &Path, console: Option<&Path>) -> Vec<OsString> {
        let in_scratch = |name: &str| scratch.join(name).into_os_string();
        let mut arguments = self.global_arguments(scratch, &scratch.join("log"));
        arguments.extend(["run", "--pid-file"].map(OsString::from));
        arguments.extend([in_scratch("pid"), "--bundle".into(), bundle.into()]);
        arguments.extend(to_console(console));
        arguments.push("guest".into());
        arguments
    }

    /// The arguments that begin the process described in the file `process` in the guest that was run with the same
    /// `scratch`, and then leave: its number is in the file `pid`, and its terminal was sent to the socket `console`.
    pub fn exec_arguments(
        &self,
        scratch: &Path,
        log: &Path,
        process: &Path,
        pid: &Path,
        console: Option<&Path>,
    ) -> Vec<OsString> {
        let mut arguments = self.global_arguments(scratch, log);
        arguments.extend(["exec", "--detach", "--process"].map(OsString::from));
        arguments.extend([process.into(), "--pid-file".into(), pid.into()]);
        arguments.extend(to_console(console));
        arguments.push("guest".into());
        arguments
    }

    fn global_arguments(&self, scratch: &Path, log: &Path) -> Vec<OsString> {
        let own: &[&str] = match self.name().as_str() {
            "crun" => &["--cgroup-manager=disabled"],
            "runsc" => &["--rootless", "--ignore-cgroups", "--network=host"],
            // runc then goes on where it may not make control groups, and stays in ours.
            _ => &["--rootless=true"],
        };
        let mut arguments: Vec<OsString> = own.iter().map(OsString::from).collect();
        arguments.extend(["--root".into(), scratch.join("state").into(), "--log".into(), log.into()]);
        arguments.push("--log-format=json".into());
        arguments
    }
}

fn to_console(console: Option<&Path>) -> impl Iterator<Item = OsString> {
    console.into_iter().flat_map(|console| ["--console-socket".into(), console.into()])
}

/// The last thing that a runtime wrote into its log.
pub fn complaint(log: File) -> Option<String> {
    let mut text = String::new();
    log.take(64 * 1024).read_to_string(&mut text).ok()?;
    let last = text.lines().rfind(|line| !line.trim().is_empty())?;
    let entry: serde_json::Value = serde_json::from_str(last).ok()?;
    // It has to fit into a packet, and may name what the tenant named.
    Some(entry.get("msg")?.as_str()?.trim().chars().take(500).collect())
}

/// A program in `PATH` or in the usual places: a desktop session often has no /usr/sbin in its `PATH`.
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(env::split_paths(USUAL_PATH)).map(|directory| directory.join(name)).find(
        |program| fs::metadata(program).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0),
    )
}
