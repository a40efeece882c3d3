"""``python -m dashboards --port N``: the dashboard on the loopback address."""

from __future__ import annotations

import argparse

import uvicorn

from dashboards.app import create_app


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m dashboards", description="Arriero's dashboard over the registry."
    )
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1 (default 8000)")
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= 65535:
        parser.error(f"--port {arguments.port}: give a number from 1 to 65535")
    uvicorn.run(
        create_app(),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        server_header=False,
    )


if __name__ == "__main__":
    main()
