//! Debian's `docker-registry` on a free port of loopback, filled by a client that is not ours.

#![allow(dead_code, reason = "each of its users needs a part")]

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::manifest::{OciDescriptor, OciImageManifest, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tempfile::TempDir;

use super::{Digest, Platform};

pub struct Registry {
    server: Child,
    port: u16,
    auth: RegistryAuth,
    directory: TempDir,
}

/// The one who may enter where a login is wanted.
pub const USER: &str = "anna";
/// Hers.
pub const PASSWORD: &str = "secret";
/// As a line of an `htpasswd` file: bcrypt, the only algorithm that the registry knows.
const ACCOUNT: &str = "anna:$2y$04$OJ0/ZfHtaSQ0BUXyZJ2VFO5OouucsD32sh5v6RNQpUU5iAYamIo1y\n";

/// What the other client has put there.
pub struct Pushed {
    pub digest: String,
    pub size: usize,
    pub layers: Vec<String>,
    pub layer_sizes: Vec<u64>,
}

type Files<'a> = &'a [(&'a str, &'a str)];

impl Registry {
    pub fn start() -> Registry {
        Registry::serve(RegistryAuth::Anonymous)
    }

    pub fn with_login() -> Registry {
        Registry::serve(RegistryAuth::Basic(USER.into(), PASSWORD.into()))
    }

    fn serve(auth: RegistryAuth) -> Registry {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let storage = directory.path().join("storage");
        // The port is free again when the listener is dropped; nobody else takes it in this moment.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            storage.display()
        );
        if auth != RegistryAuth::Anonymous {
            let accounts = directory.path().join("accounts");
            fs::write(&accounts, ACCOUNT).expect("written");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", accounts.display());
        }
        let path = directory.path().join("config.yml");
        fs::write(&path, config).expect("written");
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed: apt-get install docker-registry");
        let registry = Registry { server, port, auth, directory };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    pub fn stop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// An image for this machine, each layer gzipped.
    pub async fn push(&self, name: &str, layers: &[Files<'_>]) -> Pushed {
        self.push_for(&Platform::here().architecture, name, layers).await
    }

    pub async fn push_for(&self, architecture: &str, name: &str, layers: &[Files<'_>]) -> Pushed {
        let layers = layers.iter().map(|files| {
            let (gzip, plain) = gzip(files);
            (gzip, Digest::of(&plain), IMAGE_LAYER_GZIP_MEDIA_TYPE)
        });
        self.push_layers(architecture, name, layers.collect()).await
    }

    /// An image of one layer that is not compressed.
    pub async fn push_plain(&self, name: &str, files: Files<'_>) -> Pushed {
        let plain = archive(files);
        let digest = Digest::of(&plain);
        self.push_layers(&Platform::here().architecture, name, vec![(plain, digest, IMAGE_LAYER_MEDIA_TYPE)])
            .await
    }

    async fn push_layers(
        &self,
        architecture: &str,
        name: &str,
        layers: Vec<(Vec<u8>, Digest, &str)>,
    ) -> Pushed {
        let diff_ids: Vec<Digest> = layers.iter().map(|(_, diff_id, _)| *diff_id).collect();
        let config = serde_json::json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Cmd": ["/bin/app"], "ExposedPorts": { "80/tcp": {} } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Config::new(config.to_string().into_bytes(), IMAGE_CONFIG_MEDIA_TYPE.into(), None);
        let layers: Vec<ImageLayer> =
            layers.into_iter().map(|(bytes, _, media)| ImageLayer::new(bytes, media.into(), None)).collect();
        let describe = |bytes: &[u8], media: &str| OciDescriptor {
            media_type: media.into(),
            digest: Digest::of(bytes).to_string(),
            size: bytes.len() as i64,
            ..OciDescriptor::default()
        };
        let manifest = OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.into()),
            config: describe(&config.data, IMAGE_CONFIG_MEDIA_TYPE),
            layers: layers.iter().map(|layer| describe(&layer.data, &layer.media_type)).collect(),
            ..OciImageManifest::default()
        };
        let sizes = layers.iter().map(|layer| layer.data.len() as u64).collect();
        let names = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        let reference: Reference = self.reference(name).parse().expect("a reference");
        let client = self.client();
        client.push(&reference, &layers, config, &self.auth, Some(manifest)).await.expect("pushed");
        let types = [OCI_IMAGE_MEDIA_TYPE];
        let (bytes, digest) =
            client.pull_manifest_raw(&reference, &self.auth, &types).await.expect("read back");
        Pushed { digest, size: bytes.len(), layers: names, layer_sizes: sizes }
    }

    pub async fn push_manifest(&self, name: &str, manifest: OciManifest) {
        let reference: Reference = self.reference(name).parse().expect("a reference");
        let client = self.client();
        client.push_manifest(&reference, &manifest).await.expect("pushed");
    }

    /// As the registry keeps it.
    pub fn read_blob(&self, digest: &str) -> Vec<u8> {
        fs::read(self.blob(digest)).expect("the registry has it")
    }

    /// Changes what the registry keeps, behind its back.
    pub fn write_blob(&self, digest: &str, bytes: &[u8]) {
        fs::write(self.blob(digest), bytes).expect("written");
    }

    /// Empties the layers, so that who fetches them again would fail.
    pub fn forget_blobs(&self, pushed: &Pushed) {
        pushed.layers.iter().for_each(|layer| self.write_blob(layer, b""));
    }

    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a sha256 digest");
        let blobs = self.directory.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    fn client(&self) -> Client {
        let protocol = ClientProtocol::HttpsExcept(vec![format!("127.0.0.1:{}", self.port)]);
        Client::new(ClientConfig { protocol, ..ClientConfig::default() })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A gzip archive of these files.
fn gzip(files: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let plain = archive(files);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&plain).expect("written to memory");
    (encoder.finish().expect("written to memory"), plain)
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, Path::new(path), content.as_bytes()).expect("written to memory");
    }
    archive.into_inner().expect("written to memory")
}
