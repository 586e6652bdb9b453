"""Stands in for the model server.

Version 3 answers with errors, 4 is slow, 5 never loads, 404 finds nothing; others are good.
"""

import http.server
import os
import signal
import sys
import threading
import time

version = sys.argv[sys.argv.index("--model-uri") + 1].rpartition("/")[2]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        probe = self.path.startswith("/v1/models")
        if version == "4" and not probe:
            time.sleep(0.4)
        body = version.encode()
        self.send_response(200 if probe else {"3": 500, "404": 404}.get(version, 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


if version == "5":
    sys.stderr.write("OSError: no such model\n")
    sys.exit(7)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


server = Server((os.environ.get("POD_IP", "0.0.0.0"), 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
