//! A store over REST behind TLS, as Upstash offers it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lastgood_testing::{RedisServer, UpstashFront};

use super::authority::Authority;
use crate::upstash::{TOKEN, checked};

/// Takes TLS off what comes, and passes it on.
pub(super) struct Terminator {
    process: Child,
    pub(super) port: u16,
}

impl Terminator {
    pub(super) fn start(authority: &Authority, to: SocketAddr) -> Terminator {
        let script = "import socket, socketserver, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[1], sys.argv[2])
def pump(source, target):
    try:
        while data := source.recv(65536): target.sendall(data)
    except OSError: pass
    target.close()
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        try: near = context.wrap_socket(self.request, server_side=True)
        except OSError: return
        far = socket.create_connection(('127.0.0.1', int(sys.argv[3])))
        threading.Thread(target=pump, args=(far, near), daemon=True).start()
        pump(near, far)
server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler); server.daemon_threads = True
print(server.server_address[1], flush=True); server.serve_forever()";
        let (certificate, key) = authority.server();
        let mut process = Command::new("python3")
            .args(["-c", script])
            .args([certificate, key])
            .arg(to.port().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 starts; run tests/install-tools.sh");
        let mut port = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        Terminator { process, port: port.trim().parse().expect("it listens") }
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_database_behind_tls_is_asked_when_ssl_cert_file_trusts_it_and_only_then() {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let (ours, theirs) = (Authority::new(), Authority::new());
    let terminator = Terminator::start(&ours, front.address());
    let (ours_file, theirs_file) = (ours.certificate(), theirs.certificate());
    let said = async |host: &str, port: u16, trusted: &Path| {
        checked(&format!("https://{host}:{port}"), TOKEN, &[("SSL_CERT_FILE", trusted)]).await
    };
    let well = said("localhost", terminator.port, &ours_file).await;
    assert_eq!((&well["verdict"], &well["detail"]), (&"ok".into(), &"answers, 0 keys".into()), "{well}");
    let asked = front.asked();
    for (host, port, trusted, wrong) in [
        ("localhost", terminator.port, &theirs_file, "UnknownIssuer"),
        ("127.0.0.1", terminator.port, &ours_file, "not valid for name"),
        ("localhost", front.address().port(), &ours_file, "corrupt message"),
    ] {
        let refused = said(host, port, trusted).await;
        let has = |key: &str, part: &str| refused[key].as_str().is_some_and(|text| text.contains(part));
        assert!(refused["verdict"] == "failed" && has("detail", wrong), "{wrong}: {refused}");
        assert!(has("hint", "let SSL_CERT_FILE name"), "{refused}");
    }
    assert_eq!(front.asked(), asked, "no token was sent");
}
