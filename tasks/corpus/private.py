"""Private data in texts, replaced by its kind: e-mail addresses, IP addresses, keys and secrets.

What is reserved for examples (example.com, 192.0.2.0/24) or private to a network (10.0.0.0/8) tells
of nobody and stays. Every search is linear in the text: what surrounds a find is looked at within a
bound.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain

from tasks.corpus import international_mail

# Where a part of the text begins and ends.
Find = tuple[int, int]

_LOCAL = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&*+/=?^_{|}~-"
_DOMAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"
LONGEST_LOCAL = 64  # RFC 5321
LONGEST_DOMAIN = 255
_AT = re.compile(r"@(?<=[\w+\"-]@)(?=\w)")
_DOMAIN_NAME = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}"
    r"(?:xn--[A-Za-z0-9-]{1,58}[A-Za-z0-9]|[A-Za-z]{2,24})"
)
# RFC 2606; and "icon@2x.png" is a file.
_NOBODYS = re.compile(r"(?:.*\.)?(?:example(?:\.(?:com|org|net))?|test|invalid|localhost)|\dx\..*")

# Each begins with a class of characters, which the scan skips to, and looks behind it then.
_IPV4 = re.compile(r"[0-9](?<![\w.].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?!\w|\.\d|-\d)")
# Addresses of the internet begin with 2 or 3 (RFC 4291).
_IPV6 = re.compile(
    r"[23](?<![\w:.].)[0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}"
    r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\.\d)|[0-9A-Fa-f]{0,4})(?![\w:])"
    r"(?:%(?:25)?[A-Za-z][A-Za-z0-9_-]{0,15})?"  # the zone: RFC 4007, RFC 6874
)
# An IPv4 address in hexadecimal digits; one with points is found as such.
_MAPPED = re.compile(
    r"::(?<![\w:.]::)(?:ffff|FFFF):[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}(?![\w:]|\.\d)"
)
# What says, before four numbers, that they are a version or a section.
_NUMBERED = re.compile(
    r"(?:\b(?:v|ver|version|release|rel|rev|revision|build|firmware|driver|update|kernel|patch"
    r"|sec|section|chapter|clause|article|art|rule|fig|figure|table|theorem|lemma|eq|equation|oid)"
    r"s?\.?|§|[A-Za-z]/)[ \t]{0,3}[:=(\"']{0,3}[ \t]{0,3}$",
    re.IGNORECASE,
)
CONTEXT = 24

_TOKENS = re.compile(
    r"[ASeghnrsx](?<![A-Za-z0-9_].)(?:"
    r"(?:KIA|SIA|BIA|CCA)(?![A-Z0-9]{9}EXAMPLE)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS: AKIA...
    r"|h[pousr]_[A-Za-z0-9]{36,255}"  # GitHub: ghp_...
    r"|ithub_pat_[A-Za-z0-9_]{22,255}"
    r"|ox[abeprs]-[A-Za-z0-9-]{10,250}"  # Slack: xoxb-...
    r"|Iza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"  # Google: AIza...
    r"|k_live_[A-Za-z0-9]{16,247}"  # Stripe: sk_live_...
    r"|k-(?=[A-Za-z_-]{0,40}[0-9])[A-Za-z0-9_-]{32,250}"  # OpenAI and others: sk-..., sk-proj-...
    r"|f_[A-Za-z0-9]{34,64}(?![A-Za-z0-9_])"  # Hugging Face: hf_...
    r"|lpat-[A-Za-z0-9_-]{20,64}"  # GitLab: glpat-...
    r"|pm_[A-Za-z0-9]{36}(?![A-Za-z0-9_])"  # npm_...
    r"|G\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}"  # SendGrid: SG....
    # JSON web token: two JSON objects and a signature, each in base64.
    r"|yJ[A-Za-z0-9_-]{8,1000}+\.eyJ[A-Za-z0-9_-]{4,8000}+\.[A-Za-z0-9_-]{16,2000}"
    r")"
)
_WEBHOOK = re.compile(
    r"hooks\.slack\.com/services/(T[A-Za-z0-9]{6,12}/B[A-Za-z0-9]{6,12}/\w{20,40})"
)
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
LONGEST_PEM = 20_000
_BASE64_LINES = re.compile(r"(?:\s{0,8}[A-Za-z0-9+/=]{16,128}){0,400}")
_ASSIGNED = re.compile(
    r"[aApPsStT](?i:ecret|oken|assw(?:or)?d|asswd|pi[_-]?key|ccess[_-]?key|uth[_-]?key)"
    r"[A-Za-z0-9_]{0,24}[\"']?[ \t]{0,4}(?:=>|:=|=|:)[ \t]{0,4}[\"']?"
    r"(?P<value>[A-Za-z0-9+/_-]{16,128}={0,2})(?![A-Za-z0-9+/_.(-])"
)
_BEARER = re.compile(
    r"[Bb]earer[ \t]{1,4}(?P<value>[A-Za-z0-9+/._~-]{20,4000}={0,2})(?![A-Za-z0-9+/._~-])"
)
# The password of an address such as postgres://user:password@host.
_IN_ADDRESS = re.compile(
    r"://[^\s/:@?#<>\"']{0,64}:(?P<value>[^\s/:@?#<>\"'$({]{4,128})@(?=[\w\[])"
)
_PLACEHOLDER = re.compile(r"example|sample|placeholder|your|xxxx|changeme|1234567", re.IGNORECASE)
_NO_PASSWORD = re.compile(r"(?:pass(?:word|wd)?|pwd|secret|x+|\*+|%s|token)", re.IGNORECASE)
# Bits per character that random base64 of 16 characters and more has and names do not.
ENTROPY = 3.5
ENTROPY_HEX = 3.0
_HEX = re.compile(r"[0-9A-Fa-f-]+")


def replaced(text: str, kinds: Sequence[str]) -> tuple[str, dict[str, int]]:
    """``text`` with what is private of those ``kinds`` replaced, and how often, by kind."""
    finds = [(*find, kind) for kind in kinds for find in _FINDERS[kind](text)]
    if not finds:
        return text, {}
    parts: list[str] = []
    counts: Counter[str] = Counter()
    end = 0
    for start, stop, kind in sorted(finds):
        if start < end:
            continue  # inside the one before, such as an address in a key
        parts += [text[end:start], f"<{kind}>"]
        end = stop
        counts[kind] += 1
    parts.append(text[end:])
    return "".join(parts), dict(sorted(counts.items()))


def emails(text: str) -> Iterator[Find]:
    """Addresses ``local@domain``, also such as only RFC 6531 allows and with a local part in
    quotes; none of a domain kept for examples."""
    for found in _AT.finditer(text):
        at = found.start()
        before = text[max(0, at - LONGEST_LOCAL) : at]
        local = before[len(before.rstrip(_LOCAL)) :]
        end = at + 1
        after = text[end : end + LONGEST_DOMAIN]
        after = after[: len(after) - len(after.lstrip(_DOMAIN))]
        domain = _DOMAIN_NAME.match(after)
        # What is not ASCII beside it may belong to it.
        behind = end + (domain.end() if domain is not None else len(after))
        left = text[at - len(local) - 1] if at > len(local) else ""
        if not (left + text[behind : behind + 1]).isascii() or (left == '"' and not local):
            find = international_mail.around(text, at)
            if find is not None:
                nobodys = _NOBODYS.fullmatch(text[end : find[1]].lower())
                if nobodys is None and text[find[0] : at] != "git":
                    yield find
                continue
        local = local.lstrip("./=?&!#*{|}")
        if not local or domain is None or _NOBODYS.fullmatch(domain[0].lower()):
            continue
        if local == "git":  # git@host:path names a repository
            continue
        yield at - len(local), at + 1 + domain.end()


def addresses(text: str) -> Iterator[Find]:
    """Public IPv4 and IPv6 addresses, where four numbers are not a version or a section."""
    for found in _IPV4.finditer(text):
        numbers = found[0].split(".")
        if all(len(number) == 1 for number in numbers) or not _is_public(found[0]):
            continue
        if not _NUMBERED.search(text[max(0, found.start() - CONTEXT) : found.start()]):
            yield found.span()
    for found in chain(_IPV6.finditer(text), _MAPPED.finditer(text)):
        if _is_public(found[0]):
            yield found.span()


def keys(text: str) -> Iterator[Find]:
    """Private keys, tokens of known services, random values assigned to what sounds secret, and the
    passwords in addresses."""
    for found in chain(_TOKENS.finditer(text), _WEBHOOK.finditer(text)):
        yield found.span(found.lastindex or 0)
    position = 0
    while begin := _BEGIN.search(text, position):
        ending = begin[0].replace("BEGIN", "END")
        stop = text.find(ending, begin.end(), begin.end() + LONGEST_PEM)
        if stop < 0:  # cut off: what looks like its lines
            lines = _BASE64_LINES.match(text, begin.end())
            position = lines.end() if lines else begin.end()
        else:
            position = stop + len(ending)
        yield begin.start(), position
    for found in chain(_ASSIGNED.finditer(text), _BEARER.finditer(text)):
        if _is_random(found["value"]):
            yield found.span("value")
    for found in _IN_ADDRESS.finditer(text):
        if not _NO_PASSWORD.fullmatch(found["value"]) and not _PLACEHOLDER.search(found["value"]):
            yield found.span("value")


@lru_cache(maxsize=1 << 14)
def _is_public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    parsed = mapped or parsed
    return parsed.is_global and not parsed.is_multicast


def _is_random(value: str) -> bool:
    """Whether a value looks drawn by chance: letters and digits, no words for a placeholder."""
    if not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)):
        return False
    if _PLACEHOLDER.search(value):
        return False
    counts = Counter(value).values()
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
    return bits >= (ENTROPY_HEX if _HEX.fullmatch(value) else ENTROPY)


_FINDERS: dict[str, Callable[[str], Iterator[Find]]] = {
    "email": emails,
    "ip": addresses,
    "key": keys,
}
