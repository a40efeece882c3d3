"""The promoted model as MLflow serves it: a pyfunc made from code that loads from our store.

MLflow keeps this file, an artifact digest and a sha256; the weights stay in the store and are
verified before they are loaded. ``params`` of ``predict``: max_new_tokens, temperature, top_p,
seed (see ``SIGNATURE_PARAMETERS``; MLflow drops parameters that a signature does not declare).
"""

from __future__ import annotations

from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel
from mlflow.pyfunc.model import PythonModelContext

SIGNATURE_PARAMETERS = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "seed": 0}


class StoredLlama(PythonModel):
    """Llama from the artifact that the model configuration names."""

    def load_context(self, context: PythonModelContext) -> None:
        """Find the artifact by key, verify its hashes, load weights and tokenizer.

        Raises:
            ValueError: the artifact is gone, damaged, or another one than was promoted.
        """
        from model.tokenizer import Tokenizer
        from model.weights import load_model
        from tasks.runner import open_workplace

        wanted = context.model_config
        place = open_workplace()
        ref = place.store.lookup(wanted["key"])
        if ref is None or ref.digest != wanted["digest"]:
            raise ValueError(
                f"model {wanted['digest'][:12]} is not in the store {place.settings.store}: set"
                " ARRIERO_HOME to the installation that promoted it"
            )
        problems = place.store.verify(ref)
        if problems:
            raise ValueError(f"model {ref.digest[:12]} is damaged: {'; '.join(problems)}")
        folder = place.store.path(ref)
        self.model = load_model(folder)
        self.tokenizer = Tokenizer(folder / "tokenizer.model")

    def predict(
        self,
        context: PythonModelContext,
        model_input: list[str],
        params: dict[str, Any] | None = None,
    ) -> list[str]:
        """Continue each prompt; returns the new text only."""
        from model.generate import generate

        chosen = {**SIGNATURE_PARAMETERS, **(params or {})}
        prompts = [self.tokenizer.encode(text, bos=True) for text in model_input]
        outputs = generate(
            self.model,
            prompts,
            max_new_tokens=int(chosen["max_new_tokens"]),
            temperature=float(chosen["temperature"]),
            top_p=float(chosen["top_p"]),
            eos_id=self.tokenizer.eos_id,
            seed=int(chosen["seed"]),
        )
        return [self.tokenizer.decode_continuation(row.tokens) for row in outputs]


mlflow.models.set_model(StoredLlama())
