//! See `slabstash_fuzz::store_model`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slabstash_fuzz::store_model::check(input));
