"""Prefect's server behind a look at who asks: ``python -m flows.prefect_server --port N``.

The server itself takes any Host header. A web page whose name its owner lets point to 127.0.0.1
would be of the server's own origin then, and could create deployments that run commands (DNS
rebinding); and no CORS rule holds for websockets.
"""

from __future__ import annotations

import argparse

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

ADDRESS = "127.0.0.1"


class LoopbackGuard:
    """ASGI wrapper: the loopback's own names as Host, and as Origin where there is one."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in (ADDRESS, "localhost")}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with the reason."""
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        if scope["type"] not in ("http", "websocket"):
            return None
        headers = Headers(scope=scope)
        if headers.get("host") not in self._hosts:
            return f"this server answers to {' and '.join(sorted(self._hosts))} only"
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            return "this server answers its own pages only"
        return None


def main() -> None:
    """Serve until SIGTERM, as ``prefect server start`` does."""
    parser = argparse.ArgumentParser(prog="flows.prefect_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port: int = parser.parse_args().port
    settings = get_current_settings().server
    uvicorn.run(
        LoopbackGuard(create_app(final=True), port),
        host=ADDRESS,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    main()
