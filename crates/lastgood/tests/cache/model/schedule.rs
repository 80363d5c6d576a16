//! What happens in a schedule, made of a seed.

use std::time::Duration;

/// The regions of every node, and the keys in them, with their tag.
pub(super) const REGIONS: [&str; 2] = ["prices", "books"];
pub(super) const KEYS: [KeyOf; 3] = [
    KeyOf { region: 0, name: "AAA", tag: Some("metal") },
    KeyOf { region: 0, name: "BBB", tag: None },
    KeyOf { region: 1, name: "AAA", tag: Some("metal") },
];
pub(super) const NODES: usize = 3;

pub(super) struct KeyOf {
    pub(super) region: usize,
    pub(super) name: &'static str,
    pub(super) tag: Option<&'static str>,
}

pub(super) fn store_key(key: usize) -> String {
    format!("lastgood:{}:v1:{}", REGIONS[KEYS[key].region], KEYS[key].name)
}

/// What an invalidation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Key(usize),
    InvalidatedKey(usize),
    Tag,
    Region(usize),
    /// All whose names begin with `A`.
    Selected,
    /// As [`What::Region`], by [`lastgood::Region::clear`].
    Clear(usize),
    /// Of one region, by [`lastgood::Region::remove_prefix`]: none of the names has a colon, so none is meant.
    Nothing(usize),
}

impl What {
    pub(super) fn is_of(self, key: usize) -> bool {
        match self {
            What::Key(meant) | What::InvalidatedKey(meant) => meant == key,
            What::Tag => KEYS[key].tag.is_some(),
            What::Region(region) | What::Clear(region) => KEYS[key].region == region,
            What::Selected => KEYS[key].name.starts_with('A'),
            What::Nothing(_) => false,
        }
    }
}

/// How the calls of a node are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    None,
    Refused,
    Silent,
    /// It answers, and takes no writes: full, or a replica now. Its log is read all the same.
    ReadOnly,
}

/// What happens to the next call alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Once {
    Delayed(u64),
    AnswerLost,
    RequestLost,
    /// The caller gets no answer, and it takes effect this many milliseconds later.
    EffectLate(u64),
}

/// How the source answers for a key from now on, and after how many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Answers(u64),
    Fails(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read(usize, usize),
    /// Several readers on every node.
    ReadEverywhere(usize),
    /// Makes the key fresh for longer, as warming does.
    Refresh(usize, usize),
    Reload(usize, usize),
    Put(usize, usize),
    Expire(usize, What),
    Remove(usize, What),
    Source(usize, Response),
    Cut(usize, Cut, Cut),
    Heal(usize),
    Once(usize, Once),
    /// The process ends, and another begins whose clock is this many milliseconds ahead.
    Crash(usize, i64),
    /// The clock is set ahead by this many milliseconds.
    Jump(usize, u64),
    StoreRestarts {
        loses_all: bool,
    },
    Evict(usize),
    Trim,
    Wait(u64),
}

/// What goes wrong in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing but the source.
    Calm,
    /// Nodes are cut off.
    Partitions,
    /// Calls are late or lost.
    Calls,
    /// Processes end, and clocks are wrong.
    Clocks,
    /// Clocks are set while something waits for the store.
    Jumps,
    /// The store loses what it holds.
    Losses,
    /// The store takes no writes.
    ReadOnly,
    /// All of it.
    Storm,
}

pub(super) const MOODS: [Mood; 7] =
    [Mood::Calm, Mood::Partitions, Mood::Calls, Mood::Clocks, Mood::Jumps, Mood::Losses, Mood::Storm];

/// A generator of numbers (splitmix64), the same on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).expect("it is smaller than a usize")
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A schedule and the latencies of the nodes.
pub(super) struct Schedule {
    pub(super) mood: Mood,
    pub(super) latencies: [Duration; NODES],
    pub(super) skews: [i64; NODES],
    pub(super) steps: Vec<Step>,
}

const QUARTER: i64 = 15 * 60 * 1_000;

impl Schedule {
    pub(super) fn of(seed: u64) -> Schedule {
        let mut dice = Dice::new(seed);
        let mood = match seed % 8 {
            6 => Mood::ReadOnly,
            _ => MOODS[usize::try_from(seed % MOODS.len() as u64).expect("it is small")],
        };
        let latencies = std::array::from_fn(|_| Duration::from_millis(dice.of(&[0, 0, 1, 3])));
        let is_skewed = matches!(mood, Mood::Clocks | Mood::Jumps | Mood::Storm);
        let skews = std::array::from_fn(|_| if is_skewed { dice.of(&[0, -QUARTER, QUARTER]) } else { 0 });
        let length = 6 + dice.below(20);
        let steps = (0..length).map(|_| dice.step(mood)).collect();
        Schedule { mood, latencies, skews, steps }
    }
}

impl Dice {
    fn step(&mut self, mood: Mood) -> Step {
        if self.below(4) == 0
            && let Some(fault) = self.fault(mood)
        {
            return fault;
        }
        let (node, key) = (self.below(NODES), self.below(KEYS.len()));
        match self.below(24) {
            0..5 => Step::Read(node, key),
            5..7 => Step::ReadEverywhere(key),
            7 => Step::Refresh(node, key),
            8 => Step::Reload(node, key),
            9..12 => Step::Put(node, key),
            12..14 => Step::Expire(node, self.what()),
            14..17 => Step::Remove(node, self.what()),
            17..19 => Step::Source(key, self.response()),
            _ => Step::Wait(self.of(&[1, 5, 40, 40, 300, 300, 1_100, 2_500, 7_000, 13_000, 40_000])),
        }
    }

    fn what(&mut self) -> What {
        let (key, region) = (self.below(KEYS.len()), self.below(REGIONS.len()));
        match self.below(10) {
            0..4 => What::Key(key),
            4 => What::InvalidatedKey(key),
            5..7 => What::Tag,
            7 => What::Region(region),
            8 => What::Selected,
            _ => self.of(&[What::Clear(region), What::Clear(region), What::Nothing(region)]),
        }
    }

    fn response(&mut self) -> Response {
        let after = self.of(&[0, 0, 10, 200, 1_000, 3_000, 7_000]);
        if self.below(3) == 0 { Response::Fails(after) } else { Response::Answers(after) }
    }

    fn jump(&mut self) -> u64 {
        self.of(&[QUARTER.unsigned_abs(), QUARTER.unsigned_abs(), 20_000, 300])
    }

    fn fault(&mut self, mood: Mood) -> Option<Step> {
        let node = self.below(NODES);
        let mood = match mood {
            Mood::Storm => self.of(&MOODS[1..6]),
            mood => mood,
        };
        Some(match mood {
            Mood::Calm | Mood::Storm => return None,
            Mood::Partitions => match self.below(6) {
                0..3 => {
                    let cut = self.of(&[Cut::Refused, Cut::Silent]);
                    let only = self.below(4);
                    Step::Cut(node, if only == 0 { Cut::None } else { cut }, if only == 1 { Cut::None } else { cut })
                }
                _ => Step::Heal(node),
            },
            Mood::ReadOnly => match self.below(6) {
                0..3 => Step::Cut(node, Cut::ReadOnly, Cut::None),
                3 => Step::Once(node, self.of(&[Once::Delayed(15), Once::Delayed(200), Once::AnswerLost])),
                _ => Step::Heal(node),
            },
            Mood::Calls => Step::Once(
                node,
                match self.below(5) {
                    0 | 1 => Once::Delayed(self.of(&[5, 15, 200, 900])),
                    2 => Once::AnswerLost,
                    3 => Once::RequestLost,
                    _ => Once::EffectLate(self.of(&[30, 500, 1_500, 4_000])),
                },
            ),
            Mood::Clocks => match self.below(3) {
                0 => Step::Jump(node, self.jump()),
                _ => Step::Crash(node, self.of(&[0, -QUARTER, QUARTER])),
            },
            Mood::Jumps => match self.below(8) {
                0..3 => Step::Jump(node, self.jump()),
                3 | 4 => Step::Cut(node, self.of(&[Cut::Refused, Cut::Silent]), self.of(&[Cut::None, Cut::Refused])),
                5 => Step::Once(node, self.of(&[Once::RequestLost, Once::AnswerLost, Once::EffectLate(1_500)])),
                _ => Step::Heal(node),
            },
            Mood::Losses => match self.below(9) {
                0 => Step::StoreRestarts { loses_all: true },
                1 => Step::StoreRestarts { loses_all: false },
                2 | 3 => Step::Evict(self.below(KEYS.len())),
                4 => Step::Trim,
                5 => Step::Crash(node, 0),
                6 | 7 => Step::Cut(node, Cut::None, Cut::Refused),
                _ => Step::Heal(node),
            },
        })
    }
}
