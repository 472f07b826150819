//! See `slabstash_fuzz::binary_parser`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slabstash_fuzz::binary_parser::check(input));
