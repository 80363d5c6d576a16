//! The notes of entries. Thousands have the same one, a content type: entries that a thread makes one after the other share it.

use std::cell::RefCell;
use std::sync::Arc;

/// A note, by a pointer of one word.
pub(super) type Note = Arc<Arc<str>>;

/// Notes that a thread remembers: of as many kinds of entries at once as are made in turn.
const REMEMBERED: usize = 8;
/// A longer one is its entry's own.
const LONGEST: usize = 256;

#[derive(Default)]
struct Recent {
    notes: Vec<Note>,
    /// Where the next one goes.
    next: usize,
}

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::default();
}

/// The same note, as other entries have it.
pub(super) fn shared(note: Arc<str>) -> Note {
    RECENT.with_borrow_mut(|recent| {
        if let Some(known) = recent.notes.iter().find(|known| ****known == *note) {
            return Arc::clone(known);
        }
        let note = Arc::new(note);
        if note.len() <= LONGEST {
            match recent.notes.get_mut(recent.next) {
                Some(place) => *place = Arc::clone(&note),
                None => recent.notes.push(Arc::clone(&note)),
            }
            recent.next = (recent.next + 1) % REMEMBERED;
        }
        note
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_comes_again_is_shared_and_those_of_one_entry_are_not_kept() {
        let json = shared("application/json".into());
        for number in 0..REMEMBERED - 1 {
            shared(format!("text/{number}").into());
        }
        assert!(Arc::ptr_eq(&json, &shared("application/json".into())));
        let once: Vec<_> =
            (0..REMEMBERED).map(|number| Arc::downgrade(&shared(format!("once/{number}").into()))).collect();
        for number in 0..REMEMBERED {
            shared(format!("other/{number}").into());
        }
        assert!(once.iter().all(|note| note.upgrade().is_none()));
        assert_eq!(Arc::strong_count(&json), 1);
        assert_eq!(Arc::strong_count(&shared("x".repeat(LONGEST + 1).into())), 1);
    }
}
