//! Pieces of an image over one stream: many requests on their way at once, answered in their order.

use machine::image::{
    Assembly, Digest, ImageError, Images, MAX_LIST, PIECE, Piece, PieceList, RegistrySource, SourceNo,
};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Requests on their way to one source: as many as a long line holds, few enough that a source which sends nothing keeps
/// little back from others.
const ON_THEIR_WAY: usize = 8;

/// A source that takes longer for one piece is no help: 1 MiB in this time is 35 KiB a second.
const ONE_PIECE: Duration = Duration::from_secs(30);

/// How long the list may take.
const LIST: Duration = Duration::from_secs(15);

/// How long a source that has nothing to do waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The part's number that asks for the list.
const THE_LIST: u32 = u32::MAX;

const FOLLOWS: u8 = 0;
const MISSING: u8 = 1;

/// Why a source is no longer one.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is gone, or has not answered in time.
    #[error("the connection broke: {0}")]
    Gone(#[from] io::Error),
    /// It sent a wrong piece or list, or what is no answer at all.
    #[error("it sent something else than was asked for")]
    Lied,
    /// It does not have it.
    #[error("it does not have what is missing")]
    HasNot,
    /// The registry does not give it, or is not to be asked.
    #[error("{}", with_cause(.0))]
    Registry(ImageError),
    /// What it sent cannot be kept here: no fault of its own.
    #[error(transparent)]
    Here(ImageError),
}

/// Asks for the list of pieces, and holds it to its hash.
///
/// # Errors
/// When it does not come, or is another.
pub async fn ask_list<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    hash: &[u8; 32],
) -> Result<PieceList, SourceError> {
    let exchange = async {
        stream.write_all(&request(Piece { part: THE_LIST, piece: 0 })).await?;
        stream.flush().await?;
        if stream.read_u8().await? != FOLLOWS {
            return Err(SourceError::HasNot);
        }
        let length = stream.read_u32().await? as usize;
        if length > MAX_LIST {
            return Err(SourceError::Lied);
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    };
    let bytes = timeout(LIST, exchange).await.map_err(|_| late())??;
    if blake3::hash(&bytes) != *hash {
        return Err(SourceError::Lied);
    }
    // From here on it is the lease's own list, and its faults are the tenant's.
    PieceList::parse(&bytes).map_err(SourceError::Here)
}

/// Brings pieces from one source until all are here, or the source fails.
///
/// # Errors
/// Why it is no longer a source. What it was to bring is others' to bring then.
pub async fn bring<S: AsyncRead + AsyncWrite + Unpin>(
    assembly: &Assembly,
    source: SourceNo,
    stream: &mut S,
) -> Result<(), SourceError> {
    let brought = bring_all(assembly, source, stream).await;
    assembly.give_back(source);
    brought
}

async fn bring_all<S: AsyncRead + AsyncWrite + Unpin>(
    assembly: &Assembly,
    source: SourceNo,
    stream: &mut S,
) -> Result<(), SourceError> {
    let mut asked: VecDeque<Piece> = VecDeque::new();
    let mut lacks: Vec<Piece> = Vec::new();
    let mut buffer = vec![0; PIECE as usize];
    loop {
        let mut requests = Vec::new();
        while asked.len() < ON_THEIR_WAY {
            let known = |piece: Piece| asked.contains(&piece) || lacks.contains(&piece);
            let Some(piece) = assembly.take(source, known) else { break };
            requests.extend(request(piece));
            asked.push_back(piece);
        }
        if !requests.is_empty() {
            timeout(ONE_PIECE, async {
                stream.write_all(&requests).await?;
                stream.flush().await
            })
            .await
            .map_err(|_| late())??;
        }
        let Some(piece) = asked.pop_front() else {
            if assembly.is_complete() || assembly.is_stopped() {
                return Ok(());
            }
            if lacks.len() >= MOST_LACKS {
                return Err(SourceError::HasNot);
            }
            assembly.change(LOOK_AGAIN).await;
            continue;
        };
        let bytes = buffer.get_mut(..assembly.length(piece)).ok_or(SourceError::Lied)?;
        let answer = timeout(ONE_PIECE, async {
            let answer = stream.read_u8().await?;
            if answer == FOLLOWS {
                stream.read_exact(bytes).await?;
            }
            Ok::<u8, io::Error>(answer)
        });
        match answer.await.map_err(|_| late())?? {
            FOLLOWS => match tokio::task::block_in_place(|| assembly.put(piece, bytes)) {
                Ok(()) => {}
                Err(ImageError::WrongPiece { .. }) => return Err(SourceError::Lied),
                Err(error) => return Err(SourceError::Here(error)),
            },
            MISSING => {
                lacks.push(piece);
                assembly.put_back(piece);
            }
            _ => return Err(SourceError::Lied),
        }
    }
}

/// Brings pieces from a registry, one after the other, until all are here or the registry fails.
///
/// # Errors
/// Why it is no longer a source.
pub async fn bring_from_registry(
    assembly: &Assembly,
    source: SourceNo,
    registry: &RegistrySource,
) -> Result<(), SourceError> {
    let all = async {
        loop {
            let Some(piece) = assembly.take(source, |_| false) else {
                if assembly.is_complete() || assembly.is_stopped() {
                    return Ok(());
                }
                assembly.change(LOOK_AGAIN).await;
                continue;
            };
            let Some((blob, offset)) = assembly.place(piece) else { return Ok(()) };
            let bytes = registry.bytes(&blob, piece.part == 0, offset, assembly.length(piece));
            let bytes =
                timeout(ONE_PIECE, bytes).await.map_err(|_| late())?.map_err(SourceError::Registry)?;
            match tokio::task::block_in_place(|| assembly.put(piece, &bytes)) {
                Ok(()) => {}
                Err(ImageError::WrongPiece { .. }) => return Err(SourceError::Lied),
                Err(error) => return Err(SourceError::Here(error)),
            }
        }
    };
    let brought = all.await;
    assembly.give_back(source);
    brought
}

fn with_cause(error: &ImageError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// A source that lacks so many pieces is not asked for more.
const MOST_LACKS: usize = 64;

fn request(piece: Piece) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&piece.part.to_be_bytes());
    bytes[4..].copy_from_slice(&piece.piece.to_be_bytes());
    bytes
}

fn late() -> SourceError {
    SourceError::Gone(io::ErrorKind::TimedOut.into())
}

/// Answers requests for pieces of an image that is here. `pace` is waited for before so many bytes leave.
///
/// # Errors
/// When the asker is gone, or asks for what no image has.
pub async fn give<S: AsyncRead + AsyncWrite + Unpin, P: Future<Output = ()>>(
    images: &Images,
    image: &Digest,
    stream: &mut S,
    pace: impl Fn(usize) -> P,
) -> io::Result<()> {
    let (bytes, _) = tokio::task::block_in_place(|| images.pieces(image)).map_err(io::Error::other)?;
    let list = PieceList::parse(&bytes).map_err(io::Error::other)?;
    let mut open: BTreeMap<u32, File> = BTreeMap::new();
    let mut buffer = vec![0; PIECE as usize + 1];
    let mut request = [0; 8];
    loop {
        match timeout(IDLE, stream.read_exact(&mut request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return stream.shutdown().await,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        let [p0, p1, p2, p3, n0, n1, n2, n3] = request;
        let (part, piece) = (u32::from_be_bytes([p0, p1, p2, p3]), u32::from_be_bytes([n0, n1, n2, n3]));
        if part == THE_LIST {
            pace(bytes.len()).await;
            stream.write_u8(FOLLOWS).await?;
            stream.write_u32(bytes.len() as u32).await?;
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            continue;
        }
        let pieces = list.parts.get(part as usize).ok_or(io::ErrorKind::InvalidInput)?;
        if piece as usize >= pieces.hashes.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (offset, length) = pieces.range(piece as usize);
        let answer = buffer.get_mut(..=length).ok_or(io::ErrorKind::InvalidInput)?;
        let read =
            tokio::task::block_in_place(|| read(images, &pieces.digest, part, offset, &mut open, answer));
        let sent = if read.is_ok() { answer } else { &mut [MISSING] };
        pace(sent.len()).await;
        // One write for both: what follows the first byte would wait for a packet of its own.
        timeout(IDLE, async {
            stream.write_all(sent).await?;
            stream.flush().await
        })
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
}

/// How long an asker may say or take nothing.
const IDLE: Duration = Duration::from_secs(120);

fn read(
    images: &Images,
    part: &Digest,
    number: u32,
    offset: u64,
    open: &mut BTreeMap<u32, File>,
    answer: &mut [u8],
) -> io::Result<()> {
    let file = match open.entry(number) {
        std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
        std::collections::btree_map::Entry::Vacant(place) => {
            place.insert(images.open_blob(part).map_err(io::Error::other)?.0)
        }
    };
    let (first, rest) = answer.split_first_mut().ok_or(io::ErrorKind::InvalidInput)?;
    *first = FOLLOWS;
    file.read_exact_at(rest, offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::image::BuildSpec;
    use std::path::Path;
    use std::sync::Arc;
    use tempfile::TempDir;
    use tokio::io::{DuplexStream, duplex};

    struct House {
        dir: TempDir,
        here: Images,
        there: Images,
        image: Digest,
    }

    impl House {
        /// Somebody who has an image of some pieces, and somebody who has not.
        async fn new() -> House {
            let dir = tempfile::tempdir().expect("a directory");
            let open = |name: &str| Images::open(dir.path().join(name)).expect("a store");
            let (here, there) = (open("here"), open("there"));
            let folder = dir.path().join("folder");
            std::fs::create_dir(&folder).expect("a folder");
            let noise: Vec<u8> = (0..5 << 20).scan(1u32, |n, _| Some(noise(n))).collect();
            std::fs::write(folder.join("noise"), noise).expect("a file");
            let image =
                there.build(BuildSpec { dir: folder, ..BuildSpec::default() }).await.expect("an image");
            House { here, there, image: image.digest, dir }
        }

        fn list(&self) -> (PieceList, [u8; 32]) {
            let (bytes, hash) = self.there.pieces(&self.image).expect("a list");
            (PieceList::parse(&bytes).expect("a list"), hash)
        }

        fn assembly(&self) -> Assembly {
            self.here.assemble(self.list().0).expect("it begins")
        }

        /// An honest source.
        fn source(&self) -> DuplexStream {
            let (ours, mut theirs) = duplex(64 << 10);
            let (images, image) = (self.there.clone(), self.image);
            tokio::spawn(async move {
                // It ends when the other end does.
                let _ = give(&images, &image, &mut theirs, |_| std::future::ready(())).await;
            });
            ours
        }

        fn incoming(&self) -> usize {
            std::fs::read_dir(self.here.root().join("incoming")).expect("listed").count()
        }
    }

    fn noise(state: &mut u32) -> u8 {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 24) as u8
    }

    /// A source that answers each request for a piece with what `answer` makes of its length.
    fn crooked(answer: impl Fn(usize, usize) -> Vec<u8> + Send + 'static) -> DuplexStream {
        let (ours, mut theirs) = duplex(4 << 20);
        tokio::spawn(async move {
            let mut request = [0; 8];
            let mut count = 0;
            while theirs.read_exact(&mut request).await.is_ok() {
                count += 1;
                if theirs.write_all(&answer(count, PIECE as usize)).await.is_err() {
                    return;
                }
            }
        });
        ours
    }

    async fn finish(house: &House, assembly: Arc<Assembly>) {
        let follower = assembly.clone();
        let followed = tokio::task::spawn_blocking(move || follower.follow(|| Ok(())));
        followed.await.expect("no panic").expect("all is as it should be");
        house.here.take_in(&house.image, "x:1", false).await.expect("an image");
        assert_eq!(house.here.list(), house.there.list());
        assert_eq!(house.incoming(), 0);
        assert!(Path::new(house.dir.path()).exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn several_sources_bring_one_image() {
        let house = House::new().await;
        let (mut one, mut other) = (house.source(), house.source());
        let (list, hash) = house.list();
        assert_eq!(ask_list(&mut one, &hash).await.expect("the list"), list);
        let assembly = Arc::new(house.assembly());
        let (first, second) = tokio::join!(bring(&assembly, 0, &mut one), bring(&assembly, 1, &mut other));
        first.and(second).expect("both are honest");
        finish(&house, assembly).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_source_that_lies_is_dropped_and_the_others_go_on() {
        let house = House::new().await;
        let assembly = Arc::new(house.assembly());
        let mut liar = crooked(|_, length| [vec![FOLLOWS], vec![7; length]].concat());
        let lied = bring(&assembly, 0, &mut liar).await;
        assert!(matches!(lied, Err(SourceError::Lied)), "{lied:?}");
        assert_eq!(assembly.progress().0, 0);
        let mut babbler = crooked(|_, _| vec![99]);
        assert!(matches!(bring(&assembly, 1, &mut babbler).await, Err(SourceError::Lied)));
        bring(&assembly, 2, &mut house.source()).await.expect("an honest one");
        finish(&house, assembly).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_source_that_has_nothing_is_no_hindrance() {
        let house = House::new().await;
        let assembly = Arc::new(house.assembly());
        let mut poor = crooked(|_, _| vec![MISSING]);
        let mut rich = house.source();
        let (poor, rich) = tokio::join!(bring(&assembly, 0, &mut poor), bring(&assembly, 1, &mut rich));
        rich.expect("it has all");
        poor.expect("it waited until all was here");
        finish(&house, assembly).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_source_that_breaks_off_leaves_its_share_to_others() {
        let house = House::new().await;
        let assembly = Arc::new(house.assembly());
        let (mut ours, mut theirs) = duplex(1 << 20);
        let breaks = tokio::spawn(async move {
            let _ = theirs.read_exact(&mut [0; 8]).await;
            drop(theirs);
        });
        assert!(matches!(bring(&assembly, 0, &mut ours).await, Err(SourceError::Gone(_))));
        breaks.await.expect("no panic");
        bring(&assembly, 1, &mut house.source()).await.expect("an honest one");
        finish(&house, assembly).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_list_than_the_lease_s_is_refused() {
        let house = House::new().await;
        let asked = ask_list(&mut house.source(), &[9; 32]).await;
        assert!(matches!(asked, Err(SourceError::Lied)), "{asked:?}");
        let mut huge = crooked(|_, _| [vec![FOLLOWS], u32::MAX.to_be_bytes().to_vec()].concat());
        assert!(matches!(ask_list(&mut huge, &[9; 32]).await, Err(SourceError::Lied)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_asks_for_what_no_image_has_is_cut_off() {
        let house = House::new().await;
        for strange in [Piece { part: 77, piece: 0 }, Piece { part: 0, piece: 9 }] {
            let mut source = house.source();
            source.write_all(&request(strange)).await.expect("sent");
            assert!(source.read_u8().await.is_err(), "{strange:?}");
        }
    }
}
