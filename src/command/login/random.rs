//! Bytes nobody can guess.

use ring::rand::{SecureRandom, SystemRandom};

/// So many random bytes. A system that has none left ends the process: whatever is made without them can be guessed.
pub fn bytes<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("getrandom(2) fails only where the kernel is older than 3.17 and has no /dev/urandom");
    bytes
}
