//! The routes, one file for each subject. Each is listed once, with its description: `router.rs` collects them.

pub mod dashboard;
pub mod demand;
pub mod diagnostics;
pub mod earning;
pub mod files;
pub mod identity;
pub mod image;
pub mod image_store;
pub mod lease;
pub mod ledger;
pub mod machine;
pub mod market;
pub mod node;
pub mod offer;
pub mod owner;
pub mod peer;
pub mod people;
pub mod reputation;
pub mod selftest;
pub mod session;
pub mod settings;
pub mod settlement;
pub mod statement;
pub mod stats;

/// The most that a page holds.
const LONGEST_PAGE: usize = 500;

/// How long a page is when nobody says.
const USUAL_PAGE: usize = 100;

/// The length of a page.
fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(USUAL_PAGE).clamp(1, LONGEST_PAGE)
}
pub mod update;
pub mod volume;
