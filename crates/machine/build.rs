//! Builds two programs that run inside of guests, statically linked, to be put into this program: an installed Sublet must
//! be able to use them with no other file and no image from elsewhere. The hostile guest of the isolation test, and
//! what stands at the head of a guest that a container engine holds.

use std::path::PathBuf;
use std::process::Command;
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let target = env::var("TARGET")?;
    for name in ["hostile", "keeper"] {
        println!("cargo:rerun-if-changed={name}");
        let program = PathBuf::from(env::var("OUT_DIR")?).join(name);
        if !target.contains("linux") {
            // Guests there are held by a container engine, which brings a Linux of its own.
            std::fs::write(program, "")?;
            continue;
        }
        let mut rustc = Command::new(env::var("RUSTC")?);
        rustc.args(["--edition", "2024", "--crate-name", name, "--target", &target]);
        for option in
            ["target-feature=+crt-static", "opt-level=s", "panic=abort", "strip=symbols", "codegen-units=1"]
        {
            rustc.args(["-C", option]);
        }
        let status = rustc.arg(format!("{name}/main.rs")).arg("-o").arg(program).status()?;
        if !status.success() {
            return Err(format!(
                "the {name} program of guests was not built: a static C library is needed \
                 (Debian: libc6-dev, Fedora: glibc-static)"
            )
            .into());
        }
    }
    Ok(())
}
