"""The dashboard in headless Chromium: what is drawn, and that nothing else is asked for."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from dashboards.app import create_app
from dashboards.links import Links

pytestmark = pytest.mark.browser

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
EXAMPLE = Path(__file__).parent.parent / "dashboards" / "example.py"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The registry of the dashboard's own tests."""
    name = "dashboards_example"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, EXAMPLE)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name].build_example(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def address(example: Any) -> Iterator[str]:
    """A real server on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        app = create_app(example.settings, Links(prefect="http://127.0.0.1:4200"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline and thread.is_alive(), "the server did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium of this machine; Playwright's own browsers are not needed."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path: install chromium to run the browser tests")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield launched
        launched.close()


@pytest.fixture(params=[("light", 1280), ("dark", 420)], ids=["wide-light", "narrow-dark"])
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page whose complaints and requests are collected, and must be good at the end."""
    scheme, width = request.param
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened.set_default_timeout(10_000)  # ms
    complaints: list[str] = []
    hosts: set[str | None] = set()
    opened.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(f"page error: {error}"))
    opened.on("dialog", lambda dialog: complaints.append("a dialog opened"))
    opened.on("request", lambda asked: hosts.add(urlsplit(asked.url).hostname))
    yield opened
    opened.close()
    assert complaints == []
    assert hosts - {None} == {"127.0.0.1"}  # None: data: addresses


def test_every_page_is_drawn(page: Any, address: str, example: Any) -> None:
    expected = {
        "/": ("arriero-nano", 0),
        "/runs": ("completed", 0),
        f"/runs/{example.run_id}": ("its process is gone", 1),
        "/corpus": ("HTTP status 404", 2),
        "/training": ("Where each line ends", 2),
        "/evaluation": ("LLaMA 65B", 0),
        "/emissions": ("With idle", 0),
        "/models": ("thresholds", 0),
        "/lineage": ("30 raw files", 0),
    }
    for path, (words, charts) in expected.items():
        page.goto(address + path)
        assert words in page.inner_text("main"), path
        assert page.title() != "owned"
        assert page.locator(".chart").count() == charts, path
        page.wait_for_function(
            "n => document.querySelectorAll('.chart[data-drawn] svg.main-svg').length >= n",
            arg=charts,
        )
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, f"{path} is wider than the window"


def test_loss_curve_has_lines_and_its_table(page: Any, address: str, example: Any) -> None:
    page.goto(f"{address}/training/{example.refs['checkpoint'].key}")
    chart = page.get_by_role("img", name="Loss in nats per token over optimizer steps")
    chart.locator(".scatterlayer path.js-line").first.wait_for()
    assert chart.locator(".scatterlayer path.js-line").count() == 2
    assert "validation: c4" in chart.inner_text()
    table = page.locator("table", has_text="Training loss")
    assert not table.is_visible()
    page.get_by_text("Figures of the chart").click()
    assert table.is_visible()
    assert table.locator("tbody tr").count() == 24


def test_navigation_reaches_every_page(page: Any, address: str) -> None:
    page.goto(address)
    data, models = ("Runs", "Corpus", "Training", "Scaling"), ("Evaluation", "Emissions", "Models")
    for name in (*data, *models, "Lineage"):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        page.wait_for_load_state()
        current = page.locator("nav a[aria-current=page]")
        assert current.inner_text() == name
    page.get_by_role("link", name="Arriero", exact=True).click()
    page.get_by_role("link", name="Lineage", exact=True).first.wait_for()
    page.get_by_role("heading", name="Overview").wait_for()
