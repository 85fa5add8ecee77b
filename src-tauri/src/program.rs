//! Programs in guests, spoken to from the pages: over the socket that the node has in its data directory, whoever runs it.
//! See `ui/src/api/transport.ts` for the other end.

use api::shapes::{ExecWish, SessionNews, SessionOrder};
use api::{Client, ClientError, ProgramSaid};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tauri::State;
use tauri::ipc::{Channel, InvokeResponseBody};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Programs that are spoken to at once.
const PROGRAMS: usize = 16;

/// What was said and is not sent yet; who says more waits.
const AHEAD: usize = 64;

/// Bytes that the page has not taken yet; the program waits then. More than the largest piece.
const UNHEARD: usize = 2 << 20;

/// What goes to a program.
enum Said {
    Input(Vec<u8>),
    Order(SessionOrder),
}

/// A program that is spoken to, and how much more may be said to the page.
struct Spoken {
    say: Sender<Said>,
    room: Arc<Semaphore>,
}

/// The programs that the pages speak to.
pub struct Programs {
    data: PathBuf,
    open: Mutex<BTreeMap<u64, Spoken>>,
}

impl Programs {
    /// Those of the node in this data directory.
    pub fn of(data: PathBuf) -> Programs {
        Programs { data, open: Mutex::default() }
    }

    fn begin(&self, id: u64) -> Result<(Receiver<Said>, Arc<Semaphore>), String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= PROGRAMS {
            return Err("too many programs are spoken to at once".to_owned());
        }
        let (say, said) = channel(AHEAD);
        let room = Arc::new(Semaphore::new(UNHEARD));
        open.insert(id, Spoken { say, room: room.clone() });
        Ok((said, room))
    }

    /// Forgets a program that has ended, unless another has its id by now.
    fn forget(&self, id: u64, room: &Arc<Semaphore>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&id).is_some_and(|spoken| Arc::ptr_eq(&spoken.room, room)) {
            open.remove(&id);
        }
    }

    fn with<T>(&self, id: u64, take: impl FnOnce(&Spoken) -> T) -> Option<T> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map(take)
    }
}

/// Begins a program, and returns when it has ended. What it says comes piece by piece after a byte that says where; an
/// empty piece says that it runs.
#[tauri::command]
pub async fn session_open(
    programs: State<'_, Programs>,
    id: u64,
    lease: String,
    wish: ExecWish,
    pieces: Channel<InvokeResponseBody>,
) -> Result<SessionNews, String> {
    let (said, room) = programs.begin(id)?;
    let page = Page { pieces, room };
    let news = speak(&programs.data, &lease, &wish, said, &page).await;
    programs.forget(id, &page.room);
    news
}

/// Gives a program input, asks for something else, or says how much of its output has come.
#[tauri::command]
pub async fn session_send(
    programs: State<'_, Programs>,
    id: u64,
    bytes: Option<Vec<u8>>,
    order: Option<SessionOrder>,
    heard: Option<usize>,
) -> Result<(), String> {
    // A program that has ended hears nothing, and that it has ended is told by its own answer.
    let Some((say, room)) = programs.with(id, |spoken| (spoken.say.clone(), spoken.room.clone())) else {
        return Ok(());
    };
    if let Some(heard) = heard {
        room.add_permits(heard.min(UNHEARD.saturating_sub(room.available_permits())));
    }
    if let Some(bytes) = bytes {
        let _ = say.send(Said::Input(bytes)).await;
    }
    if let Some(order) = order {
        let _ = say.send(Said::Order(order)).await;
    }
    Ok(())
}

/// Nobody speaks to this program any more, and it ends; without an id, all that a page before this one has left.
#[tauri::command]
pub fn session_close(programs: State<'_, Programs>, id: Option<u64>) {
    let mut open = programs.open.lock().unwrap_or_else(PoisonError::into_inner);
    match id {
        Some(id) => drop(open.remove(&id)),
        None => open.clear(),
    }
}

/// Where what a program says goes.
struct Page {
    pieces: Channel<InvokeResponseBody>,
    room: Arc<Semaphore>,
}

impl Page {
    /// Hands a piece over, once there is room for it: the page gives the room back when it has the piece.
    async fn tell(&self, piece: Vec<u8>) -> Result<(), String> {
        let taken = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        if let Ok(taken) = self.room.acquire_many(taken).await {
            taken.forget();
        }
        self.pieces.send(InvokeResponseBody::Raw(piece)).map_err(|error| error.to_string())
    }
}

async fn speak(
    data: &Path,
    lease: &str,
    wish: &ExecWish,
    mut said: Receiver<Said>,
    page: &Page,
) -> Result<SessionNews, String> {
    let broken = |error: ClientError| {
        let ClientError::Problem(problem) = error else { return Err(error.to_string()) };
        Ok(SessionNews::Problem(problem.into()))
    };
    let (mut input, mut output) = match Client::of(data).exec(lease, wish).await {
        Ok(program) => program,
        Err(error) => return broken(error),
    };
    page.tell(Vec::new()).await?;
    let ask = async {
        while let Some(said) = said.recv().await {
            let sent = match said {
                Said::Input(bytes) => input.give(bytes.into()).await,
                Said::Order(order) => input.order(order).await,
            };
            if sent.is_err() {
                // What has broken is told by the other half, together with the last words.
                std::future::pending::<()>().await;
            }
        }
    };
    let hear = async {
        loop {
            let (stream, bytes) = match output.next().await {
                Ok(ProgramSaid::Out(bytes)) => (1, bytes),
                Ok(ProgramSaid::Err(bytes)) => (2, bytes),
                Ok(ProgramSaid::Ended(code)) => return Ok(SessionNews::Ended(code)),
                Err(error) => return broken(error),
            };
            page.tell([&[stream], &bytes[..]].concat()).await?;
        }
    };
    tokio::select! {
        news = hear => news,
        () = ask => Err("the page has gone".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::node::{Config, Settings, start};
    use api::serve;

    fn wish() -> ExecWish {
        ExecWish { command: vec!["sh".to_owned()], ..ExecWish::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn why_a_program_does_not_begin_is_told() {
        let data = tempfile::tempdir().unwrap();
        let page =
            Page { pieces: Channel::new(|_| panic!("it runs")), room: Arc::new(Semaphore::new(UNHEARD)) };
        let (_say, said) = channel(1);
        let nobody = speak(data.path(), "abcd", &wish(), said, &page).await.unwrap_err();
        assert!(nobody.contains("no node runs"), "{nobody}");

        let settings = Settings::load(data.path()).unwrap();
        let node = start(Config::with(settings, data.path().to_owned())).await.unwrap();
        let serving = serve(node.clone(), data.path(), None).await.unwrap();
        let (_say, said) = channel(1);
        let told = speak(data.path(), "abcd", &wish(), said, &page).await.unwrap();
        let SessionNews::Problem(problem) = told else { panic!("{told:?}") };
        assert_eq!(api::Problem::from(problem).code, "unknown_lease");
        serving.stop().await;
        node.shut_down().await;
    }

    #[test]
    fn an_end_forgets_no_other_program() {
        let programs = Programs::of(PathBuf::new());
        let (_, before) = programs.begin(1).unwrap();
        let (_, now) = programs.begin(1).unwrap();
        programs.forget(1, &before);
        assert!(programs.with(1, |_| ()).is_some());
        programs.forget(1, &now);
        assert!(programs.with(1, |_| ()).is_none());
        for id in 0..PROGRAMS as u64 {
            programs.begin(id).unwrap();
        }
        assert!(programs.begin(99).is_err());
    }
}
