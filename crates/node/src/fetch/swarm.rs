//! Pieces of one image from all who have it, at once: the tenant, and neighbours where the tenant allows it.

use super::wire::{SourceError, ask_list, bring, bring_from_registry};
use super::{FetchError, digest};
use crate::execute::Hands;
use machine::image::{Assembly, ImageError, Images, PieceList, Reach, RegistrySource};
use model::document::want;
use model::message::StreamHead;
use model::{Id, Lease, PeerKey, Pieces, Workload};
use net::{Net, NetError, PeerSeen};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Neighbours that are asked, the nearest first.
const NEIGHBOURS: usize = 6;

/// How long neighbours are not asked for the list of pieces, which the tenant has for certain.
const TENANT_FIRST: Duration = Duration::from_secs(1);

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Brings all parts of an image into the store.
///
/// # Errors
/// Why not. What came is kept, unless there is no room for it.
pub async fn fetch(
    hands: &Hands,
    lease: Id<Lease>,
    workload: &Workload,
    pieces: &Pieces,
    tenant: PeerKey,
    room: impl Fn(u64) -> Result<(), ImageError>,
    progress: impl Fn(u64, u64) + Sync,
) -> Result<(), FetchError> {
    let manifest = digest(&workload.image);
    let mut origins = vec![(tenant, Some(lease))];
    if pieces.open {
        let near = neighbours(hands.net.peers().await, tenant);
        origins.extend(near.into_iter().map(|peer| (peer, None)));
    }
    let listing: Arc<OnceCell<Arc<PieceList>>> = Arc::default();
    let assembling: Arc<OnceCell<Arc<Assembly>>> = Arc::default();
    let mut sources = JoinSet::new();
    for (number, (peer, lease)) in origins.into_iter().enumerate() {
        let want = want(&workload.image, hands.net.me(), peer);
        let head = StreamHead::Pieces { lease, want };
        let source =
            Source { net: hands.net.clone(), peer, head, number: number as u32, hash: pieces.list.0 };
        sources.spawn(source.serve(listing.clone(), assembling.clone()));
    }
    if hands.images.policy().registries && !workload.reference.is_empty() {
        // Numbers of peers are below this one.
        sources.spawn(registry(workload.reference.clone(), u32::MAX, assembling.clone()));
    }
    let mut last = None;
    let list = loop {
        // A source that ends before it gave the list has none.
        tokio::select! {
            list = until_set(&listing) => break list,
            ended = sources.join_next() => match ended {
                Some(ended) => last = Some(told(ended, hands).await?),
                None => return Err(last.unwrap_or(FetchError::NoSource { last: String::new() })),
            }
        }
    };
    let images = hands.images.clone();
    images.check_list(&list, &manifest)?;
    let assembly = tokio::task::block_in_place(|| begin(&images, &list, room))?;
    let assembly = Arc::new(assembly);
    // Nobody else sets it.
    let _ = assembling.set(assembly.clone());
    let _stop = Stop(assembly.clone());
    let mut follower = {
        let (assembly, list) = (assembly.clone(), list.clone());
        tokio::task::spawn_blocking(move || assembly.follow(|| images.check_list(&list, &manifest)))
    };
    let mut ticks = interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            followed = &mut follower => {
                let (done, total) = assembly.progress();
                progress(done, total);
                return keep_or_not(&assembly, ended(followed));
            }
            ended = sources.join_next(), if !sources.is_empty() => {
                if let Some(ended) = ended {
                    last = Some(told(ended, hands).await.inspect_err(|error| give_up(&assembly, error))?);
                }
                if sources.is_empty() && !assembly.is_complete() {
                    assembly.stop();
                    return Err(last.unwrap_or(FetchError::NoSource { last: String::new() }));
                }
            }
            _ = ticks.tick() => {
                let (done, total) = assembly.progress();
                progress(done, total);
            }
        }
    }
}

/// Those with a direct way, the nearest first: what goes through a relay is a burden to others.
fn neighbours(mut peers: Vec<PeerSeen>, tenant: PeerKey) -> Vec<PeerKey> {
    peers.retain(|seen| seen.peer != tenant && seen.paths.iter().any(|path| !path.relayed));
    peers.sort_by_key(|seen| seen.round_trip.map_or(u64::MAX, |time| time.0));
    peers.into_iter().take(NEIGHBOURS).map(|seen| seen.peer).collect()
}

fn begin(
    images: &Images,
    list: &PieceList,
    room: impl Fn(u64) -> Result<(), ImageError>,
) -> Result<Assembly, ImageError> {
    let missing: u64 = list.parts.iter().filter(|part| !images.has(&part.digest)).map(|part| part.size).sum();
    room(missing)?;
    images.assemble(list.clone())
}

async fn until_set(list: &OnceCell<Arc<PieceList>>) -> Arc<PieceList> {
    loop {
        if let Some(list) = list.get() {
            return list.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The public registry that the tenant names, as one more source.
async fn registry(reference: String, number: u32, assembling: Arc<OnceCell<Arc<Assembly>>>) -> Ended {
    let source = match RegistrySource::new(&reference, Reach::Public) {
        Ok(source) => source,
        Err(error) => return (None, Err(SourceEnd::Source(SourceError::Registry(error)))),
    };
    let assembly = loop {
        if let Some(assembly) = assembling.get() {
            break assembly.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    (None, bring_from_registry(&assembly, number, &source).await.map_err(SourceEnd::Source))
}

/// None: the registry.
type Ended = (Option<PeerKey>, Result<(), SourceEnd>);

enum SourceEnd {
    Net(NetError),
    Source(SourceError),
}

/// What a source that has ended means for the whole: what it said, or what is wrong here.
async fn told(ended: Result<Ended, tokio::task::JoinError>, hands: &Hands) -> Result<FetchError, FetchError> {
    let Ok((peer, ended)) = ended else { return Ok(FetchError::Stopped) };
    match ended {
        Ok(()) => Ok(FetchError::NoSource { last: String::new() }),
        Err(SourceEnd::Net(error)) => {
            tracing::debug!(?peer, %error, "no source of the image");
            Ok(error.into())
        }
        Err(SourceEnd::Source(SourceError::Here(error))) => Err(error.into()),
        Err(SourceEnd::Source(error)) => {
            tracing::info!(?peer, %error, "a source of the image is dropped");
            if let (SourceError::Lied, Some(peer)) = (&error, peer) {
                hands.net.complain(peer).await;
            }
            Ok(FetchError::NoSource { last: error.to_string() })
        }
    }
}

fn ended(followed: Result<Result<(), ImageError>, tokio::task::JoinError>) -> Result<(), ImageError> {
    followed.unwrap_or(Err(ImageError::Cancelled))
}

/// What came is worth keeping for the next try, unless it is bad or there is no room for more.
fn keep_or_not(assembly: &Assembly, followed: Result<(), ImageError>) -> Result<(), FetchError> {
    followed.map_err(FetchError::from).inspect_err(|error| give_up(assembly, error))
}

fn give_up(assembly: &Assembly, error: &FetchError) {
    if error.is_workload() || matches!(error, FetchError::Image(ImageError::Full { .. })) {
        assembly.discard();
    } else {
        assembly.stop();
    }
}

/// Whoever gives up waiting, all who work on it end.
struct Stop(Arc<Assembly>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Source {
    net: Net,
    peer: PeerKey,
    head: StreamHead,
    number: u32,
    hash: [u8; 32],
}

impl Source {
    async fn serve(
        self,
        listing: Arc<OnceCell<Arc<PieceList>>>,
        assembling: Arc<OnceCell<Arc<Assembly>>>,
    ) -> Ended {
        let peer = self.peer;
        (Some(peer), self.bring(&listing, &assembling).await)
    }

    async fn bring(
        self,
        listing: &OnceCell<Arc<PieceList>>,
        assembling: &OnceCell<Arc<Assembly>>,
    ) -> Result<(), SourceEnd> {
        let is_neighbour = matches!(self.head, StreamHead::Pieces { lease: None, .. });
        let mut stream = self.net.open(self.peer, self.head).await.map_err(SourceEnd::Net)?;
        if is_neighbour {
            // Whether it came in time shows below.
            let _ = timeout(TENANT_FIRST, until_set(listing)).await;
        }
        listing
            .get_or_try_init(|| async { ask_list(&mut stream, &self.hash).await.map(Arc::new) })
            .await
            .map_err(SourceEnd::Source)?;
        let assembly = loop {
            if let Some(assembly) = assembling.get() {
                break assembly.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        bring(&assembly, self.number, &mut stream).await.map_err(SourceEnd::Source)
    }
}
