"""Posts' HTML to text: what stays legible, what browsers forgive, what is made to break it."""

from __future__ import annotations

import re
import time
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from tasks.corpus.sources.posts_html import MAX_INDENT, html_to_text


def test_html_keeps_lists_and_code() -> None:
    html = (
        "<p>Use a  <b>loop</b>:</p><pre><code>for x in y:\n    print(x &lt; 3)\n</code></pre>"
        "<ul><li>one</li><li><p>two</p></li></ul><ol><li>a</li><li>b</li></ol>"
        "<script>bad()</script>"
    )
    assert html_to_text(html) == (
        "Use a loop:\n\nfor x in y:\n    print(x < 3)\n\n* one\n* two\n\n1. a\n2. b"
    )


@pytest.mark.parametrize(
    ("html", "text"),
    [
        # Code stands as it is: indentation, empty lines, also as the post's first words.
        ("<pre><code>    x\n\n\n\n  y\n</code></pre><p>z</p>", "    x\n\n\n\n  y\n\nz"),
        ("<pre class='lang-py'>\n\na\n</pre>", "a"),
        ("<pre><code>a  <b>b</b>\n\tc</code></pre>", "a  b\n\tc"),
        ("<pre>a<br>b<div>c</div>d</pre>", "a\nb\nc\nd"),
        ("<pre>  a\r\n  b\r\n</pre>", "  a\n  b"),
        ("<pre>never <i>closed</i>\n  x", "never closed\n  x"),
        ("<p>a <code>x  &lt;  y</code> b</p>", "a x < y b"),
        # Lists in lists, in order, with a start, paragraphs and code in items.
        ("<ul><li>a<ul><li>b<ol><li>c</li></ol></li></ul></li><li>d</li></ul>",
         "* a\n  * b\n    1. c\n* d"),
        ("<ol start='9'><li>a</li><li>b<p>more</p></li></ol>end", "9. a\n10. b\n\n    more\n\nend"),
        ("<ol start=x><li>a</li></ol>", "1. a"),
        ("<ol><li><p>a</p><pre>x\n  y\n\nz</pre></li><li><pre>w</pre></li></ol>",
         "1. a\n\n   x\n     y\n\n   z\n\n2. w"),
        ("<ul><li>a<li>b</ul>c", "* a\n* b\n\nc"),
        ("<li>a</li><li>b</li>", "* a\n* b"),
        ("<ul><li></li><li>a</li></ul>", "* a"),
        ("<ul><li>a<pre>x</li><li>b</li></ul>", "* a\n\n  x\n\n* b"),
        ("</ul></ol></li></pre>a", "a"),
        ("<dl><dt>a</dt><dd>b</dd></dl>c", "a\nb\n\nc"),
        # Tables.
        ("<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td></td><td>1</td></tr>"
         "</tbody></table>c", "a | b\n| 1\n\nc"),
        # Lines and spaces.
        ("a<br>b<br/><br />c <br> d", "a\nb\n\nc\nd"),
        ("<p>a\n b</p>\n\n<p>  c <b> d</b>\t</p>", "a b\n\nc d"),
        ("<blockquote class=\"spoiler\"><p>the butler</p></blockquote><h2>b</h2>c",
         "the butler\n\nb\n\nc"),
        ("a<hr>b", "a\n\nb"),
        # Links are their words, pictures their description.
        ("see <a href=\"http://x/?a=1&b=2\" title=\"a > b\">here</a>.", "see here."),
        ("<img src=x alt=\"a &lt;b&gt; cat\"> <img alt=dog> <img alt='x'><img>", "a <b> cat dog x"),
        ("<img src=x alt='enter image description here'>a", "a"),
        # Raised and lowered.
        ("x<sup>2</sup> + e<sup>-1</sup> + a<sub>i+1</sub>", "x^2 + e^-1 + a_(i+1)"),
        ("the 1<sup>st</sup> of 4<sup>th</sup>, Foo<sup>TM</sup>", "the 1st of 4th, FooTM"),
        ("<sup>small print</sup> a<sup>[1]</sup> b <sub>note</sub>", "small print a[1] b note"),
        ("H<sub>2</sub>O<sup></sup>", "H_2O"),
        ("a<sup>b", "ab"),
        # References, and text that looks like tags.
        ("&lt;b&gt; &amp;amp; &#233; &eacute; &nosuch; &copy x &#x110000;",
         "<b> &amp; é é &nosuch; © x \ufffd"),
        ("a < b and c<d, i <3 you", "a < b and c<d, i <3 you"),
        ("<!-- language: c --><!---->a<!--> b --><?x y?><!doctype html>", "a b -->"),
        ("<SCRIPT>if (a<b) '<p>'</SCRIPT >a<style>p > b {}</style>b", "ab"),
        ("<custom-tag>a</custom-tag><p x=\"1>2\" y='>'>b", "a\n\nb"),
        ("", ""), ("<p></p> \n <br>", ""), ("<p>&nbsp;</p>", ""), ("plain  text", "plain text"),
        # What never ends stays.
        ("a <a href=\"x", "a <a href=\"x"), ("a <!-- b <p>c</p>", "a b\n\nc"),
        ("a <b", "a <b"), ("a <", "a <"),
    ],
)  # fmt: skip
def test_html(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize("opening", ["<div>", "<ul><li>", "<ol><li>", "<blockquote>", "<b>", "<p>"])
def test_nothing_is_lost_100000_deep(opening: str) -> None:
    html = "before" + opening * 100_000 + "inside" + "</li></ul>" * 100_000 + "<p>behind</p>"
    began = time.process_time()
    text = html_to_text(html)
    assert re.sub(r"[*\s]|1\.", "", text) == "beforeinsidebehind"
    assert max(map(len, text.split("\n"))) < MAX_INDENT + 200
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "piece",
    ["<a ", '<a x="', "<a x='", "<!--", "<!", "<script>", "</script", "<style x",
     "<script></script", "<sup>x", "a<sup>b</sup>", "a<sub>", "&", "&#", "&lt;", "<pre>",
     "<pre>\n", "</pre>", "<br>",
     "<pre>\n", "</pre>", "<br>",
     "<li>a<pre>\n\n", "<img alt", '<img alt="', "<", ">", "</", "<td>", "<tr><td>x", "\n ", " ",
     "<ol start=999999999><li>x\n", "<ol><li></ul>", "</ol>", "x<p", "='\"", "<p x=",
     "<pre>\n<li>"],
)  # fmt: skip
def test_hostile_html_takes_linear_time(piece: str) -> None:
    began = time.process_time()
    html_to_text(piece * (400_000 // len(piece)))
    html_to_text("<img " + piece * (400_000 // len(piece)) + ">")
    assert time.process_time() - began < 4


PIECES = st.sampled_from(
    ["<p>", "</p>", "<pre>", "</pre>", "<code>", "</code>", "<ul>", "</ul>", "<ol>", "<li>",
     "</li>", "<br>", "<table>", "<tr>", "<td>", "</td>", "<sup>", "</sup>", "<sub>", "</sub>",
     "<img alt='x'>", "<!--", "-->", "<script>", "</script>", "<a href=\"", "\">", "<", ">", "&",
     ";", "&lt;", "&#", "'", "\n", " ", "  x", "word", "é", "\t", "\x00", "</", "<!", "<?",
     "\u2028"]
)  # fmt: skip


@settings(max_examples=600, deadline=2000)
@given(st.lists(PIECES | st.text(max_size=6), max_size=40).map("".join))
def test_no_html_fails_and_the_text_is_tidy(html: str) -> None:
    text = html_to_text(html)
    assert text == "" or text.strip()
    assert not text.startswith("\n") and not text.endswith(("\n", " "))


TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12)
INLINE = st.sampled_from(["b", "i", "code", "a", "span", "kbd", "p", "div", "ul", "li", "h1", "td"])
TREE = st.recursive(
    TEXT.map(lambda text: escape(text)),
    lambda inner: st.tuples(INLINE, st.lists(inner, max_size=4)).map(
        lambda made: f"<{made[0]}>{''.join(made[1])}</{made[0]}>"
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=2000)
@given(TREE)
def test_all_the_words_of_a_browser_s_tree_are_there(html: str) -> None:
    body = LexborHTMLParser(f"<body>{html}</body>").body
    words = re.sub(r"[\s*|]", "", body.text() if body else "")
    assert re.sub(r"[\s*|]", "", html_to_text(html)) == words
