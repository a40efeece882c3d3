"""From a model down to raw files, and from words to artifacts."""

from __future__ import annotations

from typing import Any

import pytest

from registry.artifacts import ArtifactRef, Kind, Store
from registry.database import Registry
from registry.lineage import (
    LineageCycle,
    LineageNode,
    UnknownArtifact,
    ancestors,
    descendants,
    lineage_problems,
    lineage_tree,
    render,
    resolve,
)
from registry.promotion import Facts, GatePolicy, promote
from registry.runs import record_evaluations
from registry.schema import Artifact, ArtifactInput

Chain = dict[str, ArtifactRef]


def champion_of(registry: Registry, put: Any, name: str, model: ArtifactRef) -> None:
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": model})
    row = {"benchmark": "boolq", "metric": "acc", "value": 0.6, "n": 10}
    with registry.session() as session:
        record_evaluations(session, artifact=artifact, model=model, rows=[row])
    facts = Facts(lineage_problems=())
    decision = promote(
        registry, name=name, model=model, policy=GatePolicy(), facts=facts, decided_by="ada"
    )
    assert decision.approved, decision.verdict.summary


def test_ancestors_and_descendants(registry: Registry, chain: Chain) -> None:
    assert {row.key for row in ancestors(registry, chain["tokens"].key)} == {
        chain[name].key for name in ("raw", "documents", "tokenizer")
    }
    assert {row.key for row in descendants(registry, chain["tokenizer"].key)} == {
        chain[name].key for name in ("tokens", "checkpoint", "model")
    }
    assert ancestors(registry, chain["raw"].key) == []
    assert descendants(registry, chain["model"].key) == []


def test_tree_ends_at_raw_files(registry: Registry, store: Store, chain: Chain) -> None:
    tree = lineage_tree(registry, store, chain["model"], max_files=2)
    path = ["checkpoint", "tokens", "corpus", "raw"]
    node = tree
    for name in path:
        (node,) = [child for child in node.inputs if child.name == name]
    assert node.kind is Kind.RAW
    assert (node.file_count, node.file_bytes) == (3, 33)
    assert [file.path for file in node.files] == ["c4/0.json.gz", "c4/1.json.gz"]
    assert lineage_problems(tree) == []
    assert LineageNode.model_validate_json(tree.model_dump_json()) == tree


def test_text_of_the_tree(registry: Registry, store: Store, chain: Chain) -> None:
    def short(name: str) -> str:
        return chain[name].digest[:12]

    assert render(lineage_tree(registry, store, chain["model"], max_files=1)) == "\n".join(
        [
            f"model {short('model')} by export",
            f"└─ checkpoint: checkpoint {short('checkpoint')} by pretraining",
            f"   └─ tokens: tokens {short('tokens')} by tokens",
            f"      ├─ corpus: documents {short('documents')} by documents.c4",
            f"      │  └─ raw: raw {short('raw')} by raw.c4 3 files, 33 bytes",
            "      │     ├─ 000000000000           10 c4/0.json.gz",
            "      │     └─ ... 2 more files",
            f"      └─ tokenizer: tokenizer {short('tokenizer')} by tokenizer",
            f"         └─ corpus: documents {short('documents')} by documents.c4 (see above)",
        ]
    )


def test_problems_are_named(registry: Registry, store: Store, chain: Chain, put: Any) -> None:
    orphan = put(Kind.MODEL, "export", {"m": "orphan"}, seed=7)
    (problem,) = lineage_problems(lineage_tree(registry, store, orphan))
    assert "has no inputs" in problem
    store.quarantine(chain["tokens"], "flipped byte")
    assert any(
        f"tokens tokens {chain['tokens'].digest[:12]}: is quarantined" in line
        for line in lineage_problems(lineage_tree(registry, store, chain["model"]))
    )


def test_input_that_was_made_anew_with_other_content_shows(
    registry: Registry, store: Store, chain: Chain
) -> None:
    with registry.session() as session:
        session.get_one(Artifact, chain["documents"].key).digest = "9" * 64
    problems = lineage_problems(lineage_tree(registry, store, chain["model"]))
    assert any("content is now 999999999999" in line for line in problems)


def test_raw_without_fingerprints_shows(registry: Registry, store: Store, put: Any) -> None:
    empty = put(Kind.RAW, "raw.books", {"files.jsonl": ""})
    broken = put(Kind.RAW, "raw.books", {"files.jsonl": "{"}, seed=1)
    none = put(Kind.RAW, "raw.books", {"other": ""}, seed=2)
    found = [
        lineage_problems(lineage_tree(registry, store, ref))[0] for ref in (empty, broken, none)
    ]
    assert "names no file" in found[0]
    assert "cannot be read" in found[1]
    assert "cannot be read" in found[2]


def test_cycle_is_refused(registry: Registry, store: Store, chain: Chain) -> None:
    with registry.session() as session:
        session.add(
            ArtifactInput(
                artifact_key=chain["raw"].key,
                name="itself",
                input_key=chain["model"].key,
                input_digest=chain["model"].digest,
            )
        )
    with pytest.raises(LineageCycle, match="goes in a circle"):
        lineage_tree(registry, store, chain["model"])
    assert len(ancestors(registry, chain["model"].key)) == 6  # ends, and holds itself


def test_resolve_by_digest_key_and_latest(registry: Registry, chain: Chain, put: Any) -> None:
    model = chain["model"]
    for text in (model.digest, model.digest[:8], model.key[:10], f" {model.digest[:6]} "):
        assert resolve(registry, text) == model
    assert resolve(registry, "latest", kind=Kind.TOKENS) == chain["tokens"]
    newer = put(Kind.TOKENS, "tokens", None, {"corpus": chain["documents"]}, seed=5)
    assert resolve(registry, "latest", kind=Kind.TOKENS) == newer
    assert (
        resolve(registry, "latest", kind=Kind.DOCUMENTS, stage="documents.c4")
        == (chain["documents"])
    )


@pytest.mark.parametrize("text", ["", "abc", "%", "______", "champion", "llama-i:1", "zz" * 32])
def test_resolve_says_what_it_takes(registry: Registry, chain: Chain, text: str) -> None:
    with pytest.raises(UnknownArtifact, match="give `latest`, `champion`"):
        resolve(registry, text)


def test_resolve_respects_kind(registry: Registry, chain: Chain) -> None:
    with pytest.raises(UnknownArtifact, match="no tokens artifact"):
        resolve(registry, chain["model"].digest, kind=Kind.TOKENS)


def test_ambiguous_prefix_lists_the_matches(registry: Registry, chain: Chain) -> None:
    with registry.session() as session:
        session.get_one(Artifact, chain["tokens"].key).digest = "abcdef" + "1" * 58
        session.get_one(Artifact, chain["model"].key).digest = "abcdef" + "2" * 58
    with pytest.raises(UnknownArtifact, match=r"more than one .*tokens abcdef111111"):
        resolve(registry, "abcdef")


@pytest.mark.parametrize("version", ["2", "2147483648", "9" * 20, "9" * 5000])
def test_a_version_that_cannot_be_is_unknown(
    registry: Registry, chain: Chain, put: Any, version: str
) -> None:
    champion_of(registry, put, "llama-i", chain["model"])
    with pytest.raises(UnknownArtifact, match="no artifact matches"):
        resolve(registry, f"llama-i:{version}")


def test_a_name_means_the_content_that_was_promoted(
    registry: Registry, chain: Chain, put: Any
) -> None:
    champion_of(registry, put, "llama-i", chain["model"])
    with registry.session() as session:
        # Made anew, with other bytes, under the same key.
        session.get_one(Artifact, chain["model"].key).digest = "0f" * 32
    for text in ("champion", "llama-i", "llama-i:1"):
        with pytest.raises(UnknownArtifact, match="no artifact matches"):
            resolve(registry, text)


def test_resolve_names_and_champions(
    registry: Registry, store: Store, chain: Chain, put: Any
) -> None:
    model = chain["model"]
    champion_of(registry, put, "llama-i", model)
    for text in ("champion", "llama-i", "llama-i@champion", "llama-i:1"):
        assert resolve(registry, text) == model
    sample = put(Kind.MODEL, "export", {"m": "sample"}, seed=3, sample=True)
    champion_of(registry, put, "llama-i-sample", sample)
    assert resolve(registry, "champion") == model  # a real champion goes first
    assert resolve(registry, "llama-i-sample") == sample
    other = put(Kind.MODEL, "export", {"m": "other"}, {"c": chain["checkpoint"]}, seed=4)
    champion_of(registry, put, "other", other)
    with pytest.raises(UnknownArtifact, match="more than one"):
        resolve(registry, "champion")
    assert lineage_tree(registry, store, "llama-i").digest == model.digest
