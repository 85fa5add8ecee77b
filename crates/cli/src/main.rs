//! `sublet`.
fn main() {}
