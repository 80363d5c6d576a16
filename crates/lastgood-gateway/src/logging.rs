//! Logs, to standard error, every line through [`redact`].

use std::borrow::Cow;
use std::io::{self, Write};

use lastgood_settings::redact::redact;
use lastgood_settings::{Log, LogFormat};
use tracing::Subscriber;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Makes the logger of the process, and has panics logged through it as well.
///
/// # Errors
/// The filter is invalid, or the process has a logger already.
pub fn init(log: &Log, colours: bool) -> Result<Level, Box<dyn std::error::Error + Send + Sync>> {
    let (subscriber, level) = with_level(log, colours, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place = place.unwrap_or_default(), "panicked: {what}");
    }));
    Ok(level)
}

/// A logger that writes to `out`.
///
/// # Errors
/// The filter is invalid.
pub fn subscriber<W>(log: &Log, colours: bool, out: W) -> Result<impl Subscriber + Send + Sync + 'static, ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    with_level(log, colours, out).map(|(subscriber, _)| subscriber)
}

/// What of the log is written, which may change while the process runs.
pub struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// From now on events of this level, or of these directives, are written.
    ///
    /// # Errors
    ///
    /// The filter is invalid, or the logger is gone.
    pub fn change(&self, level: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.reload(level.parse::<Targets>()?)?)
    }
}

fn with_level<W>(
    log: &Log,
    colours: bool,
    out: W,
) -> Result<(impl Subscriber + Send + Sync + 'static, Level), ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, level) = reload::Layer::new(log.level.parse::<Targets>()?);
    let out = Redacting(out);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(out).boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(out).boxed(),
    };
    Ok((Registry::default().with(lines.with_filter(filter)), Level(level)))
}

struct Redacting<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Redacting<W> {
    type Writer = RedactedEvent<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactedEvent { text: Vec::new(), out: self.0.make_writer() }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        RedactedEvent { text: Vec::new(), out: self.0.make_writer_for(meta) }
    }
}

/// Holds an event back until it is whole: a secret may be written in pieces.
struct RedactedEvent<W: Write> {
    text: Vec<u8>,
    out: W,
}

impl<W: Write> Write for RedactedEvent<W> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for RedactedEvent<W> {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        // A log that cannot be written must not stop what it reports.
        let _ = self.out.write_all(redact(&on_one_line(&text)).as_bytes());
        let _ = self.out.flush();
    }
}

/// An event on its one line: keys and paths come from strangers, and may hold line breaks that begin a line of their own
/// making, or what moves a terminal's cursor. The logger's own colours stay.
fn on_one_line(event: &str) -> Cow<'_, str> {
    let (line, end) = event.strip_suffix('\n').map_or((event, ""), |line| (line, "\n"));
    if !line.contains(must_be_escaped) {
        return Cow::Borrowed(event);
    }
    let mut escaped = String::with_capacity(event.len() + 16);
    let mut rest = line;
    while let Some(at) = rest.find(must_be_escaped) {
        let (before, from) = rest.split_at(at);
        escaped.push_str(before);
        let length = colour_at(from);
        let (taken, after) = from.split_at(length.unwrap_or_else(|| from.chars().next().map_or(0, char::len_utf8)));
        match length {
            Some(_) => escaped.push_str(taken),
            None => escaped.extend(taken.chars().flat_map(char::escape_default)),
        }
        rest = after;
    }
    escaped.push_str(rest);
    escaped.push_str(end);
    Cow::Owned(escaped)
}

/// Control characters, the line breaks of Unicode, and what turns the direction of writing round.
fn must_be_escaped(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length of the colour that a text begins with: `ESC [`, digits and semicolons, `m`.
fn colour_at(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\x1b[")?;
    let end = codes.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    codes[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lastgood_settings::Settings;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").write(part)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, colours: bool, log_something: impl FnOnce()) -> String {
        let page = Page::default();
        let level = "trace".to_owned();
        let copy = page.clone();
        let log = Log { level, format, ..Settings::default().log };
        let subscriber = subscriber(&log, colours, move || copy.clone()).expect("trace is a level");
        tracing::subscriber::with_default(subscriber, log_something);
        let bytes = page.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("logs are UTF-8")
    }

    #[test]
    fn a_log_at_trace_holds_no_secret() {
        let secret = "hunter2hunter2";
        for (format, colours) in [(LogFormat::Text, false), (LogFormat::Text, true), (LogFormat::Json, false)] {
            let log = logged(format, colours, || {
                let span = tracing::trace_span!("request", token = secret);
                let _inside = span.enter();
                let headers = [("x-mbx-apikey", secret), ("authorization", secret)];
                tracing::trace!(
                    signature = secret,
                    api_key = ?Some(secret),
                    authorization = %format!("Bearer {secret}"),
                    url = %format!("redis://u:{secret}@h"),
                    ?headers,
                    "asked https://h/?signature={secret}&a=1 with {{\"listenKey\":\"{secret}\"}}"
                );
            });
            assert!(!log.contains(secret), "{log}");
            assert!(log.contains("asked") || log.contains("request"), "{log}");
            if format == LogFormat::Json {
                serde_json::from_str::<serde_json::Value>(&log).expect("one JSON object");
            }
        }
    }

    #[test]
    fn what_strangers_send_stays_on_the_line_that_tells_of_it_and_moves_no_cursor() {
        let hostile = "a\nERROR forged\r\x1b[2K\x1b[1A\x07\u{9b}1A\u{2028}\u{202e}b\x1b[31mred";
        for (format, colours) in [(LogFormat::Text, false), (LogFormat::Text, true), (LogFormat::Json, false)] {
            let log = logged(format, colours, || {
                tracing::info!(key = %hostile, debugged = ?hostile, "asked {hostile}");
            });
            assert_eq!(log.lines().count(), 1, "{log:?}");
            let without_colours = log.replace("\x1b[31m", "").trim_end().replace("\x1b[", "");
            assert!(
                colours || !log.contains('\x1b') || log.matches('\x1b').count() == log.matches("\x1b[31m").count(),
                "{log:?}"
            );
            assert!(!without_colours.chars().any(|c| must_be_escaped(c) && c != '\x1b'), "{log:?}");
            assert!(!log.contains("\x1b[2K") && !log.contains("\x1b[1A"), "{log:?}");
        }
        assert_eq!(on_one_line("plain\n"), "plain\n");
        assert_eq!(on_one_line("a\nb\n"), "a\\nb\n");
    }

    #[test]
    fn events_below_the_level_are_not_written() {
        let page = Page::default();
        let copy = page.clone();
        let log = Log { level: "warn".to_owned(), format: LogFormat::Text, ..Settings::default().log };
        let subscriber = subscriber(&log, false, move || copy.clone()).expect("warn is a level");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("quiet");
            tracing::warn!("loud");
        });
        let text = String::from_utf8(page.0.lock().expect("no panic").clone()).expect("UTF-8");
        assert!(text.contains("loud") && !text.contains("quiet"), "{text}");
    }
}
