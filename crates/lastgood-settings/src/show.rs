//! Values as they would be written.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lastgood_market::Preset;
use lastgood_market::upstream::BaseUrl;
use secrecy::SecretString;

use crate::duration::format_duration;
use crate::redact::MASK;
use crate::settings::LogFormat;
use crate::size;

pub(crate) fn plain(value: &impl Display) -> String {
    value.to_string()
}

pub(crate) fn option(value: &Option<impl Display>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

pub(crate) fn path(path: &Path) -> String {
    path.display().to_string()
}

pub(crate) fn optional_path(path: &Option<PathBuf>) -> String {
    path.as_deref().map(self::path).unwrap_or_default()
}

pub(crate) fn on_or_off(is_on: &bool) -> String {
    if *is_on { "on" } else { "off" }.to_owned()
}

pub(crate) fn span(span: &Duration) -> String {
    format_duration(*span)
}

pub(crate) fn optional_span(value: &Option<Duration>) -> String {
    value.as_ref().map(span).unwrap_or_default()
}

pub(crate) fn bytes(bytes: &u64) -> String {
    size::format(*bytes)
}

pub(crate) fn hosts(hosts: &[BaseUrl]) -> String {
    hosts.iter().map(BaseUrl::as_str).collect::<Vec<_>>().join(",")
}

pub(crate) fn words(words: &[String]) -> String {
    words.join(",")
}

pub(crate) fn secret(secret: &Option<SecretString>) -> String {
    secret.as_ref().map_or_else(String::new, |_| MASK.to_owned())
}

pub(crate) fn preset(preset: &Preset) -> String {
    preset.as_str().to_owned()
}

pub(crate) fn format(format: &LogFormat) -> String {
    format.as_str().to_owned()
}
