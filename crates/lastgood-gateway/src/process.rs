//! What the operating system says of this process.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Ticks of `/proc/self/stat` in a second: what Linux tells programs on every architecture.
const TICKS: u64 = 100;

/// The figures of now.
pub(crate) struct Process {
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
    pub(crate) open_files: u64,
    /// `None` without a limit.
    pub(crate) most_files: Option<u64>,
}

impl Process {
    /// As `/proc` has them; `None` where there is none.
    pub(crate) fn now() -> Option<Process> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = resident.trim().trim_end_matches("kB").trim().parse().ok()?;
        // Reading the folder opens it.
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        Some(Process {
            cpu: cpu_of(&fs::read_to_string("/proc/self/stat").ok()?)?,
            resident_bytes: kib << 10,
            open_files: open_files as u64,
            most_files: getrlimit(Resource::Nofile).current,
        })
    }
}

/// The time of user and system, from the 14th and 15th field. The second is the program's name, which may hold anything.
fn cpu_of(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_this_process_can_be_true() {
        let process = Process::now().expect("Linux");
        assert!(process.resident_bytes > 1 << 20 && process.open_files >= 3);
        assert!(process.most_files.is_none_or(|most| most >= process.open_files));
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1 2 3";
        assert_eq!(cpu_of(line), Some(Duration::from_secs(3)));
    }
}
