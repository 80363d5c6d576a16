//! A disk that is small, or read-only, for a test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A directory on a disk of its own, which the superuser mounts; for any other user it is a plain directory, whose rights
/// are taken away where it is to be read-only.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// A disk of that size, such as `2m`.
    ///
    /// # Panics
    ///
    /// When the superuser may not mount: then nothing can be tested here, because rights do not bind the superuser.
    pub fn new(size: &str) -> Disk {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lastgood-disk-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        let is_mounted = run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "lastgood"], &path);
        let disk = Disk { path, is_mounted };
        if !is_mounted {
            disk.set_read_only(true);
            let is_bound = std::fs::write(disk.path.join("probe"), "").is_err();
            disk.set_read_only(false);
            assert!(is_bound, "as root this test needs the right to mount (CAP_SYS_ADMIN)");
        }
        disk
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has the size that was asked for.
    pub fn is_small(&self) -> bool {
        self.is_mounted
    }

    /// Makes it read-only, or writable again. Nothing on it may be open for writing.
    ///
    /// # Panics
    ///
    /// When that cannot be done.
    pub fn set_read_only(&self, is_read_only: bool) {
        let done = match (self.is_mounted, is_read_only) {
            (true, true) => run("mount", &["-o", "remount,ro"], &self.path),
            (true, false) => run("mount", &["-o", "remount,rw"], &self.path),
            (false, true) => run("chmod", &["-R", "a-w"], &self.path),
            (false, false) => run("chmod", &["-R", "u+w"], &self.path),
        };
        assert!(done, "{} changes", self.path.display());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program).args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = match self.is_mounted {
            true => run("umount", &["-l"], &self.path),
            false => run("chmod", &["-R", "u+w"], &self.path),
        };
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
