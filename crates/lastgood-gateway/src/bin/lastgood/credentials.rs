//! `lastgood credentials`: exchange API keys, encrypted at rest.

mod prompt;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use lastgood::Clock;
use lastgood_market::Venue;
use lastgood_market::calendar::rfc3339;
use lastgood_market::credentials::Algorithm;
use lastgood_market::credentials::{
    Credential, CredentialError, CredentialStore, Environment, Label, MasterKey, UserId, check_name,
};
use lastgood_settings::Settings;
use serde::Serialize;

use crate::output::{Failure, say, say_json};
use crate::settings::SettingsArguments;
use prompt::Reader;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  export LASTGOOD_MASTER_KEY=$(openssl rand -hex 32)      keep it: without it the file is worth nothing
  lastgood credentials add main --environment testnet     asks for key and secret
  lastgood credentials add futures --venue futures --algorithm ed25519 < key-and-pem.txt
  lastgood credentials add main --user 42                 a key of one user of your application
  lastgood credentials seal --user 42 < secret.txt        a text for a table of your own
  lastgood credentials list --json
  lastgood credentials rotate                             asks for the new master key

The file is `credentials` in the data directory. `lastgood serve` reads the gateway's own keys when it starts, \
and those of users whenever the file has changed.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add an API key; key and secret are read from standard input or asked for
    #[command(after_help = "\
Examples:
  lastgood credentials add main
  lastgood credentials add paper --venue futures --environment testnet
  lastgood credentials add main --algorithm ed25519 < key-and-pem.txt
  lastgood credentials add main --user 42 --environment testnet

With --user it is asked with for /v1/symbols/MARKET when your backend sends `X-Lastgood-User: 42` \
and the admin token. The first line of standard input is the API key; what follows is the secret, in one line, \
or for ed25519 the private key in PEM (openssl genpkey -algorithm ed25519).")]
    Add(Add),
    /// List the credentials, with no more of a key than its first four characters
    #[command(after_help = "\
Examples:
  lastgood credentials list
  lastgood credentials list --user 42
  lastgood credentials list --json")]
    List(List),
    /// Remove a credential; needs no master key
    #[command(after_help = "\
Examples:
  lastgood credentials remove main
  lastgood credentials remove main --user 42")]
    Remove(Remove),
    /// Seal a user's key or secret, read from standard input or asked for, as a text for a table of your own
    #[command(after_help = "\
Examples:
  lastgood credentials seal --user 42
  printf %s \"$API_KEY\" | lastgood credentials seal --user 42

It prints one line. Put it into the table that [credentials.sql] asks; it opens under the same master key and \
for the same user alone. Seal key and secret one by one. After a change of the master key seal them again.
A master key of 32 bytes opens faster than a passphrase, which takes the salt of the credentials file.")]
    Seal(Seal),
    /// Encrypt all credentials again, under another master key, read from standard input or asked for
    #[command(after_help = "\
Examples:
  lastgood credentials rotate
  openssl rand -hex 32 > new.key && lastgood credentials rotate < new.key

LASTGOOD_MASTER_KEY is the old key; set it to the new one afterwards.")]
    Rotate(Common),
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those of this user
    #[arg(long, value_name = "ID", value_parser = UserId::parse)]
    user: Option<UserId>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Seal {
    /// Whose it is, as your backend names the user
    #[arg(long, value_name = "ID", value_parser = UserId::parse)]
    user: UserId,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// A name of your own for it: letters, digits, - _ .
    name: String,
    /// Whose it is, as your backend names the user; without it, the gateway's own
    #[arg(long, value_name = "ID", value_parser = UserId::parse)]
    user: Option<UserId>,
    /// The market it is for
    #[arg(long, visible_alias = "market", value_enum, default_value_t = VenueWord::Spot)]
    venue: VenueWord,
    /// Which of the exchange's worlds it opens
    #[arg(long, value_enum, default_value_t = EnvironmentWord::Mainnet)]
    environment: EnvironmentWord,
    /// How it signs
    #[arg(long, value_enum, default_value_t = AlgorithmWord::Hmac)]
    algorithm: AlgorithmWord,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// Its name, as `list` shows it
    name: String,
    /// Whose it is; without it, the gateway's own
    #[arg(long, value_name = "ID", value_parser = UserId::parse)]
    user: Option<UserId>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum VenueWord {
    Spot,
    Futures,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EnvironmentWord {
    Mainnet,
    Testnet,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AlgorithmWord {
    Hmac,
    Ed25519,
}

impl From<CredentialError> for Failure {
    fn from(why: CredentialError) -> Self {
        match why.hint() {
            Some(hint) => Failure::failed(format!("{why}\n    help: {hint}")),
            None => Failure::failed(why.to_string()),
        }
    }
}

/// The visible part of a credential.
#[derive(Serialize)]
struct Shown {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    venue: &'static str,
    environment: &'static str,
    algorithm: &'static str,
    /// Its first characters.
    api_key_begins: String,
    added_at: String,
}

impl Shown {
    fn of(credential: &Credential) -> Self {
        let Label { name, user, venue, environment, algorithm, added_at } = &credential.label;
        Shown {
            name: name.clone(),
            user: user.as_ref().map(ToString::to_string),
            venue: venue.as_str(),
            environment: environment.as_str(),
            algorithm: algorithm.as_str(),
            api_key_begins: credential.api_key_begins(),
            added_at: rfc3339(*added_at),
        }
    }
}

pub(crate) fn run(arguments: Arguments, file: Option<PathBuf>) -> Result<(), Failure> {
    let load = |common: &Common| Ok::<_, Failure>(common.settings.load(file.as_deref())?.settings);
    match arguments.verb {
        Verb::Add(add) => add_one(&add, &load(&add.common)?),
        Verb::List(arguments) => list(&arguments, &load(&arguments.common)?),
        Verb::Remove(remove) => remove_one(&remove, &load(&remove.common)?),
        Verb::Seal(arguments) => seal(&arguments, &load(&arguments.common)?),
        Verb::Rotate(common) => rotate(&load(&common)?, common.json),
    }
}

/// The master key of the settings, or how to make one.
fn master_key(settings: &Settings) -> Result<MasterKey, Failure> {
    let Some(text) = &settings.master_key else {
        return Err(Failure::failed(
            "no master key is set\n    help: make one with: openssl rand -hex 32, keep it where it is safe, \
             and set LASTGOOD_MASTER_KEY to it",
        ));
    };
    Ok(MasterKey::parse(text)?)
}

fn add_one(add: &Add, settings: &Settings) -> Result<(), Failure> {
    check_name(&add.name).map_err(|why| Failure::usage(why.to_string()))?;
    let master = master_key(settings)?;
    let store = settings.credentials();
    // Before anybody types a secret for nothing.
    let is_same = |held: &Credential| held.label.name == add.name && held.label.user == add.user;
    if store.open(&master)?.iter().any(is_same) {
        return Err(CredentialError::Taken(add.name.clone()).into());
    }
    let algorithm = match add.algorithm {
        AlgorithmWord::Hmac => Algorithm::HmacSha256,
        AlgorithmWord::Ed25519 => Algorithm::Ed25519,
    };
    let mut reader = Reader::new();
    let api_key = reader.line("API key")?;
    let secret = match algorithm {
        Algorithm::HmacSha256 => reader.line("secret")?,
        Algorithm::Ed25519 => reader.pem("private key (PKCS#8 PEM)")?,
    };
    let label = Label {
        name: add.name.clone(),
        user: add.user.clone(),
        venue: match add.venue {
            VenueWord::Spot => Venue::Spot,
            VenueWord::Futures => Venue::UsdM,
        },
        environment: match add.environment {
            EnvironmentWord::Mainnet => Environment::Mainnet,
            EnvironmentWord::Testnet => Environment::Testnet,
        },
        algorithm,
        added_at: Clock::system().now(),
    };
    let credential = Credential { label, api_key, secret };
    store.add(&master, &credential)?;
    let shown = Shown::of(&credential);
    if add.common.json {
        return say_json(&serde_json::json!({ "added": shown }));
    }
    let (whose, taken_up) = match &shown.user {
        None => (String::new(), "at SIGHUP or when it is started again"),
        Some(user) => (format!(" of {user}"), "within half a minute"),
    };
    say(format!(
        "added {}{whose} ({} {}); a running gateway takes it up {taken_up}",
        shown.name, shown.venue, shown.environment
    ));
    Ok(())
}

fn list(arguments: &List, settings: &Settings) -> Result<(), Failure> {
    let store = settings.credentials();
    let held = match (store.exists(), &arguments.user) {
        (true, None) => store.open(&master_key(settings)?)?,
        (true, user) => store.records(&master_key(settings)?)?.open_of(user.as_ref())?,
        (false, _) => Vec::new(),
    };
    let shown: Vec<Shown> = held.iter().map(Shown::of).collect();
    if arguments.common.json {
        return say_json(&shown);
    }
    if shown.is_empty() {
        say(format!("no credentials in {}", store.path().display()));
        return Ok(());
    }
    let mut table = Table::new();
    let head = ["NAME", "USER", "VENUE", "ENVIRONMENT", "ALGORITHM", "API KEY", "ADDED"];
    table.load_style(presets::NOTHING).set_header(head);
    for Shown { name, user, venue, environment, algorithm, api_key_begins, added_at } in shown {
        let (key, user) = (format!("{api_key_begins}…"), user.unwrap_or_else(|| "–".to_owned()));
        table.add_row([name.as_str(), user.as_str(), venue, environment, algorithm, key.as_str(), added_at.as_str()]);
    }
    say(table.trim_fmt());
    Ok(())
}

fn remove_one(remove: &Remove, settings: &Settings) -> Result<(), Failure> {
    let removed = settings.credentials().remove(&remove.name, remove.user.as_ref())?;
    if remove.common.json {
        return say_json(&serde_json::json!({ "removed": removed.name }));
    }
    say(format!("removed {} ({} {})", removed.name, removed.venue, removed.environment));
    Ok(())
}

fn seal(arguments: &Seal, settings: &Settings) -> Result<(), Failure> {
    let master = master_key(settings)?;
    let secret = Reader::new().all("key or secret")?;
    let sealed = settings.credentials().seal(&master, &arguments.user, &secret)?;
    if arguments.common.json {
        return say_json(&serde_json::json!({ "user": arguments.user.as_str(), "sealed": sealed }));
    }
    say(sealed);
    Ok(())
}

fn rotate(settings: &Settings, json: bool) -> Result<(), Failure> {
    let old = master_key(settings)?;
    let store = settings.credentials();
    // Before anybody types a key for nothing.
    check_rotatable(&store, &old)?;
    let new = MasterKey::parse(&Reader::new().new_line("new master key")?)?;
    let count = store.rotate(&old, &new)?;
    if json {
        return say_json(&serde_json::json!({ "rotated": count }));
    }
    say(format!("{count} credentials are encrypted under the new master key; set LASTGOOD_MASTER_KEY to it"));
    Ok(())
}

fn check_rotatable(store: &CredentialStore, old: &MasterKey) -> Result<(), Failure> {
    match store.exists() {
        true => Ok(store.open(old).map(drop)?),
        false => Err(CredentialError::Empty.into()),
    }
}
