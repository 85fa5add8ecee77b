//! Names that cannot be mixed up: of devices, persons, peers, and of signed objects by the hash of what was signed.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// A text that is not the hexadecimal form of the id that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {digits} hexadecimal digits are needed")]
pub struct NotAnId {
    /// What was given.
    pub text: String,
    /// What was wanted.
    pub what: &'static str,
    /// How many digits it has.
    pub digits: usize,
}

/// Bytes with a name: hexadecimal for people and in JSON, a byte string in canonical bytes.
macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $size:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// The first eight digits: enough for people to tell a few apart, never enough to act on.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                from_hex(text).map($name).ok_or_else(|| NotAnId { text: text.to_owned(), what: $what, digits: 2 * $size })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize(deserializer).map($name)
            }
        }
    };
}

bytes_id!(
    /// A device: its ed25519 public key, which signs offers, leases, receipts and ratings.
    DeviceId, 32, "device id"
);
bytes_id!(
    /// A person: the ed25519 public key that certifies the person's devices. Balances and reputation belong to it.
    PersonId, 32, "person id"
);
bytes_id!(
    /// How a device is reached: the ed25519 public key of its libp2p identity. Random and replaceable.
    PeerKey, 32, "peer key"
);
bytes_id!(
    /// The BLAKE3 hash of what was signed; names one object of whatever kind.
    ObjectId, 32, "object id"
);
bytes_id!(
    /// Sixteen random bytes that make a handshake its own.
    Nonce, 16, "nonce"
);

/// The id of a signed document of kind `T`.
pub struct Id<T> {
    object: ObjectId,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// Says that `object` is of kind `T`.
    pub const fn of(object: ObjectId) -> Id<T> {
        Id { object, kind: PhantomData }
    }

    /// The same id without its kind.
    pub const fn object(&self) -> ObjectId {
        self.object
    }

    /// The first eight digits, for people.
    pub fn short(&self) -> String {
        self.object.short()
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.object == other.object
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.object.cmp(&other.object)
    }
}
impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.short())
    }
}
impl<T> FromStr for Id<T> {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.parse().map(Id::of)
    }
}
impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}
impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ObjectId::deserialize(deserializer).map(Id::of)
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&hex::encode(bytes))
    } else {
        serializer.serialize_bytes(bytes)
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    if deserializer.is_human_readable() {
        let text = String::deserialize(deserializer)?;
        return from_hex(&text)
            .ok_or_else(|| de::Error::custom(format!("{} hexadecimal digits are needed", 2 * N)));
    }
    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
    <[u8; N]>::try_from(bytes.as_slice())
        .map_err(|_| de::Error::invalid_length(bytes.len(), &"an id of its own length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_text_for_people_and_bytes_in_canonical_form() {
        let id = DeviceId([7; 32]);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{}\"", "07".repeat(32)));
        assert_eq!(crate::to_bytes(&id)[..2], [0x58, 32]);
        assert_eq!(crate::from_bytes::<DeviceId>(&crate::to_bytes(&id)).unwrap(), id);
        assert_eq!(id.to_string().parse::<DeviceId>().unwrap(), id);
    }

    #[test]
    fn a_wrong_text_is_named() {
        let error = "abc".parse::<Nonce>().unwrap_err();
        assert_eq!(error.to_string(), "`abc` is no nonce: 32 hexadecimal digits are needed");
    }
}
