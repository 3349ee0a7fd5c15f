"""The operator's only way to AWS, where its calls are told apart by region; a region may go dark.

A reverse proxy in front of the ECS stand-in. The region of a call is the one it is signed for
(Signature Version 4: Credential=<key>/<date>/<region>/<service>/aws4_request).
"""

import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_SCOPE = re.compile(r"Credential=[^/]+/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/")
_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


class RegionalWay:
    """Relays to ``url``. ``calls`` counts (region, operation); ``dark`` regions never answer."""

    def __init__(self, url: str) -> None:
        self.url = ""
        self.calls: Counter[tuple[str, str]] = Counter()
        self.dark: set[str] = set()
        self.lit = threading.Condition()
        self._to = urlsplit(url).netloc

    def regions(self) -> set[str]:
        """Where anything was ever asked for."""
        with self.lit:
            return {region for region, _ in self.calls}

    def count(self, region: str, operation: str) -> int:
        return self.calls[region, operation]

    def light(self, region: str) -> None:
        """Let a dark region answer again; what was asked of it meanwhile is never answered."""
        with self.lit:
            self.dark.discard(region)
            self.lit.notify_all()

    def relay(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request, or, from a dark region, cut the connection in the end."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        signed = _SCOPE.search(handler.headers.get("Authorization") or "")
        assert signed is not None, "a call that is not signed"
        region, target = signed["region"], handler.headers.get("X-Amz-Target") or ""
        with self.lit:
            self.calls[region, target.rpartition(".")[2] or signed["service"]] += 1
            if region in self.dark:
                self.lit.wait_for(lambda: region not in self.dark)
                handler.close_connection = True
                return
        headers = {k: v for k, v in handler.headers.items() if k.lower() not in _HOP}
        with closing(http.client.HTTPConnection(self._to, timeout=60)) as upstream:
            upstream.request(handler.command, handler.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {*_HOP, "date", "server"}:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def regional_way(url: str) -> Iterator[RegionalWay]:
    """A running proxy in front of ``url``."""
    way = RegionalWay(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            way.relay(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """The operator logs its calls; this would be noise."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    way.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield way
    finally:
        for region in list(way.dark):
            way.light(region)
        server.shutdown()
        thread.join()
        server.server_close()
