//! See `slabstash_fuzz::text_parser`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slabstash_fuzz::text_parser::check(input));
