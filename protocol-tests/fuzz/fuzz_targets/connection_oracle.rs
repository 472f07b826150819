//! See `slabstash_fuzz::oracle`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slabstash_fuzz::oracle::check(input));
