"""Who is let through to Prefect's server."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from flows.prefect_server import LoopbackGuard


def hello(request: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


@pytest.fixture
def browser() -> TestClient:
    app = Starlette(
        routes=[Route("/", hello, methods=["GET", "POST"]), WebSocketRoute("/events", greet)]
    )
    return TestClient(LoopbackGuard(app, 4200))


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200"])
def test_own_pages_and_programs_are_answered(browser: TestClient, host: str) -> None:
    assert browser.get("/", headers={"Host": host}).text == "hello"
    own = {"Host": host, "Origin": f"http://{host}"}
    assert browser.post("/", headers=own).text == "hello"
    with browser.websocket_connect("/events", headers=own) as socket:
        assert socket.receive_text() == "hello"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:4200"},
        {"Host": "127.0.0.1:5000"},
        {"Host": ""},
        {"Host": "127.0.0.1:4200", "Origin": "http://evil.example"},
        {"Host": "127.0.0.1:4200", "Origin": "null"},
        {"Host": "127.0.0.1:4200", "Origin": "http://127.0.0.1:5000"},
    ],
)
def test_others_are_refused(browser: TestClient, headers: dict[str, str]) -> None:
    for answer in (browser.get("/", headers=headers), browser.post("/", headers=headers)):
        assert answer.status_code == 403 and "hello" not in answer.text
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        browser.websocket_connect("/events", headers=headers),
    ):
        pass
    assert refused.value.code == 1008
