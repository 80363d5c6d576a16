//! A folder of this machine in the place of a bucket. Nothing outside of it is read, whatever links it holds.

use std::fs;
use std::io;
use std::path::{self, Component, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lastgood::{Error, Reason};
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::error::ObjectError;
use crate::source::stays_one_segment;

/// A declared folder, as it is written: a link that is switched to another folder is followed there.
pub(super) struct Folder {
    store: Arc<LocalFileSystem>,
    root: PathBuf,
    /// Whether the log has said that it has links which lead out. Strangers could repeat that at will.
    has_said_so: AtomicBool,
}

impl Folder {
    /// The folder at a path, which must be there, and what the paths of its objects begin with.
    ///
    /// # Errors
    ///
    /// Why it cannot be one.
    pub(super) fn at(folder: &str) -> Result<(Folder, Path), ObjectError> {
        let failed = |why| ObjectError::NoFolder { folder: folder.to_owned(), why };
        let real = fs::canonicalize(folder).map_err(failed)?;
        if !real.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let written = path::absolute(folder).map_err(failed)?;
        // Before a link `..` is another folder than behind it.
        let root = if written.components().any(|part| part == Component::ParentDir) { real } else { written };
        let prefix = Path::from_absolute_path(&root)
            .map_err(|why| ObjectError::Folder { folder: folder.to_owned(), why: why.into() })?;
        Ok((Folder { store: Arc::new(LocalFileSystem::new()), root, has_said_so: AtomicBool::new(false) }, prefix))
    }

    pub(super) fn store(&self) -> Arc<LocalFileSystem> {
        Arc::clone(&self.store)
    }

    fn place(&self, path: &Path) -> Result<PathBuf, Error> {
        if *path == Path::ROOT {
            return Ok(self.root.clone());
        }
        self.store.path_to_filesystem(path).map_err(|_| missing())
    }

    /// Refuses anything that is no file, or is a link to something outside. `bucket` is what the folder is called in the log.
    pub(super) async fn confine(&self, path: &Path, bucket: &str) -> Result<(), Error> {
        let place = self.place(path)?;
        let root = tokio::fs::canonicalize(&self.root).await.map_err(|_| gone())?;
        let real = tokio::fs::canonicalize(place).await.map_err(|why| unread(&why))?;
        if !real.starts_with(root) {
            if !self.has_said_so.swap(true, Ordering::Relaxed) {
                tracing::warn!(bucket, "a link that leads out of the folder was not followed, nor are others");
            }
            return Err(missing());
        }
        // Opening a pipe could wait for ever.
        match tokio::fs::metadata(&real).await.map_err(|why| unread(&why))?.is_file() {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    /// The names of the files in a folder of it. Anything that is no file, names that no key has, and links that lead out
    /// or nowhere are passed over: one of them must not keep the others from being listed. The names are no more than
    /// `most`, and one.
    pub(super) async fn file_names(&self, folder: &Path, most: usize, bucket: &str) -> Result<Vec<String>, Error> {
        let (place, root) = (self.place(folder)?, self.root.clone());
        let listed = tokio::task::spawn_blocking(move || {
            let root = fs::canonicalize(root).map_err(|_| gone())?;
            let real = fs::canonicalize(place).map_err(|why| unread(&why))?;
            if !real.starts_with(&root) {
                return Err(missing());
            }
            files_in(&real, &root, most).map_err(|why| unread(&why))
        });
        let (names, passed_over) = listed.await.unwrap_or_else(|_| Err(missing()))?;
        if passed_over > 0 {
            tracing::debug!(bucket, passed_over, "files with odd names, or that lie elsewhere, are not listed");
        }
        Ok(names)
    }

    /// Whether anything lies in a folder of it.
    pub(super) async fn is_filled(&self, folder: &Path) -> bool {
        let Ok(place) = self.place(folder) else { return false };
        let look = move || fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_some());
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }
}

fn missing() -> Error {
    Error::new(Reason::NotFound, "there is no such object")
}

/// A folder that is gone, unmounted for one, says nothing of what was in it.
fn gone() -> Error {
    Error::new(Reason::Unreachable, "the folder is not there")
}

/// Why a file or a folder could not be looked at: that it is not there is an answer, and anything else is none.
fn unread(why: &io::Error) -> Error {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    /// ELOOP: links that lead in a circle.
    const CIRCLE: i32 = 40;
    let is_answer = matches!(why.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput);
    match is_answer || why.raw_os_error() == Some(CIRCLE) {
        true => missing(),
        false => Error::new(Reason::Unreachable, "the folder cannot be read").with_detail(why.to_string()),
    }
}

/// The names of the files in `place` that lie below `root`, and how many others there are.
fn files_in(place: &path::Path, root: &path::Path, most: usize) -> io::Result<(Vec<String>, usize)> {
    // What no parameter may say is not listed: no request could ask for it.
    let is_key = |name: &str| {
        let is_plain = !name.contains('*') && stays_one_segment(name);
        is_plain && Path::parse(name).is_ok_and(|parsed| parsed.as_ref() == name)
    };
    let (mut names, mut passed_over) = (Vec::new(), 0);
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        // A link is what it leads to; a directory is no odd file.
        let real = fs::canonicalize(entry.path()).ok().filter(|real| real.starts_with(root));
        let kind = real.and_then(|real| fs::metadata(real).ok());
        if kind.as_ref().is_some_and(fs::Metadata::is_dir) {
            continue;
        }
        let name = entry.file_name();
        match name.to_str().filter(|name| kind.is_some_and(|kind| kind.is_file()) && is_key(name)) {
            Some(name) => names.push(name.to_owned()),
            None => passed_over += 1,
        }
        if names.len() > most {
            break;
        }
    }
    Ok((names, passed_over))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_that_something_is_not_there_says_so() {
        let reason = |code| unread(&io::Error::from_raw_os_error(code)).reason;
        // ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP.
        for code in [2, 20, 36, 40] {
            assert_eq!(reason(code), Reason::NotFound, "{code}");
        }
        // EIO, EACCES, EMFILE, ENOTCONN and ESTALE, as of a network's disk that is gone.
        for code in [5, 13, 24, 107, 116] {
            assert_eq!(reason(code), Reason::Unreachable, "{code}");
        }
    }
}
