//! Images of this computer, and how they come here.

use super::health::HealthWish;
use node::machine::image::{self as machine, PartKind, Stage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use utoipa::ToSchema;

/// An image that is here, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Of its manifest: what a lease pins.
    pub digest: String,
    /// What people call it; none for one that has been replaced under its name.
    pub names: Vec<String>,
    /// Bytes of all its parts, as they travel.
    pub size_bytes: u64,
    /// When it was made, as it says itself; none for reproducible ones.
    pub created: Option<String>,
    /// What it runs on: `linux/amd64`.
    pub platform: String,
}

impl From<&machine::Image> for Image {
    fn from(image: &machine::Image) -> Image {
        Image {
            digest: image.digest.to_string(),
            names: image.names.clone(),
            size_bytes: image.size,
            created: image.created.clone(),
            platform: image.platform.to_string(),
        }
    }
}

/// All images of this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Images {
    /// As they came.
    pub images: Vec<Image>,
}

/// What there is to know about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Inspection {
    /// Name, size, platform.
    #[serde(flatten)]
    pub image: Image,
    /// Its blobs, the manifest first.
    pub parts: Vec<Part>,
    /// The program, with its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments, or the program where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// The user it wants to run as.
    pub user: String,
    /// TCP ports that it says it listens on.
    pub ports: Vec<u16>,
    /// The signal that asks the program to end; none: SIGTERM.
    pub stop_signal: Option<String>,
    /// How to see whether it is well; none: it does not say.
    pub health: Option<HealthWish>,
    /// What its maker noted.
    pub labels: BTreeMap<String, String>,
}

impl From<machine::Inspection> for Inspection {
    fn from(found: machine::Inspection) -> Inspection {
        let machine::RunConfig { entrypoint, cmd, env, cwd, user, ports, stop_signal, health } = found.config;
        let parts = found.parts.iter().map(Part::from).collect();
        Inspection {
            image: (&found.image).into(),
            parts,
            entrypoint,
            cmd,
            env,
            cwd,
            user,
            ports,
            stop_signal,
            health: health.as_ref().map(Into::into),
            labels: found.labels,
        }
    }
}

/// One blob that an image consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// Its name in the store.
    pub digest: String,
    /// Bytes.
    pub size_bytes: u64,
    /// `manifest`, `config` or `layer`.
    pub kind: String,
}

impl From<&machine::Part> for Part {
    fn from(part: &machine::Part) -> Part {
        let kind = match part.kind {
            PartKind::Manifest => "manifest",
            PartKind::Config => "config",
            PartKind::Layer => "layer",
        };
        Part { digest: part.digest.to_string(), size_bytes: part.size, kind: kind.to_owned() }
    }
}

/// An image of a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// `debian:12`, `registry.example/app@sha256:..`.
    pub reference: String,
    /// Who logs in; none: anybody.
    #[serde(default)]
    pub login: Option<Login>,
}

/// A login at a registry. It is used once, and not kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password or token.
    pub password: String,
}

/// An image in a file or directory of this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// An OCI layout, or an archive of one, or what `docker save` writes: an absolute path.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Which of several, and what to call it.
    #[serde(default)]
    pub name: Option<String>,
}

/// A folder that becomes an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// The folder: an absolute path.
    #[schema(value_type = String)]
    pub dir: PathBuf,
    /// The image to build upon: a name or digest; none for a folder that is complete in itself.
    pub base: Option<String>,
    /// What to call it.
    pub name: Option<String>,
    /// The program.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments, or the program where there is no entrypoint.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`, in addition to the base's.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// `user`, `user:group`, or numbers.
    pub user: Option<String>,
    /// TCP ports that it listens on, in addition to the base's.
    pub ports: Vec<u16>,
    /// The signal that asks the program to end: a name or a number.
    pub stop_signal: Option<String>,
    /// How to see whether it is well.
    pub health: Option<HealthWish>,
}

/// How far a transfer has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageProgress {
    /// `fetching` or `unpacking`.
    pub stage: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; nought while it is not known.
    pub total: u64,
}

impl From<machine::Progress> for ImageProgress {
    fn from(progress: machine::Progress) -> ImageProgress {
        let stage = match progress.stage {
            Stage::Fetching => "fetching",
            Stage::Unpacking => "unpacking",
        };
        ImageProgress { stage: stage.to_owned(), done: progress.done, total: progress.total }
    }
}
