//! Releases of Sublet, and what they mean for this computer.

use super::basic::Moment;
use crate::problem::Document;
use node::engine::update::{Hold, Reason};
use node::model::DeviceId;
use node::model::document::{Channel, PackageKind, Version};
use node::update::{self, Rules, Step};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// What this node knows of releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Updates {
    /// The version that runs.
    pub running: String,
    /// Where releases are looked for; empty: nowhere.
    pub releases: String,
    /// When they were looked for last, since the node started.
    pub looked: Option<Moment>,
    /// Why nothing came of it, or why none can be taken.
    pub problem: Option<Document>,
    /// What the newest that is known means for this computer.
    pub offered: Option<Update>,
}

/// Which release, and by which rules it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateWish {
    /// A file of this computer, by its whole path, or an https:// address; none: where the settings say.
    pub release: Option<String>,
    /// Keys whose word counts; none: what the settings say.
    #[schema(value_type = Option<Vec<String>>)]
    pub trust: Option<Vec<DeviceId>>,
    /// Whether previews are taken too; none: what the settings say.
    pub previews: Option<bool>,
    /// What installs packages here: `deb`, `rpm`, `app_image`, `dmg`, `msi`; none: what had installed this program.
    #[schema(value_type = Option<String>)]
    pub kind: Option<PackageKind>,
    /// Not to wait for this computer's turn.
    pub early: bool,
    /// A folder of this computer to take the packages from, rather than from where the release says that they lie.
    #[schema(value_type = Option<String>)]
    pub from: Option<PathBuf>,
}

impl UpdateWish {
    /// The rules, where `set` says what is left out.
    pub fn rules(&self, set: Rules) -> Rules {
        Rules {
            trust: self.trust.clone().unwrap_or(set.trust),
            previews: self.previews.unwrap_or(set.previews),
            kind: self.kind,
            early: self.early,
        }
    }
}

/// What a release means for this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Update {
    /// Which version it is of.
    #[schema(value_type = String)]
    pub version: Version,
    /// The version that runs.
    #[schema(value_type = String)]
    pub running: Version,
    /// `stable` or `preview`.
    #[schema(value_type = String)]
    pub channel: Channel,
    /// Who signed, hexadecimal.
    #[schema(value_type = String)]
    pub signer: DeviceId,
    /// What to do about it.
    pub decision: UpdateDecision,
    /// Why, for programs: `running`, `older`, `expired`, `preview`, `never`, `no_package`; `turn`, `too_old`, `busy`; none where
    /// nothing stands in the way.
    pub reason: Option<String>,
    /// The same, in words.
    pub sentence: String,
    /// This computer's place in the order of this version, from 0 to 9999.
    pub place: u16,
    /// How far it has gone out, of 10000.
    pub cursor: u16,
    /// When its turn comes, if it has not and things go as announced.
    pub turn: Option<Moment>,
    /// Its packages for this computer.
    pub packages: Vec<UpdatePackage>,
    /// The command that installs them, once they are here.
    pub install: Option<String>,
}

/// What to do about a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateDecision {
    /// It is not for this computer.
    Nothing,
    /// Not now.
    Wait,
    /// Its turn has come.
    Fetch,
    /// Its packages are here.
    Install,
}

/// A package of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdatePackage {
    /// As the platform's tools call it.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Of its bytes, hexadecimal.
    pub sha256: String,
    /// Where it can be had.
    pub url: String,
    /// Where it lies, verified; none: not here.
    #[schema(value_type = Option<String>)]
    pub file: Option<PathBuf>,
}

/// How far a release has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateProgress {
    /// Bytes that have come.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

impl From<update::Finding> for Update {
    fn from(found: update::Finding) -> Update {
        let (decision, reason, sentence) = match found.step {
            Step::Nothing(reason) => (UpdateDecision::Nothing, Some(reason_code(reason)), reason.to_string()),
            Step::Wait(hold) => (UpdateDecision::Wait, Some(hold_code(hold)), hold.to_string()),
            Step::Fetch => (UpdateDecision::Fetch, None, "its turn has come".to_owned()),
            Step::Install => {
                (UpdateDecision::Install, None, "its packages are here, and guests would run on".to_owned())
            }
        };
        let turn = match found.step {
            Step::Wait(Hold::Turn { at, .. }) => at.map(Moment),
            Step::Wait(Hold::TooOld { .. } | Hold::Busy(_))
            | Step::Nothing(_)
            | Step::Fetch
            | Step::Install => None,
        };
        let package = |found: update::Found| UpdatePackage {
            name: found.package.name,
            size: found.package.size,
            sha256: found.package.sha256.to_string(),
            url: found.package.url,
            file: found.file,
        };
        Update {
            version: found.version,
            running: found.running,
            channel: found.channel,
            signer: found.signer,
            decision,
            reason: reason.map(str::to_owned),
            sentence,
            place: found.place,
            cursor: found.cursor,
            turn,
            packages: found.packages.into_iter().map(package).collect(),
            install: found.install,
        }
    }
}

fn reason_code(reason: Reason) -> &'static str {
    match reason {
        Reason::Running(_) => "running",
        Reason::Older { .. } => "older",
        Reason::Expired => "expired",
        Reason::Preview(_) => "preview",
        Reason::Never => "never",
        Reason::NoPackage(_) => "no_package",
    }
}

fn hold_code(hold: Hold) -> &'static str {
    match hold {
        Hold::Turn { .. } => "turn",
        Hold::TooOld { .. } => "too_old",
        Hold::Busy(_) => "busy",
    }
}
