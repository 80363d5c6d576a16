//! A short run of a fuzz target on stable: seeds are bent by chance that can be repeated.

/// Pieces that are put in where they may hurt.
const PIECES: [&[u8]; 20] = [
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"\"",
    b":",
    b"-",
    b"0",
    b"9223372036854775808",
    b"18446744073709551615",
    b"1e400",
    b"null",
    b"\\u0000",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"%",
    b"&symbol=",
    b"\n",
];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

/// Bends `data` in one of the ways that find faults: a bit, a piece, a stretch that is gone, doubled or another's.
fn bend(data: &mut Vec<u8>, dice: &mut Dice, others: &[Vec<u8>]) {
    let at = dice.below(data.len() + 1);
    let end = (at + dice.below(24)).min(data.len());
    match dice.below(8) {
        0 | 1 if at < data.len() => data[at] ^= 1 << dice.below(8),
        2 => drop(data.drain(at..end)),
        3 => {
            let stretch = data[at..end].to_vec();
            data.splice(at..at, stretch);
        }
        4 => data.truncate(at),
        5 => {
            let other = &others[dice.below(others.len())];
            let from = dice.below(other.len() + 1);
            let to = (from + dice.below(64)).min(other.len());
            data.splice(at..end, other[from..to].iter().copied());
        }
        _ => drop(data.splice(at..end, PIECES[dice.below(PIECES.len())].iter().copied())),
    }
}

/// Runs a target on this many bent seeds, the seeds themselves first. `LASTGOOD_SEED` and `LASTGOOD_CASES` change which
/// and how many; what makes a target fail is shown.
pub(crate) fn short_run(seeds: &[Vec<u8>], cases: u64, target: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let (seed, cases) = (variable("LASTGOOD_SEED").unwrap_or(1), variable("LASTGOOD_CASES").unwrap_or(cases));
    seeds.iter().for_each(|seed| target(seed));
    for case in 0..cases {
        let mut dice = Dice(seed.wrapping_mul(0xA24B_AED4_963E_E407) ^ case);
        let mut data = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(5) {
            bend(&mut data, &mut dice, seeds);
        }
        if std::panic::catch_unwind(|| target(&data)).is_err() {
            panic!("case {case} of seed {seed} fails: {:?}", String::from_utf8_lossy(&data));
        }
    }
}
