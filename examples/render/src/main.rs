//! The guest of the demo.
fn main() {}
