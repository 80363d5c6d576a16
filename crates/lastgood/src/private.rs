//! Files and directories that only their owner may read: cached answers may be private.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};

/// Rights of the group and of others.
const OTHERS: u32 = 0o077;
/// A directory such as `/tmp`, which is everybody's on purpose.
const STICKY: u32 = 0o1000;
/// The most files of a directory that are looked at.
const MOST_FILES: usize = 1_000;

/// Makes a directory, and those above it that are missing, for its owner alone (0700). One that is there stays as it is.
///
/// # Errors
///
/// When it cannot be made.
pub fn create_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(path)
}

/// How a file is opened for reading and writing, made for its owner alone (0600) where it is missing.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    options.mode(0o600);
    options
}

/// Replaces a file, so that a reader, or a crash, sees the old one or the new one. The new one is its owner's alone.
///
/// # Errors
///
/// When it cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = options().truncate(true).open(&draft).and_then(|mut file: File| file.write_all(bytes));
    written.and_then(|()| fs::rename(&draft, path)).inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// Takes the rights of others away from a data directory (0700) and from those of its files that are `ours` (0600), where
/// they have any, with one line in the log. Warns where that cannot be done, and leaves alone files that are open to
/// all on purpose.
pub fn tighten(directory: &Path, ours: impl Fn(&str) -> bool) {
    let mut found = Found::default();
    found.look_at(directory, 0o700);
    for entry in fs::read_dir(directory).into_iter().flatten().take(MOST_FILES).flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(&ours) {
            found.look_at(&entry.path(), 0o600);
        }
    }
    let path = directory.display();
    if found.tightened > 0 {
        tracing::warn!(%path, entries = found.tightened, "others could read the data directory; from now on only its owner can");
    }
    if let Some(why) = found.failed {
        tracing::warn!(%path, why, "others can read the data directory: give it the rights 0700, and its files 0600");
    }
}

#[derive(Default)]
struct Found {
    tightened: usize,
    failed: Option<String>,
}

impl Found {
    #[cfg(unix)]
    fn look_at(&mut self, path: &Path, mode: u32) {
        let Ok(rights) = fs::metadata(path).map(|found| found.permissions().mode()) else { return };
        if rights & OTHERS == 0 {
            return;
        }
        if rights & STICKY != 0 || path.parent().is_none() {
            self.failed = Some("it is a directory for everybody".to_owned());
            return;
        }
        match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
            Ok(()) => self.tightened += 1,
            Err(why) => self.failed = Some(why.to_string()),
        }
    }

    #[cfg(not(unix))]
    fn look_at(&mut self, _: &Path, _: u32) {}
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn rights(path: &Path) -> u32 {
        fs::metadata(path).expect("a temporary folder").permissions().mode() & 0o7777
    }

    #[test]
    fn new_files_are_their_owner_s_and_looser_ones_are_tightened() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("a/data");
        create_directory(&data).expect("a temporary folder");
        replace(&data.join("bans.json"), b"{}").expect("a temporary folder");
        assert_eq!((rights(&data), rights(&data.join("bans.json"))), (0o700, 0o600));
        for name in ["bans.json", "foreign.txt"] {
            fs::write(data.join(name), "").expect("a temporary folder");
            fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o644)).expect("a temporary folder");
        }
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("a temporary folder");
        tighten(&data, |name| name.starts_with("bans"));
        let all = [data.clone(), data.join("bans.json"), data.join("foreign.txt")].map(|path| rights(&path));
        assert_eq!(all, [0o700, 0o600, 0o644], "another program's file is its own business");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o1777)).expect("a temporary folder");
        tighten(&data, |_| false);
        assert_eq!(rights(&data), 0o1777, "a directory for everybody stays one");
        tighten(&folder.path().join("missing"), |_| true);
    }
}
