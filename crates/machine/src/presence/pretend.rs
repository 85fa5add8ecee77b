//! A source that pretends: it tells what it is told to tell. For tests, and named for what it is.

use super::{Fact, Source, Wants};
use model::ReasonKind;
use std::sync::{Arc, Mutex, PoisonError};

/// A source that pretends, and who tells it what to pretend.
pub fn pretended(name: &str, kinds: &[ReasonKind]) -> (PretendSource, Pretended) {
    let shared =
        Arc::new(Mutex::new(Shared { says: Err("it pretends to know nothing".to_owned()), looks: 0 }));
    let source = PretendSource { name: name.to_owned(), kinds: kinds.to_vec(), shared: shared.clone() };
    (source, Pretended(shared))
}

struct Shared {
    says: Result<Vec<Fact>, String>,
    looks: usize,
}

/// A source that pretends.
pub struct PretendSource {
    name: String,
    kinds: Vec<ReasonKind>,
    shared: Arc<Mutex<Shared>>,
}

/// What a source that pretends shall tell from now on.
#[derive(Clone)]
pub struct Pretended(Arc<Mutex<Shared>>);

impl Pretended {
    /// These facts.
    pub fn tells(&mut self, facts: impl IntoIterator<Item = Fact>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).says = Ok(facts.into_iter().collect());
    }

    /// Nothing, and why.
    pub fn fails(&mut self, why: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).says = Err(why.to_owned());
    }

    /// How often it was looked at.
    pub fn looks(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).looks
    }
}

impl Source for PretendSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn kinds(&self) -> &[ReasonKind] {
        &self.kinds
    }

    fn look(&mut self, _wants: &Wants) -> Result<Vec<Fact>, String> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.looks += 1;
        shared.says.clone()
    }
}
