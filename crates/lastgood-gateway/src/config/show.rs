//! Values as they would be written.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::BaseUrl;
use super::{LogFormat, Preset, duration, size};
use crate::redact::MASK;

pub(super) fn plain(value: &impl Display) -> String {
    value.to_string()
}

pub(super) fn option(value: &Option<impl Display>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn path(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn optional_path(path: &Option<PathBuf>) -> String {
    path.as_deref().map(self::path).unwrap_or_default()
}

pub(super) fn on_or_off(is_on: &bool) -> String {
    if *is_on { "on" } else { "off" }.to_owned()
}

pub(super) fn span(span: &Duration) -> String {
    duration::format(*span)
}

pub(super) fn optional_span(value: &Option<Duration>) -> String {
    value.as_ref().map(span).unwrap_or_default()
}

pub(super) fn bytes(bytes: &u64) -> String {
    size::format(*bytes)
}

pub(super) fn bases(bases: &[BaseUrl]) -> String {
    bases.iter().map(BaseUrl::as_str).collect::<Vec<_>>().join(",")
}

pub(super) fn words(words: &[String]) -> String {
    words.join(",")
}

pub(super) fn secret(secret: &Option<SecretString>) -> String {
    secret.as_ref().map_or_else(String::new, |_| MASK.to_owned())
}

pub(super) fn preset(preset: &Preset) -> String {
    preset.as_str().to_owned()
}

pub(super) fn format(format: &LogFormat) -> String {
    format.as_str().to_owned()
}
