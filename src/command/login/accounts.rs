//! Who may log in, and whether a claim is theirs.
//!
//! The time of a check depends on nothing secret: every entry is compared, and every comparison goes over the same
//! [`FIELD_BYTES`] bytes, whatever is equal and wherever it differs. So neither users, nor passwords, nor their lengths
//! can be learnt from the time an answer takes.
//!
//! A password in plain is checked at once. A hashed one costs tens of milliseconds by intent, which is no work for an
//! event loop: [`Accounts::check`] says [`Check::Costly`], and somebody else calls [`Accounts::verify`]. To make up for
//! the cost, an entry remembers a keyed digest of the last claim that it verified; the same claim is then checked at
//! once. The key is random and lives as long as the list, so a changed file forgets everything. A claim that is wrong
//! costs the same number of hashes whether the user exists or not.

use std::collections::TryReserveError;

use ring::hmac;
use subtle::{Choice, ConstantTimeEq};

use crate::base::sync::Mutex;

use super::hashed::Hash;
use super::mechanism::hmac_md5;
use super::random;

/// Bytes that a comparison goes over: memcached's buffer for a line.
pub const FIELD_BYTES: usize = 256;

/// Bytes of a line, at most.
pub const LINE_BYTES_MAX: usize = FIELD_BYTES - 1;

/// How an entry in plain is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `-Y`: user, colon, password.
    Pair,
    /// memcached's SASL password file: the password may be followed by a colon and anything, so that a password with
    /// colons is accepted up to any of them, too.
    Line,
}

/// Who somebody says to be.
pub struct Claim {
    /// The user.
    pub user: Vec<u8>,
    /// The same without the realm that was added to it.
    pub bare_user: Option<Vec<u8>>,
    /// The password.
    pub password: Vec<u8>,
}

/// Result of [`Accounts::check`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The claim is true.
    Accepted,
    /// It is not.
    Refused,
    /// Only [`Accounts::verify`] can tell.
    Costly,
}

/// The entries of a file.
pub struct Accounts {
    format: Format,
    plain: Vec<Plain>,
    hashed: Vec<Hashed>,
    /// The largest number of hashed entries that one user has.
    hashes_per_user: usize,
    /// Key of the remembered claims.
    key: hmac::Key,
}

/// `user:password`.
struct Plain {
    line: Field,
    /// user_bytes < secret_end <= length of the line
    user_bytes: usize,
    secret_end: usize,
}

struct Hashed {
    user: Field,
    hash: Hash,
    /// Digest of the last claim that was verified. Written by the verifier, read by workers.
    remembered: Mutex<Option<[u8; DIGEST_BYTES]>>,
}

/// A text in a block of fixed size; the rest is zero.
struct Field {
    bytes: [u8; FIELD_BYTES],
    length: usize,
}

/// A text to compare fields with.
struct Candidate {
    field: Field,
    /// All ones below the length.
    covered: [u8; FIELD_BYTES],
    /// All ones at the length.
    next: [u8; FIELD_BYTES],
    /// Whether it can equal anything.
    fits: Choice,
}

impl Accounts {
    /// No entries.
    pub fn new(format: Format) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<DIGEST_BYTES>());
        Self { format, plain: Vec::new(), hashed: Vec::new(), hashes_per_user: 0, key }
    }

    /// Adds an entry in plain: a line of up to [`LINE_BYTES_MAX`] bytes whose user ends at the colon at `user_bytes` and
    /// whose password at `secret_end`.
    pub fn add_plain(&mut self, line: &[u8], user_bytes: usize, secret_end: usize) {
        assert!(user_bytes < secret_end && secret_end <= line.len() && line.len() <= LINE_BYTES_MAX);
        self.plain.push(Plain { line: Field::new(line), user_bytes, secret_end });
    }

    /// Adds an entry with a hash.
    pub fn add_hashed(&mut self, user: &[u8], hash: Hash) {
        assert!(user.len() <= LINE_BYTES_MAX);
        self.hashed.push(Hashed { user: Field::new(user), hash, remembered: Mutex::new(None) });
        let count = self.hashed.iter().filter(|entry| entry.user.text() == user).count();
        self.hashes_per_user = self.hashes_per_user.max(count);
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.plain.len() + self.hashed.len()
    }

    /// Checks a claim, as far as that is cheap.
    pub fn check(&self, claim: &Claim) -> Check {
        let is_accepted = self.check_plain(claim) | self.check_remembered(claim);
        match (bool::from(is_accepted), self.hashed.is_empty()) {
            (true, _) => Check::Accepted,
            (false, true) => Check::Refused,
            (false, false) => Check::Costly,
        }
    }

    fn check_plain(&self, claim: &Claim) -> Choice {
        let mut is_accepted = Choice::from(0);
        for user in claim.users() {
            let candidate = Candidate::new(&[user, &claim.password].join(&b':'));
            for entry in &self.plain {
                is_accepted |= match self.format {
                    Format::Pair => candidate.equals(&entry.line) & entry.user_bytes.ct_eq(&user.len()),
                    Format::Line => candidate.begins(&entry.line) & candidate.ends_in(&entry.line),
                };
            }
        }
        is_accepted
    }

    fn check_remembered(&self, claim: &Claim) -> Choice {
        let mut is_accepted = Choice::from(0);
        if self.hashed.is_empty() {
            return is_accepted;
        }
        let digest = self.digest(claim);
        for user in claim.users() {
            let candidate = Candidate::new(user);
            for entry in &self.hashed {
                let remembered = *entry.remembered.lock();
                let is_known = Choice::from(u8::from(remembered.is_some()));
                is_accepted |=
                    candidate.equals(&entry.user) & is_known & remembered.unwrap_or_default()[..].ct_eq(&digest);
            }
        }
        is_accepted
    }

    /// Checks a claim against the hashes: tens of milliseconds for each. The error is that there is no memory for one, be it
    /// the user's or not.
    pub fn verify(&self, claim: &Claim) -> Result<bool, TryReserveError> {
        // Another connection may have had the same verified in the meantime.
        if self.check(claim) == Check::Accepted {
            return Ok(true);
        }
        let candidates: Vec<_> = claim.users().map(Candidate::new).collect();
        let is_theirs = |entry: &&Hashed| candidates.iter().any(|candidate| candidate.equals(&entry.user).into());
        let theirs: Vec<_> = self.hashed.iter().filter(is_theirs).collect();
        let costliest = self.hashed.iter().max_by_key(|entry| entry.hash.cost());
        for number in 0..self.hashes_per_user.max(theirs.len()) {
            match theirs.get(number) {
                Some(entry) => {
                    if entry.hash.verify(&claim.password)? {
                        *entry.remembered.lock() = Some(self.digest(claim));
                        return Ok(true);
                    }
                }
                // For the time it takes.
                None => {
                    if let Some(entry) = costliest {
                        std::hint::black_box(entry.hash.verify(&claim.password)?);
                    }
                }
            }
        }
        Ok(false)
    }

    /// CRAM-MD5: whether `digest` was made of `challenge` by somebody who knows the password of one of `users`. Hashed
    /// entries are no use for it.
    pub fn check_response(&self, users: &[&[u8]], challenge: &[u8], digest: &[u8; 16]) -> bool {
        let mut is_accepted = Choice::from(0);
        for user in users {
            let candidate = Candidate::new(&[*user, b""].join(&b':'));
            for entry in &self.plain {
                let is_user = candidate.begins(&entry.line) & entry.user_bytes.ct_eq(&user.len());
                is_accepted |= is_user & hmac_md5(entry.secret(), challenge)[..].ct_eq(digest);
            }
        }
        is_accepted.into()
    }

    fn digest(&self, claim: &Claim) -> [u8; DIGEST_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(claim.user.len() as u64).to_be_bytes());
        context.update(&claim.user);
        context.update(&claim.password);
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// Users and passwords in plain.
    #[cfg(test)]
    pub fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        self.plain.iter().map(|entry| (&entry.line.bytes[..entry.user_bytes], entry.secret())).collect()
    }
}

impl Claim {
    /// The names under which an entry may stand.
    fn users(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&self.user), self.bare_user.as_ref()].into_iter().flatten().map(Vec::as_slice)
    }
}

impl Plain {
    fn secret(&self) -> &[u8] {
        self.line.bytes.get(self.user_bytes + 1..self.secret_end).unwrap_or_default()
    }
}

impl Field {
    /// A longer text is cut off.
    fn new(text: &[u8]) -> Self {
        let length = text.len().min(LINE_BYTES_MAX);
        let mut bytes = [0; FIELD_BYTES];
        bytes[..length].copy_from_slice(&text[..length]);
        Self { bytes, length }
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Candidate {
    fn new(text: &[u8]) -> Self {
        let field = Field::new(text);
        let mut covered = [0; FIELD_BYTES];
        covered[..field.length].fill(0xff);
        let mut next = [0; FIELD_BYTES];
        next[field.length] = 0xff;
        Self { fits: Choice::from(u8::from(text.len() <= LINE_BYTES_MAX)), field, covered, next }
    }

    /// Whether the line begins with it.
    fn begins(&self, line: &Field) -> Choice {
        let bytes = line.bytes.iter().zip(&self.field.bytes).zip(&self.covered);
        let difference = bytes.fold(0, |difference, ((left, right), covered)| difference | ((left ^ right) & covered));
        difference.ct_eq(&0) & self.fits
    }

    fn equals(&self, line: &Field) -> Choice {
        self.begins(line) & line.length.ct_eq(&self.field.length)
    }

    /// Whether a field ends where it does, given that the line begins with it.
    fn ends_in(&self, line: &Field) -> Choice {
        let next = line.bytes.iter().zip(&self.next).fold(0, |next, (byte, mask)| next | (byte & mask));
        next.ct_eq(&b':') | next.ct_eq(&b'\r') | next.ct_eq(&0)
    }
}

/// Bytes of HMAC-SHA256.
const DIGEST_BYTES: usize = 32;
