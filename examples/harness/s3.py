"""S3 on a free port, by moto (tests/install-tools.sh): prints its URL, then a line a request with its status."""

import logging

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code="-", size="-"):
        print(self.command, self.path, getattr(code, "value", code), flush=True)


logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True, request_handler=Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
