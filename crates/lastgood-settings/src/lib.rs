//! The settings of the lastgood gateway: flags over environment over `lastgood.toml` over defaults.
//!
//! [`KEYS`] is the table of everything that can be set. [`resolve`] combines the layers into [`Settings`], says of each
//! key where its value came from, and of a wrong configuration everything that is wrong at once. Nothing here reads the
//! environment or serves HTTP: the program hands a lookup in. [`redact`](mod@redact) masks secrets in whatever is shown
//! or logged.

mod address;
mod declared;
mod defaults;
mod duration;
mod effective;
mod environment;
mod fields;
mod file;
mod keys;
mod layers;
mod listening;
mod problem;
mod proxy;
mod reached;
pub mod redact;
mod regions;
mod routes;
mod settings;
mod show;
mod size;
mod sources;
mod store;
mod upstream;
mod user_keys;
mod value;
mod variable;
mod warm;
mod worth_knowing;

pub use self::declared::Declared;
pub use self::duration::{NotDuration, format_duration, parse_duration};
pub use self::effective::{Row, render_effective};
pub use self::file::{ConfigFile, FILE_NAME};
pub use self::keys::{KEYS, Key};
pub use self::layers::{FlagValue, Resolved, Sources, resolve};
pub use self::listening::{Cors, Tls};
pub use self::problem::{Origin, Problem, Problems};
pub use self::proxy::{ProxySetting, conventional_proxies};
pub use self::reached::{Reached, resolve_reached};
pub use self::regions::{REGION_KEYS, REGION_NAMES, RegionKey, RegionOverride};
pub use self::settings::{Admin, Binance, FearGreed, Limits, Log, LogFormat, Memory, Settings, Symbols, Upstream};
pub use self::store::{StoreSetting, UpstashAddress};
pub use self::user_keys::UserKeysSetting;
pub use lastgood_market::upstream::BaseUrl;
