"""The command line's view of Prefect: tokens that expire, proxies, refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows import client


class Prefect(ThreadingHTTPServer):
    """Answers as Prefect does, as far as a test says; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tokens = 0
        self.valid = ""
        self.asked: list[tuple[str, str]] = []
        self.status = 200
        self.busy = 0  # requests that are answered 503 first

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class Handler(BaseHTTPRequestHandler):
    server: Prefect

    def do_GET(self) -> None:
        self.server.tokens += 1
        self.server.valid = f"token-{self.server.tokens}"
        self._answer(200, {"token": self.server.valid})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        token = self.headers.get("Prefect-Csrf-Token", "")
        self.server.asked.append((self.path, token))
        if self.server.busy:
            self.server.busy -= 1
            self._answer(503, {"exception_message": "Service Unavailable"})
        elif token != self.server.valid:
            self._answer(403, {"detail": "Invalid CSRF token or client identifier."})
        else:
            self._answer(self.server.status, [] if self.server.status == 200 else {"detail": "no"})

    def _answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    client._csrf.cache_clear()
    server = Prefect()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_expired_token_is_replaced_once(prefect: Prefect) -> None:
    assert client.active_runs(prefect.api) == []
    prefect.valid = "the server forgot the first one"
    assert client.active_runs(prefect.api) == []
    assert client.active_runs(prefect.api) == []
    assert [token for _, token in prefect.asked] == ["token-1", "token-1", "token-2", "token-2"]


def test_a_busy_database_is_asked_again(prefect: Prefect, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite refuses the second of two writers at once; Prefect makes that a 503."""
    slept: list[float] = []
    monkeypatch.setattr(client.time, "sleep", slept.append)
    prefect.busy = 3
    assert client.active_runs(prefect.api) == []
    assert len(prefect.asked) == 4 and slept == [0.25, 0.5, 1.0]


def test_a_refusal_that_stays_is_told_with_its_status(
    prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BUSY_WAITS_S", (0.0, 0.0))
    prefect.status = 403
    with pytest.raises(client.ApiError, match="Prefect refused /flow_runs/filter: no") as raised:
        client.active_runs(prefect.api)
    assert raised.value.status == 403
    assert len(prefect.asked) == 2
    prefect.status = 503
    with pytest.raises(client.ApiError) as raised:
        client.active_runs(prefect.api)
    assert raised.value.status == 503


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_is_asked_for_our_own_services(
    prefect: Prefect, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    client._http.cache_clear()
    assert client.active_runs(prefect.api) == []
    assert client.answers(f"{prefect.api}/health")
    client._http.cache_clear()
