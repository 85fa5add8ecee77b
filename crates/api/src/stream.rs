//! Work that takes its time, told as it goes on: a stream of events that ends with `done` or `problem`.

use crate::problem::Problem;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, PollNext, StreamExt};
use serde::Serialize;
use std::convert::Infallible;
use std::marker::PhantomData;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Events that wait to be read. A reader that is slower sees fewer of them.
const WAITING: usize = 32;

/// Tells how far the work has come.
pub struct Teller<P> {
    events: mpsc::Sender<Event>,
    what: PhantomData<fn(P)>,
}

impl<P: Serialize> Teller<P> {
    /// Tells it, if there is room; progress is not worth waiting for.
    pub fn tell(&self, progress: &P) {
        let _ = self.events.try_send(event("progress", progress));
    }
}

impl<P> Clone for Teller<P> {
    fn clone(&self) -> Self {
        Teller { events: self.events.clone(), what: PhantomData }
    }
}

/// Does the work while somebody reads of it. When the reader goes, the work is dropped.
pub fn told<P, T, W>(work: impl FnOnce(Teller<P>) -> W) -> Response
where
    T: Serialize,
    W: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let (events, told) = mpsc::channel(WAITING);
    let work = work(Teller { events, what: PhantomData });
    let last = stream::once(async move {
        match work.await {
            Ok(done) => event("done", &done),
            Err(problem) => event("problem", &problem),
        }
    });
    // Progress first: it was made before the end.
    let events = stream::select_with_strategy(ReceiverStream::new(told), last, |_: &mut ()| PollNext::Left);
    Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default()).into_response()
}

/// One event with JSON in it.
pub fn event(name: &str, data: &impl Serialize) -> Event {
    let named = Event::default().event(name);
    // Our shapes have text keys and finite numbers.
    named.clone().json_data(data).unwrap_or(named)
}
