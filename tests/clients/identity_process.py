"""Run by the interpreter of Keystone's environment: serves the identity API. Arguments: the port on the loopback address.

The configuration is found by OS_KEYSTONE_CONFIG_DIR.
"""

import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class Quiet(WSGIRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Keystone has a log of its own."""


if __name__ == "__main__":
    port = int(sys.argv.pop())  # Keystone reads the arguments too, as options of its own
    from keystone.wsgi.api import application

    server = Server(("127.0.0.1", port), Quiet)
    server.set_app(application)
    print("serving", flush=True)
    server.serve_forever()
