//! The JSON documents of an image, read from strangers: index, manifest and configuration. What passes here has a
//! structure, a size and a platform that the rest of the store relies on.

use std::collections::BTreeMap;
use std::fmt;

use model::document::HealthWish;
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::{Deserialize, Serialize};

use super::content::MAX_BLOB;
use super::{Digest, ImageError, health};

/// The largest manifest, index or configuration in bytes. Registries refuse manifests above 4 MiB.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;

/// The most layers: Docker's limit too, and what fits into one page of mount options.
const MAX_LAYERS: usize = 127;

/// The most bytes of all compressed layers together.
const MAX_IMAGE: u64 = 2 * MAX_BLOB;

/// Operating system and processor, in the words of the OCI specification: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, as a rule.
    pub os: String,
    /// `amd64`, `arm64`, ..
    pub architecture: String,
    /// `v7`, `v8`: of Arm processors only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// What guests on this machine need: Linux, also where the host is another system and runs a virtual one.
    pub fn here() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other, // arm, riscv64, s390x: alike in both worlds
        };
        Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image for `self` runs on `machine`. A variant that is not named fits any.
    fn runs_on(&self, machine: &Platform) -> bool {
        self.os == machine.os && self.architecture == machine.architecture
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// One blob that an image consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the content store.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub kind: PartKind,
}

/// What a part of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    /// The list of the others: its digest is the image's.
    Manifest,
    /// How to run it, and for which platform.
    Config,
    /// Files.
    Layer,
}

/// How an image wants to be run, as it says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The program, with its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments, or the program where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; `/` when the image names none.
    pub cwd: String,
    /// As written: a name or a number, with or without a group, of the image's own `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// TCP ports that the image says it listens on, ascending.
    pub ports: Vec<u16>,
    /// The signal that asks the program to end, as written: a name or a number.
    pub stop_signal: Option<String>,
    /// How to see whether it is well; none: it does not say.
    #[serde(default)]
    pub health: Option<HealthWish>,
}

/// A manifest that has been checked.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) config: Part,
    pub(super) layers: Vec<Part>,
    /// As it was written, for an image that is built upon this one.
    pub(super) document: ImageManifest,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, ImageError> {
        let document: ImageManifest = parse(bytes, "the image's manifest")?;
        if let Some(kind) = document.artifact_type() {
            return Err(ImageError::Unsupported { what: "this kind of artifact", found: kind.to_string() });
        }
        let media = document.config().media_type();
        if *media != MediaType::ImageConfig && media.as_ref() != DOCKER_CONFIG {
            return Err(ImageError::Unsupported { what: "this kind of artifact", found: media.to_string() });
        }
        let config = part(document.config(), PartKind::Config)?;
        if config.size > MAX_DOCUMENT {
            return Err(ImageError::TooLarge {
                what: "the image's configuration (bytes)",
                limit: MAX_DOCUMENT,
            });
        }
        if document.layers().len() > MAX_LAYERS {
            return Err(ImageError::TooLarge { what: "the number of layers", limit: MAX_LAYERS as u64 });
        }
        let layers = document.layers().iter().map(layer).collect::<Result<Vec<_>, _>>()?;
        let total = layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
        if total.is_none_or(|total| total > MAX_IMAGE) {
            return Err(ImageError::TooLarge { what: "the image (bytes)", limit: MAX_IMAGE });
        }
        Ok(Manifest { config, layers, document })
    }

    /// All that has to be fetched besides the manifest itself.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

/// A configuration that has been checked against this machine and its manifest.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) platform: Platform,
    /// RFC 3339, as the image says.
    pub(super) created: Option<String>,
    pub(super) run: RunConfig,
    pub(super) labels: BTreeMap<String, String>,
    /// Digests of the uncompressed layers, lowest first: as many as the manifest has layers.
    pub(super) diff_ids: Vec<Digest>,
    /// As it was written, for an image that is built upon this one.
    pub(super) document: ImageConfiguration,
}

impl Config {
    pub(super) fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Config, ImageError> {
        Config::parse_alone(bytes, manifest.layers.len())
    }

    /// For an archive that has no manifest, only a list of layers.
    pub(super) fn parse_alone(bytes: &[u8], layers: usize) -> Result<Config, ImageError> {
        let document: ImageConfiguration = parse(bytes, "the image's configuration")?;
        let platform = Platform {
            os: document.os().to_string(),
            architecture: document.architecture().to_string(),
            variant: document.variant().clone(),
        };
        let machine = Platform::here();
        if !platform.runs_on(&machine) {
            return Err(ImageError::NoPlatform { wanted: machine, offered: vec![platform] });
        }
        let diff_ids: Vec<Digest> =
            document.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
        if diff_ids.len() != layers {
            let why = format!("{layers} layers, but {} diffIDs", diff_ids.len());
            return Err(ImageError::malformed("the image's configuration", why));
        }
        let labels = document.labels_of_config().into_iter().flatten();
        Ok(Config {
            platform,
            created: document.created().clone(),
            run: RunConfig { health: health::read(bytes), ..run_config(&document) },
            labels: labels.map(|(name, value)| (name.clone(), value.clone())).collect(),
            diff_ids,
            document,
        })
    }
}

/// One manifest that an index offers.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
    /// The name that an OCI layout gives it.
    pub(super) name: Option<String>,
    pub(super) is_index: bool,
}

impl Candidate {
    /// Compares what came with what the index promised.
    pub(super) fn check_size(&self, found: u64) -> Result<(), ImageError> {
        if found == self.size {
            return Ok(());
        }
        Err(ImageError::SizeMismatch { digest: self.digest, expected: self.size, found })
    }
}

/// The annotation by which an OCI layout names what its index lists.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Docker writes the whole name here, and into the other only the tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What we ask a registry for.
pub(super) const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

pub(super) fn parse_index(bytes: &[u8]) -> Result<Vec<Candidate>, ImageError> {
    let index: ImageIndex = parse(bytes, "the image's index")?;
    let mut candidates = Vec::new();
    for entry in index.manifests() {
        let media = entry.media_type();
        let is_index = *media == MediaType::ImageIndex || media.as_ref() == DOCKER_INDEX;
        if !is_index && *media != MediaType::ImageManifest && media.as_ref() != DOCKER_MANIFEST {
            continue; // attestations and other artifacts travel beside images
        }
        candidates.push(Candidate {
            digest: entry.digest().to_string().parse()?,
            size: entry.size(),
            platform: entry.platform().as_ref().map(|platform| Platform {
                os: platform.os().to_string(),
                architecture: platform.architecture().to_string(),
                variant: platform.variant().clone(),
            }),
            name: entry
                .annotations()
                .as_ref()
                .and_then(|notes| notes.get(CONTAINERD_NAME).or_else(|| notes.get(REF_NAME)).cloned()),
            is_index,
        });
    }
    Ok(candidates)
}

/// Whether a document is an index rather than a manifest: by its content, since the label that a registry puts on
/// it is not covered by the digest.
pub(super) fn is_index(bytes: &[u8]) -> Result<bool, ImageError> {
    #[derive(Deserialize)]
    struct Either {
        #[serde(rename = "schemaVersion")]
        version: u32,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
    }
    let either: Either = parse(bytes, "the image's manifest")?;
    match (either.version, either.manifests, either.layers) {
        (2, Some(_), None) => Ok(true),
        (2, None, Some(_)) => Ok(false),
        (2, ..) => Err(ImageError::malformed("the image's manifest", "neither an index nor a manifest")),
        (version, ..) => {
            Err(ImageError::Unsupported { what: "this version of manifest", found: version.to_string() })
        }
    }
}

/// The candidate for this machine. The first one wins, as with every other tool.
pub(super) fn for_this_machine(candidates: &[Candidate]) -> Result<&Candidate, ImageError> {
    let machine = Platform::here();
    let fits = |c: &&Candidate| c.platform.as_ref().is_some_and(|platform| platform.runs_on(&machine));
    if let Some(candidate) = candidates.iter().find(fits) {
        return Ok(candidate);
    }
    // An index of one that names no platform: its configuration will tell.
    if let [only] = candidates
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let offered = candidates.iter().filter_map(|candidate| candidate.platform.clone());
    Err(ImageError::NoPlatform { wanted: machine, offered: offered.collect() })
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &'static str) -> Result<T, ImageError> {
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(ImageError::TooLarge { what, limit: MAX_DOCUMENT });
    }
    serde_json::from_slice(bytes).map_err(|error| ImageError::malformed(what, error))
}

fn part(descriptor: &oci_spec::image::Descriptor, kind: PartKind) -> Result<Part, ImageError> {
    Ok(Part { digest: descriptor.digest().to_string().parse()?, size: descriptor.size(), kind })
}

fn layer(descriptor: &oci_spec::image::Descriptor) -> Result<Part, ImageError> {
    let layer = part(descriptor, PartKind::Layer)?;
    if layer.size > MAX_BLOB {
        return Err(ImageError::TooLarge { what: "a layer (bytes)", limit: MAX_BLOB });
    }
    oci_layer_type(descriptor.media_type())?;
    Ok(layer)
}

/// The OCI name of a layer's type; how it is compressed is seen from its first bytes when it is unpacked.
pub(super) fn oci_layer_type(media: &MediaType) -> Result<MediaType, ImageError> {
    match media.as_ref() {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(MediaType::ImageLayer)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(MediaType::ImageLayerGzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(MediaType::ImageLayerZstd),
        other => Err(ImageError::Unsupported { what: "this kind of layer", found: other.to_owned() }),
    }
}

fn run_config(document: &ImageConfiguration) -> RunConfig {
    let Some(config) = document.config() else {
        return RunConfig { cwd: "/".to_owned(), ..RunConfig::default() };
    };
    let cwd = config.working_dir().clone().filter(|directory| !directory.is_empty());
    let mut ports: Vec<u16> =
        config.exposed_ports().iter().flatten().filter_map(|port| tcp_port(port)).collect();
    ports.sort_unstable();
    ports.dedup();
    RunConfig {
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        env: config.env().clone().unwrap_or_default(),
        cwd: cwd.unwrap_or_else(|| "/".to_owned()),
        user: config.user().clone().unwrap_or_default(),
        ports,
        stop_signal: config.stop_signal().clone().filter(|signal| !signal.is_empty()),
        // It stands beside what the OCI says.
        health: None,
    }
}

/// `80` and `80/tcp`, but not `53/udp`.
fn tcp_port(port: &str) -> Option<u16> {
    port.strip_suffix("/tcp").unwrap_or(port).parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn manifest(change: impl FnOnce(&mut Value)) -> Result<Manifest, ImageError> {
        let digest = Digest::of(b"x").to_string();
        let mut document = json!({
            "schemaVersion": 2,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 10 },
            "layers": [
                { "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 20 },
            ],
        });
        change(&mut document);
        Manifest::parse(document.to_string().as_bytes())
    }

    #[test]
    fn an_ordinary_manifest_is_understood() {
        let manifest = manifest(|_| {}).expect("it is ordinary");
        assert_eq!(manifest.blobs().map(|part| part.size).collect::<Vec<_>>(), [10, 20]);
    }

    #[test]
    fn a_strange_manifest_is_refused_by_name() {
        let too_large = |result| matches!(result, Err(ImageError::TooLarge { .. }));
        let unsupported = |result| matches!(result, Err(ImageError::Unsupported { .. }));
        assert!(too_large(manifest(|m| m["config"]["size"] = json!(MAX_DOCUMENT + 1))));
        assert!(too_large(manifest(|m| m["layers"][0]["size"] = json!(u64::MAX))));
        assert!(too_large(manifest(|m| {
            let layer = m["layers"][0].clone();
            m["layers"] = json!(vec![layer; MAX_LAYERS + 1]);
        })));
        assert!(too_large(manifest(|m| {
            m["layers"][0]["size"] = json!(MAX_BLOB);
            let layer = m["layers"][0].clone();
            m["layers"] = json!([layer, layer, layer]);
        })));
        assert!(unsupported(manifest(
            |m| m["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json")
        )));
        assert!(unsupported(manifest(|m| {
            m["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        })));
        let sha512 = format!("sha512:{}", "a".repeat(128));
        assert!(unsupported(manifest(|m| m["layers"][0]["digest"] = json!(sha512))));
        assert!(matches!(Manifest::parse(b"{}"), Err(ImageError::Malformed { .. })));
        assert!(matches!(Manifest::parse(&[b' '; 5 << 20]), Err(ImageError::TooLarge { .. })));
    }

    #[test]
    fn an_index_is_told_from_a_manifest() {
        assert!(is_index(br#"{"schemaVersion":2,"manifests":[]}"#).expect("an index"));
        assert!(!is_index(br#"{"schemaVersion":2,"layers":[]}"#).expect("a manifest"));
        assert!(is_index(br#"{"schemaVersion":2,"layers":[],"manifests":[]}"#).is_err());
        assert!(matches!(is_index(br#"{"schemaVersion":1}"#), Err(ImageError::Unsupported { .. })));
    }

    #[test]
    fn the_machine_gets_its_own_platform() {
        let candidate = |platform: Option<Platform>| Candidate {
            digest: Digest::of(platform.as_ref().map(Platform::to_string).unwrap_or_default().as_bytes()),
            size: 1,
            platform,
            name: None,
            is_index: false,
        };
        let alien = Platform { os: "plan9".into(), architecture: "mips".into(), variant: None };
        let (ours, theirs) = (candidate(Some(Platform::here())), candidate(Some(alien.clone())));
        let both = [theirs.clone(), ours.clone()];
        assert_eq!(for_this_machine(&both).expect("ours is there").digest, ours.digest);
        assert!(for_this_machine(&[candidate(None)]).is_ok());
        let Err(ImageError::NoPlatform { offered, .. }) = for_this_machine(&[theirs]) else {
            panic!("an alien image was taken");
        };
        assert_eq!(offered, [alien]);
    }

    #[test]
    fn ports_are_of_tcp() {
        assert_eq!(
            ["80", "443/tcp", "53/udp", "0", "99999", "x"].map(tcp_port),
            [Some(80), Some(443), None, None, None, None]
        );
    }
}
