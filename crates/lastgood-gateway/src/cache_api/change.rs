//! `POST /api/cache/invalidate`, `/clear/{symbol}` and `/flush`: much at once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use lastgood::store::StoreError;
use lastgood::{Invalidated, Mode, Selector};
use lastgood_market::RegionName;
use lastgood_market::candles::{KnownSeries, series_prefix};
use serde_json::json;

use super::answer;
use super::body::Fields;
use super::caller::Caller;
use super::glob::Glob;
use super::name::{KeyName, region};
use super::selector::SelectorText;
use super::symbol;
use crate::app::App;
use crate::fleet;
use crate::pending::Pending;
use crate::problem::{self, Answered, Refused};
use crate::stored_value::{ask_again, reason};

/// Keys of candles that are looked at for one symbol; whatever is beyond is invalidated one by one.
const MOST_KEYS: usize = 100_000;
const LIST_WITHIN: Duration = Duration::from_secs(30);
/// How long entries are counted before a caller is asked to confirm.
const COUNT_WITHIN: Duration = Duration::from_secs(2);
/// Series of candles that an answer speaks of one by one.
const MOST_SERIES: usize = 100;

/// The change to make.
enum Target {
    One(Selector, String),
    Many(Selector, String),
    /// A series of candles, by what its keys begin with.
    Series(String),
    Symbol(String),
    Everything,
}

impl Target {
    /// The note about keys that only the store holds, where it was not reached.
    fn rest(&self, mode: Mode) -> &'static str {
        match (self, mode) {
            (Target::One(..), _) => "If the store holds a key that memory does not, it is removed there then.",
            (Target::Many(Selector::Tag(_), _), _) => {
                "Entries that only the store holds are not counted; the mark of their tag is about them, too."
            }
            (Target::Many(Selector::Region(_), _) | Target::Series(_) | Target::Everything, Mode::Remove) => {
                "Keys that only the store holds are not counted; they are removed then, too."
            }
            _ => {
                "Keys that only the store holds are not known and stay there: this gateway no longer uses what the store \
                 has of them from before, other gateways may. Ask again when the store is back."
            }
        }
    }
}

/// What was changed.
#[derive(Default)]
struct Changed {
    matched: u64,
    removed: u64,
    expired: u64,
    /// Why the store was not searched.
    unreached: Option<StoreError>,
}

/// A change that is done, as far as it can be.
struct Done {
    changed: Changed,
    candles: Vec<KnownSeries>,
    pending: Option<Pending>,
}

impl Changed {
    fn of(invalidated: Invalidated, mode: Option<Mode>) -> Changed {
        let Invalidated { matched, changed, unreached } = invalidated;
        let (removed, expired) = match mode {
            None => (0, 0),
            Some(Mode::Remove) => (changed, 0),
            Some(Mode::Expire) => (0, changed),
        };
        Changed { matched, removed, expired, unreached }
    }

    fn and(self, other: Changed) -> Changed {
        Changed {
            matched: self.matched + other.matched,
            removed: self.removed + other.removed,
            expired: self.expired + other.expired,
            unreached: self.unreached.or(other.unreached),
        }
    }
}

const EXAMPLE: &str = r#"{"pattern": "klines:*:BTCUSDT:*", "hard": false, "dry_run": true}"#;

pub(super) async fn invalidate(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answered {
    let known = ["pattern", "tag", "region", "key", "symbol", "hard", "dry_run"];
    let fields = Fields::read(&app, request, &known, EXAMPLE).await?;
    let (hard, dry_run) = (fields.flag("hard")?, fields.flag("dry_run")?);
    let target = target(&app, &fields).await?;
    let mode = if hard { Mode::Remove } else { Mode::Expire };
    let (what, counted) = if hard { ("remove", "removed") } else { ("expire", "expired") };
    let Done { changed, candles, pending } = change(&app, caller, what, target, mode, dry_run).await?;
    let count = if hard { changed.removed } else { changed.expired };
    let mut report = json!({ "matched": changed.matched, "dry_run": dry_run });
    report[counted] = count.into();
    if !candles.is_empty() {
        report["candles"] = json!(candles);
    }
    Ok(answer::change(StatusCode::OK, report, pending.as_ref()))
}

async fn target(app: &App, fields: &Fields) -> Result<Target, Refused> {
    let refuse = |detail: String| Refused::new(StatusCode::BAD_REQUEST, &detail);
    let mut named = Vec::new();
    for name in ["key", "tag", "region", "pattern", "symbol"] {
        if let Some(value) = fields.text(name)? {
            named.push((name, value));
        }
    }
    let mut named = named.into_iter();
    let (Some((name, value)), None) = (named.next(), named.next()) else {
        let detail = "The body names exactly one of key, tag, region, pattern and symbol";
        return Err(refuse(format!("{detail}. Send for example {EXAMPLE}.")));
    };
    let scope = format!("{name} {value}");
    Ok(match name {
        "key" => {
            let key = KeyName::parse(app, &value)?.meant().await;
            if let Some(prefix) = key.series().await {
                return Ok(Target::Series(prefix));
            }
            Target::One(Selector::Key { region: key.region.name().to_owned(), name: key.name }, scope)
        }
        "tag" if value.is_empty() || value.len() > 256 => {
            return Err(refuse("The field tag has 1 to 256 bytes.".to_owned()));
        }
        "tag" => Target::Many(Selector::Tag(value), scope),
        "region" => Target::Many(Selector::Region(region(app, &value)?.name().to_owned()), scope),
        "pattern" => {
            Glob::parse(&value).map_err(|why| refuse(format!("The field pattern: {why}.")))?;
            Target::Many(SelectorText::Pattern(&value).selector(), scope)
        }
        _ => Target::Symbol(symbol::normalised(&value).map_err(|why| refuse(format!("The field symbol: {why}.")))?),
    })
}

pub(super) async fn clear(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(symbol): Path<String>,
    request: Request,
) -> Answered {
    let symbol = symbol::normalised(&symbol)
        .map_err(|why| Refused::new(StatusCode::BAD_REQUEST, &format!("The path names no symbol: {why}.")))?;
    let dry_run =
        Fields::read(&app, request, &["dry_run"], r#"{"dry_run": true}, or nothing"#).await?.flag("dry_run")?;
    let done = change(&app, caller, "clear", Target::Symbol(symbol), Mode::Remove, dry_run).await?;
    Ok(report(&done, dry_run))
}

pub(super) async fn flush(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answered {
    let example = r#"{"confirm": true}"#;
    let fields = Fields::read(&app, request, &["confirm", "dry_run"], example).await?;
    let (confirmed, dry_run) = (fields.flag("confirm")?, fields.flag("dry_run")?);
    if !confirmed && !dry_run {
        let counted = count_all(&app).await;
        let detail = format!(
            "This would remove {counted}, the last good answers included: nothing would be left to serve while a source is away, and what applications put is lost for good. If that is meant, send {example}."
        );
        return Err(Refused::extended(StatusCode::BAD_REQUEST, &detail, &[("matched", counted.keys.into())]));
    }
    let done = change(&app, caller, "flush", Target::Everything, Mode::Remove, dry_run).await?;
    Ok(report(&done, dry_run))
}

fn report(done: &Done, dry_run: bool) -> Response {
    let Changed { matched, removed, expired, .. } = done.changed;
    let report = json!({ "matched": matched, "removed": removed, "expired": expired, "dry_run": dry_run });
    answer::change(StatusCode::OK, report, done.pending.as_ref())
}

/// Does it in a task of its own, so that a caller who leaves does not leave half of it undone.
async fn change(
    app: &Arc<App>,
    caller: Caller,
    what: &'static str,
    target: Target,
    mode: Mode,
    dry_run: bool,
) -> Result<Done, Refused> {
    let app = Arc::clone(app);
    let work = async move {
        let (candles, rest) = (series_meant(&app, &target).await, target.rest(mode));
        let (mut changed, scope) = match target {
            Target::One(scope, wording) => {
                (Changed::of(change_keys(&app, &scope, wanted(mode, dry_run)).await?, wanted(mode, dry_run)), wording)
            }
            many => {
                let _permit = app.bulk_limit.enter().await.ok_or_else(busy)?;
                change_many(&app, many, mode, dry_run).await?
            }
        };
        if dry_run {
            let pending = Pending::of_count(&app, changed.unreached.take());
            return Ok(Done { changed, candles, pending });
        }
        caller.audit(what, &scope, changed.matched, changed.removed + changed.expired);
        let pending = Pending::of(&app, changed.unreached.take(), rest).await;
        pending.iter().for_each(|pending| pending.warn(what, &scope, changed.matched));
        Ok(Done { changed, candles, pending })
    };
    tokio::spawn(work).await.unwrap_or_else(|why| {
        tracing::error!(%why, what, "a change of the cache ended half done");
        Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "The change ended half done; the log says why. Ask again."))
    })
}

fn wanted(mode: Mode, dry_run: bool) -> Option<Mode> {
    (!dry_run).then_some(mode)
}

fn busy() -> Refused {
    let detail = "Too many changes of many keys wait for each other already; ask again when they have ended.";
    let mut response = problem::problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response.into()
}

async fn change_many(app: &App, target: Target, mode: Mode, dry_run: bool) -> Result<(Changed, String), Refused> {
    let wanted = wanted(mode, dry_run);
    match target {
        Target::One(scope, wording) | Target::Many(scope, wording) => {
            Ok((Changed::of(change_keys(app, &scope, wanted).await?, wanted), wording))
        }
        Target::Series(prefix) => change_series(app, prefix, wanted).await,
        Target::Symbol(symbol) => Ok((change_symbol(app, &symbol, wanted).await?, format!("symbol {symbol}"))),
        Target::Everything => {
            let wording = "everything".to_owned();
            if dry_run {
                let Counted { keys, unreached, .. } = count_all(app).await;
                return Ok((Changed { matched: keys, unreached, ..Changed::default() }, wording));
            }
            let held = held_keys(app);
            let removed = app.cache.clear().await;
            Ok((Changed { matched: removed.max(held), removed, ..Changed::default() }, wording))
        }
    }
}

/// How many entries there are.
struct Counted {
    keys: u64,
    /// Why there may be more.
    but: Option<&'static str>,
    /// Why the store was not searched.
    unreached: Option<StoreError>,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.keys, self.but) {
            (1, None) => f.write_str("1 entry"),
            (keys, None) => write!(f, "{keys} entries"),
            (keys, Some(why)) => write!(f, "at least {keys} entries ({why})"),
        }
    }
}

fn held_keys(app: &App) -> u64 {
    app.cache.stats().iter().map(|(_, stats)| stats.keys).sum()
}

/// Counts the entries of memory and of this namespace in the store, as far as that can be counted in a moment.
async fn count_all(app: &App) -> Counted {
    let all = Selector::Matching(Arc::new(|region: &str, _: &str| region != fleet::REGION));
    let held = |but, unreached| Counted { keys: held_keys(app), but: Some(but), unreached };
    match tokio::time::timeout(COUNT_WITHIN, app.cache.invalidate(&all, None)).await {
        Ok(Ok(Invalidated { matched, .. })) => Counted { keys: matched, but: None, unreached: None },
        Ok(Err(why)) => held("those of memory; the store does not answer", Some(why)),
        Err(_) => held("those of memory; the store has too many to count them now", Some(StoreError::Timeout)),
    }
}

/// All that is about a symbol. Answers about all symbols are only expired: they hold the others, too.
async fn change_symbol(app: &App, symbol: &str, mode: Option<Mode>) -> Result<Changed, Refused> {
    let mut changed = Changed::default();
    if mode == Some(Mode::Remove) {
        let removed = forget_candles(app, symbol).await;
        changed = Changed { matched: removed, removed, ..Changed::default() };
    }
    for scope in [SelectorText::Named(symbol).selector(), Selector::Tag(symbol::tag(symbol))] {
        changed = changed.and(Changed::of(change_keys(app, &scope, mode).await?, mode));
    }
    let expire = mode.map(|_| Mode::Expire);
    let all_symbols = SelectorText::OfAnySymbol.selector();
    Ok(changed.and(Changed::of(change_keys(app, &all_symbols, expire).await?, expire)))
}

/// The series of candles that a change matches, as they are before it, so that the change can be reported in candles
/// instead of keys; at most [`MOST_SERIES`].
async fn series_meant(app: &App, target: &Target) -> Vec<KnownSeries> {
    let prefixes = match target {
        Target::Series(prefix) => BTreeSet::from([prefix.clone()]),
        Target::Symbol(symbol) => series_of(app, symbol).await.0,
        Target::One(..) | Target::Many(..) | Target::Everything => return Vec::new(),
    };
    let mut known = Vec::new();
    for prefix in prefixes.iter().take(MOST_SERIES) {
        known.extend(app.engine.candles.known_series(prefix).await);
    }
    known
}

/// What the keys of the series of a symbol begin with, and how many keys they have.
async fn series_of(app: &App, symbol: &str) -> (BTreeSet<String>, u64) {
    let region = app.region(RegionName::Klines);
    let is_meant = |name: &str| !name.contains('?') && symbol::is_named(symbol, region.name(), name);
    let listing = region.names(None, MOST_KEYS, LIST_WITHIN, &is_meant).await;
    let prefixes = listing.names.iter().map(|(name, _)| series_prefix(name)).collect();
    (prefixes, listing.names.len() as u64)
}

async fn change_series(app: &App, prefix: String, mode: Option<Mode>) -> Result<(Changed, String), Refused> {
    let scope = SelectorText::Series(&prefix).selector();
    let wording = format!("series {prefix}");
    if mode == Some(Mode::Remove) {
        let counted = app.cache.invalidate(&scope, None).await;
        let held = app.region(RegionName::Klines).remove_prefix(&prefix).await;
        let (matched, unreached) = match counted {
            Ok(invalidated) => (invalidated.matched, None),
            Err(why) => (held, Some(why)),
        };
        return Ok((Changed { matched, removed: matched, expired: 0, unreached }, wording));
    }
    Ok((Changed::of(change_keys(app, &scope, mode).await?, mode), wording))
}

/// Removes the candles of a symbol, each series at once: its parts make sense together. Says how many keys there were.
async fn forget_candles(app: &App, symbol: &str) -> u64 {
    let (prefixes, keys) = series_of(app, symbol).await;
    for prefix in prefixes {
        app.region(RegionName::Klines).remove_prefix(&prefix).await;
    }
    keys
}

/// The one place that asks the cache for it.
pub(super) async fn change_keys(app: &App, scope: &Selector, mode: Option<Mode>) -> Result<Invalidated, Refused> {
    app.cache.invalidate(scope, mode).await.map_err(|why| {
        let detail = format!("The store does not answer, so its keys cannot be counted: {}.", reason(&why));
        ask_again(&detail, "Ask again once the store is back. Without dry_run it is done all the same.").into()
    })
}
