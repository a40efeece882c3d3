"""Wikitext to plain text: one walk over the nodes of mwparserfromhell."""

from __future__ import annotations

import re
from typing import Any

# Namespace names of files and categories in the paper's 20 languages and in English.
_FILES = (
    "file image media файл картинка fitxer imatge soubor obrázek fil billede datei bild archivo"
    " imagen fichier datoteka slika fájl kép immagine bestand afbeelding plik grafika ficheiro"
    " imagem fișier imagine изображение датотека слика зображення медија médias медиа"
)
_CATEGORIES = (
    "category категория categoria kategorie kategori categoría catégorie kategorija kategória"
    " kategoria categorie категорија категорія"
)
_DROPPED_LINKS = frozenset((_FILES + " " + _CATEGORIES).split())
_INTERLANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z-]+)?|simple")
_TAG_NAMES = (
    "ref references table gallery timeline imagemap score hiero graph mapframe maplink inputbox"
    " templatedata templatestyles section categorytree style script indicator"
)
_DROPPED_TAGS = frozenset(_TAG_NAMES.split())
_BLOCKS = frozenset(("p", "div", "blockquote", "center", "pre", "syntaxhighlight", "poem"))
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:disambig\w*|dab|hndis|geodis|mil-unit-dis|letter-number combination disambig\w*"
    r"|begriffsklärung|homonymie|patronyme|desambiguaci\w+|desambiguação|disambigua|dp|пояснение"
    r"|неоднозначность|многозначность|rozcestník|flertydig|razdvojba|egyért\w*|ujednoznacznienie"
    r"|dezambiguizare|razločitev|вишезначна одредница|förgrening|gren|багатозначність)"
    r"\s*(?:[|}\n])",
    re.IGNORECASE,
)
_MAGIC = re.compile(r"__[A-ZÀ-ÖØ-Þ]{3,}__")
# Possessive and behind no blank: runs of blanks and of brackets take linear time.
_EMPTY_BRACKETS = re.compile(r"(?:(?<![ \t])[ \t]++)?\([\s,;:.–-]*+\)")
_BRACKET_START = re.compile(r"\([ \t]*+(?:[,;:][ \t]*+)++")
_SPACES = re.compile(r"[ \t\u00a0]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_TABLE_REST = re.compile(r"^[ \t]*(?:\{\||\|\}|\|-|\||!(?=.*(?:!!|\|))|\}\}|\{\{).*$", re.MULTILINE)
_BEFORE_POINT = re.compile(r"(?<![ \t])[ \t]++([,.;:])(?=\s|$)")
_DELIMITER = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|\[(?:https?:|//)|\]")
_CLOSES = {"{{": "}}", "[[": "]]", "{|": "|}", "[": "]"}
_QUOTES = re.compile("''+")
_LITERAL_TAGS = frozenset(("nowiki", "pre", "syntaxhighlight", "source", "math", "chem", "ce"))
# Marks of this module; XML holds no control characters.
_HEADING = "\x02"
_APOSTROPHE = "\x03"  # one that is text whatever stands beside it
_NOTHING = "\x04"  # something removed: the apostrophes around it do not join
_BREAK = "\x05"  # a new line of text, not of wikitext
_PLAIN = str.maketrans({_APOSTROPHE: "'", _NOTHING: None, _BREAK: "\n"})


def is_disambiguation(title: str, wikitext: str) -> bool:
    """Whether a page only lists meanings of its title."""
    return title.endswith("(disambiguation)") or bool(_DISAMBIGUATION.search(wikitext))


def unclosed_markup(wikitext: str) -> int:
    """How many templates, links, tables and bracketed addresses are opened and never closed.

    The parser tries each of them against the rest of the page, so its time grows with the square
    of this number: thousands take minutes.
    """
    depth = dict.fromkeys(_CLOSES.values(), 0)
    for match in _DELIMITER.finditer(wikitext):
        token = match.group()
        if token in depth:
            depth[token] = max(0, depth[token] - 1)
        else:
            depth[_CLOSES["[" if token.startswith("[") and token != "[[" else token]] += 1
    return sum(depth.values())


def plain_text(wikitext: str) -> str:
    """Readable text of ``wikitext``: paragraphs, headings, list items.

    Templates, tables, references, files, categories, comments and language links are removed;
    links keep their label. A heading without text below it is removed.
    """
    import mwparserfromhell

    parts: list[str] = []
    # skip_style_tags: apostrophes are read below, as MediaWiki does, unbalanced ones too.
    _render(mwparserfromhell.parse(wikitext, skip_style_tags=True).nodes, parts)
    text = without_quotes("".join(parts)).translate(_PLAIN)
    text = _TABLE_REST.sub("", _MAGIC.sub("", text))
    text = text.replace("[[", "").replace("]]", "")
    text = _EMPTY_BRACKETS.sub("", _BRACKET_START.sub("(", text))
    text = _BEFORE_POINT.sub(r"\1", _SPACES.sub(" ", text))
    return _without_empty_sections(text)


def without_quotes(text: str) -> str:
    """``text`` without the apostrophes that mean italic and bold; line by line, as MediaWiki.

    Two are italic, three bold, five both. Of four the first is an apostrophe, of more than five
    those before the last five. Where a line leaves both italic and bold open, one bold was an
    apostrophe and italic.
    """
    if "''" not in text:
        return text
    return "\n".join(map(_line_without_quotes, text.split("\n")))


def _line_without_quotes(line: str) -> str:
    texts = _QUOTES.split(line)
    if len(texts) == 1:
        return line
    sizes = [len(run) for run in _QUOTES.findall(line)]
    for index, size in enumerate(sizes):
        if size == 4 or size > 5:
            sizes[index] = 3 if size == 4 else 5
            texts[index] += "'" * (size - sizes[index])
    italics = sum(size in (2, 5) for size in sizes)
    bolds = sum(size in (3, 5) for size in sizes)
    if italics % 2 and bolds % 2:
        apostrophe = _bold_that_is_an_apostrophe(texts, sizes)
        if apostrophe is not None:
            texts[apostrophe] += "'"
    return "".join(texts)


def _bold_that_is_an_apostrophe(texts: list[str], sizes: list[int]) -> int | None:
    """MediaWiki's choice: after a word of one letter, else after a longer one, else any first."""
    longer = after_space = None
    for index, size in enumerate(sizes):
        if size != 3:
            continue
        before = texts[index][-2:]
        if before.endswith(" "):
            after_space = index if after_space is None else after_space
        elif before[:-1] == " ":
            return index
        elif longer is None:
            longer = index
    return after_space if longer is None else longer


def _without_empty_sections(text: str) -> str:
    lines = [line.strip() for line in text.split("\n")]
    kept: list[str] = []
    for line in lines:
        if line in ("*", "#", ":", ";"):
            continue
        if line.startswith(_HEADING):
            while kept and (not kept[-1] or kept[-1].startswith(_HEADING)):
                # Deeper headings stand below their parent; equal or higher ones end a section.
                if kept[-1] and _depth(kept[-1]) < _depth(line):
                    break
                kept.pop()
            kept.append("")
        kept.append(line)
    while kept and (not kept[-1] or kept[-1].startswith(_HEADING)):
        kept.pop()
    joined = "\n".join(line.lstrip(_HEADING).lstrip() for line in kept)
    return _BLANK_LINES.sub("\n\n", joined).strip()


def _depth(heading: str) -> int:
    return len(heading) - len(heading.lstrip(_HEADING))


def _render(nodes: Any, parts: list[str]) -> None:
    """Append the visible text of ``nodes``."""
    from mwparserfromhell import nodes as kinds

    for node in nodes:
        if isinstance(node, kinds.Text):
            parts.append(str(node.value))
        elif isinstance(node, kinds.Comment):
            continue  # gone before MediaWiki reads apostrophes
        elif isinstance(node, kinds.Wikilink):
            _render_link(node, parts)
        elif isinstance(node, kinds.Tag):
            _render_tag(node, parts)
        elif isinstance(node, kinds.ExternalLink):
            if node.title is not None:
                _render(node.title.nodes, parts)
            elif not node.brackets:
                parts.append(str(node.url))
        elif isinstance(node, kinds.Heading):
            parts.append("\n\n" + _HEADING * node.level)
            _render(node.title.nodes, parts)
        elif isinstance(node, kinds.HTMLEntity):
            character = node.normalize()
            character = " " if character in ("\xa0", "\u2009", "\u202f") else character
            parts.append(_literal(character))
        else:
            parts.append(_NOTHING)  # templates and their arguments


def _literal(text: str) -> str:
    return text.replace("'", _APOSTROPHE)


def _render_link(link: Any, parts: list[str]) -> None:
    title = str(link.title).strip()
    prefix, colon, _ = title.partition(":")
    space = prefix.strip().lower()
    if colon and (space in _DROPPED_LINKS or _INTERLANGUAGE.fullmatch(space)):
        parts.append(_NOTHING)
    elif link.text is not None:
        label: list[str] = []
        _render(link.text.nodes, label)
        parts.append(_literal(without_quotes("".join(label))))  # a label is read for itself
    else:
        parts.append(_literal(title.lstrip(":").partition("#")[0] or title))


def _render_tag(tag: Any, parts: list[str]) -> None:
    name = str(tag.tag).strip().lower()
    if name in _DROPPED_TAGS:
        parts.append(_NOTHING)
    elif name in ("br", "hr"):
        parts.append(_BREAK)
    elif name == "li" and tag.wiki_markup:
        parts.append(f"{tag.wiki_markup} ")
    elif tag.contents is None or tag.self_closing:
        parts.append(_NOTHING)
    else:
        block = name in _BLOCKS or name == "li"
        parts.append(_BREAK if block else "")
        if name in _LITERAL_TAGS:
            content: list[str] = []
            _render(tag.contents.nodes, content)
            parts.append(_literal("".join(content)))
        else:
            _render(tag.contents.nodes, parts)
        parts.append(_BREAK if block else "")
