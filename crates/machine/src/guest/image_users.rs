//! Whom the image means by a user's name.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::error::StartError;

/// The user that a guest's program runs as, in the guest's own ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// Further groups, as the image's /etc/group has them.
    pub groups: Vec<u32>,
    /// From the image's /etc/passwd.
    pub home: String,
}

/// Larger than any honest file of users.
pub const LARGEST: u64 = 1 << 20;

/// Looks `wanted` (nothing, `uid`, `name`, `uid:gid` or `name:group`) up in the image at `root`.
pub fn resolve(root: BorrowedFd<'_>, wanted: &str) -> Result<User, StartError> {
    find(wanted, &read(root, "etc/passwd"), &read(root, "etc/group"))
        .ok_or_else(|| StartError::NoUser { user: wanted.to_owned() })
}

/// Nothing if it is missing: images without users are common.
fn read(root: BorrowedFd<'_>, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut bytes = Vec::new();
    if let Ok(file) = openat2(root, path, flags, Mode::empty(), resolve) {
        // What cannot be read to its end is used as far as it goes; a name that is missing then is refused.
        let _ = File::from(file).take(LARGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn find(wanted: &str, passwd: &str, group: &str) -> Option<User> {
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (wanted, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    // name:password:uid:gid:comment:home:shell
    let entry = lines(passwd).find(|fields| fields[0] == name || fields.get(2) == Some(&name));
    let uid = match &entry {
        Some(fields) => fields.get(2)?.parse().ok()?,
        None => name.parse().ok()?,
    };
    // name:password:gid:members
    let gid = match group_name.filter(|group| !group.is_empty()) {
        Some(wanted) => {
            let known = lines(group).find(|fields| fields[0] == wanted);
            known.map_or(wanted.parse(), |fields| fields.get(2).unwrap_or(&"").parse()).ok()?
        }
        None => entry.as_ref().and_then(|fields| fields.get(3)?.parse().ok()).unwrap_or(0),
    };
    let login = entry.as_ref().map(|fields| fields[0]);
    let is_member = |fields: &Vec<&str>| {
        login.is_some_and(|login| fields.get(3).is_some_and(|members| members.split(',').any(|m| m == login)))
    };
    // An explicit group replaces the memberships, as in other engines.
    let groups = match group_name {
        Some(_) => Vec::new(),
        None => {
            lines(group).filter(is_member).filter_map(|fields| fields.get(2)?.parse().ok()).take(64).collect()
        }
    };
    let home = entry.as_ref().and_then(|fields| fields.get(5)).filter(|home| home.starts_with('/'));
    Some(User { uid, gid, groups, home: home.unwrap_or(&"/").to_string() })
}

fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.trim().split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nmail:x:8:web,other\n";

    fn ids(wanted: &str) -> Option<(u32, u32, Vec<u32>)> {
        find(wanted, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(ids(""), Some((0, 0, vec![])));
        assert_eq!(ids("web"), Some((33, 33, vec![8])));
        assert_eq!(ids("33"), Some((33, 33, vec![8])));
        assert_eq!(ids("web:mail"), Some((33, 8, vec![])));
        assert_eq!(ids("1000:1000"), Some((1000, 1000, vec![])));
        assert_eq!(ids("1000"), Some((1000, 0, vec![])));
        assert_eq!(find("web", PASSWD, GROUP).unwrap().home, "/srv");
    }

    #[test]
    fn an_unknown_name_is_refused_and_never_becomes_root() {
        assert_eq!(ids("nobody"), None);
        assert_eq!(ids("web:nogroup"), None);
        assert_eq!(ids("-1"), None);
        assert_eq!(ids("4294967296"), None);
        assert_eq!(find("evil", "evil:x:zero:0::/:/bin/sh", ""), None);
    }
}
