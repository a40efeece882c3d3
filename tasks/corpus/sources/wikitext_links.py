"""Links of wikitext, inner and outer, and language variants: what stays is their label."""

from __future__ import annotations

import re

from tasks.corpus.sources.wikitext_marks import NOTHING
from tasks.corpus.sources.wikitext_quotes import as_literal, without_quotes

# Namespace names of files and categories in the paper's 20 languages.
_NAMESPACES = (
    "file image media файл картинка fitxer imatge soubor obrázek fil billede datei bild archivo "
    "imagen fichier datoteka slika fájl kép immagine bestand afbeelding plik grafika ficheiro "
    "imagem fișier imagine изображение датотека слика зображення médium médias медиа медия "
    "category категория categoria kategorie kategori categoría catégorie kategorija kategória "
    "kategoria categorie категорија категорія "
    # Of other large Wikipedias, which a user may ask for.
    "ملف صورة تصنيف پرونده رده dosya kategorisi tiedosto luokka 파일 그림 분류 ファイル 画像 "
    "カテゴリ 文件 档案 檔案 图像 圖像 分类 分類 קובץ תמונה קטגוריה berkas gambar "
    "αρχείο κατηγορία fitxategi चित्र श्रेणी"
)
_DROPPED = frozenset(_NAMESPACES.split())
# Codes of Wikipedia's languages: a link that begins with one is no text.
_LANGUAGE_CODES = (
    "aa ab ace ady af ak als alt am ami an ang anp ar arc ary arz as ast atj av avk awa ay az azb "
    "ba ban bar bcl be bg bh bi bjn blk bm bn bo bpy br bs bug bxr ca cbk cdo ce ceb ch cho chr "
    "chy ckb co cr crh cs csb cu cv cy da dag de din diq dsb dty dv dz ee el eml en eo es et eu "
    "ext fa fat ff fi fj fo fr frp frr fur fy ga gag gan gcr gd gl glk gn gom gor got gpe gu guc "
    "gur guw gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia id ie ig ii ik ilo inh io is it "
    "iu ja jam jbo jv ka kaa kab kbd kbp kcg kg ki kj kk kl km kn ko koi kr krc ks ksh ku kv kw "
    "ky la lad lb lbe lez lfn lg li lij lld lmo ln lo lrc lt ltg lv mad mai mdf mg mh mhr mi min "
    "mk ml mn mnw mo mr mrj ms mt mus mwl my myv mzn na nah nap nb nds ne new ng nia nl nn no nov "
    "nqo nrm nso nv ny oc olo om or os pa pag pam pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt "
    "pwn qu rm rmy rn ro roa ru rue rup rw sa sah sat sc scn sco sd se sg sgs sh shi shn si "
    "simple sk skr sl sm smn sn so sq sr srn ss st stq su sv sw szl szy ta tay tcy te tet tg th "
    "ti tk tl tly tn to tpi tr trv ts tt tum tw ty tyv udm ug uk ur uz ve vec vep vi vls vo vro "
    "wa war wo wuu xal xh xmf yi yo yue za zea zgh zh zu cz dk jp nan be-tarask be-x-old map-bms "
    "zh-classical zh-min-nan zh-yue bat-smg fiu-vro cbk-zam nds-nl roa-rup roa-tara zh-cfr"
)
_LANGUAGES = frozenset(_LANGUAGE_CODES.split())
_LINK = re.compile(r"\[\[(?!\[)(?:([^\[\]|\n]*+)(?:\|([^\[\]]*+))?(\]\]))?|\]\]+")
# Addresses in brackets; their label may hold brackets one deep. Possessive: each character is read
# a bounded number of times.
_OUTER = re.compile(
    r"\[(?:(?:https?:|ftps?:|news:|mailto:|ircs?:|git:|gopher:|tel:|urn:|magnet:|bitcoin:"
    rf"|(?=//))[^\s\[\]<>\"]*+|{NOTHING}++(?=[ \t]))[ \t\u00a0\u3000]*+"
    r"((?:[^\[\]\n]++|\[[^\[\]\n]*+\])*+)\]",
    re.IGNORECASE,
)
_VARIANT = re.compile(r"-\{([^{}]*+)\}-")
_VARIANT_FLAGS = re.compile(r"([A-Za-z;\s-]{0,20}+)\|(?!\|)")
_VARIANT_PIECE = re.compile(r"\s*(?:sr-e[cl]|sr-cyrl|sr-latn|sh-cyrl|sh-latn|zh-[a-z]+)\s*:\s*")
_COUNTED_PIECES = 64


def without_variants(text: str) -> str:
    """``text`` with the first variant in place of each ``-{...}-`` (Serbian Cyrillic before Latin).

    Rules that show nothing where they stand (flags T, H and -) are removed.
    """
    for _ in range(3):  # they nest; deeper than any page needs stay
        if "-{" not in text:
            break
        text = _VARIANT.sub(_first_variant, text)
    return text


def _first_variant(variant: re.Match[str]) -> str:
    content = variant[1]
    flags = _VARIANT_FLAGS.match(content)
    if flags and "[[" not in flags[0]:
        if set(flags[1].upper()) & set("TH-") and "SR" not in flags[1].upper():
            return NOTHING
        content = content[flags.end() :]
    named = _VARIANT_PIECE.match(content)
    return content[named.end() :].partition(";")[0] if named else content


def without_links(text: str) -> str:
    """``text`` with the label in place of each link.

    Files, categories and language links are removed with their captions, whatever these hold. A
    link without a label shows its title without the section. An address in brackets shows its
    label; a bare one stays. What is opened and never closed loses only its brackets.
    """
    if "[" not in text and "]]" not in text:
        return text
    parts: list[str] = []
    open_links: list[int] = []  # places in ``parts`` where they begin
    position = 0
    for token in _LINK.finditer(text):
        start, end = token.span()
        parts.append(text[position:start])
        position = end
        title, label, closed = token.groups()
        if closed is not None:
            parts.append(_link(title, label))
        elif text[start] == "[":
            open_links.append(len(parts))
        else:
            _close(parts, open_links, end - start)
    parts.append(text[position:])
    text = "".join(parts).replace("[[", "").replace("]]", "")
    return _OUTER.sub(_outer_label, text) if "[" in text else text


def _close(parts: list[str], open_links: list[int], count: int) -> None:
    """Closing brackets: two end a link, an odd one may belong to its text."""
    while count >= 2:
        if not open_links:
            return
        begin = open_links.pop()
        if count % 2 and len(parts) - begin <= _COUNTED_PIECES:
            inside = parts[begin:]
            if sum(piece.count("[") - piece.count("]") for piece in inside) > 0:
                parts.append("]")
                count -= 1
        first = parts[begin]
        bar = first.find("|")
        if _is_dropped(first if bar < 0 else first[:bar]):
            del parts[begin:]
            parts.append(NOTHING)
        elif bar >= 0:
            parts[begin] = first[bar + 1 :]
        count -= 2
    if count:
        parts.append("]")


def _is_dropped(title: str) -> bool:
    prefix, colon, _ = title.partition(":")
    if not colon:
        return False
    space = prefix.strip(f" \t_\n{NOTHING}").lower()
    return space in _DROPPED or space in _LANGUAGES


def _link(title: str, label: str | None) -> str:
    if ":" in title and _is_dropped(title):
        return NOTHING
    if label:
        if "'" not in label:
            return label
        return as_literal(without_quotes(label))  # a label is read for itself
    shown = title.strip().lstrip(":")
    if shown.startswith(("http://", "https://")):  # an outer link in one pair of brackets too many
        return shown.partition(" ")[2] or NOTHING
    return as_literal((shown.partition("#")[0] or shown.lstrip("#")).replace("_", " "))


def _outer_label(link: re.Match[str]) -> str:
    return link[1] or NOTHING
