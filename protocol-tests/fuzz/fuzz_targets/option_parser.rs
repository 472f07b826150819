//! See `slabstash_fuzz::option_parser`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slabstash_fuzz::option_parser::check(input));
