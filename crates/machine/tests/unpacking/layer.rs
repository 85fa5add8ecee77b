//! Archives as no honest tool writes them.

#![allow(dead_code, reason = "each of its users needs a part")]

use tar::{Builder, EntryType, Header};

/// A layer that is written entry by entry, with names that no honest tool would write.
pub struct Layer(pub Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Layer {
        Layer(Builder::new(Vec::new()))
    }

    pub fn entry(mut self, kind: EntryType, path: &[u8], link: &[u8], mode: u32, body: &[u8]) -> Layer {
        if path.len() > 99 {
            self = self.extension(EntryType::GNULongName, path);
        }
        if link.len() > 99 {
            self = self.extension(EntryType::GNULongLink, link);
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(body.len() as u64);
        header.set_mtime(1_000_000_000);
        header.set_uid(1_000);
        header.set_gid(1_000);
        let fields = header.as_old_mut();
        let (path, link) = (&path[..path.len().min(99)], &link[..link.len().min(99)]);
        fields.name[..path.len()].copy_from_slice(path);
        fields.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, body).expect("written to memory");
        self
    }

    pub fn extension(mut self, kind: EntryType, text: &[u8]) -> Layer {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(text.len() as u64 + 1);
        header.set_cksum();
        self.0.append(&header, [text, &[0]].concat().as_slice()).expect("written to memory");
        self
    }

    pub fn pax(mut self, key: &str, value: &[u8]) -> Layer {
        self.0.append_pax_extensions([(key, value)]).expect("written to memory");
        self
    }

    pub fn file(self, path: &str, body: &str) -> Layer {
        self.entry(EntryType::Regular, path.as_bytes(), b"", 0o644, body.as_bytes())
    }

    pub fn dir(self, path: &str) -> Layer {
        self.entry(EntryType::Directory, path.as_bytes(), b"", 0o755, b"")
    }

    pub fn link(self, path: &str, target: &str) -> Layer {
        self.entry(EntryType::Symlink, path.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub fn hard(self, path: &str, target: &str) -> Layer {
        self.entry(EntryType::Link, path.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    /// A file of nothing but a hole of so many bytes.
    pub fn sparse(mut self, path: &str, size: u64) -> Layer {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_uid(1_000);
        header.set_gid(1_000);
        header.set_size(0);
        let gnu = header.as_gnu_mut().expect("it is");
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        let octal = format!("{size:011o}\0");
        gnu.sparse[0].offset.copy_from_slice(octal.as_bytes());
        gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
        gnu.realsize.copy_from_slice(octal.as_bytes());
        header.set_cksum();
        self.0.append(&header, std::io::empty()).expect("written to memory");
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("written to memory")
    }
}
