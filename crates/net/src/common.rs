//! What the handle, the driver and the tasks of one node share.

use crate::config::Limits;
use crate::deal::Answers;
use crate::event::NetEvent;
use crate::sync::set::Set;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Shared by all parts of one node's network.
pub(crate) struct Common {
    set: Mutex<Set>,
    /// Rings when objects were added to the set.
    pub(crate) changed: Notify,
    pub(crate) answers: Answers,
    pub(crate) events: mpsc::Sender<NetEvent>,
}

impl Common {
    pub(crate) fn new(limits: &Limits, events: mpsc::Sender<NetEvent>) -> Common {
        Common {
            set: Mutex::new(Set::new(limits)),
            changed: Notify::new(),
            answers: Answers::default(),
            events,
        }
    }

    /// The shared set. Held for moments only, never across an await.
    pub(crate) fn set(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
