"""Wikitext to plain text: what each kind of markup leaves."""

from __future__ import annotations

import pytest

from tasks.corpus.sources.wikitext import plain_text


def check(cases: list[tuple[str, str]]) -> None:
    for source, clean in cases:
        assert plain_text(source) == clean, source


def test_links_leave_their_label() -> None:
    check(
        [
            ("a [[river]]s b", "a rivers b"),
            (
                "[[Rhine (river)|the Rhine]] [[Main#Course]] [[#Delta|below]]",
                "the Rhine Main below",
            ),
            ("[[a|b [c] d]] e", "b [c] d e"),  # brackets inside a label
            ("[[a|[b]]] c", "[b] c"),
            ("[[a|b [[c|d]] e]] f", "b d e f"),
            ("[[a_b]] [[:Category:Rivers]]", "a b Category:Rivers"),
            ("[[CSI: Basel|the series]] [[wikt:ford|ford]]", "the series ford"),  # no languages
            ("x [[de:Rhein]] [[zh-min-nan:Rhein]] [[Kategorie:Fluss|R]] y", "x y"),
            ("x [[never closed", "x never closed"),
            ("x never opened]] y", "x never opened y"),
            ("[[[a]]] [[[[b]]]] [[http://a.org site]]", "[a] b site"),
        ]
    )


def test_captions_of_files_go_whatever_they_hold() -> None:
    check(
        [
            ("a\n[[File:m.png|thumb|A [[map|plan]] of [[it]]]]\nb", "a\n\nb"),
            ("[[Datei:m.png|mini|[http://a.org source]]] b", "b"),
            ("[[Archivo:m.png|b [http://a.org c] d\n* e|f]] g", "g"),
            ("[[Plik:m.png|x [[Plik:n.png|y [[z]] ]] w]] g", "g"),
            ("[[Слика:m.png|<ref>[[r]]</ref> {{t|[[u]]}}]] g", "g"),
            ("([[File:a.ogg|listen]]) g", "g"),
        ]
    )


def test_outer_links() -> None:
    check(
        [
            ("[http://a.org the [old] site], [http://b.org] c", "the [old] site, c"),
            ("see http://a.org/x_y?z=1 there", "see http://a.org/x_y?z=1 there"),
            ("[//a.org x] [mailto:a@b.org y] [http://a.org ''z'']", "x y z"),
            ("[{{u}} home page] [sic] a[1]", "home page [sic] a[1]"),
            ("[http://never closed", "[http://never closed"),
        ]
    )


def test_templates_are_matched_by_their_braces() -> None:
    check(
        [
            ("a {{b|{{c|{{d}}}}|e}} f", "a f"),
            ("a {{b|[[c}} d", "a d"),  # a link left open does not hide the end
            ("a {{#if:{{{x|}}}|b|c}} d", "a d"),
            ("a {{{arg|b}}} c", "a c"),
            ("a }} b", "a b"),
            ("{{Infobox\n| x = y\nText of the page.\n\n{{b}}More.", "Text of the page.\n\nMore."),
            ("a {{b|<nowiki>}}</nowiki>}} c", "a c"),
            ("a {{b|<!-- }} -->}} c", "a c"),
            ("f(x) {} {x} { {", "f(x) {} {x} { {"),
        ]
    )


def test_templates_that_are_text_leave_it() -> None:
    check(
        [
            ("({{lang|de|Rhein}}; {{lang-fr|Rhin}}; {{langue|nl|Rijn}})", "(Rhein; Rhin; Rijn)"),
            ("{{lang|grc|''a'' [[b|c]]}}", "a c"),
            ("{{transl|ru|ISO|Reka}} {{transl|ru|Reka}}", "Reka Reka"),
            ("{{nihongo|'''castle'''|城|shiro}} {{Nihongo|a|城}}", "castle (城, shiro) a (城)"),
            ("{{convert|5|km|mi}} {{cvt|2|to|3|sqmi|km2|abbr=on}}", "5 km 2 to 3 sq mi"),
            ("{{convert|6|ft|2|in|m}} {{convert|1.5|km2|1}}", "6 ft 2 in 1.5 km²"),
            ("{{convert|3|e6acre}} {{convert|1|–|2|C|F}}", "3 million acres 1–2 °C"),
            ("{{unité|3|km|2}} {{nombre|71|sièges}}", "3 km² 71 sièges"),
            ("{{formatnum:1234}} {{frac|1|2}} {{val|2|e=5|u=m}}", "1234 1/2 2 × 10^5 m"),
            ("a{{ndash}}b{{snd}}c{{'}}s {{=}}", "a–b – c's ="),
            ("{{circa|1500}} {{as of|2011|6|8|lc=y}}", "c. 1500 as of 8 June 2011"),
            ("{{HMS|Beagle}} {{chem|H|2|O}} {{hlist|a|b}}", "HMS Beagle H₂O a, b"),
            ("A:\n{{quote|text=They came.|author=X}}\nB", "A:\n\nThey came.\n\nB"),
            ("{{citation|last=X|quote=never}} {{citation|mots}}", '"mots"'),
            ("{{nowrap|{{lang|de|a {{small|b}}}}}}", "a b"),
            ("{{ nowrap | 1 = a=b }} {{abbr|m.|metre}}", "a=b m."),
        ]
    )


def test_what_is_removed_takes_its_spaces_and_brackets() -> None:
    check(
        [
            ("Rhine ({{IPA|x}}; {{audio|y}}) flows", "Rhine flows"),
            ("Rhine ({{IPA|x}}, born 5; {{y}}) flows", "Rhine (born 5) flows"),
            ("Rhine (a, {{x}}, b) {{cn}}, c {{cn}} . d", "Rhine (a, b), c. d"),
            ("call main() and f( x )", "call main() and f( x )"),  # nothing was removed here
            ("le mot : la suite ; fin<ref>r</ref> : a", "le mot : la suite ; fin : a"),
            ("a<ref>b</ref>, c<ref name=x />. d", "a, c. d"),
        ]
    )


def test_tables_do_not_leak() -> None:
    check(
        [
            ("a\n{| class=x\n! h !! i\n|-\n| b || [[c|d]]\ne\n|}\nf", "a\n\nf"),
            ("a\n:{|\n| b\n{|\n| c\n|}\nd\n|}\ne", "a\n\ne"),  # one inside another
            ("a\n{{{!}} class=x\n{{!}} b\n{{!}}}\nc", "a\n\nc"),
            ("a\n<table><tr><td>b<table><tr><td>c</table></td></tr></table>\nd", "a\n\nd"),
            (
                "a\n{| class=x\n|-\n| b\nKept, as nobody closed it.",
                "a\n\nKept, as nobody closed it.",
            ),
            ("a {| b |} c", "a {| b |} c"),
            ("{|\n| {{x|\n|}\n}}\n|}\na", "a"),
        ]
    )


def test_headings_and_lists_are_legible() -> None:
    check(
        [
            ("== A ==\nx\n=== B ===<!-- c -->\ny", "A\nx\n\nB\ny"),
            ("== A ==\n=== B ===\n== C ==\nz\n== D ==\n{{x}}", "C\nz"),  # nothing below A, B, D
            ("x\n= A = b\n== C =\ny", "x\n= A = b\n\n= C\ny"),
            ("* a\n** b\n*** c\n# d\n*\n", "* a\n  * b\n    * c\n# d"),
            (": a\n:: b\n; term : meaning\n;http://a.org", "a\nb\nterm: meaning\nhttp://a.org"),
            ("a\n----\nb __NOTOC__\n__ТОС__", "a\n\nb"),
            ("a __init__ b", "a __init__ b"),
            ("a<br>b<p>c</p>", "a\nb\nc"),
        ]
    )


def test_comments_tags_and_literal_text() -> None:
    check(
        [
            ("a<!-- x\ny -->b", "ab"),
            ("a\n<!-- a line of its own -->\nb", "a\nb"),  # goes with its line, as in MediaWiki
            ("a <!-- never closed", "a"),
            ("a<ref name=x>b {{c}} </ref>d<ref name=x/>e<REF>f</REF>", "ade"),
            ("a <ref> never closed b", "a never closed b"),
            ("<gallery>\nF.png|x\n</gallery>a<score>b</score>", "a"),
            ("<nowiki>[[a]] {{b}} ''c'' &lt;</nowiki>", "[[a]] {{b}} ''c'' <"),
            ("x <math>a_{{b}} < c</math> <chem>H2</chem>", "x a_{{b}} < c H2"),
            ("<pre>\n  if x:\n\n\n    y  z\n</pre>", "  if x:\n\n\n    y  z"),
            ("List<T> and a<b and <small>c</small>", "List<T> and a<b and c"),
            ("m<sup>2</sup> 10<sup>−6</sup> H<sub>2</sub>O x<sup>n</sup>", "m² 10⁻⁶ H₂O xn"),
            ("a<includeonly>b</includeonly><noinclude>c</noinclude>", "ac"),
            ("<span class='x'>a</span><references/>", "a"),
        ]
    )


def test_entities_are_decoded_once() -> None:
    check(
        [
            ("&amp;lt; &lt;ref&gt; &#91;&#91;a&#93;&#93;", "&lt; <ref> [[a]]"),
            ("a&nbsp;b&thinsp;c&#160;d &euro;&#x20AC;&#8364;", "a b c d €€€"),
            ("AT&T &unknown; a&copy b?a=1&para=2", "AT&T &unknown; a&copy b?a=1&para=2"),
            ("x&#2;y&#xD800;z&#9999999;&#150;", "xyz–"),
            ("&#42; no list", "* no list"),
        ]
    )


def test_language_variants() -> None:
    check(
        [
            ("250-{m}- -{[[a|b]]}-", "250m b"),
            ("-{sr-ec:река; sr-el:reka}- -{R|NATO}-", "река NATO"),
            ("a -{T|title}- -{H|sr-ec:x;sr-el:y}-b", "a b"),
            ("-{a -{b}- c}-", "a b c"),
        ]
    )


@pytest.mark.parametrize("mark", ["\x02", "\x04", "\x060\x07", "\x0e", "\x12", "\x00"])
def test_marks_of_the_scanner_in_a_text_mean_nothing(mark: str) -> None:
    assert plain_text(f"a{mark}b\r\nc") == "a" + mark.strip("\x00\x02\x04\x06\x07\x0e\x12") + "b\nc"


def test_amounts_of_money_are_text() -> None:
    source = "It cost {{USD|5 million}}, or {{GBP|4}} and {{US$|3|link=yes}}; in {{INR}}."
    assert plain_text(source) == "It cost US$5 million, or £4 and US$3; in ₹."
