"""What kind of page a wikitext is: a list of meanings, a redirect, one with broken markup."""

from __future__ import annotations

import re

from tasks.corpus.sources.wikitext_marks import without_controls
from tasks.corpus.sources.wikitext_tags import without_tags

# Templates of the paper's 20 languages that make a page a list of meanings, one language a line:
# en, bg, ca, cs, da, de, es, fr, hr, hu, it, nl, pl, pt, ro, ru, sl, sr, sv, uk. Notices above
# articles that point to such a list are none.
_TEMPLATES = (
    r"disambig(?!(?:r|uo)\s*+[|}])\w*(?:-\w+)?|disamb|disambiguation cleanup|dab|hndis"
    r"|geodis|numberdis|mil-unit-dis|roaddis|schooldis"
    r"|letter-number combination disambig\w*|(?:human name|place name|species latin name"
    r"(?: abbreviation)?|hospital|school|station|road|biology|call ?sign|mathematical|music|genus"
    r"|airport|letter|chinese title|taxonomy|caselaw|military unit) disambig\w*"
    r"|пояснение|пояснителна страница"
    r"|desambiguació|desambigua"
    r"|rozcestník(?: [-–] \w[\w ]{0,40})?"
    r"|flertydig"
    r"|begriffsklärung"
    r"|desambiguación|desambig"
    r"|homonymie\w*|patronymes?|toponymie"
    r"|homonymie (?:de|d'|dans)[^|{}\n]{0,40}"
    r"|razdvojba"
    r"|egyért|egyértelműsítő(?: lap)?|geoegyért"
    r"|disambigua"
    r"|dp|dpintro|doorverwijspagina|dp afkorting|dp achternaam"
    r"|ujednoznacznienie|strona ujednoznaczniająca"
    r"|desambiguação|desambig-\w+"
    r"|dezambiguizare|dezambig"
    r"|неоднозначность|многозначность|список однофамильцев"
    r"|razločitev|razločitvena stran"
    r"|вишезначна одредница|višeznačna odrednica"
    r"|förgrening|gren|grensida|namnförgrening|ortnamnsförgrening|trebokstavsförgrening"
    r"|неоднозначність|багатозначність|багатозначне ім'я|однофамільці|disambigg"
)
_LIST_OF_MEANINGS = re.compile(
    rf"\{{\{{\s*+(?:{_TEMPLATES})\s*+(?:[|}}])|__DISAMBIG__", re.IGNORECASE
)
_TITLE = re.compile(
    r" \((?:disambiguation|пояснение|desambiguació|rozcestník|flertydig|begriffsklärung"
    r"|desambiguación|homonymie|razdvojba|višeznačnost|egyértelműsítő lap|disambigua"
    r"|doorverwijspagina|ujednoznacznienie|desambiguação|dezambiguizare|значения|razločitev"
    r"|вишезначна одредница|višeznačna odrednica|olika betydelser|значення)\)$",
    re.IGNORECASE,
)
_REDIRECT = re.compile(
    r"(?:\s|<!--(?:(?!-->).)*+-->)*+#(?:redirect|виж|пренасочване|redirecció|přesměruj|redirección|redirection|weiterleitung"
    r"|omdirigering|preusmjeri|átirányítás|rinvia|rimando|rinvio|doorverwijzing|patrz|przekieruj"
    r"|tam|redirecionamento|redirectează|redirecteaza|перенаправление|перенапр|преусмери"
    r"|preusmeritev|preusmeri|перенаправлення)\s*+:?\s*+\[\[",
    re.IGNORECASE | re.DOTALL,
)
_DELIMITER = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|\[(?:https?:|//)|\]")
_CLOSES = {"{{": "}}", "[[": "]]", "{|": "|}", "[": "]"}


def is_disambiguation(title: str, wikitext: str) -> bool:
    """Whether a page only lists meanings of its title: by its title, template or switch.

    A template or switch in a comment, or where nothing is markup, is none.
    """
    if _TITLE.search(title):
        return True
    if not _LIST_OF_MEANINGS.search(wikitext):
        return False
    return "<" not in wikitext or bool(
        _LIST_OF_MEANINGS.search(without_tags(without_controls(wikitext), []))
    )


def is_redirect(wikitext: str) -> bool:
    """Whether a page's text sends its reader elsewhere, in one of the paper's languages.

    Comments may stand before it.
    """
    return _REDIRECT.match(wikitext) is not None


def unclosed_markup(wikitext: str) -> int:
    """How many templates, links, tables and bracketed addresses are opened and never closed.

    Hundreds of them are no article: nobody could read the page where it came from.
    """
    depth = dict.fromkeys(_CLOSES.values(), 0)
    for match in _DELIMITER.finditer(wikitext):
        token = match.group()
        if token in depth:
            depth[token] = max(0, depth[token] - 1)
        else:
            depth[_CLOSES["[" if token.startswith("[") and token != "[[" else token]] += 1
    return sum(depth.values())
