"""Our engine as a model of lm-evaluation-harness, so that any of its tasks runs on it.

Needs the optional extra ``arriero[harness]``; the harness is imported here and nowhere else.

    from lm_eval import simple_evaluate
    simple_evaluate(model=HarnessModel.load(folder), tasks=[...])
"""

from __future__ import annotations

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
except ImportError as error:
    raise ImportError(
        "lm-evaluation-harness is not installed: pip install 'arriero[harness]'"
    ) from error


class HarnessModel(LM):
    """The harness's three kinds of requests, each answered for all requests at once.

    A sequence that does not fit the context raises ValueError with its length: the harness hands
    over strings, so whole shots cannot be left out here, and a silent cut would change the task.
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
        """log P(text), in windows that each begin with BOS and do not overlap."""
        totals = []
        for request in requests:
            tokens = self.tokenizer.encode(request.args[0])
            size = self.scorer.context_length
            pairs = [
                TokenPair((self.tokenizer.bos_id,), tuple(tokens[start : start + size]))
                for start in range(0, len(tokens), size)
            ]
            totals.append(sum(score.logprob for score in self.scorer.score(pairs)))
        return totals

    def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
        """Generated texts, cut before the first stop string; options as the harness names them."""
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        until = options.get("until", [])
        stop = [until] if isinstance(until, str) else list(until)
        temperature = float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0
        length = min(int(options.get("max_gen_toks", 256)), self.scorer.context_length // 2)
        tokens = [self.tokenizer.bos_id, *self.tokenizer.encode(context)]
        if len(tokens) + length > self.scorer.context_length:
            raise ValueError(
                f"a prompt of {len(tokens)} tokens and {length} new ones exceed the context of "
                f"{self.scorer.context_length}: use fewer shots"
            )
        sampling = Sampling(temperature, float(options.get("top_p", 1.0)))
        job = Job(context, tuple(tokens))
        return generate_texts(
            self.model, self.tokenizer, [job], length, stop, sampling, self.token_budget
        )[0]
