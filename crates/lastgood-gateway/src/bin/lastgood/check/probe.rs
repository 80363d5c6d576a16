//! Trying what the configuration names.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode, header};
use lastgood::http_client::{HttpError, Incoming, body};
use lastgood::store::{Store, StoreError, UpstashStore};
use lastgood_gateway::{SourceCheck, check_certificate, check_sources};
use lastgood_market::Venue;
use lastgood_market::credentials::MasterKey;
use lastgood_market::upstream::exchange_of;
use lastgood_settings::redact::redact;
use lastgood_settings::{BaseUrl, Settings, StoreSetting, UpstashAddress};
use rustls::Error::InvalidCertificate;
use tokio::time::{Instant, timeout};

use super::ways::Ways;
use super::{Finding, Verdict, redis};
use crate::serve::cannot_listen;
use crate::words::counted;

/// How long a store or an upstream gets to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Probes the address, the directories, the store and every upstream.
pub(super) async fn all(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![listen(settings), data_dir(settings)];
    findings.extend(certificate(settings));
    findings.extend(credentials(settings));
    findings.extend(exchanges(settings));
    let (store, upstreams, sources) = tokio::join!(store(settings), upstreams(settings), sources(settings));
    findings.extend(store);
    findings.extend(upstreams);
    findings.extend(sources);
    findings
}

fn listen(settings: &Settings) -> Finding {
    let target = settings.listen.to_string();
    match lastgood_gateway::listen(settings.listen) {
        Ok(_) => Finding::new("listen", target, Verdict::Ok, "free"),
        Err(error) => {
            let text = cannot_listen(settings.listen, "serve", &error);
            let (what, hint) = text.split_once("\n    help: ").unwrap_or((&text, ""));
            // A gateway that is running already is the usual reason, and a good one.
            let verdict = match error.kind() {
                io::ErrorKind::AddrInUse => Verdict::Note,
                _ => Verdict::Failed,
            };
            Finding::new("listen", target, verdict, what).hint(hint)
        }
    }
}

fn data_dir(settings: &Settings) -> Finding {
    writable("data_dir", &settings.data_dir, "give the user of lastgood the right to write there, or set data_dir")
}

/// Whether the listener's certificate can be used; nothing to say where it speaks plain HTTP.
fn certificate(settings: &Settings) -> Option<Finding> {
    let target = settings.tls.certificate.as_ref()?.display().to_string();
    Some(match check_certificate(&settings.tls) {
        Ok(_) => Finding::new("certificate", target, Verdict::Ok, "goes with its key"),
        Err(why) => Finding::new("certificate", target, Verdict::Failed, why.to_string()).hint(why.hint()),
    })
}

/// Whether the credentials open; nothing to say where there are none.
fn credentials(settings: &Settings) -> Option<Finding> {
    let store = settings.credentials();
    if !store.exists() {
        return None;
    }
    let finding =
        |verdict, detail: String| Finding::new("credentials", store.path().display().to_string(), verdict, detail);
    let Some(master) = &settings.master_key else {
        let without = finding(Verdict::Failed, "there are credentials and no master key".to_owned());
        return Some(without.hint("set LASTGOOD_MASTER_KEY to the key they were added with"));
    };
    Some(match MasterKey::parse(master).and_then(|master| store.open(&master)) {
        Ok(held) => finding(Verdict::Ok, format!("{} can be opened", held.len())),
        Err(why) => {
            let failed = finding(Verdict::Failed, why.to_string());
            match why.hint() {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        }
    })
}

/// Which exchange each market's answers are kept as, and whether its streams are known to be the same one's.
fn exchanges(settings: &Settings) -> Vec<Finding> {
    let binance = &settings.binance;
    let markets: [(Venue, &[BaseUrl], &[BaseUrl]); 3] = [
        (Venue::Spot, &binance.spot_url, &binance.ws_url),
        (Venue::UsdM, &binance.futures_url, &binance.futures_ws_url),
        (Venue::CoinM, &binance.coin_url, &[]),
    ];
    let finding = |(venue, hosts, streams): (Venue, &[BaseUrl], &[BaseUrl])| {
        // Exchanges that are known to differ were refused with the configuration.
        let name = exchange_of(hosts).unwrap_or_default();
        let of_streams = exchange_of(streams).unwrap_or_default();
        let kept = format!("answers are kept as those of {name}");
        let is_one_of_them = |stream: &BaseUrl| hosts.iter().any(|host| host.host() == stream.host());
        match streams.is_empty() || of_streams == name || streams.iter().all(is_one_of_them) {
            true => Finding::new("exchange", venue.as_str(), Verdict::Ok, kept),
            false => {
                Finding::new("exchange", venue.as_str(), Verdict::Note, format!("{kept}, streams are of {of_streams}"))
                    .hint("make sure that both are of one exchange: their names do not tell")
            }
        }
    };
    markets.into_iter().filter(|(_, hosts, _)| !hosts.is_empty()).map(finding).collect()
}

/// Whether a directory, or the nearest one above it that exists, lets us write. Creates nothing that stays.
fn writable(what: &'static str, directory: &Path, hint: &str) -> Finding {
    let target = directory.display().to_string();
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let existing = here.ancestors().find(|path| path.exists() && !path.as_os_str().is_empty());
    let existing = existing.unwrap_or(Path::new("."));
    let trial = existing.join(format!(".lastgood-check-{}", std::process::id()));
    let tried = std::fs::write(&trial, b"").and_then(|()| std::fs::remove_file(&trial));
    match tried {
        Ok(()) if existing == here => Finding::new(what, target, Verdict::Ok, "writable"),
        Ok(()) => Finding::new(what, target, Verdict::Ok, "will be created"),
        Err(error) => {
            Finding::new(what, target, Verdict::Failed, format!("{} cannot be written: {error}", existing.display()))
                .hint(hint)
        }
    }
}

async fn store(settings: &Settings) -> Vec<Finding> {
    let finding = match &settings.store {
        StoreSetting::Memory => Finding::new("store", "memory:", Verdict::Ok, "nothing to reach; nothing survives"),
        StoreSetting::Embedded { .. } => {
            let file = settings.embedded_file().unwrap_or_default();
            let directory = file.parent().unwrap_or(Path::new("."));
            let hint = "choose another file: --store embedded:FILE";
            Finding { target: file.display().to_string(), ..writable("store", directory, hint) }
        }
        StoreSetting::Redis(url) => return redis::check(settings, url).await,
        StoreSetting::Upstash(address) => upstash(settings, address).await,
    };
    vec![finding]
}

async fn upstash(settings: &Settings, address: &UpstashAddress) -> Finding {
    let finding = |verdict, detail: String| Finding::new("store", address.to_string(), verdict, redact(&detail));
    let probed = async {
        let store = UpstashStore::new(
            address.options(settings.store_token.as_ref())?.with_proxies(settings.proxy.proxies().clone()),
        )?;
        // The first makes the connection; the second takes what requests will wait for.
        store.probe().await?;
        let started = Instant::now();
        Ok::<_, StoreError>((store.probe().await?, started.elapsed()))
    };
    let (usage, took) = match probed.await {
        Ok(probed) => probed,
        Err(why) => {
            let why = why.to_string();
            let hint = hint_on_upstash(&why);
            return finding(Verdict::Failed, why).hint(hint);
        }
    };
    let keys = usage.keys.map(|keys| format!(", {}", counted(keys, "key"))).unwrap_or_default();
    let budget = settings.store_budget;
    // From there on the gateway counts it as slow, and soon leaves it alone.
    let finding = match took < budget * 4 / 5 {
        true => finding(Verdict::Ok, format!("answers{keys}")),
        false => {
            finding(Verdict::Note, format!("answers{keys}, but too slowly for store_budget, {} ms", budget.as_millis()))
                .hint(
                    "set LASTGOOD_STORE_BUDGET to twice the time it took, or run nearer to the database; \
             until then the gateway mostly does without it",
                )
        }
    };
    finding.took(took)
}

fn hint_on_upstash(why: &str) -> &'static str {
    let text = why.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["rest token"]) {
        "set UPSTASH_REDIS_REST_TOKEN to the REST token of this very database"
    } else if has(&["rate of requests", "limit exceeded"]) {
        "wait, or raise the limits of the database; meanwhile the gateway works without it"
    } else if has(&["not as upstash", "redirect"]) {
        "correct the address: it is the one that Upstash shows for REST"
    } else if has(&["certificate", "tls", "handshake", "corrupt message"]) {
        "let SSL_CERT_FILE name the authority of its certificate, or check the address and this machine's clock"
    } else if has(&["resolve", "lookup", "name or service"]) {
        "correct the host name"
    } else {
        "check the address and the network; meanwhile the gateway works without it"
    }
}

/// The databases, buckets and APIs of the declared routes.
async fn sources(settings: &Settings) -> Vec<Finding> {
    let finding = |check: SourceCheck| {
        let target = format!("{} ({})", check.source, check.route);
        let finding = match check.result {
            Ok(()) => Finding::new("source", target, Verdict::Ok, "answers"),
            Err(why) => {
                let why = why.to_string();
                let (what, hint) = why.split_once("; ").unwrap_or((&why, "check how it is declared"));
                Finding::new("source", target, Verdict::Failed, redact(what)).hint(redact(hint))
            }
        };
        finding.took(check.took)
    };
    check_sources(settings).await.into_iter().map(finding).collect()
}

async fn upstreams(settings: &Settings) -> Vec<Finding> {
    let ways = match Ways::new(settings) {
        Ok(ways) => ways,
        Err(why) => return vec![Finding::new("upstream", "", Verdict::Failed, why.to_string())],
    };
    let binance = &settings.binance;
    let groups = [
        ("spot", binance.spot_url.as_slice(), "/api/v3/ping"),
        ("futures", binance.futures_url.as_slice(), "/fapi/v1/ping"),
        ("coin", binance.coin_url.as_slice(), "/dapi/v1/ping"),
    ];
    let fear_greed = settings.fear_greed.url.as_slice();
    let mut groups = groups.to_vec();
    groups.push(("fear_greed", fear_greed, "/fng/?limit=1&format=json"));
    let probes = groups.iter().flat_map(|(what, hosts, path)| {
        let ways = &ways;
        hosts.iter().map(move |host| upstream(ways, what, host, path))
    });
    join_all(probes).await
}

async fn upstream(ways: &Ways, what: &'static str, host: &BaseUrl, path: &str) -> Finding {
    let started = Instant::now();
    let url = format!("{host}{path}");
    let (way, led) = ways.to(&url).await;
    let finding = match led {
        Err(failure) => Finding::new(what, host.as_str(), Verdict::Failed, failure.to_string()).hint(failure.hint()),
        Ok(()) => match ask(ways, &url).await {
            Ok(answer) => {
                let wait = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                of_status(what, host, answer.status(), wait)
            }
            Err(error) => of_error(what, host, &error, ways.hint(&way)),
        },
    };
    let detail = format!("{}, {way}", finding.detail);
    Finding { detail, ..finding }.took(started.elapsed())
}

async fn ask(ways: &Ways, url: &str) -> Result<http::Response<Incoming>, HttpError> {
    let request = Request::get(url).header(header::ACCEPT, "*/*").header(header::ACCEPT_ENCODING, "gzip");
    let request = request.body(body(Bytes::new())).map_err(|why| HttpError::Connect(why.into()))?;
    timeout(PATIENCE, ways.client.send(request)).await.unwrap_or(Err(HttpError::TimedOut))
}

fn of_status(what: &'static str, host: &BaseUrl, status: StatusCode, wait: Option<&str>) -> Finding {
    let failed = |why: &str, hint: &str| {
        let detail = format!("{why} (HTTP {})", status.as_u16());
        Finding::new(what, host.as_str(), Verdict::Failed, detail).hint(hint)
    };
    let wait = wait.map_or_else(|| "a few minutes".to_owned(), |seconds| format!("{seconds} s"));
    match status.as_u16() {
        200..=299 => Finding::new(what, host.as_str(), Verdict::Ok, "answers"),
        418 => failed("this address is banned", &format!("ask nothing for {wait}; the ban ends by itself")),
        429 => failed("the request limit is spent", &format!("wait {wait}, and let bots ask through the gateway")),
        451 => failed(
            "not served from this location",
            "run the gateway elsewhere; for spot market data https://data-api.binance.vision may answer",
        ),
        403 => failed("refused by the firewall of the host", "wait some minutes; name another host"),
        300..=399 => failed("answers with a redirect, which is not followed", "name the host it redirects to"),
        500..=599 => failed("answers with an error of its own", "wait, or add another host"),
        _ => failed("answers, but not as this upstream does", "correct its URL; paths are added to it"),
    }
}

fn of_error(what: &'static str, host: &BaseUrl, error: &HttpError, way: &str) -> Finding {
    let hint = match error {
        error if error.is_timeout() => "check the network, or name a nearer host",
        HttpError::Unresolved(_) => "correct the host name, or check the DNS of this machine",
        HttpError::Tls(InvalidCertificate(_)) => {
            "check the clock and the certificates of this machine, and that no proxy reads the traffic"
        }
        _ => "check the address and the network; until it answers, the last good answers are served",
    };
    let detail = match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false => redact(&error.cause()).into_owned(),
    };
    Finding::new(what, host.as_str(), Verdict::Failed, detail).hint(format!("{hint}{way}"))
}
