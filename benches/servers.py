"""The servers that benches/hits.py compares: how each is started, and what CPU time it has spent."""
import http.client, json, os, shutil, socket, subprocess, sys, time

NGINX = """
{user} worker_processes {workers}; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; sendfile on;
  proxy_cache_path {folder}/nginx keys_zone=hits:10m;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1; proxy_cache hits; proxy_cache_lock on;
      add_header X-Cache $upstream_cache_status; }} }}
}}
"""
# Passes everything on, and keeps nothing but its connections: what a server in between costs by itself.
RELAY = """
{user} worker_processes 1; daemon off; pid {folder}/relay.pid; error_log {folder}/relay.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 16; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
"""
HAPROXY = """
global
  nbthread {workers}
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
cache hits
  total-max-size 64
  max-object-size 8000000
  max-age 86400
  process-vary on
frontend front
  bind 127.0.0.1:{port}
  http-request cache-use hits
  http-response cache-store hits
  default_backend back
backend back
  server origin 127.0.0.1:{origin}
"""
# A declared route over the exchange, as over any API.
ROUTES = """
[apis.quotes]
url = "http://127.0.0.1:{exchange}"
[regions.quotes]
fresh_for = "1h"
[[routes]]
path = "/v1/quotes/{{symbol}}"
region = "quotes"
parameters.symbol = {{ type = "text", pattern = "[A-Z]{{2,12}}", case = "upper" }}
parameters.days = {{ type = "integer", min = 1, max = 365, default = 30 }}
sources = [{{ api = "quotes", path = "/api/v3/depth", query = {{ symbol = "{{symbol}}", limit = "10" }} }}]
"""
# Varnish would keep gzip alone, and unpack it for each reader who does not take it.
VARNISH = ["-p", "http_gzip_support=off", "-p", "thread_pools=1", "-p", "thread_pool_min=50", "-p", "workspace_client=64k"]
# The forms of an answer, by their content coding.
CODINGS = (None, "gzip", "zstd")
OWN_HEADERS = ("connection", "content-length", "date", "keep-alive", "transfer-encoding")


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def get(port, target, coding=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", target, headers={"Accept-Encoding": coding or "identity"})
    answer = connection.getresponse()
    return answer.status, answer.getheaders(), answer.read()


class Server:
    def __init__(self, name, port, process):
        self.name, self.port, self.process = name, port, process

    def cpu_seconds(self):
        """Of the process and those that it has started."""
        ticks, waiting = 0, [self.process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as file:
                        waiting += [int(child) for child in file.read().split()]
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Servers:
    def __init__(self, folder, lastgood, before, cores="0"):
        self.folder, self.before, self.cores = folder, before, cores
        self.workers = len(cores.split(","))
        self.programs = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
        self.lastgood = lastgood or os.path.join(self.programs, "lastgood")
        self.all, self.helpers = [], []
        self.unlike = set()

    def run(self, name, core, command, **environment):
        with open(os.path.join(self.folder, f"{name}.out"), "w") as log:
            process = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=log, stderr=log, env={**os.environ, **environment})
        self.helpers.append(process)
        return process

    def serve(self, name, command, port=None, core=None, **environment):
        port = port or free_port()
        process = self.run(name, self.cores if core is None else core, [part.replace("PORT", str(port)) for part in command], **environment)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return Server(name, port, process)
            except OSError:
                time.sleep(0.05)
        with open(os.path.join(self.folder, f"{name}.out")) as log:
            sys.exit(f"{name} does not start: {log.read()}")

    def gateway(self, name, program, exchange, under=(), store="memory:", more=()):
        config = self.write(f"{name}.toml", ROUTES.format(exchange=exchange))
        settings = ["--config", config, "--store", store, "--set", "log.level=warn", "--data-dir", os.path.join(self.folder, name)]
        for region in ("ticker_price", "klines", "exchange_info", "kv"):
            settings += ["--set", f"regions.{region}.fresh_for=1h"]
        settings += more
        urls = {f"LASTGOOD_BINANCE_{market}_URL": f"http://127.0.0.1:{exchange}" for market in ("SPOT", "FUTURES", "COIN")}
        server = self.serve(name, [*under, program, "serve", "--listen", "127.0.0.1:PORT", *settings], **urls)
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("PUT", "/v1/kv/kv/settings", json.dumps({"pairs": ["BTCUSDT"] * 10}), {"Content-Type": "application/json"})
        if connection.getresponse().status >= 300:
            sys.exit("a value cannot be put")
        return server

    def start(self, cases, wanted):
        """Starts them all and fills their caches; gives the cases with their targets complete."""
        exchange = self.serve("exchange", [self.lastgood, "sim", "--listen", "127.0.0.1:PORT"], core=1)
        self.all.append(self.gateway("lastgood", self.lastgood, exchange.port))
        if self.before:
            self.all.append(self.gateway("before", self.before, exchange.port))
        rows = json.loads(get(self.all[0].port, cases["klines"][0])[2])
        cases = {name: (target.format(second_candle=rows[1][0]), coding) for name, (target, coding) in cases.items()}
        answers = self.record(sorted({target for target, _ in cases.values()}))
        origin = self.serve("origin", [os.path.join(self.programs, "by_hand"), "127.0.0.1:PORT", answers, "origin"], core=1).port
        for name, command in self.peers(answers, origin).items():
            if not wanted or name in wanted:
                self.all.append(self.serve(name, *command))
        for name, (target, coding) in cases.items():
            sizes = {}
            for server in self.all:
                for _ in range(3):
                    status, _, body = get(server.port, target, coding)
                    if status != 200:
                        sys.exit(f"{server.name} answers {target} with {status}")
                sizes[server.name] = len(body)
            # HAProxy gives an identity body that it has to those who take a coding, too.
            self.unlike |= {(name, server) for server, size in sizes.items() if abs(size / sizes["lastgood"] - 1) > 0.02}
        return cases

    def record(self, targets):
        folder = os.path.join(self.folder, "answers")
        os.mkdir(folder)
        for number, target in enumerate(targets):
            with open(f"{folder}/{number}.target", "w") as file:
                file.write(target)
            for form, coding in enumerate(CODINGS):
                _, headers, body = get(self.all[0].port, target, coding)
                with open(f"{folder}/{number}.{form}.body", "wb") as file:
                    file.write(body)
                with open(f"{folder}/{number}.{form}.headers", "w") as file:
                    file.writelines(f"{name.lower()}: {value}\n" for name, value in headers if name.lower() not in OWN_HEADERS)
        return folder

    def peers(self, answers, origin):
        hyper, by_hand = (os.path.join(self.programs, name) for name in ("bare_hyper", "by_hand"))
        peers = {}
        if shutil.which("nginx", path=PATH):
            port = free_port()
            user = "user root;" if os.getuid() == 0 else ""
            config = self.write("nginx.conf", NGINX.format(user=user, workers=self.workers, folder=self.folder, port=port, origin=origin))
            peers["nginx"] = ([shutil.which("nginx", path=PATH), "-c", config], port)
        if shutil.which("varnishd", path=PATH):
            vcl = self.write("varnish.vcl", f'vcl 4.1; backend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}')
            varnish = [shutil.which("varnishd", path=PATH), "-F", "-j", "none", "-a", "127.0.0.1:PORT", "-f", vcl]
            peers["Varnish"] = ([*varnish, "-s", "malloc,256m", "-n", os.path.join(self.folder, "varnish"), *VARNISH],)
        if shutil.which("haproxy", path=PATH):
            port = free_port()
            config = self.write("haproxy.cfg", HAPROXY.format(workers=self.workers, port=port, origin=origin))
            peers["HAProxy"] = ([shutil.which("haproxy", path=PATH), "-f", config], port)
        peers["hyper"] = ([hyper, "127.0.0.1:PORT", answers],)
        peers["hyper+headers"] = ([hyper, "127.0.0.1:PORT", answers, "all-headers"],)
        peers["by hand"] = ([by_hand, "127.0.0.1:PORT", answers],)
        return peers

    def relay(self, origin):
        """nginx that passes all on to `origin`; None where there is no nginx."""
        nginx, port = shutil.which("nginx", path=PATH), free_port()
        user = "user root;" if os.getuid() == 0 else ""
        config = self.write("relay.conf", RELAY.format(user=user, folder=self.folder, port=port, origin=origin))
        return nginx and self.serve("relay", [nginx, "-c", config], port)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as file:
            file.write(text)
        return os.path.join(self.folder, name)

    def stop(self):
        for process in reversed(self.helpers):
            process.terminate()
        for process in self.helpers:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()


PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
