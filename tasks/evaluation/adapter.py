"""Our engine as a model of lm-evaluation-harness, so that any of its tasks runs on it.

Needs the optional extra ``arriero[harness]``; the harness is imported here and nowhere else.

    from lm_eval import simple_evaluate
    simple_evaluate(model=HarnessModel.load(folder), tasks=[...])
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.llama import Llama
from model.tokenizer import Tokenizer
from tasks.evaluation.generation import Job, Sampling, generate_texts
from tasks.evaluation.requests import TokenPair, token_pair
from tasks.evaluation.scorer import Scorer

try:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from lm_eval.models.utils import normalize_gen_kwargs
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError as error:
    raise ImportError(
        "lm-evaluation-harness is not installed: pip install 'arriero[harness]'"
    ) from error


class HarnessModel(LM):
    """The harness's three kinds of requests, each answered for all requests at once.

    A sequence that does not fit the context raises ValueError with its length, new tokens included:
    the harness hands over strings, so whole shots cannot be left out here, and a silent cut would
    change the task.
    """

    def __init__(self, model: Llama, tokenizer: Tokenizer, token_budget: int = 8192):
        super().__init__()
        self.model, self.tokenizer, self.token_budget = model, tokenizer, token_budget
        self.scorer = Scorer(model, token_budget)

    @classmethod
    def load(cls, folder: str | Path, token_budget: int = 8192) -> HarnessModel:
        """From a checkpoint or exported folder (weights, config.json, tokenizer.model)."""
        from model.weights import load_model

        return cls(load_model(folder), Tokenizer(Path(folder) / "tokenizer.model"), token_budget)

    def loglikelihood(self, requests: list[Instance], **_: Any) -> list[tuple[float, bool]]:
        """(log P(continuation | context), greedy) of every request."""
        pairs = [token_pair(self.tokenizer, *request.args) for request in requests]
        limit = self.scorer.context_length
        for pair in pairs:
            length = len(pair.context) + len(pair.continuation) - 1
            if length > limit:
                raise ValueError(
                    f"a request has {length} tokens, the model reads {limit}: use fewer shots"
                )
        return [(score.logprob, score.greedy) for score in self.scorer.score(pairs)]

    def loglikelihood_rolling(self, requests: list[Instance], **_: Any) -> list[float]:
        """log P(text), in the harness's windows: the first begins with BOS, every later one with
        what stands before it, one token at least."""
        pairs: list[TokenPair] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            windows = get_rolling_token_windows(
                token_list=self.tokenizer.encode(request.args[0]),
                prefix_token=self.tokenizer.bos_id,
                max_seq_len=self.scorer.context_length,
                context_len=1,
            )
            for context, continuation in map(make_disjoint_window, windows):
                pairs.append(TokenPair(tuple(context), tuple(continuation)))
                owners.append(number)
        totals = [0.0] * len(requests)
        for number, score in zip(owners, self.scorer.score(pairs), strict=True):
            totals[number] += score.logprob
        return totals

    def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
        """Generated texts, cut before the first stop string; options as the harness names them.

        Equal requests are repeats: each is a sample of its own, and the same one in another call.
        """
        groups: dict[str, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            groups[json.dumps(request.args[1], sort_keys=True)].append(number)
        texts = [""] * len(requests)
        for numbers in groups.values():
            contexts = [requests[number].args[0] for number in numbers]
            answers = self._generate(contexts, requests[numbers[0]].args[1])
            for number, text in zip(numbers, answers, strict=True):
                texts[number] = text
        return texts

    def _generate(self, contexts: Sequence[str], asked: dict[str, Any]) -> list[str]:
        options: dict[str, Any] = dict(normalize_gen_kwargs(asked))
        stop = [text for text in options["until"] if text]
        length = options["max_gen_toks"]
        jobs: list[Job] = []
        repeats: Counter[str] = Counter()
        for context in contexts:
            tokens = [self.tokenizer.bos_id, *self.tokenizer.encode(context)]
            if len(tokens) + length > self.scorer.context_length:
                raise ValueError(
                    f"a prompt of {len(tokens)} tokens and {length} new ones exceed the context "
                    f"of {self.scorer.context_length}: use fewer shots or a smaller max_gen_toks"
                )
            jobs.append(Job(context, tuple(tokens), repeats[context]))
            repeats[context] += 1
        temperature = float(options.get("temperature", 1.0)) if options["do_sample"] else 0.0
        sampling = Sampling(temperature, float(options.get("top_p", 1.0)))
        return generate_texts(
            self.model, self.tokenizer, jobs, length, stop, sampling, self.token_budget
        )
