//! The one source of chance: a seed in, the same numbers out, on every machine and for ever. `SplitMix64`, so that a seed's neighbours
//! have nothing in common.

/// Numbers that a seed decides.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..end`; 0 for an `end` of 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        let next = self.bits();
        match next.checked_rem(end) {
            Some(number) => number,
            None => 0,
        }
    }

    /// One of `from..=to`.
    pub const fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// An index into something of that length; 0 for nothing.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// True `per_mille` times in a thousand.
    pub const fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_numbers() {
        let mut random = Random::new(42);
        assert_eq!([random.bits(), random.bits()], [0xBDD7_3226_2FEB_6E95, 0x28EF_E333_B266_F103]);
        let (mut one, mut other) = (Random::new(1), Random::new(1));
        assert!((0..100).all(|_| one.bits() == other.bits()));
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| (3..=5).contains(&random.between(3, 5))));
        assert!((0..1000).all(|_| random.below(2) < 2 && random.below(0) == 0));
        assert!((0..100).all(|_| random.chance(1000) && !random.chance(0)));
    }
}
