//! Chance that is always the same: numbers that follow from a seed and a few others.

/// A well-mixed number from a seed and two more (the finaliser of SplitMix64).
pub(crate) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let mut x = seed ^ a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.rotate_left(31).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    for multiplier in [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB] {
        x = (x ^ (x >> 30)).wrapping_mul(multiplier);
    }
    x ^ (x >> 31)
}

/// The same as a fraction in 0..1.
pub(crate) fn fraction(seed: u64, a: u64, b: u64) -> f64 {
    (mix(seed, a, b) >> 11) as f64 / (1u64 << 53) as f64
}

/// Whether chance strikes, once in this many times.
pub(crate) fn one_in(times: u64, seed: u64, a: u64, b: u64) -> bool {
    mix(seed, a, b).is_multiple_of(times)
}
