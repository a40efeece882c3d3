"""What is repaired and scrubbed in the texts of all sources."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

PrivateKind = Literal["email", "ip", "key"]
RepairedSource = Literal["commoncrawl", "c4", "wikipedia", "books", "stackexchange"]


class FinishRules(BaseModel):
    """What is repaired and scrubbed in the texts of all sources."""

    unicode_repair: tuple[RepairedSource, ...] = Field(
        ("commoncrawl", "c4"),
        title="Unicode repair",
        description="Sources whose texts are searched for UTF-8 that was read in another encoding"
        " (mojibake: Ã© for é), which ftfy then puts right; nothing else of the text is changed."
        " Default: the sources in which it was found, about 1 of 80 documents of c4 and 1 of 10"
        " pages of commoncrawl. Code and LaTeX are never touched. Ours; the paper is silent.",
    )
    private_data: tuple[PrivateKind, ...] = Field(
        (),
        title="Private data to replace",
        description="What is replaced in the texts of every source, counted by kind: email"
        " (addresses), ip (public IPv4 and IPv6 addresses), key (private keys, tokens of AWS,"
        " GitHub, Slack, Google and Stripe, passwords and secrets that are assigned). Each becomes"
        " its kind in angle brackets, such as <email>. Default: none, as in the paper.",
    )

    def finishing(self, source: str) -> dict[str, Any]:
        """What of it is on for ``source``: the part of its recipe; empty when all is off."""
        found: dict[str, Any] = {}
        if source in self.unicode_repair:
            found["unicode_repair"] = True
        if self.private_data:
            found["private_data"] = sorted(set(self.private_data))
        return found
