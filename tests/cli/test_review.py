"""The command `satae review` as a process: its link, its end, and its sudden end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from commands import refused, typed
from results import change, opinions

from satae.review.guard import COOKIE, TOKEN


@contextmanager
def running(path: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A review in a process of its own, and its link."""
    command = [sys.executable, "-m", "satae", "review", str(path), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def post(link: str, path: str, body: object = None, cookie: str = "") -> tuple[int, str, str]:
    """Status, content and cookie."""
    parts = urlsplit(link)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    headers = {"Origin": f"http://{parts.netloc}", TOKEN: parts.fragment, "Cookie": f"{COOKIE}={cookie}"}
    content = None if body is None else json.dumps(body)
    headers |= {"Content-Length": "0"} if content is None else {"Content-Type": "application/json"}
    try:
        connection.request("POST", path, content, headers)
        answer = connection.getresponse()
        given = answer.headers.get("set-cookie", "").partition(";")[0].partition("=")[2]
        return answer.status, answer.read().decode(), given
    finally:
        connection.close()


def test_open_opens_the_link_that_is_printed(gpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("webbrowser.open", seen.append)
    monkeypatch.setattr("satae.review.server.Server.run", lambda server: server._listener.close())
    assert typed("review", gpkg).stdout.startswith("http://127.0.0.1:") and seen == []
    done = typed("review", gpkg, "--open")
    assert seen == [done.stdout.splitlines()[0]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_link_and_ends_with_a_summary(gpkg: Path, number: int) -> None:
    change(gpkg, "UPDATE anomalies SET review_status = 'accepted' WHERE fid < 3")
    with running(gpkg) as (process, link):
        assert post(link, "/session")[0] == 204
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert out == f"{gpkg}: 2 of 6 reviewed (2 accepted)\n"
        assert "open this link" in err and "Traceback" not in err and not os.path.exists(f"{gpkg}-journal")


def test_what_was_answered_survives_a_kill(gpkg: Path) -> None:
    """Decisions are made without a pause until the process is gone; each that was answered is in the file."""
    kept: dict[int, str] = {}
    with running(gpkg) as (process, link):
        cookie = post(link, "/session")[2]
        revisions = {fid: fid for fid in range(1, 7)}  # as the file is read

        def decide() -> None:
            for number in range(10_000):
                fid = number % 6 + 1
                body = {"status": "accepted", "label": "", "note": str(number), "seen": revisions[fid]}
                try:
                    status, content, _ = post(link, f"/regions/{fid}", body, cookie)
                except (OSError, http.client.HTTPException):
                    return
                assert status == 200, content
                revisions[fid], kept[fid] = json.loads(content)["revision"], body["note"]

        thread = threading.Thread(target=decide)
        thread.start()
        while len(kept) < 6 or int(kept[6]) < 20:
            thread.join(0.01)
            assert thread.is_alive()
        os.kill(process.pid, signal.SIGKILL)
        thread.join()
    with closing(sqlite3.connect(gpkg)) as database:  # lets SQLite recover
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = [int(note) for _, _, note in opinions(gpkg)]
    assert all(0 <= found[fid - 1] - int(note) <= 6 for fid, note in kept.items()), (found, kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.gpkg"], "error: absent.gpkg cannot be read: No such file or directory"),
        (["scene.tif"], "error: scene.tif is no GeoPackage"),
        (["anomalies.gpkg", "--labels", "a,a"], "error: --labels a,a is not a list"),
    ],
)
def test_what_cannot_be_reviewed_is_one_sentence(gpkg: Path, arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "satae", "review", *arguments]
    done = subprocess.run(command, cwd=gpkg.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith(message) and done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_without_its_extra_it_says_what_to_install(gpkg: Path) -> None:
    program = "import sys; sys.modules['uvicorn'] = None; from satae.cli.app import main; main()"
    command = [sys.executable, "-c", program, "review", str(gpkg)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: satae review needs uvicorn, which is not installed; run pip install fastapi uvicorn\n"
    )


def test_a_host_that_is_not_of_this_machine_is_one_sentence(gpkg: Path) -> None:
    said = refused(2, "review", gpkg, "--host", "192.0.2.1")
    assert "error: port 0 of 192.0.2.1 cannot be listened on" in said and "--host" in said


def test_a_port_that_is_taken_is_one_sentence(gpkg: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "satae", "review", str(gpkg), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"error: port {port} of 127.0.0.1 cannot be listened on" in done.stderr
    with running(gpkg, "--port", str(port), "--reviewer", "Ana", "--labels", "oil") as (_, link):
        assert urlsplit(link).port == port
        cookie = post(link, "/session")[2]
        body = {"status": "unsure", "label": "", "note": "", "seen": 1}
        assert json.loads(post(link, "/regions/1", body, cookie)[1])["by"] == "Ana"
