//! Prepares what Tauri embeds.

use std::{fs, io, path::Path};

/// Stands in for the page until npm has built it, so that `cargo check` works in a fresh clone.
const NOT_BUILT: &str = "<!doctype html><title>Sublet</title><p>This build has no user interface: \
                         run <code>npm ci && npm run build</code> in ui/, then build again.";

fn main() -> io::Result<()> {
    let page = Path::new("../ui/dist/index.html");
    if !page.exists() {
        fs::create_dir_all("../ui/dist")?;
        fs::write(page, NOT_BUILT)?;
    }
    println!("cargo:rerun-if-changed={}", page.display());
    tauri_build::build();
    Ok(())
}
