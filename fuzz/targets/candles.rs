//! An exchange's candles: rows that ascend, kept to the letter, or nothing.

pub(crate) fn run(data: &[u8]) {
    lastgood_market::testing::hold_rows(&bytes::Bytes::copy_from_slice(data));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let row = |open: u64| {
        let close = open + 59_999;
        format!("[{open},\"1.5\",\"2.0\",\"1.0\",\"1.7\",\"10.0\",{close},\"17.0\",5,\"4.0\",\"6.8\",\"0\"]")
    };
    let rows = |opens: &[u64]| opens.iter().map(|open| row(*open)).collect::<Vec<_>>();
    let answer = |opens: &[u64], between: &str| format!("[{}]", rows(opens).join(between)).into_bytes();
    vec![
        answer(&[1_700_000_040_000, 1_700_000_100_000, 1_700_000_160_000], ","),
        answer(&[1_700_000_040_000, 1_700_000_100_000], " ,\n "),
        answer(&[0], ","),
        rows(&[1_700_000_040_000, 1_700_000_100_000]).join(",").into_bytes(),
        b"[]".to_vec(),
    ]
}
