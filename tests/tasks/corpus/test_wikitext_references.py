"""Which web addresses an article cites."""

from __future__ import annotations

from tasks.corpus.sources.wikitext_references import MAX_REFERENCES, MAX_URL, cited_urls


def test_references_brackets_and_parameters_are_cited_once_in_order() -> None:
    source = (
        "{{Infobox|website = http://official.org}} See http://bare.org in the text.\n"
        "a<ref>Work, http://b.org/x_(y)., 2001</ref> b<ref name=c>[https://c.org/?a=1&amp;b=2 C]"
        "</ref> d<ref>{{cite web |title=D |url= http://d.org/d |archive-url=https://e.org/e}}</ref>"
        " {{Literatur|Online=[http://f.org]}} {{lien web|url=http://g.org}} {{cite|адрес=http://h.org}}"
        "\n* [http://i.org I] and [http://b.org/x_(y) again]\n<ref>(http://j.org)</ref>"
    )
    assert cited_urls(source) == [
        "http://b.org/x_(y)", "https://c.org/?a=1&b=2", "http://d.org/d", "https://e.org/e",
        "http://f.org", "http://g.org", "http://h.org", "http://i.org", "http://j.org",
    ]  # fmt: skip


def test_comments_code_and_what_is_no_address_hold_none() -> None:
    source = (
        "<!-- <ref>http://a.org</ref> --><nowiki>[http://b.org]</nowiki><pre>[http://c.org]</pre>"
        "<ref>ftp://d.org http:// [http://e.org''x'' E]</ref><ref name=f/> http://g.org"
        " <ref>http://h.org never closed"
    )
    assert cited_urls(source) == ["http://e.org"]
    assert cited_urls("") == cited_urls("no address") == []
    assert cited_urls("[http://a.org] <!-- [http://b.org]") == ["http://a.org"]


def test_number_and_length_are_bounded() -> None:
    source = " ".join(f"[http://a.org/{number}]" for number in range(5000))
    assert cited_urls(source) == [f"http://a.org/{number}" for number in range(MAX_REFERENCES)]
    assert cited_urls("[http://" + "a" * MAX_URL + "] [http://b.org]") == ["http://b.org"]
