"""Templates that are text: what a reader of the page sees where they stand.

Everything else a template may be (infobox, citation, navigation, notice, flag, pronunciation) is
removed. The names are those of the paper's 20 languages, in lower case and with blanks; each entry
says which of its arguments are the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from tasks.corpus.sources.wikitext_marks import APOSTROPHE, BREAK, NOTHING, PIPE

Arguments = Mapping[str, str]
Render = Callable[[Arguments], str]

_TEXT_NAMES = ("text", "texte", "texto", "tekst", "testo", "content", "quote", "zitat", "citat")
_UNITS = {
    "km2": "km²", "m2": "m²", "cm2": "cm²", "mm2": "mm²", "mi2": "sq mi", "sqmi": "sq mi",
    "sqkm": "km²", "sqft": "sq ft", "ft2": "sq ft", "sqm": "m²", "sqyd": "sq yd", "m3": "m³",
    "km3": "km³", "cm3": "cm³", "ft3": "cu ft", "cuft": "cu ft", "cumi": "cu mi", "C": "°C",
    "F": "°F", "C-change": "°C", "F-change": "°F", "R": "°R", "deg": "°", "kph": "km/h",
    "km/h": "km/h", "ha": "ha", "acre": "acres", "in": "in", "ft": "ft", "mi": "mi", "lb": "lb",
    "kg/m3": "kg/m³", "g/cm3": "g/cm³", "oilbbl": "barrels", "koilbbl": "thousand barrels",
    "Moilbbl": "million barrels", "Goilbbl": "billion barrels", "oilbbl/d": "barrels per day",
    "koilbbl/d": "thousand barrels per day", "Moilbbl/d": "million barrels per day",
    "LT": "long tons", "ST": "short tons", "nmi": "nmi",
}  # fmt: skip
_BETWEEN = {
    "-": "–", "–": "–", "—": "–", "to": " to ", "to(-)": " to ", "and": " and ", "or": " or ",
    "and(-)": " and ", "x": " × ", "by": " by ", "×": " × ", "+/-": " ± ", "±": " ± ",
    "+": " + ", "и": " и ",
}  # fmt: skip
_COMPOUND = frozenset((("ft", "in"), ("lb", "oz"), ("st", "lb"), ("mi", "ft"), ("mi", "yd")))
_POWERS = {"3": "thousand", "6": "million", "9": "billion"}
_MONTH_NAMES = (
    "January February March April May June July August September October November December"
)
_MONTHS = _MONTH_NAMES.split()
_NUMBER = re.compile(r"[-+\u2212]?[\d., ]+(?:[eE/][-+\d]+)?")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_FORMATTED = re.compile(r"(?:formatnum|lc|uc|lcfirst|ucfirst)\s*:(.*)", re.DOTALL | re.IGNORECASE)


def _first(arguments: Arguments) -> str:
    return arguments.get("1") or _named(arguments)


def _named(arguments: Arguments) -> str:
    return next((arguments[name] for name in _TEXT_NAMES if arguments.get(name)), "")


def _second(arguments: Arguments) -> str:
    return arguments.get("2") or _named(arguments)


def _second_or_first(arguments: Arguments) -> str:
    return arguments.get("2") or _first(arguments)


def _last(arguments: Arguments) -> str:
    """Of {{transl|language|scheme|text}} and its shorter forms."""
    return arguments.get("3") or arguments.get("2") or arguments.get("1", "")


def _given(arguments: Arguments, most: int) -> list[str]:
    """The arguments by number that are not empty."""
    return [value for n in range(1, most + 1) if (value := arguments.get(str(n), ""))]


def _all(arguments: Arguments) -> str:
    """Dates: the arguments with a space between."""
    return " ".join(_given(arguments, 7))


def _list(arguments: Arguments) -> str:
    return ", ".join(_given(arguments, 60))


def _block(arguments: Arguments) -> str:
    text = _first(arguments)
    return f"{BREAK}{text}{BREAK}" if text else NOTHING


def _quoted(arguments: Arguments) -> str:
    """Of the first argument only: a citation by the same name has none without a name."""
    text = arguments.get("1")
    return f'"{text}"' if text else NOTHING


def _between_dashes(arguments: Arguments) -> str:
    return f"– {_first(arguments)} –"


def _nihongo(arguments: Arguments) -> str:
    english, kanji, romaji = (arguments.get(n, "") for n in ("1", "2", "3"))
    if not english:
        english, romaji = romaji, ""
    inside = ", ".join(value for value in (kanji, romaji) if value)
    return f"{english} ({inside})" if english and inside else english or inside


def _convert(arguments: Arguments) -> str:
    """The quantity as the writer gave it; the converted one is not computed."""
    words: list[str] = []
    for number in range(1, 12):
        value = arguments.get(str(number), "")
        if not value:
            break
        if between := _BETWEEN.get(value):
            words.append(between)
        elif not words or _NUMBER.fullmatch(value):
            words.append(value)
        else:
            words.append(f" {_unit(value)}")
            # {{convert|6|ft|2|in|m}}: feet with their inches; a number alone is a precision.
            more, unit = (arguments.get(str(number + step), "") for step in (1, 2))
            if more and (value, unit) in _COMPOUND:
                words.append(f" {more} {unit}")
            break
    return "".join(words)


def _unit(code: str) -> str:
    """The unit's name; ``e6acre`` are million acres."""
    code = _UNITS.get(code, code)
    if code[0] == "e" and (word := _POWERS.get(code[1:2])):
        return f"{word} {_UNITS.get(code[2:], code[2:])}"
    return code


def _quantity(arguments: Arguments) -> str:
    """{{unité|3|km|2}}: number, unit, power."""
    number, unit, power = (arguments.get(n, "") for n in ("1", "2", "3"))
    if power and not power.isdigit():
        unit, power = f"{unit} {power}", ""
    return f"{number} {unit}{power.translate(_RAISED)}".strip()


def _fraction(arguments: Arguments) -> str:
    parts = _given(arguments, 3)
    if len(parts) == 1:
        return f"1/{parts[0]}"
    return f"{parts[0]} {parts[1]}/{parts[2]}" if len(parts) == 3 else "/".join(parts)


def _value(arguments: Arguments) -> str:
    """{{val|6.2|e=18|u=km}}."""
    power = arguments.get("e")
    unit = arguments.get("u") or arguments.get("ul")
    text = arguments.get("1", "") + (f" × 10^{power}" if power else "")
    return f"{text} {unit}" if unit else text


def _power(arguments: Arguments) -> str:
    """{{e|18}} is a power of ten, {{e}} the French ending of ordinals."""
    power = arguments.get("1")
    return f" × 10^{power}" if power else "e"


def _before(word: str) -> Render:
    """``word`` before the text; nothing when there is none."""

    def render(arguments: Arguments) -> str:
        text = _first(arguments)
        return f"{word} {text}" if text else NOTHING

    return render


def _amount(sign: str) -> Render:
    """{{USD|5 million}}: ``sign`` before the amount, alone when there is none."""
    return lambda arguments: sign + arguments.get("1", "")


def _century(arguments: Arguments) -> str:
    return f"{arguments.get('1', '')}{arguments.get('2', '')} siècle"


def _as_of(arguments: Arguments) -> str:
    word = "since" if arguments.get("since") else "as of"
    word = word if arguments.get("lc") else word.capitalize()
    year, month, day = (arguments.get(n, "") for n in ("1", "2", "3"))
    if month.isascii() and month.isdigit() and 1 <= int(month[:3]) <= 12:
        month = _MONTHS[int(month[:3]) - 1]
    date = " ".join(value for value in (day, month, year) if value)
    return arguments.get("alt") or f"{word} {date}"


def _ship(arguments: Arguments) -> str:
    return " ".join(_given(arguments, 2))


def _ship_class(arguments: Arguments) -> str:
    name, *kind = _given(arguments, 2) or [""]
    return " ".join([f"{name}-class", *kind])


def _formula(arguments: Arguments) -> str:
    """Chemical formulas: the pieces without a space, numbers lowered."""
    return "".join(value.translate(_LOWERED) for value in _given(arguments, 30))


def _constant(text: str) -> Render:
    return lambda _: text


_NAMES: dict[Render, str] = {
    _first: "nowrap,nobr,nobreak,no wrap,nobold,noitalic,j,small,smaller,big,bigger,larger,large,"
    "center,underline,strong,em,sic,not a typo,abbr,abréviation,abbrlink,tooltip,comment,hint,kbd,"
    "key,keypress,mono,code,tt,var,mvar,math,mathbf,bigmath,sc,sc2,smallcaps,small caps,pc,angbr,"
    "petites capitales,linktext,vr,ill,interlanguage link,illm,ilc,link-interwiki,ill-wd2,flag,"
    "flagu,flagcountry,pays,число,num,num2,szám,fmtn,ta,nts,border,chiarire,senza fonte,fakt,"
    "nihongo2,nihongo foot,visible anchor,vanchor,anchor text,font,unicode,polytonic,"
    "citation needed span",
    _block: "quote,blockquote,cquote,quotation,quote box,bquote,zitat,citat,citation bloc,citação,"
    "cita destacada,citát,citaat,cytat,цитата,цитат,idézet,citate,citatblok,navod,poemquote",
    _second: "lang,langue,lang2,langx,cizojazyčně,cj,jezik,яз,мова,script,color,colour,"
    "colored text,rtl-lang",
    _second_or_first: "нп,нп1,нп2,нп3,нп4,нп5,не переведено,не переведено 2,не переведено 3,"
    "не переведено 4,не переведено 5,не перекладено,iw,iw2,lien,enlink,resize",
    _last: "transl,transliteration,translit",
    _all: "date,date-,dates,дата,start date,dts",
    _quantity: "unité,unidad,unità,nombre,tmp",
    _list: "hlist,cslist",
    _quoted: '",“,„,citation,citation étrangère',
    _between_dashes: "incise",
    _nihongo: "nihongo,nihongo krt",
    _convert: "convert,cvt,conversie,converter,convertir,преобразовать,перетворити",
    _fraction: "frac,fraction,sfrac,дробь",
    _value: "val",
    _power: "e",
    _before("c."): "circa,c.,ca.",
    _before("fl."): "floruit,fl.",
    _before("HMS"): "hms",
    _before("USS"): "uss",
    _before("segle"): "segle",
    _before("século"): "séc",
    _before("siglo"): "siglo",
    _amount("US$"): "usd,us$",
    _amount("£"): "gbp,£",
    _amount("€"): "eur,€",
    _amount("¥"): "jpy,¥",
    _amount("₹"): "inr,indian rupee",
    _century: "s-,siècle",
    _ship: "ship",
    _ship_class: "sclass,sclass-,sclass2",
    _as_of: "as of",
    _formula: "chem,formule chimique,fchim",
    _constant("CO₂"): "co2",
    _constant("–"): "ndash,en dash,–",
    _constant(" – "): "spaced ndash,snd,spnd,sndash,spaced en dash,dash",
    _constant("—"): "mdash,em dash,—",
    _constant(" — "): "spaced mdash,spaced em dash",
    _constant(" "): "nbsp,nnbsp,space,spaces,thinsp,thin space,hair space,esd",
    _constant(" · "): "·,middot,dot,bullet,bull,•",
    _constant(APOSTROPHE): "',apostrophe",
    _constant(f"{APOSTROPHE}s"): "'s",
    _constant("="): "=,equals",
    _constant("{"): "(",
    _constant("}"): ")",
    _constant(PIPE): "!",
    _constant("1er"): "1er",
    _constant("Ier"): "ier",
}
_RENDERERS = {name: render for render, names in _NAMES.items() for name in names.split(",")}


@lru_cache(maxsize=4096)
def renderer(name: str) -> Render | None:
    """What renders the template of this name (as written, blanks and case included).

    None: it is no text. Parser functions carry their first argument in the name.
    """
    plain = name.replace("_", " ").replace(NOTHING, "").strip().lower()
    found = _RENDERERS.get(plain)
    if found is not None:
        return found
    if plain.startswith(("lang-", "јез-", "мова-")) and len(plain) < 20:
        return _first
    formatted = _FORMATTED.fullmatch(name.strip())
    return _constant(formatted[1].strip()) if formatted else None
