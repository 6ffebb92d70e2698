"""Exit code 0 when this container's service is ready. The image has no curl."""

import http.client
import os
import sys


def main() -> int:
    """Asks /health/ready on the service's own port."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("LEDGERBUS_HTTP_PORT", "8080")), timeout=4)
    try:
        connection.request("GET", "/health/ready")
        return 0 if connection.getresponse().status == http.HTTPStatus.OK else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
