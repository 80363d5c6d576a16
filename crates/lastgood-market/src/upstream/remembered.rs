//! Which exchanges a data directory was last used with, so that a change is reported.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use crate::identity::Identities;
use crate::venue::Venue;

/// The file in the data directory.
const FILE: &str = "exchanges.json";
/// The file is some hundred bytes; more is another program's.
const LARGEST: u64 = 4 << 10;

type Names = BTreeMap<String, String>;

/// Logs one line where `folder` was last used with other exchanges, or another source of the fear & greed index, and
/// remembers those of now. A folder that is not there is left alone: nothing of an exchange is in it.
pub(crate) async fn remember_identities(folder: &Path, identities: &Identities, fear_greed: Option<&str>) {
    let mut now: Names =
        Venue::ALL.into_iter().map(|venue| (venue.to_string(), identities.name(venue).to_owned())).collect();
    now.extend(fear_greed.map(|site| ("fear_greed".to_owned(), site.to_owned())));
    let file = folder.join(FILE);
    let path = file.display().to_string();
    let remembered = tokio::task::spawn_blocking(move || remember(&file, &now));
    match remembered.await.unwrap_or_else(|why| Err(io::Error::other(why))) {
        Ok(changes) if changes.is_empty() => {}
        Ok(changes) => {
            let changes = changes.join(", ");
            tracing::warn!(
                changes,
                "the exchange is another one than at the last start: entries of the other stay, and are not served"
            );
        }
        Err(why) => tracing::debug!(path, %why, "the next start cannot tell whether the exchange was changed"),
    }
}

/// What changed since the file was written, which then has the names of now.
fn remember(file: &Path, now: &Names) -> io::Result<Vec<String>> {
    if !file.parent().is_some_and(Path::is_dir) {
        return Ok(Vec::new());
    }
    let before = read(file)?;
    let changes = now.iter().filter_map(|(what, name)| {
        let before = before.get(what).filter(|before| *before != name)?;
        Some(format!("{what}: {before} before, {name} now"))
    });
    let changes = changes.collect();
    if before != *now {
        lastgood::private::replace(file, &serde_json::to_vec(now)?)?;
    }
    Ok(changes)
}

/// What the file holds; nothing if it is not there or cannot be understood.
fn read(file: &Path) -> io::Result<Names> {
    let opened = match std::fs::File::open(file) {
        Ok(opened) => opened,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Names::new()),
        Err(why) => return Err(why),
    };
    let mut bytes = Vec::new();
    opened.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(spot: &str) -> Names {
        Names::from([("spot".to_owned(), spot.to_owned()), ("coin".to_owned(), "binance.com".to_owned())])
    }

    #[test]
    fn a_change_is_reported_once_and_a_damaged_file_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let none: Vec<String> = Vec::new();
        assert_eq!(remember(&file, &names("binance.com")).unwrap(), none, "the first start");
        assert_eq!(remember(&file, &names("binance.com")).unwrap(), none);
        let changes = ["spot: binance.com before, testnet.example now"];
        assert_eq!(remember(&file, &names("testnet.example")).unwrap(), changes);
        assert_eq!(remember(&file, &names("testnet.example")).unwrap(), none);
        for damaged in [vec![b'x'; 1 << 20], b"{\"spot\":1}".to_vec(), Vec::new()] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(remember(&file, &names("binance.com")).unwrap(), none);
            assert_eq!(read(&file).unwrap(), names("binance.com"));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
        let missing = folder.path().join("missing");
        assert_eq!(remember(&missing.join(FILE), &names("binance.com")).unwrap(), none);
        assert!(!missing.exists());
    }
}
