//! Sublet.
fn main() {}
