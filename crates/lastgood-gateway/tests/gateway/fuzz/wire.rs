//! Reads answers as a strict client does: whatever HTTP/1.1 does not allow is reported.

use std::io::Read as _;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;

/// Far longer than any answer may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer whose framing is right.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A header's value; empty without one.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Whether it says that it is the last on its connection.
    pub(super) fn is_last(&self) -> bool {
        self.header("connection").split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    }

    /// The body as it was before it was packed.
    pub(super) fn unpacked(&self) -> Result<Vec<u8>, String> {
        match self.header("content-encoding") {
            "" => Ok(self.body.clone()),
            _ if self.body.is_empty() => Ok(Vec::new()),
            "gzip" => {
                let mut body = Vec::new();
                let read = flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut body);
                read.map(|_| body).map_err(|why| format!("its gzip is broken: {why}"))
            }
            other => Err(format!("its content encoding {other:?} was not asked for")),
        }
    }
}

/// How a connection goes on.
#[derive(Debug)]
pub(super) enum Heard {
    Answer(Answer),
    /// It ended between two answers.
    End,
    /// The gateway let go of it with bytes unread.
    Reset,
}

/// The answers on a connection, one after the other.
pub(super) struct Answers {
    from: OwnedReadHalf,
    unread: Vec<u8>,
}

enum More {
    Some,
    End,
    Reset,
}

impl Answers {
    pub(super) fn new(from: OwnedReadHalf) -> Answers {
        Answers { from, unread: Vec::new() }
    }

    async fn more(&mut self) -> Result<More, String> {
        let mut buffer = [0; 16 << 10];
        match tokio::time::timeout(PATIENCE, self.from.read(&mut buffer)).await {
            Err(_) => Err(format!("it hangs; so far {}", shown(&self.unread))),
            Ok(Err(_)) => Ok(More::Reset),
            Ok(Ok(0)) => Ok(More::End),
            Ok(Ok(read)) => {
                self.unread.extend_from_slice(&buffer[..read]);
                Ok(More::Some)
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.unread.len() < length {
            if !matches!(self.more().await?, More::Some) {
                return Err(format!("it is cut off: {} of {length} bytes", self.unread.len()));
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// What comes up to the next line break, without it.
    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).take(end).collect();
                let is_clean = line.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7F));
                return match String::from_utf8(line) {
                    Ok(line) if is_clean => Ok(line),
                    Ok(line) => Err(format!("the line {line:?} has control characters")),
                    Err(why) => Err(format!("the line {} is no text", shown(why.as_bytes()))),
                };
            }
            if !matches!(self.more().await?, More::Some) {
                return Err(format!("it is cut off within a line: {}", shown(&self.unread)));
            }
        }
    }

    /// The next answer, to a request with this method.
    pub(super) async fn next(&mut self, method: &str) -> Result<Heard, String> {
        loop {
            while self.unread.is_empty() {
                match self.more().await? {
                    More::Some => {}
                    More::End => return Ok(Heard::End),
                    More::Reset => return Ok(Heard::Reset),
                }
            }
            let answer = self.answer(method).await?;
            match answer.status {
                // An interim answer to `Expect`.
                100 => {}
                101..200 => return Err(format!("an answer of {}, which was not asked for", answer.status)),
                _ => return Ok(Heard::Answer(answer)),
            }
        }
    }

    async fn answer(&mut self, method: &str) -> Result<Answer, String> {
        let line = self.line().await?;
        let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let status = status.ok_or_else(|| format!("{line:?} is no status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let is_token = |name: &str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            };
            match line.split_once(':') {
                Some((name, value)) if is_token(name) => {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                _ => return Err(format!("{line:?} is no header")),
            }
        }
        let body = self.body(method, status, &headers).await?;
        Ok(Answer { status, headers, body })
    }

    async fn body(&mut self, method: &str, status: u16, headers: &[(String, String)]) -> Result<Vec<u8>, String> {
        let all = |name: &str| -> Vec<&str> {
            headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
        };
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        if lengths.len() + codings.len() > 1 {
            return Err(format!("its length is said twice: {lengths:?} {codings:?}"));
        }
        if status < 200 || status == 204 {
            return match lengths.is_empty() && codings.is_empty() {
                true => Ok(Vec::new()),
                false => Err(format!("an answer of {status} has no length: {lengths:?} {codings:?}")),
            };
        }
        if method == "HEAD" || status == 304 {
            return Ok(Vec::new());
        }
        if let Some(length) = lengths.first() {
            let length = length.parse().map_err(|_| format!("{length:?} is no length"))?;
            return self.take(length).await;
        }
        match codings.first().copied() {
            Some("chunked") => self.chunks().await,
            Some(other) => Err(format!("its transfer encoding is {other:?}")),
            None => {
                // Up to the end of the connection.
                while matches!(self.more().await?, More::Some) {}
                Ok(std::mem::take(&mut self.unread))
            }
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| format!("{line:?} is no chunk's size"))?;
            if size == 0 {
                break;
            }
            body.extend(self.take(size).await?);
            if !self.line().await?.is_empty() {
                return Err("a chunk is longer than its size".to_owned());
            }
        }
        // Trailers.
        while !self.line().await?.is_empty() {}
        Ok(body)
    }
}

/// Bytes as a test's report shows them.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 3_000;
    let text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n    ");
    match bytes.len() > MOST {
        true => format!("{text}… ({} bytes)", bytes.len()),
        false => text,
    }
}
