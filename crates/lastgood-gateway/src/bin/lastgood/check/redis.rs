//! Trying a Redis: whether it answers, and whether its user may do all that the gateway does.

use std::time::Duration;

use lastgood::store::{Lack, RedisOptions, RedisStore, RedisUrl, Store, Usage};
use lastgood_settings::Settings;
use lastgood_settings::redact::redact;
use tokio::time::{Instant, sleep, timeout};

use super::probe::PATIENCE;
use super::{Finding, Verdict};
use crate::words::counted;

/// How often a store that is still connecting is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether the server answers, and a finding for each thing that it does not do for this user.
pub(super) async fn check(settings: &Settings, url: &RedisUrl) -> Vec<Finding> {
    let target = settings.store.to_string();
    let failed = |why: String| {
        let hint = hint(&why);
        vec![Finding::new("store", &target, Verdict::Failed, redact(&why)).hint(hint)]
    };
    let options = match RedisOptions::new(url) {
        Ok(options) => options,
        Err(error) => return failed(error.to_string()),
    };
    let started = Instant::now();
    let store = RedisStore::connect(options);
    loop {
        let asked = async {
            // Without the right to PING, too, it is asked what else is missing.
            let lacks = store.lacks(&settings.namespace).await?;
            let took = started.elapsed();
            match store.probe().await {
                Err(why) if lacks.is_empty() => Err(why),
                probed => Ok((probed.unwrap_or_default(), lacks, took)),
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok((usage, lacks, took))) => return findings(settings, &target, &usage, lacks, took),
            Ok(Err(error)) if started.elapsed() > PATIENCE => return failed(error.to_string()),
            Ok(Err(_)) => sleep(PAUSE).await,
            Err(_) => return failed("no answer within 5 s".to_owned()),
        }
    }
}

fn findings(settings: &Settings, target: &str, usage: &Usage, lacks: Vec<Lack>, took: Duration) -> Vec<Finding> {
    let keys = usage.keys.map(|keys| format!(", {}", counted(keys, "key"))).unwrap_or_default();
    let answers = Finding::new("store", target, Verdict::Ok, format!("answers{keys}")).took(took);
    let lacks = lacks.into_iter().map(|lack| of_lack(settings, target, lack));
    std::iter::once(answers).chain(lacks).collect()
}

fn of_lack(settings: &Settings, target: &str, lack: Lack) -> Finding {
    let finding = |verdict, detail: String| Finding::new("store", target, verdict, redact(&detail));
    let namespace = &settings.namespace;
    match lack {
        Lack::Command { command, why, lost, is_vital } => {
            let verdict = if is_vital { Verdict::Failed } else { Verdict::Note };
            let name = match command {
                // The subcommands that are sent.
                "CLUSTER" => "cluster|slots".to_owned(),
                "CLIENT" => "client|tracking".to_owned(),
                command => command.to_ascii_lowercase(),
            };
            let hint = match why.contains("unknown command") {
                true => format!("let the server know {command} (rename-command hides it)"),
                false => format!("ACL SETUSER USER +{name}; docs/redis.md has all commands that are needed"),
            };
            finding(verdict, format!("no {command}, without which {lost} ({})", why.trim())).hint(hint)
        }
        Lack::Keys { commands, why } => finding(
            Verdict::Failed,
            format!("the user may not use the keys {namespace}:* with {} ({})", commands.join(", "), why.trim()),
        )
        .hint(format!("ACL SETUSER USER ~{namespace}:*, or set LASTGOOD_NAMESPACE to what the user's pattern allows")),
        Lack::Writes { why } => {
            finding(Verdict::Failed, format!("takes no writes, only reads ({})", why.trim())).hint(hint_on_writes(&why))
        }
    }
}

fn hint_on_writes(why: &str) -> &'static str {
    match why.split(' ').next().unwrap_or_default() {
        "READONLY" => "name the primary in place of its replica, or the Sentinels, who know it",
        "OOM" => "set maxmemory-policy allkeys-lru, or give it more memory",
        "MISCONF" => "look into its log for why it cannot save to its disk",
        _ => "bring its replicas back, or lower min-replicas-to-write",
    }
}

/// Parts of an error's lower-case text, and what helps against it. The first that fits is it.
const HINTS: [(&[&str], &str); 20] = [
    (
        &["sentinel_password"],
        "give the Sentinels' own password, as in redis+sentinel://…/SERVICE?sentinel_password=PASSWORD",
    ),
    (&["max number of clients"], "raise maxclients, or close connections of other programs (CLIENT LIST shows them)"),
    (&["hung up when it was asked"], "if the server speaks TLS on this port write rediss://; else look into its log"),
    (&["closes them at once", "it is no redis"], "correct host and port, or start the server behind the proxy"),
    (
        &["knows no service"],
        "correct the service: redis+sentinel://host:26379/SERVICE, the name in the Sentinels' own configuration",
    ),
    (&["is no sentinel", "is no member of a cluster"], "write redis://host:port for a single server"),
    (
        &["not valid for name"],
        "write a name that is in the server's certificate, or have one issued for the name or address that is used here",
    ),
    (
        &["certificaterequired", "may want a client certificate"],
        "the server wants a client certificate: add ?cert=FILE&key=FILE to the URL",
    ),
    (
        &[
            "received fatal alert: unknownca",
            "alert: badcertificate",
            "alert: decrypterror",
            "alert: certificate",
            "may not accept",
        ],
        "the server does not accept this client's certificate: let cert= and key= name one that its tls-ca-cert-file issued",
    ),
    (
        &["unknownissuer", "causedasendentity"],
        "let ca=FILE in the URL, or SSL_CERT_FILE, name the authority that issued the server's certificate",
    ),
    (&["expired", "notvalidyet"], "renew the server's certificate, or correct this machine's clock"),
    (
        &["corrupt message", "handshake eof", "handshakefailure", "does it speak tls"],
        "the server does not speak TLS on this port: write redis:// (redis+sentinel://, redis+cluster://), or its TLS port",
    ),
    (
        &["cannot be read", "in pem form", "is not that of the certificate"],
        "correct the files after ca=, cert= and key=",
    ),
    (
        &["noperm", "has no permissions"],
        "let the user run that command: ACL SETUSER USER +COMMAND; docs/redis.md has all that are needed",
    ),
    (
        &["announce-ip", "announce-hostname"],
        "start that server, or let it announce an address that can be reached from here",
    ),
    (
        &["wrongpass", "noauth", "auth", "password"],
        "check user and password, as in redis://user:password@host:port, special characters percent-encoded",
    ),
    (&["refused"], "start Redis, or correct host and port; meanwhile the gateway works without it"),
    (&["resolve", "lookup", "name or service"], "correct the host name"),
    (
        &["certificate", "tls", "handshake"],
        "check that the server speaks TLS (else write redis://) and that its certificate is valid",
    ),
    (
        &["end of file", "eof", "broken pipe", "reset by peer", "terminated", "parse", "found it broken"],
        "if the server speaks TLS on this port write rediss://; else look into its log",
    ),
];

fn hint(why: &str) -> &'static str {
    let text = why.to_ascii_lowercase();
    let fits = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    HINTS.iter().find(|(parts, _)| fits(parts)).map_or(
        "check that the server runs and can be reached from here; meanwhile the gateway works without it",
        |(_, hint)| hint,
    )
}
