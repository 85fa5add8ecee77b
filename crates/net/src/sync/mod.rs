//! How the sets of two peers become alike (`/sublet/sync/1`), and how news of them spreads (`/sublet/push/1`).
//!
//! ```text
//!  opener                         other end
//!    Reconcile(bytes)  ------>                    negentropy (NIP-77) over (issued, id), until the opener
//!                      <------  Reconcile(bytes)  knows which ids it has and which it needs
//!    Want(ids)         ------>
//!                      <------  Bodies(objects)   as many as fit one frame; what is left is wanted again
//!    Have(ids)         ------>
//!                      <------  Want(ids)
//!    Bodies(objects)   ------>
//!                      <------  Want(nothing)     the turn is the opener's again
//! ```
//!
//! A push is a session that starts at `Have`: it costs the other end little, and so may come more often. Nobody sends
//! a body that was not wanted, and what is wanted of one peer is not wanted of another at the same time, so that an
//! object comes once however many offer it.

pub(crate) mod set;

use crate::common::Common;
use crate::event::NetEvent;
use crate::wire;
use libp2p::swarm::Stream as Substream;
use model::envelope::Claim;
use model::{ObjectId, PeerKey};
use negentropy::{Negentropy, NegentropyStorageVector};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use set::MAX_OBJECT;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

/// Bytes of one negentropy message.
const MAX_RECONCILE: u64 = 60_000;

/// Rounds of negentropy in one session: enough for a newcomer to learn 100 000 ids. Each costs a look at the whole set.
pub(crate) const MAX_ROUNDS: usize = 64;

/// Ids in one `Have`.
const MAX_HAVE: usize = 1_024;

/// Ids in one `Want`.
const MAX_WANT: usize = 128;

/// Bytes of bodies in one frame, past which no further one is put in.
const MAX_BODIES: usize = 256 * 1024;

/// Bytes of a frame: bodies, one that crossed the line, and their lengths.
const MAX_FRAME: usize = MAX_BODIES + MAX_OBJECT + 16 * 1024;

/// Frames of one session that a peer opened.
const MAX_FRAMES: usize = 4_096;

/// How long the other end may take for one frame, and the node to take what came.
const FRAME_TIME: Duration = Duration::from_secs(20);

/// How long one session may take in all.
const SESSION_TIME: Duration = Duration::from_secs(600);

/// A pause after each batch that a peer makes us fetch: 2 500 objects a second at most.
const PACE: Duration = Duration::from_millis(50);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Frame {
    Reconcile(ByteBuf),
    Have(Vec<ObjectId>),
    Want(Vec<ObjectId>),
    Bodies(Vec<ByteBuf>),
}

/// Makes the sets alike: compares, fetches what is missing here, offers what is missing there.
///
/// # Errors
/// When the peer goes away, is too slow, or sends what it should not ([`wire::is_garbage`]).
pub(crate) async fn reconcile(common: &Common, peer: PeerKey, substream: Substream) -> io::Result<()> {
    let mut session = Session { common, peer, stream: substream.compat(), pace: Duration::ZERO };
    in_time(async {
        let Differences { have, need } = session.compare().await?;
        tracing::debug!(%peer, have = have.len(), need = need.len(), "sets compared");
        session.fetch(&need).await?;
        session.offer(&have).await?;
        session.stream.shutdown().await
    })
    .await
}

/// Offers new objects.
///
/// # Errors
/// As for [`reconcile`].
pub(crate) async fn push(
    common: &Common,
    peer: PeerKey,
    substream: Substream,
    ids: &[ObjectId],
) -> io::Result<()> {
    let mut session = Session { common, peer, stream: substream.compat(), pace: Duration::ZERO };
    in_time(async {
        session.offer(ids).await?;
        session.stream.shutdown().await
    })
    .await
}

/// Takes part in a session that a peer opened, until the peer ends it. `rounds` of comparing are allowed in it: none
/// in a push.
///
/// # Errors
/// As for [`reconcile`].
pub(crate) async fn serve(
    common: &Common,
    peer: PeerKey,
    substream: Substream,
    rounds: usize,
) -> io::Result<()> {
    let mut session = Session { common, peer, stream: substream.compat(), pace: PACE };
    in_time(session.serve(rounds)).await
}

async fn in_time(session: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(SESSION_TIME, session).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

struct Session<'a> {
    common: &'a Common,
    peer: PeerKey,
    stream: Compat<Substream>,
    /// How long to wait between batches that we fetch.
    pace: Duration,
}

struct Differences {
    have: Vec<ObjectId>,
    need: Vec<ObjectId>,
}

impl Session<'_> {
    async fn compare(&mut self) -> io::Result<Differences> {
        let (snapshot, room) = {
            let mut set = self.common.set();
            (set.snapshot().map_err(io::Error::other)?, set.room())
        };
        let mut negentropy = Negentropy::borrowed(&*snapshot, MAX_RECONCILE).map_err(io::Error::other)?;
        let mut query = negentropy.initiate().map_err(io::Error::other)?;
        let (mut have, mut need) = (Vec::new(), Vec::new());
        for _ in 0..MAX_ROUNDS {
            self.send(&Frame::Reconcile(ByteBuf::from(query))).await?;
            let Frame::Reconcile(answer) = self.expect().await? else { return Err(wire::garbage()) };
            let next =
                negentropy.reconcile_with_ids(&answer, &mut have, &mut need).map_err(|_| wire::garbage())?;
            match next {
                // Past what fits here, knowing more ids helps nobody.
                Some(next) if need.len() < room => query = next,
                Some(_) | None => break,
            }
        }
        let ids = |ids: Vec<negentropy::Id>| ids.into_iter().map(|id| ObjectId(id.to_bytes())).collect();
        Ok(Differences { have: ids(have), need: ids(need) })
    }

    /// Fetches what of `ids` is neither here nor on its way.
    async fn fetch(&mut self, ids: &[ObjectId]) -> io::Result<()> {
        for batch in ids.chunks(MAX_WANT) {
            let mut missing: HashSet<_> =
                self.common.set().claim(batch, Instant::now()).into_iter().collect();
            if missing.is_empty() {
                continue;
            }
            let fetched = self.fetch_batch(&mut missing).await;
            self.common.set().unclaim(&missing);
            fetched?;
            sleep(self.pace).await;
        }
        Ok(())
    }

    async fn fetch_batch(&mut self, missing: &mut HashSet<ObjectId>) -> io::Result<()> {
        while !missing.is_empty() {
            self.send(&Frame::Want(missing.iter().copied().collect())).await?;
            let Frame::Bodies(bodies) = self.expect().await? else { return Err(wire::garbage()) };
            // It had them and has them no more: they expired meanwhile.
            if bodies.is_empty() {
                return Ok(());
            }
            self.take(bodies, missing).await?;
        }
        Ok(())
    }

    /// Hands bodies to the node, if each is one that was wanted.
    async fn take(&mut self, bodies: Vec<ByteBuf>, missing: &mut HashSet<ObjectId>) -> io::Result<()> {
        let ids = bodies.iter().map(|body| wanted(body, missing)).collect::<Option<Vec<_>>>();
        let ids = ids.ok_or_else(wire::garbage)?;
        let objects = bodies.into_iter().map(ByteBuf::into_vec).collect();
        let event = NetEvent::Objects { from: self.peer, objects };
        if !matches!(timeout(FRAME_TIME, self.common.events.send(event)).await, Ok(Ok(()))) {
            missing.extend(ids);
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.common.set().judge(&ids, Instant::now());
        Ok(())
    }

    /// Names `ids` and sends what of them is wanted.
    async fn offer(&mut self, ids: &[ObjectId]) -> io::Result<()> {
        for ids in ids.chunks(MAX_HAVE) {
            self.send(&Frame::Have(ids.to_vec())).await?;
            // Each turn sends one object at least, so there cannot be more honest turns than objects.
            let mut turns = ids.len();
            loop {
                let Frame::Want(wanted) = self.expect().await? else { return Err(wire::garbage()) };
                if wanted.is_empty() {
                    break;
                }
                turns = turns.checked_sub(1).ok_or_else(wire::garbage)?;
                self.send_bodies(&wanted).await?;
            }
        }
        Ok(())
    }

    async fn serve(&mut self, mut rounds: usize) -> io::Result<()> {
        let mut snapshot = None;
        for _ in 0..MAX_FRAMES {
            let Some(frame) = self.receive().await? else { return self.stream.shutdown().await };
            match frame {
                Frame::Reconcile(query) => {
                    rounds = rounds.checked_sub(1).ok_or_else(wire::garbage)?;
                    let snapshot = match &snapshot {
                        Some(snapshot) => snapshot,
                        None => snapshot.insert(self.common.set().snapshot().map_err(io::Error::other)?),
                    };
                    let answer = answer(snapshot, &query)?;
                    self.send(&Frame::Reconcile(ByteBuf::from(answer))).await?;
                }
                Frame::Want(ids) => self.send_bodies(&ids).await?,
                Frame::Have(ids) if ids.len() <= MAX_HAVE => {
                    self.fetch(&ids).await?;
                    self.send(&Frame::Want(Vec::new())).await?;
                }
                Frame::Have(_) | Frame::Bodies(_) => return Err(wire::garbage()),
            }
        }
        Err(wire::garbage())
    }

    async fn send_bodies(&mut self, ids: &[ObjectId]) -> io::Result<()> {
        if ids.len() > MAX_WANT {
            return Err(wire::garbage());
        }
        let mut bodies = Vec::new();
        let mut size = 0;
        for id in ids {
            if size >= MAX_BODIES {
                break;
            }
            if let Some(body) = self.common.set().body(id) {
                size += body.len();
                bodies.push(ByteBuf::from(body.to_vec()));
            }
        }
        self.send(&Frame::Bodies(bodies)).await
    }

    async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = model::to_bytes(frame);
        timeout(FRAME_TIME, wire::write_frame(&mut self.stream, &bytes))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// The next frame, without which the session makes no sense.
    async fn expect(&mut self) -> io::Result<Frame> {
        self.receive().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    async fn receive(&mut self) -> io::Result<Option<Frame>> {
        let read = wire::read_frame(&mut self.stream, MAX_FRAME);
        let bytes =
            timeout(FRAME_TIME, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        bytes.map(|bytes| model::from_bytes(&bytes).map_err(|_| wire::garbage())).transpose()
    }
}

fn answer(snapshot: &Arc<NegentropyStorageVector>, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut negentropy = Negentropy::borrowed(&**snapshot, MAX_RECONCILE).map_err(io::Error::other)?;
    negentropy.reconcile(query).map_err(|_| wire::garbage())
}

/// The id of a body that was wanted; it is no longer missing then.
fn wanted(body: &[u8], missing: &mut HashSet<ObjectId>) -> Option<ObjectId> {
    let Claim { id, .. } = Claim::of(body).ok().filter(|_| body.len() <= MAX_OBJECT)?;
    missing.take(&id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use proptest::prelude::*;
    use set::Set;

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let snapshot = Set::new(&Limits::default()).snapshot().unwrap();
            let _ = answer(&snapshot, &bytes);
            // The version's byte first, to come further than most.
            let _ = answer(&snapshot, &[&[0x61], bytes.as_slice()].concat());
            let _ = model::from_bytes::<Frame>(&bytes);
        }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let frames = [
            Frame::Reconcile(ByteBuf::from([1, 2, 3])),
            Frame::Have(vec![ObjectId([1; 32])]),
            Frame::Want(Vec::new()),
            Frame::Bodies(vec![ByteBuf::from([4])]),
        ];
        for frame in frames {
            assert_eq!(model::from_bytes::<Frame>(&model::to_bytes(&frame)).unwrap(), frame);
        }
    }
}
