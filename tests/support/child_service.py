"""A tiny real program that behaves like a service of the stack: ready over HTTP, ends on SIGTERM, can crash.

    python -m tests.support.child_service NAME [--dies]

GET /health/ready 200, /settings its LEDGERBUS_ settings as JSON, /crash ends it with code 3.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/crash":
            print("crashing as asked", flush=True)
            os._exit(3)
        settings = {name: value for name, value in os.environ.items() if name.startswith("LEDGERBUS_")}
        content = json.dumps(settings if self.path == "/settings" else {"status": "ready"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


def main() -> None:
    """Serves until SIGTERM."""
    print(f"{sys.argv[1]} starts", flush=True)
    if "--dies" in sys.argv:
        print("cannot go on: no sun today", flush=True)
        raise SystemExit(7)
    server = ThreadingHTTPServer((os.environ["LEDGERBUS_HTTP_HOST"], int(os.environ["LEDGERBUS_HTTP_PORT"])), _Answers)

    def end(*_: object) -> None:
        print(f"{sys.argv[1]} ends in order", flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    server.serve_forever()


if __name__ == "__main__":
    main()
