//! Keys of the terminal that the demonstration runs in.

use std::io::{self, IsTerminal as _, Read as _};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The fault of this name.
    Fault(&'static str),
    /// The page in a browser.
    Open,
    Quit,
}

impl Key {
    /// Each key, and what its help says.
    pub(super) const ALL: [(char, Key, &'static str); 6] = [
        ('f', Key::Fault("fail"), "fail"),
        ('b', Key::Fault("ban"), "ban"),
        ('s', Key::Fault("slow"), "slow"),
        ('h', Key::Fault("none"), "heal"),
        ('o', Key::Open, "open the page"),
        ('q', Key::Quit, "quit"),
    ];

    fn of(byte: u8) -> Option<Key> {
        let typed = char::from(byte.to_ascii_lowercase());
        Key::ALL.into_iter().find(|(letter, ..)| *letter == typed).map(|(_, key, _)| key)
    }
}

/// Keys that arrive one by one, without Enter and unseen, until this is dropped.
pub(super) struct Keys {
    typed: mpsc::Receiver<Key>,
    before: Termios,
}

impl Keys {
    /// `None` without a user: standard input is no terminal, or refuses.
    pub(super) fn listen() -> Option<Keys> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        // Ctrl-C still interrupts.
        raw.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        // A read ends after a tenth of a second, so that its thread notices that it is not needed any more.
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 1;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        let (keys, typed) = mpsc::channel(8);
        thread::spawn(move || read(&keys));
        Some(Keys { typed, before })
    }

    /// The next key that means anything. Waits for ever once there can be none.
    pub(super) async fn next(&mut self) -> Key {
        match self.typed.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn read(keys: &mpsc::Sender<Key>) {
    let mut byte = [0];
    while !keys.is_closed() {
        match io::stdin().lock().read(&mut byte) {
            Ok(1) => {
                if let Some(key) = Key::of(byte[0]) {
                    let _ = keys.blocking_send(key);
                }
            }
            Ok(_) => {}
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_means_one_thing_in_either_case_and_others_mean_nothing() {
        assert_eq!(Key::of(b'f'), Some(Key::Fault("fail")));
        assert_eq!((Key::of(b'H'), Key::of(b'q')), (Some(Key::Fault("none")), Some(Key::Quit)));
        assert_eq!(Key::of(b'x'), None);
        assert_eq!(Key::of(0x1b), None);
    }
}
