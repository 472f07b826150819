//! A small generator of random numbers (xorshift64*), seeded by the caller, so that every server of a run gets the same
//! requests in the same order.

/// The state of one stream of numbers; it is never zero.
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random(mix(seed) | 1)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in `0..bound`; the bias of the multiplication is far below what a benchmark can see.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `(0, 1]`, so that its logarithm is finite.
    pub fn fraction(&mut self) -> f64 {
        unit(self.next())
    }
}

/// Scatters the bits of a number (the finalizer of splitmix64): near ids become far numbers.
pub fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Maps 64 random bits to `(0, 1]`.
pub fn unit(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_stays_below_and_reaches_every_number() {
        let mut random = Random::new(7);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
    }

    #[test]
    fn one_seed_gives_one_stream() {
        let (mut one, mut other) = (Random::new(3), Random::new(3));
        assert!((0..100).all(|_| one.next() == other.next()));
        assert_ne!(Random::new(3).next(), Random::new(4).next());
    }

    #[test]
    fn unit_has_a_finite_logarithm() {
        assert!(unit(0) > 0.0);
        assert_eq!(unit(u64::MAX), 1.0);
    }
}
