"""The dashboard: read-only pages over the registry, for a browser on the same machine.

Nothing is changed and nothing is loaded from elsewhere: only GET, only loopback host names (a page
of another site that resolves its name to 127.0.0.1 is refused), a content-security policy without
inline scripts, Plotly from the Python package's own file.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from dashboards import formats
from dashboards.links import Links, load_links
from dashboards.pages import PageNotFound, Pages
from registry.database import RegistryError, open_registry
from registry.files import StoreError
from registry.lineage import LineageCycle, UnknownArtifact
from registry.runs import UnknownRun
from registry.settings import Settings, load_settings

PLOTLY = "/static/plotly.min.js"
STATIC = Path(__file__).parent / "static"
LOCAL_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")
HEADERS = {
    # Plotly writes style elements of its own, so styles may be inline; scripts may not.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(settings: Settings | None = None, links: Links | None = None) -> FastAPI:
    """The application; settings and links default to the environment's, read now."""
    settings = settings or load_settings(check=False)
    links = links or load_links(settings.mlflow_tracking_uri)
    app = FastAPI(title="Arriero", docs_url=None, redoc_url=None, openapi_url=None)
    templates = formats.environment()
    plotly = plotly_script()

    def show(name: str, status: int = 200, **values: Any) -> HTMLResponse:
        values = {"section": "", "links": links, **values}
        return HTMLResponse(templates.get_template(name).render(**values), status_code=status)

    def page(name: str, section: str, ask: Callable[[Pages], dict[str, Any]]) -> HTMLResponse:
        """One page from one view of the registry, whose revision is checked every time."""
        registry = open_registry(settings)
        try:
            values = ask(Pages(registry, settings.store))
        finally:
            registry.close()
        return show(name, section=section, **values)

    def refuse(title: str, message: str, status: int) -> HTMLResponse:
        return show("error.html", status=status, title=title, message=message)

    @app.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if not is_local(request.headers.get("host", "")):
            response: Response = PlainTextResponse(
                "this dashboard answers to 127.0.0.1 and localhost only", status_code=400
            )
        elif request.method != "GET":
            response = PlainTextResponse(
                "this dashboard only shows: use GET", status_code=405, headers={"Allow": "GET"}
            )
        else:
            response = await call_next(request)
        response.headers.update(HEADERS)
        # The large script changes with an installation only; our own files are asked for again.
        large = request.url.path == PLOTLY
        response.headers["Cache-Control"] = "max-age=3600" if large else "no-cache"
        return response

    @app.exception_handler(RegistryError)
    def registry_error(request: Request, error: RegistryError) -> HTMLResponse:
        return refuse("The registry cannot be read", str(error), 503)

    @app.exception_handler(SQLAlchemyError)
    def database_error(request: Request, error: SQLAlchemyError) -> HTMLResponse:
        cause = getattr(error, "orig", None) or type(error).__name__
        return refuse(
            "The registry cannot be read", f"{cause}; run `arriero doctor`, which checks it", 503
        )

    @app.exception_handler(StoreError)
    def store_error(request: Request, error: StoreError) -> HTMLResponse:
        return refuse("An artifact cannot be read", str(error), 503)

    @app.exception_handler(LineageCycle)
    def lineage_error(request: Request, error: LineageCycle) -> HTMLResponse:
        return refuse("The lineage is broken", str(error), 500)

    @app.exception_handler(UnknownRun)
    @app.exception_handler(UnknownArtifact)
    @app.exception_handler(PageNotFound)
    def not_found(request: Request, error: Exception) -> HTMLResponse:
        return refuse("Not found", str(error), 404)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> HTMLResponse:
        if error.status_code == 404:
            return refuse("Not found", f"there is no page {request.url.path}", 404)
        return refuse("Not possible", str(error.detail), error.status_code)

    @app.exception_handler(RequestValidationError)
    def form_error(request: Request, error: RequestValidationError) -> HTMLResponse:
        first = error.errors()[0]
        return refuse("Not possible", f"{first['loc'][-1]}: {first['msg']}", 422)

    @app.get("/health")
    def health() -> JSONResponse:
        """Alive; whether the registry can be read is told beside it."""
        try:
            open_registry(settings).close()
        except RegistryError as error:
            return JSONResponse({"status": "ok", "registry": str(error)})
        return JSONResponse({"status": "ok", "registry": "ok"})

    @app.get(PLOTLY)
    def plotly_file() -> FileResponse:
        return FileResponse(plotly, media_type="text/javascript")

    @app.get("/")
    def overview() -> HTMLResponse:
        return page("overview.html", "overview", Pages.overview)

    @app.get("/runs")
    def runs() -> HTMLResponse:
        return page("runs.html", "runs", Pages.runs)

    @app.get("/runs/{run_id}")
    def run(run_id: str) -> HTMLResponse:
        return page("run.html", "runs", lambda pages: pages.run(run_id))

    @app.get("/corpus")
    def corpora() -> HTMLResponse:
        return page("corpus.html", "corpus", lambda pages: pages.corpus(None))

    @app.get("/corpus/{key}")
    def corpus(key: str) -> HTMLResponse:
        return page("corpus.html", "corpus", lambda pages: pages.corpus(key))

    @app.get("/corpus/{key}/rejects")
    def corpus_rejects(key: str) -> HTMLResponse:
        return page("rejects.html", "corpus", lambda pages: pages.rejects(key))

    @app.get("/training")
    def trainings() -> HTMLResponse:
        return page("training.html", "training", lambda pages: pages.training(None))

    @app.get("/training/{key}")
    def training(key: str) -> HTMLResponse:
        return page("training.html", "training", lambda pages: pages.training(key))

    @app.get("/scaling")
    def scalings() -> HTMLResponse:
        return page("scaling.html", "scaling", lambda pages: pages.scaling(None))

    @app.get("/scaling/{key}")
    def scaling(key: str) -> HTMLResponse:
        return page("scaling.html", "scaling", lambda pages: pages.scaling(key))

    @app.get("/evaluation")
    def evaluation() -> HTMLResponse:
        return page("evaluation.html", "evaluation", Pages.evaluation)

    @app.get("/emissions")
    def emissions() -> HTMLResponse:
        return page("emissions.html", "emissions", Pages.emissions)

    @app.get("/models")
    def models() -> HTMLResponse:
        return page("models.html", "models", Pages.models)

    @app.get("/lineage")
    def champions_lineage() -> HTMLResponse:
        return page("lineage.html", "lineage", lambda pages: pages.lineage(None))

    @app.get("/lineage/{reference}")
    def lineage(reference: str) -> HTMLResponse:
        return page("lineage.html", "lineage", lambda pages: pages.lineage(reference))

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def is_local(host: str) -> bool:
    """Whether a Host header names this machine's loopback address, with or without a port."""
    return LOCAL_HOST.fullmatch(host) is not None


def plotly_script() -> Path:
    """Plotly's JavaScript as its Python package ships it.

    Raises:
        RuntimeError: the package is not installed as expected.
    """
    found = importlib.util.find_spec("plotly")
    places = [] if found is None else [Path(p) for p in found.submodule_search_locations or []]
    for place in places:
        script = place / "package_data" / "plotly.min.js"
        if script.is_file():
            return script
    raise RuntimeError("plotly.min.js of the Python package plotly is missing; run `make setup`")
