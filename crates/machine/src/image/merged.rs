//! A merged /usr across layers. Where a layer below has `lib` as a link to `usr/lib`, a directory `lib` in a layer above would hide
//! the link, and with it the loader of every program. Tools that write a layer without its base make such: `COPY --link`,
//! and builders that know no Docker. What such a directory holds belongs where the link leads: the layer is unpacked once
//! more, with the links in place.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ImageError;
use super::rootfs::is_opaque;

/// What a system with a merged /usr has in its root as links to the same name in `usr`.
const NAMES: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// Names of the root that are links into /usr below.
pub(super) type Names = BTreeSet<&'static str>;

/// For each of these layers, the lowest first, which of its directories stand where a layer below has a link into /usr.
pub(super) fn crossings(layers: &[PathBuf]) -> Result<Vec<Names>, ImageError> {
    let mut links = Names::new();
    let mut all = Vec::new();
    for layer in layers {
        let mut crossing = Names::new();
        for name in NAMES {
            match look(layer, name).map_err(ImageError::io("look at", &layer.join(name)))? {
                Found::Nothing => {}
                Found::Link => drop(links.insert(name)),
                Found::Directory if links.contains(name) => drop(crossing.insert(name)),
                Found::Directory => {}
                Found::Other => drop(links.remove(name)),
            }
        }
        all.push(crossing);
    }
    Ok(all)
}

enum Found {
    Nothing,
    /// To the same name in /usr.
    Link,
    /// One that shows what is below it, too.
    Directory,
    /// Something that is in the place of whatever is below.
    Other,
}

fn look(layer: &Path, name: &str) -> io::Result<Found> {
    let path = layer.join(name);
    let stat = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        found => found?,
    };
    if stat.is_dir() {
        let hides = is_opaque(&fs::File::open(&path)?);
        return Ok(if hides { Found::Other } else { Found::Directory });
    }
    if !stat.is_symlink() {
        return Ok(Found::Other);
    }
    let target = fs::read_link(&path)?;
    let target = target.strip_prefix("/").unwrap_or(&target);
    Ok(if target == Path::new("usr").join(name) { Found::Link } else { Found::Other })
}
