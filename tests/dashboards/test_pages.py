"""Every page answers, says what it must, and escapes what it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from lxml import html
from sqlalchemy import text

from dashboards.app import create_app
from registry.database import VERSION_TABLE, Registry, upgrade
from registry.emissions import IDLE, EmissionEntry, upsert_emissions
from registry.runs import start_run
from registry.settings import Settings

PAGES = (
    "/",
    "/runs",
    "/corpus",
    "/training",
    "/scaling",
    "/evaluation",
    "/emissions",
    "/models",
    "/lineage",
)


def _tables(page: str, heading: str) -> list[html.HtmlElement]:
    """Tables of the section under a heading."""
    root = html.fromstring(page)
    return root.xpath(f"//section[h2[normalize-space()='{heading}']]//table")


def _rows(table: html.HtmlElement) -> list[list[str]]:
    """Texts of a table's body, cell by cell."""
    return [
        [" ".join(" ".join(cell.itertext()).split()) for cell in row.xpath("./td|./th")]
        for row in table.xpath("./tbody/tr")
    ]


def test_every_page_answers_and_escapes(client: TestClient, example: Any, hostile: str) -> None:
    refs = example.refs
    pages = [
        *PAGES,
        f"/runs/{example.run_id}",
        f"/runs/{example.sample_run_id}",
        f"/corpus/{refs['corpus'].key}",
        f"/training/{refs['checkpoint'].key}",
        f"/lineage/{refs['model'].key}",
        "/lineage/arriero-nano:1",
    ]
    shown = 0
    for page in pages:
        response = client.get(page)
        assert response.status_code == 200, page
        assert hostile not in response.text, page
        assert "<img" not in response.text, page
        shown += "&lt;script&gt;document.title" in response.text
        # Scripts come from files alone: the policy would refuse any other.
        for script in html.fromstring(response.text).xpath("//script"):
            assert script.get("src", "").startswith("/static/") and not script.text
    assert shown >= 4  # the run's error, a reason of rejection, a reason not to run, an event


def test_overview_names_champions_and_totals(client: TestClient) -> None:
    page = client.get("/").text
    champions = html.fromstring(page).xpath("//article[@class='card']/h3")
    assert [" ".join(c.text_content().split()) for c in champions] == [
        "arriero-nano version 1",
        "arriero-nano-sample version 1",
    ]
    (table,) = _tables(page, "Last runs")
    rows = _rows(table)
    assert [row[1] for row in rows] == ["completed", "completed"]
    # 7 attempts of 0.0015 kWh in the real run, 5 in the sample's; carbon with PUE 1.1 and 0.385.
    assert [row[4] for row in rows] == ["0.00750", "0.0105"]
    assert rows[1][5] == "4.45×10⁻⁶"


def test_run_page_shows_lost_failed_and_cached_attempts(client: TestClient, example: Any) -> None:
    page = client.get(f"/runs/{example.run_id}").text
    (table,) = _tables(page, "Stages")
    attempts = [row[:3] for row in _rows(table) if row[0] in ("pretraining", "tokenizer")]
    assert attempts[0] == ["pretraining", "completed", ""]
    assert attempts[1] == ["pretraining", "lost its process is gone", "1"]
    assert attempts[2][1].startswith("failed Boom: <script>")
    assert attempts[3:] == [["pretraining", "completed", "3"], ["tokenizer", "cached", "1"]]
    links = html.fromstring(page).xpath("//a/@href")
    assert "http://127.0.0.1:4200/runs/flow-run/flow-1" in links
    assert "http://127.0.0.1:4200/runs/task-run/task-corpus" in links
    assert "http://127.0.0.1:5000/#/runs/0123abcd?workflowType=machine_learning" in links
    # A prefix of the id is enough, as on the command line.
    assert client.get(f"/runs/{example.run_id[:8]}").text == page


def test_sample_results_never_share_a_table_with_the_papers(
    client: TestClient, example: Any
) -> None:
    page = client.get("/evaluation").text
    (compared,) = _tables(page, "Beside the paper")
    (sample,) = _tables(page, "Sample data")
    assert "LLaMA 65B" in compared.text_content() and "LLaMA" not in sample.text_content()
    assert "sample" not in compared.text_content()
    by_name = {row[0]: row for row in _rows(compared)}
    papers = ["76.1", "79.2", "82.8", "84.2", "0-shot"]
    assert by_name["hellaswag"][4:] == ["26.2", "3.0", "200", "1.3 %", *papers]
    # Other items of boolq were looked for, and none of triviaqa.
    assert by_name["boolq"][7] == by_name["triviaqa"][7] == "not checked"
    assert by_name["triviaqa"][8:] == ["56.3", "63.1", "69.9", "72.6", "5-shot"]
    assert by_name["humaneval"][4].startswith("not run no sandbox")
    assert {row[0] for row in _rows(sample)} == {"hellaswag", "boolq", "triviaqa", "humaneval"}
    run = client.get(f"/runs/{example.sample_run_id}").text
    assert "LLaMA 7B" not in run and len(_tables(run, "Evaluation on sample data")) == 1


def test_corpus_counts_documents_and_reasons(client: TestClient, example: Any) -> None:
    page = client.get(f"/corpus/{example.refs['corpus'].key}").text
    assert "2 shards" in page  # shard 7 of each of two sources
    (sources,) = _tables(page, "Documents by source")
    assert _rows(sources) == [
        ["commoncrawl", "1,503", "94", "84,600", "80.0 %", "67.0 %"],
        ["c4", "1,040", "1,012", "910,800", "20.0 %", "15.0 %"],
    ]
    filters = [_rows(table) for table in _tables(page, "Filters")]
    assert filters[0][1] == [
        "language",
        "679",
        "94",
        "13.8 %",
        "611,100",
        "84,600",
        "uncertain 500 language de 85",
    ]
    assert filters[1][0][3] == "100.0 %"
    assert "Missing: github" in page


def test_emissions_list_every_attempt_three_ways(client: TestClient) -> None:
    root = html.fromstring(client.get("/emissions").text)
    (table,) = root.xpath("//table")
    rows = _rows(table)
    assert len(rows) == 12
    assert [row[2] for row in rows[2:5]] == ["lost", "failed", "completed"]
    assert [row[1] for row in rows[2:5]] == ["1", "2", "3"]
    assert rows[2][8:] == ["0.00150", "60 %", "–", "6.35×10⁻⁷", "6.93×10⁻⁷"]
    assert "0.0180 kWh" in root.text_content().replace("\n", " ")


def test_a_long_ledger_is_cut_but_summed_up(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboards.pages.LEDGER_ROWS", 5)
    root = html.fromstring(client.get("/emissions").text)
    rows = _rows(root.xpath("//table")[0])
    assert len(rows) == 5 and rows[-1][0] == "evaluation"
    assert "newest 5 of 12" in root.text_content()
    assert "0.0180 kWh" in root.text_content().replace("\n", " ")


def test_idle_time_has_a_line_of_its_own_and_is_no_attempt(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    upgrade(settings.registry_address)
    entry: dict[str, Any] = {"node": "n", "began_at": datetime(2026, 3, 1, tzinfo=UTC), "pue": 1.1}
    entry |= {"intensity_kg_per_kwh": 0.385, "intensity_source": "paper", "method": "models"}
    idle = EmissionEntry(entry_id="idle:n:b", stage=IDLE, purpose="overhead", kwh_total=2, **entry)
    words = EmissionEntry(entry_id="a", stage="words", status="completed", kwh_total=1, **entry)
    registry = Registry(settings.registry_address)

    def text_of_page() -> str:
        with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
            root = html.fromstring(client.get("/emissions").text)
        tables.append([_rows(table) for table in root.xpath("//table")])
        return " ".join(" ".join(root.itertext()).split())

    tables: list[list[list[list[str]]]] = []
    upsert_emissions(registry, [idle])
    assert "While idle 2.00 kWh" in text_of_page() and tables[-1] == []
    upsert_emissions(registry, [words])
    page = text_of_page()
    assert "Attempts 1 metered While idle" in page  # nothing is open
    assert "While idle 2.00 kWh, in the sums" in page and "IT energy 3.00 kWh" in page
    assert [row[0] for row in tables[-1][0]] == ["words"]
    registry.close()


def test_lineage_goes_down_to_raw_files(client: TestClient) -> None:
    root = html.fromstring(client.get("/lineage").text)
    (tree,) = root.xpath("//section[h2[contains(., 'arriero-nano 1')]]/ul")
    kinds = tree.xpath(".//div[contains(@class, 'node')]/strong/text()")
    assert kinds == ["model", "checkpoint", "documents", "raw"]
    assert len(tree.xpath(".//tbody/tr")) == 10
    assert "30 raw files" in tree.text_content() and "Complete" in root.text_content()


def test_models_show_gates_with_evidence(client: TestClient) -> None:
    root = html.fromstring(client.get("/models").text)
    gates = {row[0]: row for row in _rows(root.xpath("//table")[1])}
    assert gates["thresholds"][1] == "passed"
    assert '"least": 0.2' in gates["thresholds"][3] and "0.2625" in gates["thresholds"][3]
    assert gates["emissions"][1] == "not required"


def test_every_chart_has_a_name_and_a_table(client: TestClient, example: Any) -> None:
    for page in ("/corpus", "/training", f"/runs/{example.run_id}"):
        root = html.fromstring(client.get(page).text)
        charts = root.xpath("//div[contains(@class, 'chart')]")
        assert charts, page
        for chart in charts:
            assert chart.get("role") == "img" and len(chart.get("aria-label")) > 20
            assert chart.xpath("following::table | preceding::table")


@pytest.mark.parametrize(
    "page", ["/runs/00000000", "/corpus/00", "/training/00", "/lineage/nothing", "/no-such-page"]
)
def test_unknown_things_are_not_found(client: TestClient, page: str) -> None:
    response = client.get(page)
    assert response.status_code == 404
    assert "Not found" in response.text and "Traceback" not in response.text


def test_empty_registry_says_what_to_do(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    upgrade(settings.registry_url)
    client = TestClient(create_app(settings), base_url="http://localhost")
    for page in PAGES:
        response = client.get(page)
        assert response.status_code == 200, page
        assert "make run" in response.text, page


def test_registry_that_cannot_be_read_is_one_clear_page(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    client = TestClient(create_app(settings), base_url="http://localhost")
    for page in (*PAGES, "/runs/1"):
        response = client.get(page)
        assert response.status_code == 503, page
        assert "arriero up" in response.text, page
    assert not (tmp_path / "registry.sqlite").exists()
    health = client.get("/health")
    assert health.status_code == 200 and "never migrated" in health.json()["registry"]

    upgrade(settings.registry_url)
    with Registry(settings.registry_address).session() as session:
        session.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 'future'"))
    newer = client.get("/")
    assert newer.status_code == 503 and "upgrade arriero" in newer.text


def test_damaged_files_are_told_on_the_page(example: Any, tmp_path: Path) -> None:
    # The same registry over an empty store, as after a disk was lost.
    settings = Settings(home=tmp_path, registry_url=example.settings.registry_url)
    client = TestClient(create_app(settings), base_url="http://localhost")
    for page in (f"/runs/{example.run_id}", "/corpus", "/training", "/lineage"):
        response = client.get(page)
        assert response.status_code == 200, page
        assert "run the pipeline again to make it" in response.text, page


def test_training_under_way_shows_its_losses_so_far(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    upgrade(settings.registry_url)
    registry = Registry(settings.registry_address)
    top = start_run(registry, flow="pretraining")
    recipe = "cd" * 32
    start_run(registry, flow="pretraining", stage="pretraining", recipe=recipe, parent_id=top)
    work = settings.store / "work" / recipe
    work.mkdir(parents=True)
    (work / "metrics.jsonl").write_text('{"step": 1, "loss": 8.25}\n{"step": 2, "loss": 7.5}\n{"st')
    page = TestClient(create_app(settings), base_url="http://localhost").get(f"/runs/{top}").text
    assert "has not finished" in page and "running" in page
    (table,) = _tables(page, "Loss: pretraining")
    assert _rows(table) == [["1", "8.2500", "–"], ["2", "7.5000", "–"]]
