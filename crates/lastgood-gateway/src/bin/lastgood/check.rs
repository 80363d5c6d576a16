//! `lastgood check`: the problems, and how to fix them.

mod probe;
mod redis;
mod ways;

use std::path::PathBuf;
use std::time::Duration;

use lastgood_settings::{Problems, Resolved};
use serde::Serialize;

use crate::client::ClientArguments;
use crate::output::{Failure, say, say_json};
use crate::settings::SettingsArguments;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood check
  lastgood check --store redis://localhost:6379
  lastgood check --config lastgood.toml --json
  lastgood check --live                          as the health check of a container: does the gateway answer?
  lastgood check --live --listen 0.0.0.0:9000    the gateway that was started with the same flag

Asks each upstream for its ping, which costs a weight of 1 each, and each source of the declared routes. Exit code 1 if anything failed.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print JSON: {ok, checks: [{what, target, verdict, detail, hint, took_ms}]}
    #[arg(long)]
    json: bool,
    /// Only ask the running gateway whether it answers; one that is degraded does
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    gateway: ClientArguments,
}

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Works, but is worth knowing.
    Note,
    Failed,
}

/// One thing that was checked.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    what: &'static str,
    target: String,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
}

impl Finding {
    fn new(what: &'static str, target: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { what, target: target.into(), verdict, detail: detail.into(), hint: None, took_ms: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn took(mut self, time: Duration) -> Self {
        self.took_ms = u64::try_from(time.as_millis()).ok();
        self
    }
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Finding>,
}

pub(crate) async fn run(arguments: Arguments, file: Option<PathBuf>) -> Result<(), Failure> {
    if arguments.live {
        let flags = arguments.settings.flags()?;
        let health = arguments.gateway.client_of(file.as_deref(), flags)?.get("/health").await?;
        say(health["status"].as_str().unwrap_or("no status"));
        return Ok(());
    }
    let checks = match arguments.settings.resolve(file.as_deref())? {
        Err(problems) => of_problems(problems),
        Ok(resolved) => {
            let mut checks = of_configuration(&resolved);
            checks.extend(probe::all(&resolved.settings).await);
            checks
        }
    };
    let report = Report { ok: checks.iter().all(|check| check.verdict != Verdict::Failed), checks };
    match arguments.json {
        true => say_json(&report)?,
        false => print(&report),
    }
    match report.ok {
        true => Ok(()),
        false => Err(Failure::silent()),
    }
}

fn of_problems(problems: Problems) -> Vec<Finding> {
    let finding = |problem: lastgood_settings::Problem| {
        let target = problem.origin.map(|origin| origin.to_string()).unwrap_or_default();
        let detail = match &problem.key {
            Some(key) => format!("`{key}`: {}", problem.what),
            None => problem.what,
        };
        let finding = Finding::new("configuration", target, Verdict::Failed, detail);
        Finding { hint: problem.hint, ..finding }
    };
    problems.0.into_iter().map(finding).collect()
}

fn of_configuration(resolved: &Resolved) -> Vec<Finding> {
    let mut checks = vec![Finding::new("configuration", "", Verdict::Ok, "valid; `lastgood config` shows it")];
    for warning in &resolved.warnings {
        let target = warning.origin.as_ref().map(ToString::to_string).unwrap_or_default();
        let note = Finding::new("configuration", target, Verdict::Note, &warning.what);
        checks.push(Finding { hint: warning.hint.clone(), ..note });
    }
    checks
}

fn print(report: &Report) {
    let width = |text: fn(&Finding) -> &str| report.checks.iter().map(|check| text(check).len()).max().unwrap_or(0);
    let what_width = width(|check| check.what);
    let target_width = width(|check| &check.target).min(48);
    for check in &report.checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Note => "note",
            Verdict::Failed => "FAIL",
        };
        let took = check.took_ms.map(|ms| format!(" ({ms} ms)")).unwrap_or_default();
        say(format!("{verdict}  {:what_width$}  {:target_width$}  {}{took}", check.what, check.target, check.detail));
        if let Some(hint) = &check.hint {
            say(format!("      hint: {hint}"));
        }
    }
    let failed = report.checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
    match failed {
        0 => say("everything works"),
        1 => say("1 check failed"),
        many => say(format!("{many} checks failed")),
    }
}
