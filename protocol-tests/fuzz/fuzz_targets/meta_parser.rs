//! See `slabstash_fuzz::meta_parser`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slabstash_fuzz::meta_parser::check(input));
