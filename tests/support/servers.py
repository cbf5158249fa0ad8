"""A web server in a process of its own that serves the files of a folder, well or with a fault.

The first part of a path is how, the rest the file: /well/a.tif. What was asked is in its log, a line a request.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

FIRST = 1000  # bytes that come before a fault in the middle
# how many requests for a file end after these
BROKEN = {
    "stalls": 5, "halts": 1, "truncates": 5, "tagless": 5, "rangeless": 1, "pieces": 2, "changes": 1,
    "to-host-later": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A server that runs, by its port, and the folder of its files."""

    port: int
    log: Path
    folder: Path

    def link(self, how: str, name: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{how}/{name}"

    @property
    def requests(self) -> list[dict[str, str]]:
        """Path and headers of all requests so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def serving(folder: Path, log: Path, elsewhere: int = 0) -> Iterator[Server]:
    """A server of the files in a folder; some of its redirects lead to the port `elsewhere`."""
    log.write_text("")
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), str(log), str(elsewhere)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()), log, folder)
    finally:
        process.kill()
        process.communicate()


class Handler(BaseHTTPRequestHandler):
    """Serves a file as the first part of the path asks."""

    protocol_version = "HTTP/1.1"
    folder: Path
    log: Path
    elsewhere: int
    counts: ClassVar[dict[str, int]] = {}

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.log.open("a") as log:
            log.write(
                json.dumps({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}}) + "\n"
            )
        count = self.counts[path] = self.counts.get(path, 0) + 1
        self.close_connection = True
        how, _, name = path.lstrip("/").partition("/")
        if how.isdigit():
            return self.plain(int(how))
        if how == "busy" and count < 3:
            return self.plain(429, **{"Retry-After": "0"})
        if how.startswith("to-"):
            target = {
                "to-host": f"http://localhost:{self.elsewhere}/well/{name}",
                "to-port": f"http://127.0.0.1:{self.elsewhere}/well/{name}",
                "to-private": f"http://10.0.0.1/{name}",
                "to-file": "file:///etc/hostname",
                "to-here": f"/well/{name}?" + self.path.partition("?")[2],
                "to-itself": self.path,
                "to-host-later": f"http://localhost:{self.elsewhere}/well/{name}",
            }[how]
            if how != "to-host-later" or count > 1:
                return self.plain(302, Location=target)
        file = self.folder / name
        if not file.is_file():
            return self.plain(404)
        content = file.read_bytes()
        if how == "changes" and count > 1:
            content = bytes(reversed(content))
        self.send(how, count, content)

    def plain(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": "0", **headers}.items():
            self.send_header(key, value)
        self.end_headers()

    def send(self, how: str, count: int, content: bytes) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        asked = self.headers.get("Range", "")
        same = self.headers.get("If-Range", tag) == tag
        if self.headers.get("If-None-Match") == tag or "If-Modified-Since" in self.headers:
            return self.plain(304, ETag=tag)
        start = int(asked[6:-1]) if asked and same and how != "rangeless" else 0
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if how != "lengthless":
            self.send_header("Content-Length", str(len(body)))
        if how == "dated":
            self.send_header("Last-Modified", "Thu, 15 Jun 2023 10:16:01 GMT")
        elif how != "tagless":
            self.send_header("ETag", tag)
        if how == "packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if count > BROKEN.get(how, 0):
            if how == "trickles":
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
            self.wfile.write(body)
            return
        self.wfile.write(body[:FIRST])
        self.wfile.flush()
        if how in ("stalls", "halts"):
            time.sleep(60)


if __name__ == "__main__":
    Handler.folder, Handler.log, Handler.elsewhere = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
