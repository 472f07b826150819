//! See `slabstash_fuzz::connection_cuts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slabstash_fuzz::connection_cuts::check(input));
