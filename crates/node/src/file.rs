//! Small files that are there whole, or as they were before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Puts a file in the place of another, readable by its owner alone. It is written beside and renamed: a crash leaves the old
/// one or the new one, never half of it.
///
/// # Errors
/// When the disk does not take it; what was there before is still there then.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Not another ending: `a.key` and `a.cert` may be written at once.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
