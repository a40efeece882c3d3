"""Lists of meanings, redirects and broken pages, told from articles in 20 languages."""

from __future__ import annotations

import time

import pytest

from tasks.corpus.sources.wikitext_pages import is_disambiguation, is_redirect

TEMPLATES = {
    "en": "{{disambiguation|geo}} {{Hndis|Mann, A}} {{Dab}} {{human name disambiguation}}",
    "bg": "{{Пояснение}}",
    "ca": "{{Desambiguació}}",
    "cs": "{{Rozcestník}} {{Rozcestník - příjmení}}",
    "da": "{{Flertydig}}",
    "de": "{{Begriffsklärung}}",
    "es": "{{desambiguación}}",
    "fr": "{{Homonymie}} {{homonymie de clubs}} {{Patronyme}}",
    "hr": "{{razdvojba}}",
    "hu": "{{egyért}} {{Egyértelműsítő lap}}",
    "it": "{{Disambigua}}",
    "nl": "{{dp}} {{Dpintro}}",
    "pl": "{{Ujednoznacznienie}}",
    "pt": "{{Desambiguação}}",
    "ro": "{{Dezambiguizare}}",
    "ru": "{{неоднозначность|тип=река}} {{Многозначность}}",
    "sl": "{{razločitev}}",
    "sr": "{{Вишезначна одредница}}",
    "sv": "{{Förgrening}} {{gren}}",
    "uk": "{{Багатозначність}} {{DisambigG}}",
}


@pytest.mark.parametrize("language", TEMPLATES)
def test_templates_of_lists_of_meanings(language: str) -> None:
    for template in TEMPLATES[language].split("} {"):
        template = "{{" + template.strip("{}") + "}}"
        assert is_disambiguation("Rhine", f"* [[a]]\n{template}\n"), template
        assert is_disambiguation("Rhine", template.replace("{{", "{{ ").replace("}}", "\n}}"))


def test_titles_and_switch_of_lists_of_meanings() -> None:
    assert is_disambiguation("Rhein (Begriffsklärung)", "* a")
    assert is_disambiguation("Рейн (значения)", "* a") and is_disambiguation("Rhin (homonymie)", "")
    assert is_disambiguation("A", "* b\n__DISAMBIG__")
    assert not is_disambiguation("Disambiguation", "It is the choice of a meaning.")


@pytest.mark.parametrize(
    "notice",
    [
        "{{about|the river}} {{other uses}} {{disambiguation needed|date=May}} {{redirect|A}}",
        "{{Inne znaczenia}} {{Různé významy|a}} {{polisèmia|b}} {{voir homonymes}} {{значения}}",
        "{{displaytitle}} {{egyértelműsített|c}} {{andere Bedeutungen}} {{grenzen}} {{de}}",
    ],
)
def test_notices_above_articles_are_no_lists(notice: str) -> None:
    assert not is_disambiguation("Rhine", notice)


@pytest.mark.parametrize(
    "text",
    ["#REDIRECT [[A]]", "\n#redirect: [[A]]", "#WEITERLEITUNG[[A]]", "#ПЕРЕНАПРАВЛЕНИЕ [[А]]",
     "#Preusmeri [[A]]", "#ПЕРЕНАПРАВЛЕННЯ [[А]]", "#REDIRECTION [[A]]", "#DOORVERWIJZING [[A]]"],
)  # fmt: skip
def test_redirects_in_several_languages(text: str) -> None:
    assert is_redirect(text)


def test_numbered_lists_are_no_redirects() -> None:
    assert not is_redirect("# [[A]]\n# [[B]]") and not is_redirect("#First [[A]]")
    assert not is_redirect("See #REDIRECT [[A]]")


@pytest.mark.parametrize(
    "template",
    ["Airport disambiguation", "Letter disambiguation", "Chinese title disambiguation",
     "Taxonomy disambiguation", "Caselaw disambiguation", "disambiguation cleanup|date=May 2020",
     "Military unit disambiguation", "Species Latin name abbreviation disambiguation", "Disamb",
     "Rozcestník - místopisné jméno", "desambigua", "Dezambig", "неоднозначність"],
)  # fmt: skip
def test_rarer_templates_of_lists_of_meanings(template: str) -> None:
    assert is_disambiguation("Rhine", f"* [[a]]\n{{{{{template}}}}}\n")


@pytest.mark.parametrize("notice", ["Disambiguo|a", "nota disambigua|a", "disambigR|a|b"])
def test_more_notices_above_articles_are_no_lists(notice: str) -> None:
    assert not is_disambiguation("Rhine", f"{{{{{notice}}}}} The river.")


@pytest.mark.parametrize("mark", ["{{disambig}}", "__DISAMBIG__"])
def test_marks_that_are_no_markup_make_no_list(mark: str) -> None:
    for text in (f"<nowiki>{mark}</nowiki> a", f"<!-- {mark} --> a", f"<pre>{mark}</pre>"):
        assert not is_disambiguation("Rhine", text)
        assert is_disambiguation("Rhine", f"{text}\n{mark}")
    assert is_disambiguation("Rhine", f"<br> <noinclude>{mark}</noinclude>")
    assert is_disambiguation("Rhine", "{{disambig<!-- which? -->}} <i>{{dab}}</i>")


def test_redirect_behind_comments() -> None:
    assert is_redirect("<!-- a\nb -->\n<!-- c -->#REDIRECT [[A]]")
    assert not is_redirect("<!-- #REDIRECT [[A]] -->The river.") and not is_redirect("<!-- a")
    started = time.process_time()
    assert not is_redirect("<!--" * 500_000) and not is_redirect("<!-- -->" * 300_000)
    assert not is_disambiguation("A", "<nowiki>" * 200_000 + "<!--{{dab}}")
    assert time.process_time() - started < 5
