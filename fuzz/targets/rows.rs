//! Rows of numbers as they are packed: every text comes back as it was, and every packing is rows or nothing.

pub(crate) fn run(data: &[u8]) {
    lastgood::testing::hold_rows(data);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 4] = [
        b"[[1700000000000,\"0.0100\",\"12.50\",-3,0],[1700000060000,\"0.0200\",\"13.00\",4,1]]",
        b"[1700000000000,\"42000.10000000\",\"1.5\"],[1700000060000,\"42000.20000000\",\"0.0\"]",
        b"[[\"1.0\",\"2.0\"],[\"1.1\",\"20000000000000000.0\"]]",
        b"[[0],[18446744073709551615]]",
    ];
    texts.iter().map(|text| text.to_vec()).collect()
}
