//! Open files: how many there may be, and what they are for. A connection that no file is left for is never
//! answered; a load that none is left for is a lost answer.

use lastgood_settings::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process has open besides connections: the log, the store and its file, watchers, certificates.
const OF_THE_PROCESS: u64 = 96;
/// Exchanges that loads go to at the same time.
const VENUES: u64 = 3;
/// However few files there may be.
const FEWEST: u64 = 8;

/// Raises the number of files that this process may open to what the system allows it; gives that number. Call it once, at
/// the start of a program.
pub fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // What the system does not grant stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current)
}

/// How many connections and requests there may be with the files that may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Open connections of clients.
    pub(crate) connections: usize,
    /// Requests that may wait at once. The other connections are left to requests answered at once.
    pub(crate) waiting: usize,
    /// Of them those that are passed on, each over a connection of its own.
    pub(crate) passing: usize,
}

impl Share {
    /// The share of this process, and a warning where it is less than the settings allow.
    pub(crate) fn of(settings: &Settings) -> Share {
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let share = Share::with(settings, open_files);
        if share.connections < settings.limits.max_connections {
            tracing::warn!(
                open_files,
                connections = share.connections,
                max_connections = settings.limits.max_connections,
                "the limit on open files leaves fewer connections than limits.max_connections; raise it, for example \
                 with ulimit -n or systemd's LimitNOFILE"
            );
        }
        share
    }

    fn with(settings: &Settings, open_files: u64) -> Share {
        let limits = &settings.limits;
        let wanted = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let databases = settings.declared.sources.databases.values().map(|database| wanted(database.max_connections));
        let own = OF_THE_PROCESS.saturating_add(databases.fold(0, u64::saturating_add));
        let left = open_files.saturating_sub(own).max(2 * FEWEST);
        let loads = wanted(settings.upstream.max_concurrent).saturating_mul(VENUES);
        let outgoing = wanted(limits.max_concurrent_requests).saturating_add(loads).min((left / 4).max(FEWEST));
        let connections = wanted(limits.max_connections).min(left - outgoing.min(left / 2));
        let most_waiting = connections - connections / 8;
        let passing = outgoing - loads.min(outgoing / 2);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Share {
            connections: count(connections),
            waiting: limits.max_concurrent_requests.min(count(most_waiting)),
            passing: limits.max_concurrent_requests.min(count(passing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_for_something_and_none_is_promised_twice() {
        let settings = Settings::default();
        let limits = &settings.limits;
        let plenty = Share::with(&settings, 1 << 20);
        assert_eq!(plenty.connections, limits.max_connections);
        assert_eq!(plenty.waiting, limits.max_concurrent_requests);
        for open_files in [64, 256, 1_024, 4_096] {
            let Share { connections, waiting, passing } = Share::with(&settings, open_files);
            assert!(connections > 0 && waiting > 0 && passing > 0, "{open_files}");
            assert!(waiting < connections, "{open_files}: something is left for hits");
            assert!(open_files < 256 || (connections + passing) as u64 + 96 <= open_files, "{open_files}");
        }
        let Share { connections, waiting, .. } = Share::with(&settings, 1_024);
        assert!(connections >= 650 && waiting >= 550, "{connections} and {waiting}");
    }
}
