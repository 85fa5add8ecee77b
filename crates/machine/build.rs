//! Builds the hostile guest of the isolation test, statically linked, to be put into this program: an installed Sublet
//! must be able to try its own sandbox, with no other file and no image from elsewhere.

use std::path::PathBuf;
use std::process::Command;
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=hostile");
    println!("cargo:rerun-if-changed=build.rs");
    let target = env::var("TARGET")?;
    let program = PathBuf::from(env::var("OUT_DIR")?).join("hostile");
    if !target.contains("linux") {
        // Guests there are held by a container engine, which brings a Linux of its own.
        std::fs::write(program, "")?;
        return Ok(());
    }
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-name", "hostile", "--target", &target]);
    for option in
        ["target-feature=+crt-static", "opt-level=s", "panic=abort", "strip=symbols", "codegen-units=1"]
    {
        rustc.args(["-C", option]);
    }
    let status = rustc.arg("hostile/main.rs").arg("-o").arg(program).status()?;
    if !status.success() {
        return Err("the hostile guest of the isolation test was not built: a static C library is needed \
                    (Debian: libc6-dev, Fedora: glibc-static)"
            .into());
    }
    Ok(())
}
