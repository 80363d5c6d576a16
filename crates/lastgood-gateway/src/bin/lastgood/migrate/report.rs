//! What a migration prints.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use lastgood::migrate::{Counts, Progress, Stopped};
use serde_json::json;
use tokio::sync::watch;

use super::Arguments;
use crate::output::{Failure, complain, say, say_json};

/// How a migration ended.
pub(super) enum Ended {
    Complete,
    Interrupted,
    Stopped(Stopped),
}

/// Something to know of the result.
pub(super) struct Note {
    text: String,
    /// Whether entries may be missing at the target.
    pub(super) is_failure: bool,
}

impl Note {
    pub(super) fn failure(text: String) -> Note {
        Note { text, is_failure: true }
    }

    fn hint(text: String) -> Note {
        Note { text, is_failure: false }
    }
}

/// Shows progress on standard error: one line that changes on a terminal, else a line a second.
pub(super) struct Reporter {
    progress: watch::Receiver<Progress>,
    /// About how many keys there are.
    of: Option<u64>,
    is_terminal: bool,
    trouble: Option<String>,
}

impl Reporter {
    pub(super) fn new(progress: watch::Receiver<Progress>, of: Option<u64>) -> Reporter {
        Reporter { progress, of, is_terminal: io::stderr().is_terminal(), trouble: None }
    }

    pub(super) fn report(&mut self) {
        let now = self.progress.borrow().clone();
        if now.trouble != self.trouble {
            self.end();
            match &now.trouble {
                Some(trouble) => complain(&format!("{trouble}; trying again")),
                None => complain("it answers again"),
            }
            self.trouble = now.trouble;
        }
        let line = progress_line(&now.counts, self.of);
        match self.is_terminal {
            true => drop(write!(io::stderr().lock(), "\r\x1b[K{line}")),
            false => complain(&line),
        }
    }

    /// Ends the line that changes.
    pub(super) fn end(&self) {
        if self.is_terminal {
            _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn progress_line(counts: &Counts, of: Option<u64>) -> String {
    let of = of.map_or_else(String::new, |of| format!(" of about {of}"));
    let Counts { read, copied, present, failed, bytes, .. } = counts;
    // Of about two, or two.
    let keys = if of.is_empty() && *read == 1 { "key" } else { "keys" };
    let mib = *bytes as f64 / f64::from(1 << 20);
    let failed = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{read}{of} {keys} read: {copied} copied ({mib:.1} MiB), {present} already there{failed}")
}

/// What the counts mean where that is not plain.
pub(super) fn notes(progress: &Progress, ended: &Ended) -> Vec<Note> {
    let counts = &progress.counts;
    let mut notes = Vec::new();
    let mut note = |count: u64, [one, many]: [&str; 2], more: &str| {
        if count > 0 {
            notes.push(Note::hint(format!("{count} {}{more}", if count == 1 { one } else { many })));
        }
    };
    note(
        counts.outdated,
        ["entry of wire version 1 was not copied", "entries of wire version 1 were not copied"],
        ": such an entry does not say which key it is of, and no gateway of this version serves it; it is loaded again",
    );
    note(
        counts.unreadable,
        ["value was not copied", "values were not copied"],
        ": no entry (a lease, a note of a gateway, another program's value), damaged, or of a later version",
    );
    note(
        counts.occupied,
        ["entry was not copied", "entries were not copied"],
        ": the target has something there that this version cannot read",
    );
    note(
        progress.changed_meanwhile.unwrap_or_default(),
        ["change was made", "changes were made"],
        " at the source while it was copied; what was removed there may have been copied before: remove \
         it at the target as well",
    );
    if let (false, Some(key)) = (matches!(ended, Ended::Complete), &progress.last_key) {
        notes.push(Note::hint(format!("the last key was {key}")));
    }
    notes
}

pub(super) fn print(progress: &Progress, ended: &Ended, notes: &[Note], arguments: &Arguments) -> Result<(), Failure> {
    let counts = &progress.counts;
    if arguments.json {
        return say_json(&json!({
            "complete": matches!(ended, Ended::Complete),
            "dry_run": arguments.dry_run,
            "read": counts.read,
            "copied": counts.copied,
            "already_there": counts.present,
            "newer_at_target": counts.newer,
            "expired": counts.expired,
            "old_version": counts.outdated,
            "unreadable": counts.unreadable,
            "occupied_at_target": counts.occupied,
            "failed": counts.failed,
            "bytes": counts.bytes,
            "changed_at_source": progress.changed_meanwhile,
            "failures": progress.failures,
            "notes": notes.iter().map(|note| &note.text).collect::<Vec<_>>(),
            "last_key": progress.last_key,
        }));
    }
    let columns = [
        ("READ", counts.read),
        (if arguments.dry_run { "WOULD COPY" } else { "COPIED" }, counts.copied),
        ("ALREADY THERE", counts.present),
        ("NEWER AT TARGET", counts.newer),
        ("EXPIRED", counts.expired),
        ("UNREADABLE", counts.outdated + counts.unreadable + counts.occupied),
        ("FAILED", counts.failed),
    ];
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.map(|(name, _)| name));
    table.add_row(columns.map(|(_, count)| count.to_string()));
    say(table.trim_fmt());
    for note in notes {
        say(&note.text);
    }
    for failure in &progress.failures {
        complain(&format!("failed: {failure}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_entry_is_written_in_the_singular() {
        let written = |count: u64| {
            let mut progress = Progress::default();
            let counts = &mut progress.counts;
            (counts.outdated, counts.unreadable, counts.occupied) = (count, count, count);
            progress.changed_meanwhile = Some(count);
            let notes = notes(&progress, &Ended::Complete).into_iter().map(|note| note.text).collect::<Vec<_>>();
            notes
                .iter()
                .map(|text| text.split_inclusive([':', ';']).next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(written(0), [""; 0]);
        assert_eq!(
            written(1),
            [
                "1 entry of wire version 1 was not copied:",
                "1 value was not copied:",
                "1 entry was not copied:",
                "1 change was made at the source while it was copied;"
            ]
        );
        assert_eq!(written(2)[1], "2 values were not copied:");
        let mut counts = Counts::default();
        assert!(progress_line(&counts, None).starts_with("0 keys read"));
        counts.read = 1;
        assert!(progress_line(&counts, None).starts_with("1 key read"));
    }
}
