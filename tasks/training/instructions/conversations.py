"""Conversations of OpenAssistant: trees or loose messages to one example per assistant turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tasks.training.instructions.records import Example, Record


def is_message(record: Record) -> bool:
    return {"text", "role"} <= record.keys() and bool(
        {"message_id", "user_message_id"} & record.keys()
    )


def read_conversations(
    records: Sequence[tuple[int, Record]], languages: Sequence[str], rejected: Counter[str]
) -> Iterator[Example]:
    """OpenAssistant trees or messages: one example per assistant turn of each tree's best path.

    The best reply is the one with the lowest rank (annotators' order; unranked ones last, in file
    order). A deleted or rejected message ends its path. Later turns carry the conversation so far
    as ``User:`` and ``Assistant:`` paragraphs.
    """
    children: dict[str, list[Record]] = {}
    roots: list[tuple[int, Record]] = []
    known = {_identity(record) for _, record in records if is_message(record)}
    for number, record in records:
        if isinstance(record.get("prompt"), dict):
            roots.append((number, record["prompt"]))
            continue
        parent = record.get("parent_id", record.get("parent_message_id"))
        if parent is None:
            roots.append((number, record))
        elif str(parent) in known:
            children.setdefault(str(parent), []).append(record)
        else:
            rejected["message whose parent is missing"] += 1
    for number, root in roots:
        turns: list[tuple[str, str]] = []
        message: Record | None = root
        expected = "prompter"
        answered = False
        while message is not None:
            fault = _fault(message, expected, languages)
            if fault:
                rejected[fault] += 1
                break
            turns.append((expected, message["text"].strip()))
            if expected == "assistant":
                answered = True
                yield Example(number, _history(turns[:-1]), "", turns[-1][1])
            expected = "assistant" if expected == "prompter" else "prompter"
            replies = message.get("replies") or children.get(_identity(message), [])
            if not isinstance(replies, list):
                rejected["replies is no list"] += 1
                break
            usable = [r for r in replies if isinstance(r, dict) and not _removed(r)]
            message = min(usable, key=_rank, default=None)
        if not answered and message is None:
            rejected["conversation without a reply"] += 1


def _identity(message: Record) -> str:
    return str(message.get("message_id", message.get("user_message_id", "")))


def _rank(message: Record) -> float:
    rank = message.get("rank")
    return float(rank) if isinstance(rank, int | float) else float("inf")


def _removed(message: Record) -> bool:
    return bool(message.get("deleted")) or message.get("review_result") is False


def _fault(message: Record, expected: str, languages: Sequence[str]) -> str:
    if _removed(message):
        return "message deleted or rejected by its reviewers"
    if not isinstance(message.get("text"), str):
        return "message without text"
    if message.get("role") != expected:
        return f"message out of turn (no {expected})"
    language = message.get("lang")
    if languages and language is not None and language not in languages:
        return "message in another language"
    return ""


def _history(turns: Sequence[tuple[str, str]]) -> str:
    if len(turns) == 1:
        return turns[0][1]
    names = {"prompter": "User", "assistant": "Assistant"}
    return "\n\n".join(f"{names[role]}: {text}" for role, text in turns)
