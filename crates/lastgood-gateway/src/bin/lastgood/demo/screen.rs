//! A few lines of the terminal that are drawn over again.

use crate::output::{Size, say_bytes, size};
use crate::words::wrapped;

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
        let rows = rows(lines, size);
        let text = self.drawing(&rows, size);
        self.drawn = rows.len();
        self.size = size;
        say_bytes(text.as_bytes());
    }

    /// Each of the lines fits a row, so that going up by as many rows meets the first one again. After
    /// a resize the terminal may have broken what was drawn, so that everything is drawn again on an empty screen.
    fn drawing(&self, lines: &[(Mood, String)], size: Size) -> String {
        let back = match (self.drawn, self.size == size) {
            (0, _) => String::new(),
            (drawn, true) => format!("\x1b[{drawn}A\r"),
            (_, false) => "\x1b[2J\x1b[H".to_owned(),
        };
        let line = |(mood, text): &(Mood, String)| match self.colours && *mood != Mood::Plain {
            true => format!("\x1b[2K\x1b[{}m{text}\x1b[0m\n", mood.code()),
            false => format!("\x1b[2K{text}\n"),
        };
        back + &lines.iter().map(line).collect::<String>()
    }
}

/// The lines as rows of the terminal; a longer line goes on in the next row. The cursor waits in the row below the last.
fn rows(lines: &[(Mood, String)], size: Size) -> Vec<(Mood, String)> {
    let rows_of = |(mood, text): &(Mood, String)| {
        let rows = wrapped(text, size.width.saturating_sub(1)).into_iter();
        let mood = *mood;
        rows.map(move |row| (mood, row)).collect::<Vec<_>>()
    };
    lines.iter().flat_map(rows_of).take(size.height.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal_and_a_resize_draws_all_again() {
        let small = Size { width: 20, height: 8 };
        let mut screen = Screen { colours: true, drawn: 0, size: small };
        let lines = [(Mood::Bad, "exchange  fails, and says so".to_owned()), (Mood::Plain, "b".to_owned())];
        let rows_of_all = rows(&lines, small);
        let lines = rows_of_all.as_slice();
        let bad = |text: &str| format!("\x1b[2K\x1b[1;31m{text}\x1b[0m\n");
        let drawn = format!("{}{}\x1b[2Kb\n", bad("exchange  fails,"), bad("    and says so"));
        assert_eq!(screen.drawing(lines, small), drawn);
        assert_eq!(rows(lines, Size { height: 3, ..small }), &lines[..2], "what the terminal is too low for");
        screen.drawn = 3;
        assert!(screen.drawing(lines, small).starts_with("\x1b[3A\r\x1b[2K"));
        for resized in [Size { width: 40, ..small }, Size { height: 7, ..small }] {
            assert!(screen.drawing(lines, resized).starts_with("\x1b[2J\x1b[H"), "{resized:?}");
        }
        screen.colours = false;
        assert!(!screen.drawing(lines, small).contains("\x1b[1;31m"));
    }
}
