//! Logs, to standard error, every line through [`crate::redact`].

use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{Log, LogFormat};
use crate::redact::redact;

/// Makes the logger of the process, and has panics logged through it as well.
///
/// # Errors
/// The filter is invalid, or the process has a logger already.
pub fn init(log: &Log, colours: bool) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tracing::subscriber::set_global_default(subscriber(log, colours, io::stderr)?)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place = place.unwrap_or_default(), "panicked: {what}");
    }));
    Ok(())
}

/// A logger that writes to `out`.
///
/// # Errors
/// The filter is invalid.
pub fn subscriber<W>(
    log: &Log,
    colours: bool,
    out: W,
) -> Result<impl Subscriber + Send + Sync + 'static, tracing_subscriber::filter::ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.level)?;
    let out = Redacting(out);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(out).boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(out).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(filter)))
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
        // A log that cannot be written must not stop what it tells about.
        let _ = self.out.write_all(redact(&text).as_bytes());
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
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
