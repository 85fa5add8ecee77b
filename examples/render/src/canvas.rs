//! The picture while it is being drawn: threads take rows, others watch.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::{arguments::Size, png, scene::Scene};

pub struct Canvas {
    size: Size,
    scene: Scene,
    started: Instant,
    next: AtomicU32,
    done: AtomicU32,
    rows: Mutex<Vec<Vec<u8>>>,
    picture: OnceLock<Picture>,
    ended: Mutex<Option<Duration>>,
    over: Condvar,
}

/// The finished work.
pub struct Picture {
    pub png: Vec<u8>,
    /// SHA-256 of `png`, in hex.
    pub hash: String,
}

/// How far it is. The unit is one row of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u32,
    pub total: u32,
    pub elapsed_ms: u128,
}

impl Progress {
    pub fn percent(&self) -> u32 {
        self.done * 100 / self.total
    }
}

impl Canvas {
    pub fn new(size: Size, samples: u32) -> Canvas {
        Canvas {
            size,
            scene: Scene::new(size, samples),
            started: Instant::now(),
            next: AtomicU32::new(0),
            done: AtomicU32::new(0),
            rows: Mutex::new(vec![Vec::new(); size.height as usize]),
            picture: OnceLock::new(),
            ended: Mutex::new(None),
            over: Condvar::new(),
        }
    }

    /// Draws all of it and returns when it is done.
    pub fn draw(&self, threads: u32) {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.draw_rows());
            }
        });
        let png = png::encode(self.size, &locked(&self.rows));
        let hash = hex::encode(Sha256::digest(&png));
        self.picture.get_or_init(|| Picture { png, hash });
        *locked(&self.ended) = Some(self.started.elapsed());
        self.over.notify_all();
    }

    fn draw_rows(&self) {
        loop {
            let y = self.next.fetch_add(1, Ordering::Relaxed);
            if y >= self.size.height {
                return;
            }
            let row = self.scene.row(y);
            locked(&self.rows)[y as usize] = row;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for the end, at most so long. True: it is done.
    pub fn wait(&self, most: Duration) -> bool {
        let ended = locked(&self.ended);
        let waited = self.over.wait_timeout_while(ended, most, |ended| ended.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    pub fn progress(&self) -> Progress {
        let elapsed = locked(&self.ended).unwrap_or_else(|| self.started.elapsed());
        Progress {
            done: self.done.load(Ordering::Relaxed),
            total: self.size.height,
            elapsed_ms: elapsed.as_millis(),
        }
    }

    /// None while it is being drawn.
    pub fn picture(&self) -> Option<&Picture> {
        self.picture.get()
    }

    /// The picture, once it is there.
    pub fn finished(&self) -> &Picture {
        self.picture.wait()
    }
}

/// A thread that panicked leaves a row undrawn, not a broken list: what others drew stays good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(threads: u32) -> Canvas {
        let canvas = Canvas::new(Size { width: 48, height: 32 }, 3);
        canvas.draw(threads);
        canvas
    }

    #[test]
    fn the_picture_is_the_same_on_every_machine() {
        assert_eq!(
            drawn(1).finished().hash,
            "f7202a840b095ea5cb7e38a97374698202b565e10d1fe22943f0396f2e094fbb"
        );
    }

    #[test]
    fn the_number_of_threads_makes_no_difference() {
        assert_eq!(drawn(1).finished().hash, drawn(5).finished().hash);
    }

    #[test]
    fn progress_tells_the_truth() {
        let canvas = Canvas::new(Size { width: 48, height: 32 }, 3);
        assert_eq!((canvas.progress().done, canvas.progress().total), (0, 32));
        assert!(canvas.picture().is_none() && !canvas.wait(Duration::ZERO));
        canvas.draw(2);
        assert_eq!(canvas.progress().percent(), 100);
        assert!(canvas.picture().is_some() && canvas.wait(Duration::ZERO));
        assert_eq!(canvas.progress(), canvas.progress());
    }
}
