//! Stored bytes: whatever lies in a store is an entry or a miss.

pub(crate) fn run(data: &[u8]) {
    lastgood::testing::hold_entry(data);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    lastgood::testing::entries()
}
