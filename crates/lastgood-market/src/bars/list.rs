//! The bars of a series as one JSON list, and where in it each lies.

use std::collections::BTreeMap;
use std::ops;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::check::open_time;

/// Which bars of a series, by when they open: both ends included. As with the exchange's candles, a start alone gives the
/// oldest from it, anything else without one the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first that is wanted, in milliseconds.
    pub start: Option<u64>,
    /// The last that is wanted, in milliseconds.
    pub end: Option<u64>,
    /// How many at most.
    pub limit: usize,
}

/// A JSON list of bars, in the order of their open times.
#[derive(Clone, Debug)]
pub(super) struct List {
    body: Bytes,
    /// When each opens, and where its text lies.
    bars: Vec<(u64, ops::Range<usize>)>,
}

impl List {
    /// Reads a list that was written; `None` for anything else.
    pub(super) fn read(body: &Bytes) -> Option<List> {
        let text = std::str::from_utf8(body).ok()?;
        let raw: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        let mut bars: Vec<(u64, ops::Range<usize>)> = Vec::with_capacity(raw.len());
        for bar in raw {
            let opens = open_time(bar.get())?;
            if bars.last().is_some_and(|(last, _)| *last >= opens) {
                return None;
            }
            let from = bar.get().as_ptr() as usize - text.as_ptr() as usize;
            bars.push((opens, from..from + bar.get().len()));
        }
        (!bars.is_empty()).then(|| List { body: body.clone(), bars })
    }

    /// Writes bars by their open times.
    pub(super) fn write(all: &BTreeMap<u64, &str>) -> List {
        let length = all.values().map(|text| text.len() + 1).sum::<usize>() + 1;
        let (mut body, mut bars) = (String::with_capacity(length), Vec::with_capacity(all.len()));
        for (opens, text) in all {
            body.push(if body.is_empty() { '[' } else { ',' });
            bars.push((*opens, body.len()..body.len() + text.len()));
            body.push_str(text);
        }
        body.push(']');
        List { body: body.into(), bars }
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(super) fn len(&self) -> usize {
        self.bars.len()
    }

    /// The text of each bar, by when it opens.
    pub(super) fn texts(&self) -> impl Iterator<Item = (u64, &str)> {
        let text = |at: &ops::Range<usize>| std::str::from_utf8(&self.body[at.clone()]).unwrap_or_default();
        self.bars.iter().map(move |(opens, at)| (*opens, text(at)))
    }

    pub(super) fn text(&self, place: usize) -> Option<Bytes> {
        self.bars.get(place).map(|(_, at)| self.body.slice(at.clone()))
    }

    pub(super) fn in_range(&self, range: &Range) -> ops::Range<usize> {
        let from = range.start.map_or(0, |start| self.bars.partition_point(|(opens, _)| *opens < start));
        let to = range.end.map_or(self.len(), |end| self.bars.partition_point(|(opens, _)| *opens <= end));
        match range.start {
            Some(_) => from..to.min(from.saturating_add(range.limit)).max(from),
            None => to.saturating_sub(range.limit)..to,
        }
    }

    /// Some of the bars, as a list of their own.
    pub(super) fn json(&self, places: ops::Range<usize>) -> Bytes {
        match (self.bars.get(places.start), places.len()) {
            (Some(_), length) if length == self.len() => self.body.clone(),
            (Some((_, first)), 1..) => {
                let (_, last) = &self.bars[places.end - 1];
                [b"[", &self.body[first.start..last.end], b"]"].concat().into()
            }
            _ => Bytes::from_static(b"[]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_exchange_reads_its_own() {
        let texts: Vec<(u64, String)> = (1..=5).map(|opens| (opens * 10, format!("[{}]", opens * 10))).collect();
        let list = List::write(&texts.iter().map(|(opens, text)| (*opens, text.as_str())).collect());
        let asked = |start, end, limit| {
            let json = list.json(list.in_range(&Range { start, end, limit }));
            String::from_utf8(json.to_vec()).unwrap()
        };
        assert_eq!(asked(None, None, 9), "[[10],[20],[30],[40],[50]]");
        assert_eq!(asked(None, None, 2), "[[40],[50]]");
        assert_eq!(asked(Some(20), None, 2), "[[20],[30]]");
        assert_eq!(asked(None, Some(39), 2), "[[20],[30]]");
        assert_eq!(asked(Some(20), Some(20), 2), "[[20]]");
        assert_eq!(asked(Some(11), Some(19), 2), "[]");
        assert_eq!(asked(Some(60), Some(5), 2), "[]");
        assert_eq!(asked(Some(60), None, usize::MAX), "[]");
        assert_eq!(List::read(list.body()).unwrap().bars, list.bars);
        for wrong in ["[]", "[[20],[10]]", "[[10],[10]]", "{}", "[1]", ""] {
            assert!(List::read(&Bytes::from_static(wrong.as_bytes())).is_none(), "{wrong}");
        }
    }
}
