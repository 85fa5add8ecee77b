//! Encryption of a volume's files and their names by the kernel (fscrypt, policy 2: AES-256-XTS and AES-256-CTS), the format
//! that Android and ChromeOS use. See <https://docs.kernel.org/filesystems/fscrypt.html>.
//!
//! The key is the tenant's. It is in the kernel while the volume is mounted, and in no file of this machine. A host's root
//! can read what a guest reads while it runs: this protects a disk that is stolen, sold or copied, and what is kept after the
//! lease. The number of files, their sizes, times and modes are not hidden.
#![expect(unsafe_code, reason = "fscrypt is used by ioctl, for which rustix has no call")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Bytes of a volume's key.
pub const KEY_BYTES: usize = 64;

/// The key of a volume. It is in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeSecret(pub [u8; KEY_BYTES]);

impl std::fmt::Debug for VolumeSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VolumeSecret(..)")
    }
}

impl Drop for VolumeSecret {
    fn drop(&mut self) {
        // The compiler must not find that nobody reads this.
        self.0.iter_mut().for_each(|byte| *std::hint::black_box(byte) = 0);
    }
}

const ADD_ENCRYPTION_KEY: libc::c_ulong = 0xC050_6617;
const SET_ENCRYPTION_POLICY: libc::c_ulong = 0x800C_6613;
const GET_ENCRYPTION_POLICY_EX: libc::c_ulong = 0xC009_6616;
const KEY_SPEC_IDENTIFIER: u32 = 2;

#[repr(C)]
struct AddKey {
    kind: u32,
    reserved: u32,
    /// The kernel's answer: 16 bytes.
    identifier: [u8; 32],
    size: u32,
    key_id: u32,
    more: [u32; 8],
    raw: [u8; KEY_BYTES],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PolicyV2 {
    version: u8,
    contents: u8,
    names: u8,
    flags: u8,
    unit: u8,
    reserved: [u8; 3],
    identifier: [u8; 16],
}

#[repr(C)]
struct PolicyAnswer {
    size: u64,
    policy: PolicyV2,
}

/// Gives the kernel the key of a mounted file system; says by which name the kernel knows it.
pub fn unlock(mounted: &Path, secret: &VolumeSecret) -> io::Result<[u8; 16]> {
    let root = File::open(mounted)?;
    let mut request = AddKey {
        kind: KEY_SPEC_IDENTIFIER,
        reserved: 0,
        identifier: [0; 32],
        size: KEY_BYTES as u32,
        key_id: 0,
        more: [0; 8],
        raw: secret.0,
    };
    // SAFETY: the kernel reads and writes the fixed part, and reads `size` bytes after it.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), ADD_ENCRYPTION_KEY as _, &raw mut request) };
    let error = io::Error::last_os_error();
    request.raw.iter_mut().for_each(|byte| *std::hint::black_box(byte) = 0);
    if done != 0 {
        return Err(error);
    }
    let mut identifier = [0; 16];
    identifier.copy_from_slice(&request.identifier[..16]);
    Ok(identifier)
}

/// Lets everything that is made in this directory, which is empty, be encrypted with that key.
pub fn encrypt(directory: &Path, identifier: [u8; 16]) -> io::Result<()> {
    let directory = File::open(directory)?;
    let policy =
        PolicyV2 { version: 2, contents: 1, names: 4, flags: 3, unit: 0, reserved: [0; 3], identifier };
    // SAFETY: the kernel reads as much as the version says, which is the whole.
    match unsafe { libc::ioctl(directory.as_raw_fd(), SET_ENCRYPTION_POLICY as _, &raw const policy) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// With which key a directory is encrypted; none when it is not.
pub fn encrypted_with(directory: &Path) -> io::Result<Option<[u8; 16]>> {
    let directory = File::open(directory)?;
    let nothing = PolicyV2 {
        version: 0,
        contents: 0,
        names: 0,
        flags: 0,
        unit: 0,
        reserved: [0; 3],
        identifier: [0; 16],
    };
    let mut answer = PolicyAnswer { size: size_of::<PolicyV2>() as u64, policy: nothing };
    // SAFETY: the kernel writes no more than `size` bytes after it.
    match unsafe { libc::ioctl(directory.as_raw_fd(), GET_ENCRYPTION_POLICY_EX as _, &raw mut answer) } {
        0 => Ok(Some(answer.policy.identifier)),
        _ => match io::Error::last_os_error() {
            error
                if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP | libc::ENOTTY)) =>
            {
                Ok(None)
            }
            error => Err(error),
        },
    }
}

/// Whether this machine's kernel can do it.
pub fn possible() -> bool {
    std::fs::read_to_string("/sys/fs/ext4/features/encryption").is_ok_and(|says| says.trim() == "supported")
}
