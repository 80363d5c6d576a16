//! What a server says before it is asked anything: the reason for which it turns a client away.

use std::io;
use std::time::Duration;

use ::redis::ConnectionAddr;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server that turns clients away says so at once. One that is well says nothing for as long.
const WITHIN: Duration = Duration::from_millis(300);

/// More of a first line than this is not repeated.
const LONGEST: usize = 200;

/// Why a server without TLS turns clients away, as a new connection on which nothing is asked shows it. `None` where it says
/// nothing, and waits for a command.
///
/// On a connection on which something was asked its words may be lost: it hangs up with our command unread.
pub(super) async fn refusal(address: &ConnectionAddr) -> Option<String> {
    let look = async {
        match address {
            ConnectionAddr::Tcp(host, port) => first_bytes(TcpStream::connect((host.as_str(), *port)).await?).await,
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => first_bytes(tokio::net::UnixStream::connect(path).await?).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    };
    let said = timeout(WITHIN, look).await.ok()?.ok()?;
    let line = said.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let line: String = String::from_utf8_lossy(line).chars().filter(|letter| !letter.is_control()).collect();
    match line.strip_prefix('-') {
        Some(words) if !words.is_empty() => Some(words.to_owned()),
        _ if said.is_empty() => {
            Some("it takes connections and closes them at once (a proxy without a server behind it?)".to_owned())
        }
        _ => Some(format!("it is no Redis: it begins with {line:?}")),
    }
}

/// The first that is said, up to the end of its line; nothing where the connection is closed.
async fn first_bytes(mut stream: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let (mut said, mut buffer) = (Vec::new(), [0; LONGEST]);
    while said.len() < LONGEST && !said.contains(&b'\n') {
        match stream.read(&mut buffer[..LONGEST - said.len()]).await {
            // What was said before the connection broke is what counts.
            Ok(0) | Err(_) => break,
            Ok(length) => said.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(said)
}
