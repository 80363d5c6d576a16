//! What one process tells the others of an invalidation.

use std::fmt;

use bytes::Bytes;

use crate::tags::Depth;

/// What happened to what the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A key holds something else, which others may hold an older form of.
    Changed,
    /// A key holds nothing any more, and nobody may serve what it held.
    Removed,
    /// The same of all keys that begin so.
    Cleared,
    /// Nothing is told of single invalidations any more that were to be told: there were too many.
    Everything,
}

impl Kind {
    const ALL: [(Kind, &'static str); 4] = [
        (Kind::Changed, "changed"),
        (Kind::Removed, "removed"),
        (Kind::Cleared, "cleared"),
        (Kind::Everything, "everything"),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::ALL.iter().find(|(kind, _)| kind == self).map_or(Ok(()), |(_, word)| f.write_str(word))
    }
}

/// One line of the log: what happened, to which key, and who says so. As text: `KIND NODE KEY`, the key without the
/// namespace that the log is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) node: String,
    pub(crate) key: String,
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        format!("{} {} {}", self.kind, self.node, self.key).into()
    }

    /// `None` for what a later version says and this one does not understand.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
        let mut words = std::str::from_utf8(bytes).ok()?.splitn(3, ' ');
        let (kind, node, key) = (words.next()?, words.next()?, words.next()?);
        let (kind, _) = Kind::ALL.into_iter().find(|(_, word)| *word == kind)?;
        Some(Record { kind, node: node.to_owned(), key: key.to_owned() })
    }

    /// What the key names.
    pub(crate) fn subject(&self) -> Option<Subject<'_>> {
        let (region, rest) = self.key.split_once(':')?;
        if region == crate::tags::REGION {
            let (depth, tag) = crate::tags::mark_of(rest)?;
            return Some(Subject::Tag { depth, tag });
        }
        let (schema, name) = rest.strip_prefix('v')?.split_once(':')?;
        Some(Subject::Key { region, schema: schema.parse().ok()?, name })
    }
}

/// What a record is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    /// A key of a region, or what the keys of a region begin with.
    Key { region: &'a str, schema: u32, name: &'a str },
    /// All that has a tag.
    Tag { depth: Depth, tag: &'a str },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines as released programs write them: a later one must still understand them.
    #[test]
    fn the_lines_of_the_log_are_what_they_were() {
        let lines = [
            (Kind::Changed, "prices:v1:BTC USDT", "changed 00c0ffee prices:v1:BTC USDT"),
            (Kind::Removed, "prices:v12:a:b", "removed 00c0ffee prices:v12:a:b"),
            (Kind::Cleared, "prices:v1:", "cleared 00c0ffee prices:v1:"),
            (Kind::Changed, "@tags:expired:a b:c", "changed 00c0ffee @tags:expired:a b:c"),
            (Kind::Everything, "", "everything 00c0ffee "),
        ];
        for (kind, key, line) in lines {
            let record = Record { kind, node: "00c0ffee".to_owned(), key: key.to_owned() };
            assert_eq!(record.encode(), line);
            assert_eq!(Record::decode(line.as_bytes()), Some(record));
        }
        for unknown in [&b""[..], b"removed", b"removed node", b"renamed 00c0ffee prices:v1:a", b"\xff x y"] {
            assert_eq!(Record::decode(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn a_key_says_what_it_is_about() {
        let subject = |key: &str| {
            let record = Record { kind: Kind::Changed, node: String::new(), key: key.to_owned() };
            format!("{:?}", record.subject())
        };
        assert_eq!(subject("prices:v12:a:b"), r#"Some(Key { region: "prices", schema: 12, name: "a:b" })"#);
        assert_eq!(subject("prices:v1:"), r#"Some(Key { region: "prices", schema: 1, name: "" })"#);
        assert_eq!(subject("@tags:expired:a:b"), r#"Some(Tag { depth: Expire, tag: "a:b" })"#);
        assert_eq!(subject("@tags:removed:a"), r#"Some(Tag { depth: Remove, tag: "a" })"#);
        for odd in ["", "prices", "prices:1:a", "prices:v:a", "prices:v1", "@tags:faded:a"] {
            assert_eq!(subject(odd), "None", "{odd}");
        }
    }
}
