"""The same numbers, ids and text as Hugging Face transformers, in both directions."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.generate import generate
from model.hf_config import from_hf_config, to_hf_config
from model.llama import Llama
from model.tokenizer import Tokenizer
from model.weights import export_hf, from_hf_state, load_model, native_state, to_hf_state

transformers = pytest.importorskip("transformers")

SHAPES: dict[str, dict[str, Any]] = {
    "mha": {},
    "gqa": {"kv_heads": 2},
    "tied": {"tied_embeddings": True},
    "wide heads": {"head_dim": 16, "norm_eps": 1e-5},
    # Original context 16 and 64 positions: every branch of the scaling rule is in use.
    "scaled rope": {
        "kv_heads": 1,
        "head_dim": 16,
        "rope_theta": 500.0,
        "rope_scaling": {"factor": 8.0, "original_context": 16},
    },
}
TOKENS = torch.randint(0, 97, (3, 64), generator=torch.Generator().manual_seed(1))
NASTY = [
    "",
    " ",
    "   ",
    " leading space",
    "    four and  two  inside ",
    "trailing \n",
    "\n\n\tdef f(x):\n\t\treturn x\n",
    "1234567890 3.14 -7",
    "<s>",
    "</s> and <s> and <unk>",
    "a<s>b</s>",
    "<0x41>\x00\x7f",
    "🐎🏔️ 👩‍👩‍👧 e\u0301 ﬁ Ⓐ",
    "中文 и кириллица \u00a0\u2009\u200b",
    "\u2581 lower block \u2581\u2581",
    "aaaaaaaaaaaaa ababababab baabaabaab ------------",
    "The mule driver counted 12 sacks.",
]


def hf_config(model: Llama) -> Any:
    return transformers.LlamaConfig(**to_hf_config(model.config, "float32", 1, 2))


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_our_weights_in_transformers(make_model: Callable[..., Llama], shape: dict) -> None:
    model = make_model(**shape)
    theirs = transformers.LlamaForCausalLM(hf_config(model)).eval()
    state = to_hf_state(native_state(model), model.config)
    result = theirs.load_state_dict(state, strict=False)
    assert result.unexpected_keys == []
    assert result.missing_keys == (["lm_head.weight"] if model.config.tied_embeddings else [])
    theirs.tie_weights()
    ours, reference = model(TOKENS), theirs(TOKENS).logits
    assert reference.std() > 0.5  # logits that differ: 1e-5 means something
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_their_weights_in_ours(
    make_model: Callable[..., Llama], shape: dict, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    config = hf_config(make_model(**shape))
    config.initializer_range = 0.15
    theirs = transformers.LlamaForCausalLM(config).eval()
    for name, parameter in theirs.named_parameters():
        if "norm" in name:
            parameter.uniform_(0.5, 1.5)
    reference = theirs(TOKENS).logits
    assert reference.std() > 0.1

    ours = Llama(from_hf_config(config.to_dict()))
    state = from_hf_state(theirs.state_dict(), ours.config)
    if ours.config.tied_embeddings:
        state["output.weight"] = state["embedding.weight"]
    ours.load_state_dict(state)
    torch.testing.assert_close(ours(TOKENS), reference, atol=1e-5, rtol=0)

    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    torch.testing.assert_close(load_model(tmp_path)(TOKENS), reference, atol=1e-5, rtol=0)


def first_near_tie(model: Llama, prompt: list[int], tokens: list[int]) -> int:
    """First step at which the two largest logits are closer than 1e-4: there rounding decides."""
    with torch.no_grad():
        logits_TV = model(torch.tensor([prompt + tokens]))[0, len(prompt) - 1 : -1]
    best_T2 = logits_TV.topk(2).values
    near = (best_T2[:, 0] - best_T2[:, 1] < 1e-4).nonzero()
    return int(near[0]) if len(near) else len(tokens)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_greedy_generation(make_model: Callable[..., Llama], shape: dict) -> None:
    model = make_model(**shape)
    theirs = transformers.LlamaForCausalLM(hf_config(model)).eval()
    theirs.load_state_dict(to_hf_state(native_state(model), model.config), strict=False)
    theirs.tie_weights()
    theirs.generation_config.eos_token_id = None
    prompts = [[1, 5, 9], [1], [1, *range(10, 34)], [1, 3, 3, 3, 3]]
    compared = 0
    for prompt, ours in zip(prompts, generate(model, prompts, 30), strict=True):
        ids = torch.tensor([prompt])
        full = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False
        )
        upto = first_near_tie(model, prompt, ours.tokens)
        assert ours.tokens[:upto] == full[0, len(prompt) :].tolist()[:upto]
        compared += upto
    assert compared >= 60


@pytest.fixture(scope="module")
def exported(
    make_model: Callable[..., Llama],
    tokenizer_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Llama, Path]:
    model = make_model(vocab_size=512, context=128, kv_heads=2)
    with torch.no_grad():
        # Zero logits for control ids and bytes, so that no broken UTF-8 is generated: for that
        # the two libraries print different numbers of U+FFFD (see model/hf_tokenizer.py).
        model.output.weight[: 3 + 256] = 0.0
    folder = tmp_path_factory.mktemp("export") / "model"
    export_hf(model, tokenizer_path, folder)
    return model, folder


@pytest.mark.parametrize("text", NASTY)
def test_exported_tokenizer_gives_sentencepiece_ids(
    exported: tuple[Llama, Path], tokenizer_path: Path, text: str
) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(exported[1])
    ours = Tokenizer(tokenizer_path)
    ids = ours.encode(text, bos=True)
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)


def test_exported_tokenizer_on_random_strings(
    exported: tuple[Llama, Path], tokenizer_path: Path
) -> None:
    """Few letters make many competing merges: the order of the cuts of a piece matters here."""
    theirs = transformers.AutoTokenizer.from_pretrained(exported[1])
    ours = Tokenizer(tokenizer_path)
    draw = random.Random(2)
    for number in range(2000):
        alphabet = ("ab", "ab c", "a -=1é\n<s>")[number % 3]
        text = "".join(draw.choice(alphabet) for _ in range(draw.randrange(1, 60)))
        assert theirs(text)["input_ids"] == ours.encode(text, bos=True), repr(text)


def test_exported_special_tokens(exported: tuple[Llama, Path]) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(exported[1])
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id) == (1, 2, 0)
    assert theirs.model_max_length == 128
    assert theirs("a", add_special_tokens=False)["input_ids"] == theirs("a")["input_ids"][1:]
    both = theirs("a", "b")["input_ids"]
    assert both == theirs("a")["input_ids"] + theirs("b")["input_ids"]


def test_exported_folder_writes_the_same_text(
    exported: tuple[Llama, Path], tokenizer_path: Path
) -> None:
    model, folder = exported
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert theirs.dtype == torch.float32
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer(tokenizer_path)
    for text in ("Every morning", "def load(", "12 sacks, 34"):
        inputs = their_tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        prompt = ours.encode(text, bos=True)
        [row] = generate(model, [prompt], 24, eos_id=ours.eos_id, decode=ours.decode_continuation)
        upto = first_near_tie(model, prompt, row.tokens)
        assert upto == len(row.tokens), "this prompt meets a near-tie: choose another"
        out = theirs.generate(**inputs, max_new_tokens=24)
        their_text = their_tokenizer.decode(out[0], skip_special_tokens=True)
        assert their_text == ours.decode(prompt + row.tokens)


@torch.no_grad()
def test_exported_bfloat16(
    make_model: Callable[..., Llama], tokenizer_path: Path, tmp_path: Path
) -> None:
    export_hf(make_model(vocab_size=512), tokenizer_path, tmp_path, dtype=torch.bfloat16)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == torch.bfloat16
    reference = theirs.float()(TOKENS).logits
    torch.testing.assert_close(load_model(tmp_path)(TOKENS), reference, atol=1e-5, rtol=0)
