"""Which crawl pages Wikipedia cites: addresses made comparable, matched by hash, examples drawn."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.documents import read_chosen, read_documents
from tasks.corpus.quality.sampling import document_hash, hold_lowest

# Citations of pages that are gone name a copy in an archive: the page itself is meant.
_ARCHIVED = re.compile(
    r"(?:https?:)?//(?:web\.archive\.org/web|archive\.(?:today|is|ph|md|li|vn|fo))/[0-9a-z_*]+/"
    r"(?=https?:)",
    re.IGNORECASE,
)
_DEFAULT_PORT = re.compile(r":(?:80|443)?$")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_ASCII = "".join(map(chr, range(128)))
_LONGEST_HOST = 260


def comparable(url: str) -> str:
    """An address without what does not tell pages apart; "" for what is no web address.

    Scheme, ``www.``, user, default port, fragment and the slash at the end go, the host is lower
    case, a copy in a web archive is the page itself. Path and query stay as they are, but for what
    articles spell out and crawls do not: letters beyond ASCII are written as in a request.
    """
    url = url.strip()
    if archived := _ARCHIVED.match(url):
        url = url[archived.end() :]
    if url.startswith("//"):
        url = f"http:{url}"
    try:
        parts = urlsplit(url)
    except ValueError:  # an unfinished [ of an IPv6 address
        return ""
    if parts.scheme.lower() not in ("http", "https"):
        return ""
    host = _DEFAULT_PORT.sub("", parts.netloc.rpartition("@")[2].lower())
    host = host.rstrip(".").removeprefix("www.")
    if not host:
        return ""
    path = _requested(parts.path.rstrip("/"))
    return _ascii_host(host) + path + (f"?{_requested(parts.query)}" if parts.query else "")


def _ascii_host(host: str) -> str:
    """A host as it is looked up; as it is where it has no such form."""
    if host.isascii() or len(host) > _LONGEST_HOST:
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:  # a label that is too long, or holds what no host can
        return host


def _requested(part: str) -> str:
    """A path or query as in a request: percent signs for what is not ASCII, in upper case."""
    if not part.isascii():
        part = quote(part, safe=_ASCII, errors="surrogatepass")
    return _ESCAPE.sub(lambda found: found[0].upper(), part) if "%" in part else part


def host_of(comparable_url: str) -> str:
    """Host of what `comparable` gives, with a port that is not the default one."""
    return re.split(r"[/?]", comparable_url, maxsplit=1)[0]


@dataclass(frozen=True)
class References:
    """Hashes of all cited addresses and of their hosts, sorted: 8 bytes each."""

    url_R: NDArray[np.uint64]
    host_H: NDArray[np.uint64]
    cited: int  # citations read, repeated ones too

    def cites(self, url: str) -> tuple[bool, bool]:
        """Whether an address, and whether its host, is cited."""
        if not (key := comparable(url)):
            return False, False
        return _holds(self.url_R, key), _holds(self.host_H, host_of(key))


def harvest(files: Sequence[Path]) -> References:
    """The references of Wikipedia documents: ``references`` in the meta of each, a list of URLs.

    Raises:
        ValueError: a document's references are no list of strings; names the document.
    """
    urls, hosts = array("Q"), array("Q")
    cited = 0
    for path in files:
        for row in read_documents(path, ["id", "meta"]):
            found = json.loads(row["meta"]).get("references", [])
            if not isinstance(found, list) or not all(isinstance(url, str) for url in found):
                raise ValueError(
                    f"document {row['id']} of {path}: `references` of its meta is no list of"
                    " addresses; prepare Wikipedia again"
                )
            cited += len(found)
            for url in found:
                if key := comparable(url):
                    urls.append(_hash(key))
                    hosts.append(_hash(host_of(key)))
        # Repeats go file by file, so that memory is the distinct addresses' and one file's.
        urls, hosts = _distinct(urls), _distinct(hosts)
    return References(np.frombuffer(urls, np.uint64), np.frombuffer(hosts, np.uint64), cited)


@dataclass(frozen=True)
class Example:
    """One page of the classifier's training set. site: hash of its host."""

    id: str
    cited: bool
    hashed: int
    site: int


@dataclass
class Pool:
    """Pages of one artifact: what was counted, and the lowest hashes of each class."""

    pages: int = 0
    url_matches: int = 0
    host_matches: int = 0
    cited: list[tuple[int, str, int]] = field(default_factory=list)
    other: list[tuple[int, str, int]] = field(default_factory=list)


def survey_pool(
    files: Sequence[Path], references: References, *, match: str, most: int, seed: int
) -> Pool:
    """The candidates of one artifact: at most ``most`` pages per class, by the hash of their id.

    Args:
        match: ``url`` or ``host``: what must be cited. With ``url`` a page whose host alone is
            cited is an other page, with ``host`` it is a cited one.
    """
    pool = Pool()
    for path in files:
        for row in read_documents(path, ["id", "uri"]):
            pool.pages += 1
            by_url, by_host = references.cites(row["uri"])
            pool.url_matches += by_url
            pool.host_matches += by_host
            cited = by_url if match == "url" else by_host
            hashed = document_hash(seed, row["id"])
            entry = (-hashed, row["id"], _hash(host_of(comparable(row["uri"]))))
            hold_lowest(pool.cited if cited else pool.other, entry, most)
    return pool


def draw_examples(pools: Mapping[str, Pool], most: int) -> list[Example]:
    """As many other pages as cited ones, of each pool: else the pools would be told apart.

    At most ``most`` per class over all pools; the order is that of the hashes.
    """
    cited: list[Example] = []
    other: list[Example] = []
    for pool in pools.values():
        pairs = min(len(pool.cited), len(pool.other))
        cited += _lowest(pool.cited, pairs, cited=True)
        other += _lowest(pool.other, pairs, cited=False)

    def order(example: Example) -> tuple[int, str]:
        return example.hashed, example.id

    return sorted(sorted(cited, key=order)[:most] + sorted(other, key=order)[:most], key=order)


def hold_out(examples: Sequence[Example], share: float, seed: int) -> NDArray[np.bool_]:
    """Which examples are held out: whole sites, in the order of their hashes, until each class has
    ``share`` of its pages out.

    A site that alone has more of a class stays in training: the classifier learns from it.
    """
    wanted = {
        cited: share * sum(example.cited is cited for example in examples)
        for cited in (True, False)
    }
    sites: dict[int, dict[bool, int]] = {}
    for example in examples:
        sites.setdefault(example.site, {True: 0, False: 0})[example.cited] += 1
    held: set[int] = set()
    out = {True: 0, False: 0}
    for site in sorted(sites, key=lambda site: document_hash(seed, str(site))):
        pages = sites[site]
        if any(pages[cited] > max(1.0, wanted[cited]) for cited in out):
            continue
        if any(pages[cited] and out[cited] < wanted[cited] for cited in out):
            held.add(site)
            for cited in out:
                out[cited] += pages[cited]
    return np.array([example.site in held for example in examples], dtype=np.bool_)


def texts_of(files: Iterable[Path], wanted: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """(number, text) of the documents whose id ``wanted`` maps to a number, in file order."""
    for path in files:
        for row in read_chosen(path, ["id", "text"], ["id"], lambda row: row["id"] in wanted):
            yield wanted[row["id"]], row["text"]


def _lowest(heap: list[tuple[int, str, int]], number: int, *, cited: bool) -> list[Example]:
    entries = sorted((-negated, identity, site) for negated, identity, site in heap)[:number]
    return [Example(identity, cited, hashed, site) for hashed, identity, site in entries]


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _distinct(hashes: array[int]) -> array[int]:
    return array("Q", np.unique(np.frombuffer(hashes, np.uint64)).tobytes())


def _holds(sorted_N: NDArray[np.uint64], key: str) -> bool:
    value = np.uint64(_hash(key))
    index = int(np.searchsorted(sorted_N, value))
    return index < len(sorted_N) and bool(sorted_N[index] == value)
