//! Volumes of leases: as host, given to guests, shown, copied, removed, kept for as long as was paid for; as tenant, asked for.
//!
//! The key of an encrypted volume stays with its tenant, in a file that only its owner may read. A host asks for it when it
//! starts the guest or copies the files, gives it to the kernel, and keeps it nowhere.

use crate::execute::Hands;
use crate::file::write_private;
use crate::handle::NodeHandle;
use crate::run::Command;
use crate::{Error, Fault, keys};
use engine::lease::VolumeKey;
use machine::guest::Mount;
use machine::volume::{KEY_BYTES, Ready, VolumeError, VolumeId, VolumeSecret, VolumeSeen, Volumes, Wanted};
use model::message::{StreamAnswer, StreamHead, VolumeWish};
use model::{Id, Lease, PeerKey, PersonId, Side, Timestamp, Volume, plain};
use net::{IncomingStream, NetError, Stream};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Bytes of one frame.
const FRAME: usize = 64 << 10;

/// Ends a transfer ill; a sentence follows.
const ILL: u32 = u32::MAX;

/// The longest sentence.
const SENTENCE: usize = 1_000;

/// How long the other side may be silent in a transfer: long enough for a copy of a large disk.
const SILENCE: Duration = Duration::from_secs(600);

/// A volume as its tenant sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeState {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its snapshots.
    pub snapshots: Vec<String>,
    /// Whether a guest, or a copy, is at work with it.
    pub in_use: bool,
}

impl From<VolumeSeen> for VolumeState {
    fn from(seen: VolumeSeen) -> VolumeState {
        let VolumeSeen { name, size, encrypted, snapshots, in_use, .. } = seen;
        VolumeState { name, size, encrypted, snapshots, in_use }
    }
}

/// A volume on this computer, of whoever it is.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// Whose.
    pub person: PersonId,
    /// What there is to know.
    pub state: VolumeState,
    /// Until when it stays; none while its lease goes on.
    pub until: Option<Timestamp>,
}

/// A volume of ours on another computer.
#[derive(Clone, Debug)]
pub struct Rented {
    /// The newest lease with it.
    pub lease: Id<Lease>,
    /// As it was agreed.
    pub volume: Volume,
    /// Who has it.
    pub host: PersonId,
    /// Until when it stays; none while the lease goes on.
    pub until: Option<Timestamp>,
}

/// Why a guest has no volumes.
pub enum NotReady {
    /// The tenant's key cannot be had now.
    Later(String),
    /// It will not be, and whether the tenant's wish is why.
    Never(bool, String),
}

/// What a stream about a volume may do.
pub struct Granted {
    lease: Id<Lease>,
    person: PersonId,
    peer: PeerKey,
    volume: Volume,
    wish: VolumeWish,
}

/// As host: whether a lease allows it. It may be over: what is kept is the tenant's.
pub fn judge(lease: &engine::lease::Lease, name: &str, wish: &VolumeWish) -> Result<Granted, StreamAnswer> {
    let volume = lease.contract.workload.volumes.iter().find(|volume| volume.name == name);
    let volume = volume.ok_or(StreamAnswer::NotYours)?.clone();
    let person = lease.contract.tenant.person;
    Ok(Granted { lease: lease.id(), person, peer: lease.peer, volume, wish: wish.clone() })
}

/// As host: mounts the volumes of a lease. They stay mounted here until what is returned is dropped.
pub async fn ready(
    hands: &Hands,
    lease: Id<Lease>,
    wanted: &[Volume],
) -> Result<(Vec<Ready>, Vec<Mount>), NotReady> {
    if wanted.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let parties = look(hands, move |core| {
        let lease = core.engine().state().lease.get(lease)?;
        Some((lease.contract.tenant.person, lease.peer))
    });
    let Some((person, peer)) = parties.await.flatten() else {
        return Err(NotReady::Never(false, "the lease is gone".to_owned()));
    };
    let (mut readies, mut mounts) = (Vec::new(), Vec::new());
    for volume in wanted {
        let secret = match volume.encrypted {
            true => Some(
                secret(hands, peer, lease, &volume.name).await.map_err(|e| NotReady::Later(e.to_string()))?,
            ),
            false => None,
        };
        let wanted = Wanted { person: person.0, name: volume.name.clone(), size: volume.size, secret };
        let volumes = hands.volumes.clone();
        let ready = blocking(move || volumes.provide(&wanted)).await;
        let ready = ready.map_err(|error| NotReady::Never(error.is_wish(), error.to_string()))?;
        mounts.push(Mount { source: ready.path(), target: volume.path.clone(), read_only: volume.read_only });
        readies.push(ready);
    }
    Ok((readies, mounts))
}

/// As host: removes what is kept no longer. A volume whose lease this node does not know is let alone: better a stray disk than a
/// lost one.
pub async fn tidy(hands: Hands) {
    let known = look(&hands, |core| {
        let (state, now) = (core.engine().state(), core.now());
        let kept = state.lease.volumes(now);
        let knows: Box<dyn Fn(&VolumeKey) -> bool + Send> = {
            let known: Vec<VolumeKey> = state
                .lease
                .all()
                .filter(|lease| lease.side == Side::Host)
                .flat_map(|lease| {
                    let person = lease.contract.tenant.person;
                    lease.contract.workload.volumes.iter().map(move |volume| (person, volume.name.clone()))
                })
                .collect();
            Box::new(move |key| known.contains(key))
        };
        (kept, knows)
    });
    let Some((kept, knows)) = known.await else { return };
    let volumes = hands.volumes.clone();
    let tidied = blocking(move || {
        for seen in volumes.list()? {
            let key = (PersonId(seen.person), seen.name.clone());
            if kept.contains_key(&key) || !knows(&key) {
                continue;
            }
            tracing::info!(volume = %seen.id(), name = seen.name, "a volume is kept no longer and is removed");
            volumes.remove(&seen.id())?;
        }
        Ok(())
    });
    if let Err(error) = tidied.await {
        tracing::warn!(%error, "volumes that are kept no longer stay for now");
    }
}

async fn look<T: Send + 'static>(
    hands: &Hands,
    read: impl FnOnce(&crate::Core) -> T + Send + 'static,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let look = Command::Look(Box::new(move |core| {
        // Who asked may be gone.
        let _ = reply.send(read(core));
    }));
    hands.commands.send(look).await.ok()?;
    answer.await.ok()
}

async fn secret(
    hands: &Hands,
    tenant: PeerKey,
    lease: Id<Lease>,
    name: &str,
) -> Result<VolumeSecret, NetError> {
    let head = StreamHead::VolumeKey { lease, name: name.to_owned() };
    let mut stream = hands.net.open(tenant, head).await?;
    let mut secret = VolumeSecret([0; KEY_BYTES]);
    match timeout(Duration::from_secs(10), stream.read_exact(&mut secret.0)).await {
        Ok(Ok(_)) => Ok(secret),
        Ok(Err(_)) | Err(_) => Err(NetError::Gone { peer: tenant }),
    }
}

/// As tenant: gives the host of a lease the key of one of its volumes.
///
/// # Errors
/// When the host is gone.
pub async fn give_key(hands: &Hands, stream: IncomingStream, name: &str) -> io::Result<()> {
    match tokio::task::block_in_place(|| read_key(&hands.volume_keys, name)) {
        Ok(secret) => {
            let mut stream = stream.accept().await?;
            stream.write_all(&secret.0).await?;
            stream.shutdown().await
        }
        Err(error) => {
            tracing::warn!(name, %error, "the key of a volume cannot be read");
            stream.refuse(StreamAnswer::Missing).await
        }
    }
}

fn read_key(dir: &Path, name: &str) -> io::Result<VolumeSecret> {
    let mut secret = VolumeSecret([0; KEY_BYTES]);
    File::open(dir.join(name))?.read_exact(&mut secret.0)?;
    Ok(secret)
}

/// Makes the key of a volume where there is none. Whoever loses it loses what is in the volume.
fn have_key(dir: &Path, name: &str) -> Result<(), Fault> {
    let path = dir.join(name);
    let fault = |error: io::Error| Fault::Key { path: path.clone(), reason: error.to_string() };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fault)?;
    if path.exists() {
        return Ok(());
    }
    let halves: [[u8; 32]; 2] = [keys::random()?, keys::random()?];
    write_private(&path, &halves.concat()).map_err(fault)
}

/// As host: serves a stream about a volume to its end.
///
/// # Errors
/// When the tenant is gone.
pub async fn serve(hands: &Hands, stream: IncomingStream, granted: Granted) -> io::Result<()> {
    let mut stream = stream.accept().await?;
    let id = VolumeId::of(&granted.person.0, &granted.volume.name);
    let volumes = hands.volumes.clone();
    let secret = async {
        match granted.volume.encrypted {
            true => secret(hands, granted.peer, granted.lease, &granted.volume.name).await.map(Some),
            false => Ok(None),
        }
    };
    let most = usize::from(granted.volume.snapshots);
    let unknown = |error: VolumeError| {
        // The id means nothing to a tenant.
        let nameless = matches!(error, VolumeError::Unknown { .. });
        if nameless { VolumeError::Unknown { name: granted.volume.name.clone() } } else { error }
    };
    let done: Result<Vec<u8>, String> = match granted.wish {
        VolumeWish::Show => blocking(move || volumes.get(&id))
            .await
            .map_err(unknown)
            .map_err(|e| e.to_string())
            .map(|seen| serde_json::to_vec(&VolumeState::from(seen)).unwrap_or_default()),
        VolumeWish::Snapshot { name } => {
            let made = blocking(move || volumes.snapshot(&id, &name, most)).await;
            made.map_err(unknown).map_err(|e| e.to_string()).map(|()| Vec::new())
        }
        VolumeWish::Remove { snapshot } => {
            let gone = blocking(move || match snapshot {
                Some(name) => volumes.remove_snapshot(&id, &name),
                None => match volumes.remove(&id)? {
                    true => Ok(()),
                    false => Err(VolumeError::Unknown { name: id.to_string() }),
                },
            });
            gone.await.map_err(unknown).map_err(|e| e.to_string()).map(|()| Vec::new())
        }
        VolumeWish::Export { snapshot } => match secret.await {
            Ok(secret) => {
                let (mut writer, mut pieces) = pipe();
                let copying = tokio::task::spawn_blocking(move || {
                    let copied = volumes.export(&id, snapshot.as_deref(), secret.as_ref(), &mut writer);
                    copied.map_err(|e| e.to_string())
                });
                while let Some(Ok(piece)) = pieces.recv().await {
                    frame(&mut stream, &piece).await?;
                }
                drop(pieces);
                copying.await.unwrap_or_else(|_| Err("the copy broke off".to_owned())).map(|()| Vec::new())
            }
            Err(error) => Err(format!("the volume's key cannot be had: {error}")),
        },
        VolumeWish::Import => match secret.await {
            Ok(secret) => {
                let (sender, receiver) = mpsc::channel(4);
                let reader = PieceReader { pieces: receiver, here: Vec::new(), at: 0 };
                let copying = tokio::task::spawn_blocking(move || {
                    volumes.import(&id, secret.as_ref(), reader, &|| false).map_err(|e| e.to_string())
                });
                let came = receive(&mut stream, |piece| {
                    let sender = sender.clone();
                    async move { sender.send(Ok(piece)).await.map_err(|_| io::ErrorKind::BrokenPipe.into()) }
                });
                let came = came.await;
                if let Err(error) = &came {
                    // Half an archive must not look like a whole one. When the other end has failed it tells why.
                    let _ = sender.send(Err(io::Error::other(error.to_string()))).await;
                }
                drop(sender);
                copying.await.unwrap_or_else(|_| Err("the copy broke off".to_owned())).map(|()| Vec::new())
            }
            Err(error) => Err(format!("the volume's key cannot be had: {error}")),
        },
    };
    match done {
        Ok(answer) => {
            if !answer.is_empty() {
                frame(&mut stream, &answer).await?;
            }
            stream.write_u32(0).await?;
        }
        Err(sentence) => {
            let sentence = plain(&sentence, SENTENCE);
            stream.write_u32(ILL).await?;
            frame(&mut stream, sentence.as_bytes()).await?;
        }
    }
    stream.shutdown().await
}

async fn frame(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let send = async {
        stream.write_u32(length).await?;
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(SILENCE, send).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Takes frames until the end, well or ill.
async fn receive<F: Future<Output = io::Result<()>>>(
    stream: &mut (impl AsyncRead + Unpin),
    mut take: impl FnMut(Vec<u8>) -> F,
) -> io::Result<()> {
    loop {
        let length = timeout(SILENCE, stream.read_u32())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        match length {
            0 => return Ok(()),
            ILL => {
                let length = stream.read_u32().await? as usize;
                let mut sentence = vec![0; length.min(SENTENCE)];
                stream.read_exact(&mut sentence).await?;
                return Err(io::Error::other(plain(&String::from_utf8_lossy(&sentence), SENTENCE)));
            }
            length if length as usize > FRAME => return Err(io::ErrorKind::InvalidData.into()),
            length => {
                let mut piece = vec![0; length as usize];
                timeout(SILENCE, stream.read_exact(&mut piece))
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                take(piece).await?;
            }
        }
    }
}

type Pieces = mpsc::Receiver<io::Result<Vec<u8>>>;

/// What is written at one end, on a thread that may block, comes out at the other in pieces.
fn pipe() -> (PieceWriter, Pieces) {
    let (sender, receiver) = mpsc::channel(4);
    (PieceWriter { pieces: sender, here: Vec::with_capacity(FRAME) }, receiver)
}

struct PieceWriter {
    pieces: mpsc::Sender<io::Result<Vec<u8>>>,
    here: Vec<u8>,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = FRAME - self.here.len();
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.here.extend_from_slice(taken);
        if self.here.len() == FRAME {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.here.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.here, Vec::with_capacity(FRAME));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

struct PieceReader {
    pieces: Pieces,
    here: Vec<u8>,
    at: usize,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.here.len() {
            match self.pieces.blocking_recv() {
                Some(piece) => (self.here, self.at) = (piece?, 0),
                None => return Ok(0),
            }
        }
        let rest = self.here.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    let broken = || VolumeError::Program { program: "the node", said: "it is being stopped".to_owned() };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(broken()))
}

impl NodeHandle {
    /// Makes the keys of the encrypted ones among these volumes, where they lack.
    pub(crate) fn have_volume_keys(&self, volumes: &[Volume]) -> Result<(), Error> {
        let encrypted = volumes.iter().filter(|volume| volume.encrypted);
        let mut made = encrypted.map(|volume| have_key(&self.hands().volume_keys, &volume.name));
        Ok(tokio::task::block_in_place(|| made.try_for_each(|made| made))?)
    }

    /// As owner: the volumes of others on this computer.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn hosted_volumes(&self) -> Result<Vec<Hosted>, Error> {
        let kept = self.look(|core| core.engine().state().lease.volumes(core.now())).await?;
        let volumes = self.hands().volumes.clone();
        let seen = blocking(move || volumes.list()).await?;
        let hosted = seen.into_iter().map(|seen| {
            let person = PersonId(seen.person);
            let until = kept.get(&(person, seen.name.clone())).copied().flatten();
            Hosted { person, state: seen.into(), until }
        });
        Ok(hosted.collect())
    }

    /// As tenant: our volumes on other computers, as they were agreed.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn rented_volumes(&self) -> Result<Vec<Rented>, Error> {
        let rented = self.look(|core| {
            let (state, now) = (core.engine().state(), core.now());
            let mut rented: std::collections::BTreeMap<(PersonId, String), (Timestamp, Rented)> =
                Default::default();
            for lease in state.lease.all().filter(|lease| lease.side == Side::Tenant) {
                for volume in &lease.contract.workload.volumes {
                    let until = engine::lease::kept_until(lease, volume);
                    if until.is_some_and(|until| until <= now) {
                        continue;
                    }
                    let host = lease.contract.host.person;
                    let this = Rented { lease: lease.id(), volume: volume.clone(), host, until };
                    let newest =
                        rented.entry((host, volume.name.clone())).or_insert((lease.agreed, this.clone()));
                    if newest.0 < lease.agreed {
                        *newest = (lease.agreed, this);
                    }
                }
            }
            rented.into_values().map(|(_, rented)| rented).collect()
        });
        Ok(rented.await?)
    }

    /// As tenant: what the host says of a volume of ours.
    ///
    /// # Errors
    /// When the host cannot be reached, or has no such volume.
    pub async fn volume(&self, lease: Id<Lease>, name: &str) -> Result<VolumeState, Error> {
        let mut answer = Vec::new();
        let mut stream = self.about_volume(lease, name, VolumeWish::Show).await?;
        let read = receive(&mut stream, |piece| {
            answer.extend(piece);
            std::future::ready(Ok(()))
        });
        read.await.map_err(said)?;
        serde_json::from_slice(&answer)
            .map_err(|_| Error::Volume("the host's answer cannot be read".to_owned()))
    }

    /// As tenant: keeps a volume as it is now, by this name.
    ///
    /// # Errors
    /// What the host says.
    pub async fn snapshot_volume(&self, lease: Id<Lease>, name: &str, snapshot: String) -> Result<(), Error> {
        self.done_to_volume(lease, name, VolumeWish::Snapshot { name: snapshot }).await
    }

    /// As tenant: removes a volume for good, or one of its snapshots.
    ///
    /// # Errors
    /// What the host says.
    pub async fn remove_volume(
        &self,
        lease: Id<Lease>,
        name: &str,
        snapshot: Option<String>,
    ) -> Result<(), Error> {
        self.done_to_volume(lease, name, VolumeWish::Remove { snapshot }).await
    }

    /// As tenant: brings the files of a volume, or of a snapshot, here as a tar archive. The file is there whole, or not at all.
    ///
    /// # Errors
    /// What the host, or this computer's disk, says.
    pub async fn export_volume(
        &self,
        lease: Id<Lease>,
        name: &str,
        snapshot: Option<String>,
        to: &Path,
        progress: impl Fn(u64),
    ) -> Result<u64, Error> {
        let mut stream = self.about_volume(lease, name, VolumeWish::Export { snapshot }).await?;
        let half = Half::create(to)?;
        let mut file = tokio::fs::File::from_std(half.file.try_clone().map_err(|error| on_disk(to, &error))?);
        let mut total = 0;
        // One piece after the other: the closure cannot hold the file while it waits.
        let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(4);
        let pass = sender.clone();
        let receiving = receive(&mut stream, move |piece| {
            let sender = pass.clone();
            async move { sender.send(piece).await.map_err(|_| io::ErrorKind::BrokenPipe.into()) }
        });
        let writing = async {
            while let Some(piece) = pieces.recv().await {
                file.write_all(&piece).await?;
                total += piece.len() as u64;
                progress(total);
            }
            file.flush().await
        };
        // The writer ends when the last of them is gone: with the future, which ends in here.
        drop(sender);
        #[expect(clippy::redundant_async_block, reason = "it owns the future, so that it drops it")]
        let receiving = async move { receiving.await };
        let (received, written) = tokio::join!(receiving, writing);
        written.map_err(|error| on_disk(to, &error))?;
        received.map_err(said)?;
        half.keep()?;
        Ok(total)
    }

    /// As tenant: puts the files of a tar archive into a volume, over those that are there.
    ///
    /// # Errors
    /// What the host says, or why the file cannot be read.
    pub async fn import_volume(
        &self,
        lease: Id<Lease>,
        name: &str,
        from: &Path,
        progress: impl Fn(u64),
    ) -> Result<u64, Error> {
        let mut file = tokio::fs::File::open(from).await.map_err(|error| on_disk(from, &error))?;
        let mut stream = self.about_volume(lease, name, VolumeWish::Import).await?;
        let (mut total, mut piece) = (0, vec![0; FRAME]);
        loop {
            let length = file.read(&mut piece).await.map_err(|error| on_disk(from, &error))?;
            if length == 0 {
                break;
            }
            // A host that has had enough says why: see below.
            if frame(&mut stream, piece.get(..length).unwrap_or_default()).await.is_err() {
                break;
            }
            total += length as u64;
            progress(total);
        }
        let _ = stream.write_u32(0).await;
        let _ = stream.flush().await;
        receive(&mut stream, |_| std::future::ready(Ok(()))).await.map_err(said)?;
        Ok(total)
    }

    async fn done_to_volume(&self, lease: Id<Lease>, name: &str, wish: VolumeWish) -> Result<(), Error> {
        let mut stream = self.about_volume(lease, name, wish).await?;
        receive(&mut stream, |_| std::future::ready(Ok(()))).await.map_err(said)
    }

    async fn about_volume(&self, id: Id<Lease>, name: &str, wish: VolumeWish) -> Result<Stream, Error> {
        let wanted = name.to_owned();
        let found = self.look(move |core| {
            let lease = core.engine().state().lease.get(id)?;
            let has = lease.contract.workload.volumes.iter().any(|volume| volume.name == wanted);
            (lease.side == Side::Tenant && has).then_some(lease.peer)
        });
        let Some(peer) = found.await? else {
            return Err(Error::Volume(format!("lease {} has no volume {name} of yours", id.short())));
        };
        Ok(self.net().open(peer, StreamHead::Volume { lease: id, name: name.to_owned(), wish }).await?)
    }
}

fn said(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::Other {
        return Error::Volume(error.to_string());
    }
    Error::Volume(format!("the host broke off: {error}"))
}

fn on_disk(path: &Path, error: &io::Error) -> Error {
    Error::Volume(format!("cannot use {}: {error}", path.display()))
}

/// A file that is not whole yet, removed unless it is kept.
struct Half {
    file: File,
    beside: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl Half {
    fn create(path: &Path) -> Result<Half, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.part"));
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        let file = file.map_err(|error| on_disk(path, &error))?;
        Ok(Half { file, beside, path: path.to_path_buf(), kept: false })
    }

    fn keep(mut self) -> Result<(), Error> {
        let kept = self.file.sync_all().and_then(|()| fs::rename(&self.beside, &self.path));
        kept.map_err(|error| on_disk(&self.path, &error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing is lost when it stays.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Whether guests of this node can have volumes.
pub fn possible() -> bool {
    match Volumes::possible() {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(%error, "no volumes are offered");
            false
        }
    }
}
