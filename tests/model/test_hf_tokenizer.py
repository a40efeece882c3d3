"""The exported tokenizer gives SentencePiece's ids and text on any valid Unicode.

Not compared, because it cannot be equal: the bare tokenizers library, without transformers, takes
the literals <s>, </s> and <unk> in a text for the control ids (the last test shows that it is only
those, and only until it is told not to); ids that spell broken UTF-8 (no text has them).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import pytest
import sentencepiece

from model.hf_tokenizer import tokenizer_config, tokenizer_json
from model.tokenizer import Tokenizer
from tests.model.strings import JOINERS, LITERALS, MARKS, RUNS, SPACES, strings

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
BATCH = 20_000


def train(path: Path, vocab_size: int) -> Path:
    """A model with pieces of every kind that `strings` draws: runs, scripts, joiners, spaces."""
    learned = {*map(chr, range(0x20, 0x250)), *JOINERS, *SPACES, *"".join(RUNS)} - {*"\n\u2585"}
    lines = (
        "".join(filter(learned.__contains__, text))
        for text in strings(99, 24_000, ["the", "\u2581of", "ing"])
    )
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=file,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            # Pieces across scripts and numbers: more cuts that compete than the paper's settings.
            split_by_unicode_script=False,
            split_by_number=False,
            character_coverage=1.0,
            num_threads=2,
            minloglevel=2,
        )
    return path


Pair = tuple[Tokenizer, "transformers.PreTrainedTokenizerFast"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Pair]:
    """``exported(model)``: our tokenizer, and transformers' of the exported files."""

    def export(model: Path) -> Pair:
        ours = Tokenizer(model)
        folder = tmp_path_factory.mktemp("hf")
        for name, content in (
            ("tokenizer.json", tokenizer_json(ours)),
            ("tokenizer_config.json", tokenizer_config(ours, 2048)),
        ):
            (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return ours, transformers.AutoTokenizer.from_pretrained(folder)

    return export


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory, exported: Callable[[Path], Pair]) -> Pair:
    return exported(train(tmp_path_factory.mktemp("rich") / "tokenizer.model", 3000))


def pieces_of(tokenizer: Tokenizer) -> list[str]:
    processor = tokenizer.processor
    return [processor.id_to_piece(token) for token in range(3 + 256, tokenizer.vocab_size)]


def assert_same(pair: Pair, texts: Sequence[str]) -> None:
    """Same ids, same text from them; the text is the one given, but for U+2581."""
    ours, theirs = pair
    ids = ours.processor.encode(list(texts), add_bos=True)
    encoded = theirs(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
    if encoded != ids:
        number = next(n for n, row in enumerate(ids) if encoded[n] != row)
        raise AssertionError(f"{texts[number]!r}: theirs {encoded[number]}, ours {ids[number]}")
    decoded = theirs.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    given = [text.replace(MARKS[0], " ") for text in texts]
    if decoded != given or ours.processor.decode(ids) != given:
        number = next(n for n, text in enumerate(given) if decoded[n] != text)
        raise AssertionError(f"{texts[number]!r}: theirs {decoded[number]!r}")


def test_twenty_thousand_strings(rich: Pair) -> None:
    assert_same(rich, list(strings(1, 20_000, pieces_of(rich[0]))))


def test_another_vocabulary(tokenizer_path: Path, exported: Callable[[Path], Pair]) -> None:
    pair = exported(tokenizer_path)
    assert_same(pair, list(strings(2, 4_000, pieces_of(pair[0]))))


@pytest.mark.slow
def test_a_million_strings(rich: Pair) -> None:
    drawn = strings(3, 1_000_000, pieces_of(rich[0]))
    compared = 0
    while texts := list(islice(drawn, BATCH)):
        assert_same(rich, texts)
        compared += len(texts)
    assert compared == 1_000_000


def test_every_character_stands_for_itself(rich: Pair) -> None:
    """All of Unicode, each character alone, between letters and between spaces."""
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    texts = ["".join(points[start : start + 512]) for start in range(0, len(points), 512)]
    assert_same(rich, texts)
    few = [c for c in points if ord(c) < 0x3100 or 0xE000 <= ord(c) <= 0xE010 or ord(c) > 0x10FFF0]
    assert_same(rich, [text for c in few for text in (c, f"a{c}b", f" {c} {c}{c}")])


def test_long_runs_and_long_words(rich: Pair) -> None:
    runs = [
        unit * 30_000 for unit in ("a", " ", "=", "0", "\n", "ab", "\u2581 ", "\U0001f9c9", "\0")
    ]
    assert_same(rich, [*runs, *(f"x{run} y" for run in runs)])


def test_literals_are_text_in_transformers(rich: Pair) -> None:
    ours, theirs = rich
    assert_same(
        rich,
        [
            left + text + right
            for text in LITERALS
            for left in ("", " ", "a")
            for right in ("", " ", "a")
        ],
    )
    for text in LITERALS:
        assert not {ours.bos_id, ours.eos_id, ours.unk_id} & set(theirs(text)["input_ids"][1:])


def test_the_bare_library_differs_on_the_three_literals_alone(rich: Pair) -> None:
    ours = rich[0]
    bare = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(ours)))

    def same(text: str) -> bool:
        found: list[int] = bare.encode(text, add_special_tokens=False).ids
        return found == ours.encode(text)

    special = ("<s>", "</s>", "<unk>")
    assert [text for text in LITERALS if not same(text)] == list(special)
    for text in strings(4, 4_000, pieces_of(ours)):
        assert same(text) or any(literal in text for literal in special)
    bare.encode_special_tokens = True
    assert all(map(same, LITERALS))


def test_the_order_of_a_pieces_cuts_makes_no_difference(rich: Pair) -> None:
    """What `merges` proves: a piece is made of the same two parts wherever it comes about."""
    ours = rich[0]
    content = tokenizer_json(ours)
    text = tokenizers.Tokenizer.from_str(json.dumps(content))
    draw = list(strings(5, 4_000, pieces_of(ours)))
    turned: dict[str, list[list[str]]] = {}
    for left, right in content["model"]["merges"]:
        turned.setdefault(left + right, []).append([left, right])
    content["model"]["merges"] = [cut for cuts in turned.values() for cut in reversed(cuts)]
    other = tokenizers.Tokenizer.from_str(json.dumps(content))
    assert max(map(len, turned.values())) > 2
    rows = zip(text.encode_batch(draw), other.encode_batch(draw), strict=True)
    assert all(one.ids == two.ids for one, two in rows)
