//! A few lines of the terminal that are drawn over again.

use crate::output::{Size, say_bytes, size};
use crate::words::within;

/// How a line is to look, where there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Plain,
    Good,
    Bad,
    Faint,
}

impl Mood {
    fn code(self) -> &'static str {
        match self {
            Mood::Plain => "0",
            Mood::Good => "32",
            Mood::Bad => "1;31",
            Mood::Faint => "2",
        }
    }
}

/// The lines that were drawn last.
pub(super) struct Screen {
    colours: bool,
    drawn: usize,
    size: Size,
}

impl Screen {
    pub(super) fn new(colours: bool) -> Screen {
        Screen { colours, drawn: 0, size: size() }
    }

    pub(super) fn draw(&mut self, lines: &[(Mood, String)]) {
        let size = size();
        // The cursor waits in the row below the last line.
        let lines = &lines[..lines.len().min(size.height.saturating_sub(1))];
        let text = self.drawing(lines, size);
        self.drawn = lines.len();
        self.size = size;
        say_bytes(text.as_bytes());
    }

    /// Each line takes one row: a longer one is cut, so that going up by as many rows meets the first one again. After
    /// a resize the terminal may have broken what was drawn, so that everything is drawn again on an empty screen.
    fn drawing(&self, lines: &[(Mood, String)], size: Size) -> String {
        let back = match (self.drawn, self.size == size) {
            (0, _) => String::new(),
            (drawn, true) => format!("\x1b[{drawn}A\r"),
            (_, false) => "\x1b[2J\x1b[H".to_owned(),
        };
        let line = |(mood, text): &(Mood, String)| {
            let shown = within(text, size.width.saturating_sub(1));
            match self.colours && *mood != Mood::Plain {
                true => format!("\x1b[2K\x1b[{}m{shown}\x1b[0m\n", mood.code()),
                false => format!("\x1b[2K{shown}\n"),
            }
        };
        back + &lines.iter().map(line).collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal_and_a_resize_draws_all_again() {
        let small = Size { width: 20, height: 8 };
        let mut screen = Screen { colours: true, drawn: 0, size: small };
        let lines = [(Mood::Bad, "exchange  fails, and says so at length".to_owned()), (Mood::Plain, "b".to_owned())];
        assert_eq!(screen.drawing(&lines, small), "\x1b[2K\x1b[1;31mexchange  fails, a…\x1b[0m\n\x1b[2Kb\n");
        screen.drawn = 2;
        assert!(screen.drawing(&lines, small).starts_with("\x1b[2A\r\x1b[2K"));
        for resized in [Size { width: 40, ..small }, Size { height: 7, ..small }] {
            assert!(screen.drawing(&lines, resized).starts_with("\x1b[2J\x1b[H"), "{resized:?}");
        }
        screen.colours = false;
        assert!(!screen.drawing(&lines, small).contains("\x1b[1;31m"));
    }
}
