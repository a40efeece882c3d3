"""Who is answered, with which headers, and which methods."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from dashboards.app import is_local
from dashboards.links import load_links


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "localhost:65535", "[::1]:8000"]
)
def test_local_names_are_answered(client: TestClient, host: str) -> None:
    assert is_local(host)
    assert client.get("/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "user@127.0.0.1",
        "127.0.0.1/evil.example",
        "127.0.0.1:port",
        "127.0.0.1:123456",
        "0.0.0.0",
        "",
    ],
)
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    response = client.get("/", headers={"host": host})
    assert response.status_code == 400
    assert "pipeline" not in response.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_only_get(client: TestClient, method: str) -> None:
    response = client.request(method, "/runs")
    assert response.status_code == 405 and response.headers["allow"] == "GET"


@pytest.mark.parametrize("page", ["/", "/health", "/nothing", "/static/style.css"])
def test_headers_on_every_answer(client: TestClient, page: str) -> None:
    headers = client.get(page).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_static_files_stay_in_their_folder(client: TestClient) -> None:
    assert client.get("/static/style.css").headers["content-type"].startswith("text/css")
    script = client.get("/static/plotly.min.js")
    assert script.status_code == 200 and b"plotly.js" in script.content[:200]
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"):
        assert client.get(path).status_code == 404


def test_links_need_a_web_address() -> None:
    links = load_links(
        environment={
            "ARRIERO_PREFECT_UI_URL": "javascript:alert(1)",
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.sqlite",
        }
    )
    assert links.flow_run("1") is None and links.mlflow_run("1") is None
    links = load_links("https://user:secret@tracker.example/mlflow/", {})
    assert links.mlflow_run("a b") == (
        "https://tracker.example/mlflow/#/runs/a%20b?workflowType=machine_learning"
    )
