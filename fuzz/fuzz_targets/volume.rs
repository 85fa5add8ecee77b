#![no_main]

#[path = "../../crates/machine/tests/unpacking/mod.rs"]
mod unpacking;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    unpacking::unpack("volume", bytes);
});
