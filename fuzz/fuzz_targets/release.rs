#![no_main]

#[path = "../../crates/model/tests/decoders/mod.rs"]
mod decoders;
#[path = "../../crates/model/tests/examples/mod.rs"]
mod examples;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::decode("release", bytes);
});
