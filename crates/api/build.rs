//! Makes a place for the pages that the dashboard embeds.

use std::{fs, io, path::Path};

/// Stands in for the pages until npm has built them, so that a fresh clone builds.
const NOT_BUILT: &str = "<!doctype html><title>Sublet</title><p>This build has no user interface: \
                         run <code>npm ci && npm run build</code> in ui/, then build again.";

fn main() -> io::Result<()> {
    let page = Path::new("../../ui/dist/index.html");
    if !page.exists() {
        fs::create_dir_all("../../ui/dist")?;
        fs::write(page, NOT_BUILT)?;
    }
    println!("cargo:rerun-if-changed=../../ui/dist");
    Ok(())
}
