//! Secrets of guests: given, and never shown again.

use crate::problem::Problem;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use node::machine::guest::Secret;
use node::model::Hidden;
use node::model::document::{self, SecretFile};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;
use utoipa::ToSchema;

/// A file that a guest alone may read: it finds it in /run/secrets. Its value is kept sealed on this computer until the lease has
/// ended, and no answer has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretWish {
    /// Letters, digits, `.`, `_`, `-`; at most 64.
    pub name: String,
    /// 1 byte to 64 KiB; all of a guest at most 512 KiB.
    #[schema(write_only)]
    pub value: String,
    /// How the value is written here.
    #[serde(default)]
    pub encoding: SecretEncoding,
    /// Who in the guest may read it.
    #[serde(default)]
    pub readers: SecretReaders,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretEncoding {
    /// As it is.
    #[default]
    Text,
    /// In base64, with its padding: for bytes that are no text.
    Base64,
}

/// Who in a guest may read a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretReaders {
    /// The user of the guest's program alone.
    #[default]
    User,
    /// Its group, too.
    Group,
    /// Every user of the guest: for programs that give up root before they read it.
    All,
}

/// A secret as a lease names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretName {
    /// The file in /run/secrets.
    pub name: String,
    /// Who in the guest may read it.
    pub readers: SecretReaders,
}

/// The value is nobody's to print.
impl fmt::Debug for SecretWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretWish({})", self.name)
    }
}

/// A list of them. What does not fit is not repeated in the error, for it may be the secret itself.
pub fn unseen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretWish>, D::Error> {
    Vec::deserialize(deserializer).map_err(|_| {
        de::Error::custom("`secrets` is a list of objects with `name` and `value`, both of them texts")
    })
}

impl SecretWish {
    /// The secret that is meant.
    ///
    /// # Errors
    /// When its value is not written as it says.
    pub fn read(self) -> Result<Secret, Problem> {
        let written = Hidden::new(self.value.into_bytes());
        let value = match self.encoding {
            SecretEncoding::Text => written,
            SecretEncoding::Base64 => Hidden::new(STANDARD.decode(written.bytes()).map_err(|_| {
                let detail = format!("the value of the secret {} is no base64", self.name);
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_range", detail)
            })?),
        };
        Ok(Secret { file: SecretFile { name: self.name, readers: self.readers.into() }, value })
    }

    /// The wish for a file with these bytes.
    pub fn of(name: String, value: &Hidden, readers: SecretReaders) -> SecretWish {
        SecretWish { name, value: STANDARD.encode(value.bytes()), encoding: SecretEncoding::Base64, readers }
    }
}

impl From<&SecretFile> for SecretName {
    fn from(file: &SecretFile) -> SecretName {
        SecretName { name: file.name.clone(), readers: file.readers.into() }
    }
}

impl From<SecretReaders> for document::Readers {
    fn from(readers: SecretReaders) -> document::Readers {
        match readers {
            SecretReaders::User => document::Readers::User,
            SecretReaders::Group => document::Readers::Group,
            SecretReaders::All => document::Readers::All,
        }
    }
}

impl From<document::Readers> for SecretReaders {
    fn from(readers: document::Readers) -> SecretReaders {
        match readers {
            document::Readers::User => SecretReaders::User,
            document::Readers::Group => SecretReaders::Group,
            document::Readers::All => SecretReaders::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Wish {
        #[serde(default, deserialize_with = "unseen")]
        secrets: Vec<SecretWish>,
    }

    fn read(json: &str) -> Result<Vec<SecretWish>, String> {
        serde_json::from_str::<Wish>(json).map(|wish| wish.secrets).map_err(|error| error.to_string())
    }

    #[test]
    fn no_error_and_no_print_tells_a_secret() {
        for wrong in [
            r#"{"secrets":["pearl"]}"#,
            r#"{"secrets":"pearl"}"#,
            r#"{"secrets":{"db":"pearl"}}"#,
            r#"{"secrets":[{"name":"db","value":"x","pearl":1}]}"#,
            r#"{"secrets":[{"name":"db","encoding":"pearl","value":"x"}]}"#,
            r#"{"secrets":[{"name":"db","value":{"pearl":1}}]}"#,
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("`name` and `value`") && !error.contains("pearl"), "{error}");
        }
        let good = read(r#"{"secrets":[{"name":"db","value":"pearl"}]}"#).unwrap();
        assert_eq!(format!("{good:?}"), "[SecretWish(db)]");
        let secret = good.into_iter().next().unwrap().read().unwrap();
        assert_eq!((secret.value.bytes(), secret.file.readers), (&b"pearl"[..], document::Readers::User));
        assert!(!format!("{secret:?}").contains("pearl"));
    }

    #[test]
    fn bytes_that_are_no_text_travel_as_base64() {
        let bytes = Hidden::new(vec![0, 255, 10]);
        let wish = SecretWish::of("key".into(), &bytes, SecretReaders::All);
        assert_eq!(wish.clone().read().unwrap().value, bytes);
        let wrong = SecretWish { value: "pearl!".into(), ..wish };
        assert_eq!(wrong.read().unwrap_err().detail, "the value of the secret key is no base64");
    }
}
