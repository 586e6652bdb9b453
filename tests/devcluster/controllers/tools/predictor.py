"""A model server: answers with its version. ``/slow`` takes 3 s. With CRASH it dies as it loads."""

import http.server
import json
import os
import signal
import sys
import threading
import time

VERSION = os.environ["VERSION"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(3)
        body = json.dumps({"version": VERSION, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


if os.environ.get("CRASH"):
    time.sleep(0.2)
    sys.stderr.write("OSError: no such model\n")
    sys.exit(7)
server = Server((os.environ.get("POD_IP", "0.0.0.0"), 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
