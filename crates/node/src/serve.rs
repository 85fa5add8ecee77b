//! Streams that peers open: to a guest's port, to its output, to the parts of an image that we rent for.
//!
//! Each is allowed by a lease between the two, and by nothing else.

use crate::datagrams;
use crate::execute::Hands;
use crate::fetch::{digest, give};
use crate::logs::LogWish;
use crate::volumes::{self, Granted};
use crate::{neighbours, secrets, session, stats};
use engine::Engine;
use machine::guest::GuestId;
use model::message::{StreamAnswer, StreamHead};
use model::{Id, ImageDigest, Lease, Nonce, ObjectId, PeerKey, Side};
use net::IncomingStream;
use std::io::{Seek, SeekFrom};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};

/// How much is moved at once: large enough for speed, small enough for many.
pub const BUFFER: usize = 64 * 1024;

/// What a stream's head comes to, judged by the leases of the moment.
pub enum Allowed {
    /// A connection to this port of this guest.
    Port(GuestId, u16),
    /// Datagrams to this UDP port of this guest.
    Datagrams(GuestId, u16),
    /// This guest's output.
    Logs(GuestId, LogWish),
    /// What this guest takes, and whether to go on.
    Stats(GuestId, bool),
    /// What goes on in this guest.
    Top(GuestId),
    /// A program to be begun in this guest.
    Exec(GuestId),
    /// This guest's own program, and its output from here on.
    Attach(GuestId, Option<u64>),
    /// This part, when it belongs to this image.
    Blob(ImageDigest, ImageDigest, u64),
    /// Something about a volume.
    Volume(Granted),
    /// The key of a volume of ours.
    VolumeKey(String),
    /// The values of these secrets of ours.
    Secrets(Nonce),
    /// The pieces of the image of a lease.
    Pieces(ImageDigest),
    /// The pieces of an image that a neighbour wants, if we have it and the owner lets neighbours have it.
    Neighbour(PeerKey, ObjectId),
}

/// Whether a lease allows it.
pub fn judge(engine: &Engine, from: PeerKey, head: &StreamHead) -> Result<Allowed, StreamAnswer> {
    let between = |id: &Id<Lease>, side: Side| {
        let lease = engine.state().lease.get(*id);
        lease.filter(|lease| lease.side == side && lease.peer == from).ok_or(StreamAnswer::NotYours)
    };
    // As host, the leases of this tenant; as tenant, those with this host.
    let running = |id: &Id<Lease>| held(between(id, Side::Host)?, |lease| lease.phase.is_live());
    let begun = |id: &Id<Lease>| held(between(id, Side::Host)?, |lease| lease.started.is_some());
    let ours = |id: &Id<Lease>| held(between(id, Side::Tenant)?, |lease| !lease.phase.is_ended());
    Ok(match head {
        StreamHead::Port { lease, port } => {
            let lease = held(running(lease)?, |lease| lease.contract.workload.ports.contains(port))?;
            Allowed::Port(guest(lease.id()), *port)
        }
        StreamHead::Datagrams { lease, port } => {
            let lease = held(running(lease)?, |lease| lease.contract.workload.udp_ports.contains(port))?;
            Allowed::Datagrams(guest(lease.id()), *port)
        }
        StreamHead::Logs { lease, from, follow, view } => {
            let wish = LogWish { from: *from, follow: *follow, view: *view };
            Allowed::Logs(guest(begun(lease)?.id()), wish)
        }
        StreamHead::Stats { lease, follow } => Allowed::Stats(guest(running(lease)?.id()), *follow),
        StreamHead::Top { lease } => Allowed::Top(guest(running(lease)?.id())),
        StreamHead::Exec { lease } => Allowed::Exec(guest(running(lease)?.id())),
        StreamHead::Attach { lease, from } => Allowed::Attach(guest(begun(lease)?.id()), *from),
        StreamHead::Blob { lease, digest, from } => {
            Allowed::Blob(ours(lease)?.contract.workload.image, *digest, *from)
        }
        StreamHead::Pieces { lease: Some(lease), .. } => {
            Allowed::Pieces(ours(lease)?.contract.workload.image)
        }
        StreamHead::Pieces { lease: None, want } => Allowed::Neighbour(from, *want),
        StreamHead::Volume { lease, name, wish } => {
            Allowed::Volume(volumes::judge(between(lease, Side::Host)?, name, wish)?)
        }
        StreamHead::VolumeKey { lease, name } => {
            held(between(lease, Side::Tenant)?, |lease| {
                let mut volumes = lease.contract.workload.volumes.iter();
                volumes.any(|volume| volume.encrypted && volume.name == *name)
            })?;
            Allowed::VolumeKey(name.clone())
        }
        StreamHead::Secrets { lease } => {
            let secrets = ours(lease)?.contract.workload.secrets.as_ref();
            Allowed::Secrets(secrets.ok_or(StreamAnswer::NotYours)?.bundle)
        }
    })
}

/// The lease, if it stands as it must. Whoever asks in vain learns no more than that.
fn held(
    lease: &engine::lease::Lease,
    stands: impl Fn(&engine::lease::Lease) -> bool,
) -> Result<&engine::lease::Lease, StreamAnswer> {
    if stands(lease) { Ok(lease) } else { Err(StreamAnswer::NotYours) }
}

/// A lease's guest.
pub fn guest(lease: Id<Lease>) -> GuestId {
    GuestId::new(lease.object().0)
}

/// Serves one stream to its end.
pub async fn serve(hands: Hands, stream: IncomingStream, allowed: Result<Allowed, StreamAnswer>) {
    let served = match allowed {
        Ok(Allowed::Port(guest, port)) => port_stream(&hands, stream, guest, port).await,
        Ok(Allowed::Datagrams(guest, port)) => datagrams::receive(&hands, stream, guest, port).await,
        Ok(Allowed::Logs(guest, wish)) => log_stream(&hands, stream, guest, wish).await,
        Ok(Allowed::Stats(guest, follow)) => stats::serve_stats(&hands, stream, guest, follow).await,
        Ok(Allowed::Top(guest)) => stats::serve_top(&hands, stream, guest).await,
        Ok(Allowed::Exec(guest)) => session::serve_exec(&hands, stream, guest).await,
        Ok(Allowed::Attach(guest, from)) => session::serve_attach(&hands, stream, guest, from).await,
        Ok(Allowed::Blob(image, part, from)) => blob_stream(&hands, stream, image, part, from).await,
        Ok(Allowed::Volume(granted)) => volumes::serve(&hands, stream, granted).await,
        Ok(Allowed::VolumeKey(name)) => volumes::give_key(&hands, stream, &name).await,
        Ok(Allowed::Secrets(bundle)) => secrets::give(&hands, stream, bundle).await,
        Ok(Allowed::Pieces(image)) => pieces_stream(&hands, stream, &image).await,
        Ok(Allowed::Neighbour(peer, want)) => neighbours::serve(&hands, stream, peer, want).await,
        Err(answer) => stream.refuse(answer).await,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a stream ended early");
    }
}

async fn port_stream(
    hands: &Hands,
    stream: IncomingStream,
    guest: GuestId,
    port: u16,
) -> std::io::Result<()> {
    let mut inside = match hands.guests.connect(guest, port).await {
        Ok(inside) => inside,
        Err(error) => {
            tracing::debug!(%guest, port, %error, "no connection into the guest");
            return stream.refuse(StreamAnswer::Closed).await;
        }
    };
    let mut stream = stream.accept().await?;
    inside.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut stream, &mut inside, BUFFER, BUFFER).await?;
    Ok(())
}

async fn log_stream(
    hands: &Hands,
    stream: IncomingStream,
    id: GuestId,
    wish: LogWish,
) -> std::io::Result<()> {
    let mut stream = stream.accept().await?;
    let mut reader = hands.log(id, wish);
    while let Some(piece) = reader.next().await? {
        stream.write_all(&piece).await?;
        stream.flush().await?;
    }
    stream.shutdown().await
}

async fn pieces_stream(hands: &Hands, stream: IncomingStream, image: &ImageDigest) -> std::io::Result<()> {
    let image = digest(image);
    if hands.images.inspect(&image).is_err() {
        return stream.refuse(StreamAnswer::Missing).await;
    }
    let mut stream = stream.accept().await?;
    give(&hands.images, &image, &mut stream, |_| std::future::ready(())).await
}

async fn blob_stream(
    hands: &Hands,
    stream: IncomingStream,
    image: ImageDigest,
    part: ImageDigest,
    from: u64,
) -> std::io::Result<()> {
    let belongs = hands
        .images
        .parts(&digest(&image))
        .is_ok_and(|parts| parts.iter().any(|known| known.digest == digest(&part)));
    let (mut file, size) = match hands.images.open_blob(&digest(&part)) {
        Ok(blob) if belongs => blob,
        Ok(_) | Err(_) => return stream.refuse(StreamAnswer::Missing).await,
    };
    file.seek(SeekFrom::Start(from.min(size)))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut stream = stream.accept().await?;
    stream.write_u64(size).await?;
    let mut piece = vec![0; BUFFER];
    loop {
        let length = file.read(&mut piece).await?;
        if length == 0 {
            break;
        }
        stream.write_all(piece.get(..length).unwrap_or_default()).await?;
    }
    stream.shutdown().await
}
