//! Bodies of requests, framed in many ways.

use super::super::dice::Dice;
use super::vocabulary::WEIRD;
use super::{Framing, Request};

/// Bodies that JSON readers trip over.
fn json(dice: &mut Dice) -> Vec<u8> {
    let bar = r#"[1735689600000,"94000.1","94100","93900.5","94050","12.5"]"#;
    match dice.below(26) {
        0..3 => r#"{"input":{"symbol":"BTCUSDT"}}"#.into(),
        3..6 => r#"{"input":{"symbol":"BTCUSDT"},"analysis":{"mood":"calm"}}"#.into(),
        6..9 => format!("[{bar}]").into(),
        9 => r#"[{"time":1,"open":"1","high":"2","low":"1","close":"1","volume":"0"}]"#.into(),
        10 => format!("[{}]", vec![bar; 5_001].join(",")).into(),
        11 => format!("[{}]", [r#"[1e400,"-",null,{},[],true]"#; 3].join(",")).into(),
        12 => r#"{"pattern":"notes:*","dry_run":true}"#.into(),
        13 => r#"{"region":"notes","hard":true}"#.into(),
        14 => r#"{"key":"notes:a","tag":"a"}"#.into(),
        15 => r#"{"symbol":"BTCUSDT","dry_run":true}"#.into(),
        16 => r#"{"confirm":true,"dry_run":true}"#.into(),
        17 => format!("{{\"input\":{}1{}}}", "[".repeat(3_000), "]".repeat(3_000)).into(),
        18 => format!("{{\"input\":\"{}\"}}", "x".repeat(200_000)).into(),
        19 => r#"{"input":1e999,"analysis":-0}"#.into(),
        20 => r#"{"input":"\ud800","analysis":"\u0000"}"#.into(),
        21 => br#"{"input":"\xff"}"#.to_vec(),
        22 => b"\xef\xbb\xbf{}".to_vec(),
        23 => r#"{"a":1,"a":2}"#.into(),
        24 => dice.bytes(300),
        _ => dice.pick(WEIRD).as_bytes().to_vec(),
    }
}

fn chunked(body: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + dice.below(rest.len()));
        let extension = dice.pick(&["", "", ";a", ";a=b", ";a=\"b;c\"", " ", ";"]);
        let size = match dice.below(3) {
            0 => format!("{:x}", chunk.len()),
            1 => format!("{:X}", chunk.len()),
            _ => format!("{:05x}", chunk.len()),
        };
        wire.extend(format!("{size}{extension}\r\n").into_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = after;
    }
    let trailers = dice.pick(&["", "", "X-Trailer: 1\r\n", "Content-Length: 99\r\nTransfer-Encoding: chunked\r\n"]);
    wire.extend(format!("0\r\n{trailers}\r\n").into_bytes());
    wire
}

/// Gives a request a body, framed in one of many ways.
pub(super) fn with_body(request: &mut Request, dice: &mut Dice) {
    let body = json(dice);
    let length = body.len();
    let lines = |lines: &[String]| lines.iter().map(|line| line.clone().into_bytes()).collect();
    let chunks = "Transfer-Encoding: chunked".to_owned();
    let (framed_by, payload, framing): (Vec<Vec<u8>>, Vec<u8>, Framing) = match dice.below(24) {
        0..11 => (lines(&[format!("Content-Length: {length}")]), body, Framing::Clear),
        11..15 => (lines(&[chunks]), chunked(&body, dice), Framing::Clear),
        15 => {
            let same = format!("Content-Length: {length}");
            (lines(&[same.clone(), same]), body, Framing::Odd)
        }
        16 => {
            let two = [format!("Content-Length: {length}"), format!("Content-Length: {}", length + 1)];
            (lines(&two), body, Framing::Broken)
        }
        17 => {
            let value = dice.pick(&["-1", "+5", "0x5", "5,6", "5 5", "", "99999999999999999999", "five", "1e1"]);
            (lines(&[format!("Content-Length: {value}")]), body, Framing::Broken)
        }
        18 => {
            let coding = dice.pick(&["identity", "gzip", "xchunked", "chunked, gzip", "chunked-not", "\u{b}chunked"]);
            (lines(&[format!("Transfer-Encoding: {coding}")]), body, Framing::Broken)
        }
        19 => {
            let size = dice.pick(&["zz", "-1", "", "0x5", "+5", "5g", ";", "10000000000000000", "\u{e9}"]);
            let wire = format!("{size}\r\nhello\r\n0\r\n\r\n").into_bytes();
            (lines(&[chunks]), wire, Framing::Broken)
        }
        20 => (lines(&[chunks]), b"5\r\nhello!!\r\n0\r\n\r\n".to_vec(), Framing::Broken),
        21 => {
            let both = [format!("Content-Length: {length}"), chunks];
            (lines(&both), chunked(&body, dice), Framing::Odd)
        }
        22 => {
            let most = body.len() / 2;
            let sent = body[..most].to_vec();
            (lines(&[format!("Content-Length: {}", length + 1)]), sent, Framing::Cut)
        }
        _ => {
            let mut wire = chunked(&body, dice);
            wire.truncate(wire.len().saturating_sub(1 + dice.below(8)));
            (lines(&[chunks]), wire, Framing::Cut)
        }
    };
    if request.framing == Framing::Clear || framing != Framing::Clear {
        request.framing = framing;
    }
    (request.framed_by, request.payload) = (framed_by, payload);
}
