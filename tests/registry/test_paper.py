"""The paper's tables are all there and say what the paper says."""

from __future__ import annotations

import pytest

from registry.paper import llama_results, results, table, tables


def test_tables_are_packaged_and_readable() -> None:
    assert {"table1_data_mixture", "table3_commonsense", "table15_carbon"} <= set(tables())
    for name in tables():
        rows = table(name)
        assert rows and all(None not in row for row in rows), name
        assert all(value is not None for row in rows for value in row.values()), name


def test_mixture_sums_to_one_hundred_percent() -> None:
    shares = [float(row["sampling_prop_pct"]) for row in table("table1_data_mixture")]
    assert shares == [67.0, 15.0, 4.5, 4.5, 4.5, 2.5, 2.0]
    assert sum(shares) == pytest.approx(100)


def test_unknown_table_lists_the_names() -> None:
    with pytest.raises(ValueError, match=r"no table '\.\./x'; there are .*table15_carbon"):
        table("../x")


@pytest.mark.parametrize(
    ("benchmark", "shots", "expected"),
    [
        ("hellaswag", 0, [76.1, 79.2, 82.8, 84.2]),
        ("boolq", None, [76.5, 78.1, 83.1, 85.3]),
        ("triviaqa", 64, [57.6, 64.0, 70.4, 73.0]),
        ("mmlu", 5, [35.1, 46.9, 57.8, 63.4, 63.4, 68.9]),  # Table 10: 65B again, then LLaMA-I
        ("humaneval", 0, [10.5, 36.5, 15.8, 52.5, 21.7, 70.7, 23.7, 79.3]),
    ],
)
def test_llama_rows(benchmark: str, shots: int | None, expected: list[float]) -> None:
    values = [row.value for row in llama_results(benchmark, shots)]
    assert sorted(values) == sorted(expected)


def test_shots_select_and_silence_matches_all() -> None:
    assert {row.shots for row in llama_results("nq_open")} == {0, 1, 5, 64}
    assert {row.shots for row in llama_results("nq_open", 5)} == {5}
    assert llama_results("gsm8k", 8) == llama_results("gsm8k") != []
    assert llama_results("unknown") == []
    assert {"GPT-3", "PaLM"} <= {row.model for row in results()}
