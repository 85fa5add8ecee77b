//! Bytes that nobody is shown: no accident prints them or writes them down, and they are overwritten once they are of no more use.

use std::fmt;
use zeroize::Zeroizing;

/// Bytes that nobody is shown. It has no serialized form, so that whoever passes them on does so on purpose.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(Zeroizing<Vec<u8>>);

impl Hidden {
    /// Hides these. Copies that were made of them before are not our affair.
    pub fn new(bytes: Vec<u8>) -> Hidden {
        Hidden(Zeroizing::new(bytes))
    }

    /// Room for so many, to be read into: one that grew would leave copies behind.
    pub fn room(length: usize) -> Hidden {
        Hidden::new(vec![0; length])
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Several of them as one: each is its length as a big-endian u32, then its bytes.
    pub fn framed<'a>(values: impl Iterator<Item = &'a Hidden> + Clone) -> Hidden {
        let length = values.clone().map(|value| 4 + value.0.len()).sum();
        let mut framed = Zeroizing::new(Vec::with_capacity(length));
        for value in values {
            framed.extend((value.0.len() as u32).to_be_bytes());
            framed.extend(value.bytes());
        }
        Hidden(framed)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_not_printed() {
        assert_eq!(format!("{:?}", Hidden::new(b"pearl".to_vec())), "Hidden(..)");
    }

    #[test]
    fn several_are_framed_without_growing() {
        let values = [Hidden::new(b"a".to_vec()), Hidden::default(), Hidden::new(b"bc".to_vec())];
        let framed = Hidden::framed(values.iter());
        assert_eq!(framed.bytes(), b"\0\0\0\x01a\0\0\0\0\0\0\0\x02bc");
        assert_eq!(framed.0.capacity(), framed.0.len());
    }
}
