//! Bytes that no client would send, to every path, over plain TCP.
//!
//! Each case is a few requests on one connection, sent at once, and a sound request behind them. Cases of chance follow from
//! a seed: `LASTGOOD_SEED=17` runs others, `LASTGOOD_CASES=100000` more, `LASTGOOD_CASE=4711` only this one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::get;

mod dice;
mod found;
mod grammar;
mod scene;
mod schemathesis;
mod wire;

use self::dice::Dice;
use self::grammar::{Framing, Request};
use self::scene::Scene;
use self::wire::{Answer, Answers, Heard, shown};

/// Cases of a run, each of two requests and more.
const CASES: u64 = 2_500;
/// Connections at the same time.
const AT_ONCE: usize = 8;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|why| panic!("{name}: {why}")))
}

fn seed() -> u64 {
    from_env("LASTGOOD_SEED").unwrap_or(7)
}

/// The requests of a case, the sound one last.
fn requests(seed: u64, case: u64) -> Vec<Request> {
    let mut dice = Dice::of(seed, case);
    let bent = 1 + dice.below(4);
    let mut requests: Vec<Request> =
        (0..bent).map(|at| grammar::request(&mut dice, &format!("QX{case}N{at}Z"))).collect();
    requests.push(Request::probe(&format!("QX{case}N{bent}Z")));
    requests
}

/// The markers in a text.
fn markers(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("QX").filter_map(|(at, _)| {
        let end = text[at..].find('Z')?;
        let marker = &text[at..=at + end];
        marker[2..marker.len() - 1].bytes().all(|byte| byte.is_ascii_digit() || byte == b'N').then_some(marker)
    })
}

/// The problem with an answer to a request.
fn fault(request: &Request, answer: &Answer) -> Result<(), String> {
    let body = answer.unpacked()?;
    let text = String::from_utf8_lossy(&body);
    if !(200..500).contains(&answer.status) {
        return Err(format!("answered {}: {}", answer.status, shown(&body)));
    }
    let says_json = answer.header("content-type").contains("json");
    if says_json
        && !body.is_empty()
        && answer.status >= 400
        && serde_json::from_slice::<serde_json::Value>(&body).is_err()
    {
        return Err(format!("an error that is no JSON: {}", shown(&body)));
    }
    let header_values = answer.headers.iter().map(|(_, value)| value.as_str());
    let said: Vec<&str> = header_values.chain([text.as_ref()]).flat_map(markers).collect();
    let asked = String::from_utf8_lossy(&request.target);
    if let Some(other) = said.iter().find(|said| !asked.contains(**said))
        && !request.may_list()
    {
        return Err(format!("it speaks of {other}, which another request asked for: {}", shown(&body)));
    }
    Ok(())
}

/// How often each kind of answer was given.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<u16, u64>>);

impl Tally {
    fn count(&self, status: u16) {
        *self.0.lock().unwrap().entry(status).or_default() += 1;
    }
}

/// Sends the requests of a case and judges all that comes back.
async fn tried(scene: &Scene, requests: &[Request], tally: &Tally) -> Result<(), String> {
    let stream = TcpStream::connect(scene.gateway.address).await.map_err(|why| format!("no connection: {why}"))?;
    stream.set_nodelay(true).unwrap();
    let (from, mut to) = stream.into_split();
    let ends_early = requests.iter().position(|request| request.framing == Framing::Cut);
    let sent = &requests[..=ends_early.unwrap_or(requests.len() - 1)];
    let bytes: Vec<u8> = sent.iter().flat_map(Request::bytes).collect();
    let sending = async {
        // The gateway may hang up on it before its end.
        for piece in bytes.chunks(bytes.len() / (1 + bytes.len() % 3) + 1) {
            if to.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if ends_early.is_some() {
            let _ = to.shutdown().await;
        }
    };
    let ((), judged) = tokio::join!(sending, judged(Answers::new(from), sent, tally));
    let was_answered = judged?;
    if !was_answered {
        // Whatever became of that connection, the gateway is there.
        let live = tokio::time::timeout(std::time::Duration::from_secs(30), get(scene.gateway.url("/livez"))).await;
        if live.map(|live| live.status) != Ok(200) {
            return Err("the gateway does not answer any more".to_owned());
        }
    }
    Ok(())
}

/// Judges the answers to some requests, and says whether the last one was answered.
async fn judged(mut answers: Answers, requests: &[Request], tally: &Tally) -> Result<bool, String> {
    // Whether the gateway may hang up without a word.
    let mut may_end = false;
    let mut must_end = false;
    for (at, request) in requests.iter().enumerate() {
        let of = |why: String| format!("request {at}: {why}");
        may_end |= request.framing != Framing::Clear;
        match answers.next(&request.method).await.map_err(of)? {
            Heard::End | Heard::Reset if may_end => return Ok(false),
            Heard::End => return Err(of("the connection ended without an answer".to_owned())),
            Heard::Reset => return Err(of("the connection was reset".to_owned())),
            Heard::Answer(answer) if must_end => {
                return Err(of(format!("answered {} behind a request whose end is unknown", answer.status)));
            }
            Heard::Answer(answer) => {
                tally.count(answer.status);
                fault(request, &answer).map_err(of)?;
                if at + 1 == requests.len() {
                    return Ok(true);
                }
                // A body that is refused unread ends the connection.
                may_end |= answer.is_last() || request.has_body();
                must_end |= answer.is_last() || request.framing == Framing::Broken;
            }
        }
    }
    Ok(true)
}

/// The fewest requests and headers with which a case still fails.
async fn smallest(scene: &Scene, mut requests: Vec<Request>) -> Vec<Request> {
    let tally = Tally::default();
    loop {
        let mut smaller = Vec::new();
        for at in 0..requests.len() {
            let mut fewer = requests.clone();
            fewer.remove(at);
            smaller.extend((!fewer.is_empty()).then_some(fewer));
            for line in 0..requests[at].headers.len() {
                let mut fewer = requests.clone();
                fewer[at].headers.remove(line);
                smaller.push(fewer);
            }
        }
        let mut found = None;
        for fewer in smaller {
            if tried(scene, &fewer, &tally).await.is_err() {
                found = Some(fewer);
                break;
            }
        }
        match found {
            Some(fewer) => requests = fewer,
            None => return requests,
        }
    }
}

/// Panics anywhere in this process from now on.
fn panics() -> Arc<Mutex<Vec<String>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, usual) = (Arc::clone(&seen), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        noted.lock().unwrap().push(panic.to_string());
        usual(panic);
    }));
    seen
}

/// Runs cases, and tells of those that failed, the first one as small as it gets. Says how often each status was answered.
async fn run(scene: &Scene, cases: Range<u64>, of: impl Fn(u64) -> Vec<Request>) -> BTreeMap<u16, u64> {
    let panics = panics();
    let seed = seed();
    let tally = Tally::default();
    let failures: Vec<(u64, String)> = futures_util::stream::iter(cases)
        .map(async |case| Some((case, tried(scene, &of(case), &tally).await.err()?)))
        .buffer_unordered(AT_ONCE)
        .filter_map(async |failure| failure)
        .take(20)
        .collect()
        .await;
    let panics = panics.lock().unwrap().join("\n");
    if let Some((case, _)) = failures.first() {
        let list: String = failures.iter().map(|(case, why)| format!("case {case}: {why}\n")).collect();
        let small = smallest(scene, of(*case)).await;
        let small: String =
            small.iter().map(|request| format!("{:?}\n    {}\n", request.framing, shown(&request.bytes()))).collect();
        panic!(
            "with LASTGOOD_SEED={seed}, LASTGOOD_CASE={case} and others fail:\n{list}\ncase {case}, made smaller:\n{small}\n{panics}"
        );
    }
    assert!(panics.is_empty(), "LASTGOOD_SEED={seed}: {panics}");
    tally.0.into_inner().unwrap()
}

/// Runs cases of chance.
async fn chance(with_token: bool) {
    let scene = Scene::start(with_token).await;
    let cases = match from_env("LASTGOOD_CASE") {
        Some(case) => case..case + 1,
        None => 0..from_env("LASTGOOD_CASES").unwrap_or(CASES),
    };
    let seed = seed();
    let tally = run(&scene, cases.clone(), |case| requests(seed, case)).await;
    // The run is worth something if much of it is answered, and in many ways.
    if cases.end - cases.start >= CASES {
        let all: u64 = tally.values().sum();
        assert!(all > cases.end * 2, "{tally:?}");
        for (status, share) in [(200, 5), (201, 500), (204, 1_000), (304, 1_000), (400, 10), (404, 10), (405, 200)] {
            assert!(tally.get(&status).is_some_and(|count| count * share > all), "{status} is rare: {tally:?}");
        }
        assert!(scene.exchange.asked() > 500, "{}", scene.exchange.asked());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_in_any_place_and_no_method_makes_the_gateway_fail() {
    let scene = Scene::start(true).await;
    let requests = grammar::sweep();
    let cases: Vec<&[Request]> = requests.chunks(8).collect();
    let of = |case: u64| {
        let mut requests = cases[usize::try_from(case).unwrap()].to_vec();
        requests.push(Request::probe(&format!("QX{case}N8Z")));
        requests
    };
    let all = match from_env("LASTGOOD_CASE") {
        Some(case) => case..case + 1,
        None => 0..cases.len() as u64,
    };
    run(&scene, all, of).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_make_a_gateway_with_a_token_fail_hang_or_mix_answers_up() {
    chance(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_make_a_gateway_without_a_token_fail_hang_or_mix_answers_up() {
    chance(false).await;
}
