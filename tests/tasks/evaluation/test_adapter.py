"""The adapter for lm-evaluation-harness: options, repeats and order of generated texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="needs arriero[harness]")

from lm_eval.api.instance import Instance

from tasks.evaluation import adapter
from tasks.evaluation.adapter import HarnessModel


@pytest.fixture(scope="module")
def harness(model_folder: Path) -> HarnessModel:
    return HarnessModel.load(model_folder)


def asked(*requests: tuple[str, dict[str, Any]]) -> list[Instance]:
    return [
        Instance(request_type="generate_until", doc={}, arguments=request, idx=number)
        for number, request in enumerate(requests)
    ]


GREEDY = {"until": ["\n"], "max_gen_toks": 6}
SAMPLED = GREEDY | {"do_sample": True, "temperature": 1.0}
COUNT, NEXT = "A man counts to 7.", "Q: What comes after 9?"


def test_repeats_are_samples_of_their_own(harness: HarnessModel) -> None:
    """maj@k over k copies of one text would be the score of one sample."""
    requests = asked(*[(COUNT, SAMPLED)] * 4, (NEXT, SAMPLED))
    texts = harness.generate_until(requests)
    assert len(set(texts[:4])) > 1
    assert harness.generate_until(requests) == texts
    # A sample is a function of its prompt and its number, not of what else is asked.
    assert harness.generate_until(asked(*[(COUNT, SAMPLED)] * 2)) == texts[:2]


def test_greedy_repeats_are_equal(harness: HarnessModel) -> None:
    assert len(set(harness.generate_until(asked(*[(COUNT, GREEDY)] * 3)))) == 1


@pytest.mark.parametrize("until", [None, [], "", [None], [""]])
def test_no_stop_string_is_none(harness: HarnessModel, until: Any) -> None:
    [text] = harness.generate_until(asked((COUNT, {"until": until, "max_gen_toks": 4})))
    assert text


def test_equal_options_are_answered_together_and_in_order(
    harness: HarnessModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = adapter.generate_texts
    calls: list[int] = []

    def counts(model: Any, tokenizer: Any, jobs: Any, *rest: Any) -> list[str]:
        calls.append(len(jobs))
        return generate(model, tokenizer, jobs, *rest)

    monkeypatch.setattr(adapter, "generate_texts", counts)
    longer = GREEDY | {"max_gen_toks": 9}
    requests = asked((COUNT, GREEDY), (NEXT, longer), (NEXT, GREEDY), (COUNT, longer))
    texts = harness.generate_until(requests)
    assert sorted(calls) == [2, 2]
    assert texts == [harness.generate_until([request])[0] for request in requests]


def test_what_does_not_fit_is_refused_not_shortened(harness: HarnessModel) -> None:
    with pytest.raises(ValueError, match="100 new ones exceed the context of 128"):
        harness.generate_until(asked((COUNT * 9, {"max_gen_toks": 100})))
