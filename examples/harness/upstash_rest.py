"""A double of Upstash's REST side in front of a real redis-server, in Python's standard library.

    python3 examples/harness/upstash_rest.py REDIS_PORT TOKEN

It keeps to what Upstash documents and lastgood uses: a command as a JSON array at `/`, several at `/pipeline`, a command in
the path with its value as the body, the bearer token, answers in base64 on request. What a command does is what Redis does.
It is no Upstash: no regions, no quotas, no bill, and TLS is left to the network of this machine.
"""

import base64
import hmac
import http.server
import json
import queue
import socket
import sys
import urllib.parse

REDIS_WITHIN = 2


class RedisError(Exception):
    """What Redis says is wrong with a command."""


class Connection:
    """One connection to Redis, which speaks RESP."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), REDIS_WITHIN)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers = self.socket.makefile("rb")

    def run(self, words):
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self.read()

    def read(self):
        line = self.answers.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("Redis hung up")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.answers.read(int(rest) + 2)[:-2]
        if kind == b"*":
            # All of it is read, also behind an error within.
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RedisError(rest.decode(errors="replace"))
        return rest.decode(errors="replace")


class Pool:
    """Connections that were used and are sound."""

    def __init__(self, port):
        self.port, self.idle = port, queue.SimpleQueue()

    def run(self, words):
        try:
            connection = self.idle.get_nowait()
        except queue.Empty:
            connection = Connection(self.port)
        try:
            answer = connection.run(words)
        except RedisError:
            self.idle.put(connection)
            raise
        except OSError:
            # The others were made before Redis went away, too.
            while not self.idle.empty():
                self.idle.get_nowait()
            raise
        self.idle.put(connection)
        return answer


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    pool, token = None, None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, answer = self.answered(body)
        except RedisError as error:
            status, answer = 400, {"error": str(error)}
        except ValueError as error:
            status, answer = 400, {"error": f"ERR failed to parse command: {error}"}
        except OSError as error:
            status, answer = 503, {"error": f"ERR the database does not answer: {error}"}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST

    def answered(self, body):
        if not hmac.compare_digest(self.headers.get("Authorization", ""), f"Bearer {self.token}"):
            return 401, {"error": "WRONGPASS invalid or missing auth token"}
        at = urllib.parse.urlsplit(self.path)
        if at.path == "/pipeline":
            return 200, [self.outcome(command) for command in json.loads(body)]
        if at.path == "/":
            return 200, {"result": self.run(as_words(json.loads(body)))}
        words = [urllib.parse.unquote_to_bytes(part) for part in at.path.strip("/").split("/")]
        words += [body] if body else []
        for pair in filter(None, at.query.split("&")):
            words += [urllib.parse.unquote_to_bytes(part) for part in pair.split("=", 1) if part]
        return 200, {"result": self.run(words)}

    def outcome(self, command):
        try:
            return {"result": self.run(as_words(command))}
        except RedisError as error:
            return {"error": str(error)}

    def run(self, words):
        return self.encoded(self.pool.run(words))

    def encoded(self, answer):
        if isinstance(answer, list):
            return [self.encoded(one) for one in answer]
        if isinstance(answer, str):
            if answer == "OK":
                return answer
            answer = answer.encode()
        if isinstance(answer, bytes):
            in_base64 = self.headers.get("Upstash-Encoding") == "base64"
            return base64.b64encode(answer).decode() if in_base64 else answer.decode(errors="replace")
        return answer

    def log_message(self, *_):
        """Says nothing: a line for each command would fill the log."""


def as_words(command):
    if not isinstance(command, list) or not command:
        raise ValueError("it is no list of words")
    return [word.encode() if isinstance(word, str) else json.dumps(word).encode() for word in command]


def main():
    Front.pool, Front.token = Pool(int(sys.argv[1])), sys.argv[2]
    http.server.ThreadingHTTPServer.daemon_threads = True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
