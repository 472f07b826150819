//! Hashed passwords: argon2id in the usual text form, with bounds on what one verification may cost.
//!
//! ```text
//! $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>        base64 without padding
//!                  |      |   lanes, which are computed one after the other
//!                  |      passes over the memory
//!                  KiB of memory
//! ```
//! The bounds hold for what stands in a file, so that no entry can take the daemon's memory or its verifier for long.

use std::collections::TryReserveError;

use argon2::password_hash::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq;

/// What a hashed entry begins with; passwords in plain may not.
pub const PREFIX: &[u8] = b"$argon2";

/// KiB of memory that one verification may take.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
/// KiB that it may write, all passes together: about 250 ms.
const WORK_KIB_MAX: u32 = 256 * 1024;
/// Bytes of a salt and of a hash, at least.
const SALT_BYTES_MIN: usize = 8;
const HASH_BYTES_MIN: usize = 16;

/// A hash to verify passwords against.
pub struct Hash {
    argon2: Argon2<'static>,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Hash {
    /// Reads a hash's text form. The error says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
        if !text.starts_with("$argon2id$") {
            return Err("only argon2id is known".to_owned());
        }
        let hash = PasswordHash::new(text).map_err(|error| error.to_string())?;
        if hash.version != Some(u32::from(Version::V0x13)) {
            return Err("only version 19 is known".to_owned());
        }
        let params = Params::try_from(&hash).map_err(|error| error.to_string())?;
        let work_kib = params.m_cost().saturating_mul(params.t_cost());
        if params.m_cost() > MEMORY_KIB_MAX || work_kib > WORK_KIB_MAX {
            return Err(format!("m may be at most {MEMORY_KIB_MAX}, and m times t at most {WORK_KIB_MAX}"));
        }
        let (Some(salt), Some(output)) = (hash.salt, hash.hash) else {
            return Err("it is not complete".to_owned());
        };
        let mut space = [0; SALT_BYTES_MAX];
        let salt = salt.decode_b64(&mut space).map_err(|error| error.to_string())?.to_vec();
        if salt.len() < SALT_BYTES_MIN || output.len() < HASH_BYTES_MIN {
            return Err("it is too short".to_owned());
        }
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(Self { argon2, salt, output: output.as_bytes().to_vec() })
    }

    /// KiB written by a verification.
    pub fn cost(&self) -> u32 {
        self.argon2.params().m_cost() * self.argon2.params().t_cost()
    }

    /// Whether it is the hash of this password: tens of milliseconds, and `m` KiB of memory meanwhile. The error is that
    /// the system refuses those.
    pub fn verify(&self, password: &[u8]) -> Result<bool, TryReserveError> {
        let mut blocks = Vec::new();
        let count = self.argon2.params().block_count();
        blocks.try_reserve_exact(count)?;
        blocks.resize(count, Block::new());
        let mut output = vec![0; self.output.len()];
        match self.argon2.hash_password_into_with_memory(password, &self.salt, &mut output, &mut blocks) {
            Ok(()) => Ok(output.ct_eq(&self.output).into()),
            // A password of 4 GiB or more.
            Err(_) => Ok(false),
        }
    }
}

/// Bytes of a salt, at most (PHC string format).
const SALT_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `secret`, by the reference implementation: `echo -n secret | argon2 somesalt -id -k 64 -t 1 -p 1 -e`.
    const ONE_LANE: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$4mqQiyq0VpIzuZmp+8eSF3YJ7Av58TkEJ4LIdOVsAc4";
    /// The same with `somesaltsomesalt -id -k 256 -t 2 -p 2 -l 24`.
    const TWO_LANES: &str = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$vVoo/gLDo6lHJggPONKgnOUonHp2jTFH";

    #[test]
    fn hashes_of_the_reference_implementation_are_verified() {
        for (text, cost) in [(ONE_LANE, 64), (TWO_LANES, 512)] {
            let hash = Hash::parse(text.as_bytes()).expect("a good hash");
            assert_eq!(hash.cost(), cost);
            assert_eq!(hash.verify(b"secret"), Ok(true));
            for password in [&b""[..], b"secre", b"secret ", b"Secret", text.as_bytes()] {
                assert_eq!(hash.verify(password), Ok(false), "{password:?}");
            }
        }
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let error = Hash::parse(text.as_bytes()).err().expect("refused");
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn what_cannot_be_verified_is_refused() {
        let tail = "$c29tZXNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg";
        let with = |params: &str| format!("$argon2id$v=19${params}{tail}");
        assert!(Hash::parse(with("m=65536,t=4,p=1").as_bytes()).is_ok());
        let bounds = "m may be at most 65536, and m times t at most 262144";
        for params in ["m=65537,t=1,p=1", "m=65536,t=5,p=1", "m=32,t=4294967295,p=1", "m=4294967295,t=1,p=1"] {
            check_refused(&with(params), bounds);
        }
        for params in ["m=7,t=1,p=1", "m=64,t=0,p=1", "m=64,t=1,p=0", "m=64,t=1,p=9", "m=x,t=1,p=1", "m=64,t=1,p=1,q=1"]
        {
            check_refused(&with(params), "");
        }
        check_refused("$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg", "only argon2id is known");
        check_refused("$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg", "only version 19 is known");
        check_refused("$argon2id$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg", "only version 19 is known");
        check_refused("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ", "it is not complete");
        check_refused("$argon2id$v=19$m=64,t=1,p=1$c29tZQ$MDEyMzQ1Njc4OWFiY2RlZg", "it is too short");
        check_refused("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OQ", "it is too short");
        check_refused("$argon2id$v=19$m=64,t=1,p=1$c29t*XNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg", "");
        check_refused("$argon2id$", "");
        for end in 0..ONE_LANE.len() {
            // A hash cut short may still be one, but not this one.
            let cut = Hash::parse(&ONE_LANE.as_bytes()[..end]);
            assert!(!cut.is_ok_and(|hash| hash.verify(b"secret") == Ok(true)));
        }
    }

    #[test]
    fn a_salt_of_any_length_that_its_format_allows_is_taken() {
        let with = |salt: &str| format!("$argon2id$v=19$m=64,t=1,p=1${salt}$MDEyMzQ1Njc4OWFiY2RlZg");
        let longest = "c2Fs".repeat(SALT_BYTES_MAX / 4);
        let hash = Hash::parse(with(&longest).as_bytes()).expect("a good hash");
        assert_eq!(hash.salt.len(), SALT_BYTES_MAX / 4 * 3);
        check_refused(&with(&format!("{longest}c2Fs")), "");
    }
}
