"""Unicode repair: what is mojibake is put right, what is correct text stays as it is."""

from __future__ import annotations

import bz2
import time
from pathlib import Path

import pytest

from tasks.corpus.locate import locate_sources
from tasks.corpus.repair import PIECE, repaired

CORRECT = {
    "English": "“Curly quotes” — dashes… café, naïve, £5, 20 °C, ‘tis the ﬁrst ½ of ＡＢＣ™ × ²",
    "German": "Größe übt Ärger: Öfen, Straße, „Anführung“, Maße für 5 € und 3 µm",
    "French": "Où est l’élève ? « Ça va très bien », dit-il à Noël ; œuvre, cœur, Œdipe, Âge",
    "Spanish": "¿Dónde está el niño? ¡Qué alegría! Él bebió un café… 1.ª y 2.º",
    "Portuguese": "São Paulo, coração, ÀS VEZES NÃO HÁ PÃO, Ânimo, maçã, avô; NÃO É",
    "Italian": "Perché così? È già più tardi: città, virtù, 10° piano",
    "Swedish": "Å, där är en ö. Älgen står på Åsen; ÅÄÖ åäö",
    "Danish": "Blåbærgrød på Ærø, Ålborg; Østersøen",
    "Polish": "Zażółć gęślą jaźń — „cytat”, Łódź, ŚĆŃ",
    "Czech": "Příliš žluťoučký kůň úpěl ďábelské ódy, ŘÍJEN",
    "Hungarian": "Árvíztűrő tükörfúrógép; „Őszi út”",
    "Romanian": "Țara și orașul; îngheț, ăâ, „Ștefan”",
    "Croatian": "Čovjek, žena, šuma, đak, ćevapi — „Đorđe”",
    "Catalan": "L’àvia i el pingüí; col·legi, ço és",
    "Slovenian": "Šumi v gozdu: češnja, žaba",
    "Russian": "Съешь ещё этих мягких французских булок, да выпей «чаю» — №5",
    "Ukrainian": "Ґава їсть їжу; «Київ» — об’єкт, Єва",
    "Serbian": "Љубав, њива, џеп, ђак, ћирилица — „навод“",
    "Bulgarian": "Щъркелът яде; „кавички“ — ЮЯ",
    "Greek": "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία· «Ωμέγα»",
    "Turkish": "Şişli’de İğne oyası; ığdır, Çağ",
    "Vietnamese": "Tiếng Việt: Ấy là điều được ưa thích, Ă Â Đ Ê Ô Ơ Ư",
    "Arabic": "النص العربي، مع علامات؟ «اقتباس»",
    "Hebrew": "שלום, עולם — ״ציטוט״",
    "Hindi": "हिन्दी में लिखा हुआ पाठ।",
    "Thai": "ข้อความภาษาไทย ๑๒๓",
    "Chinese": "中文文本，《引号》……「日本語」テスト。",
    "Korean": "한국어 문장입니다.",
    "emoji": "👍🏽 🇫🇷 ❤️ ☕ → ≤ ≥ ≠ ∑ √2 ≈ 1.41 │ ─ ┼",
    "spaces": "10 000 km et 5 % zero​width ­soft",
    "decomposed": "e\u0301te\u0301 A\u030a",
}


@pytest.mark.parametrize("language", sorted(CORRECT))
def test_correct_text_stays(language: str) -> None:
    assert repaired(CORRECT[language]) == (CORRECT[language], 0)
    long = "\n".join([CORRECT[language]] * 50)
    assert repaired(long) == (long, 0)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", ["Müller grüßt", "élève très âgé", "São João", "£5 für 20 °C"])
def test_misread_text_is_put_right(text: str, encoding: str) -> None:
    broken = text.encode().decode(encoding)
    assert repaired(f"before\n{broken}\nafter") == (f"before\n{text}\nafter", 1)


def test_quotes_and_twice_misread_text_are_put_right() -> None:
    assert repaired("itâ€™s â€œso\u009dâ€¦".replace("\u009d", "â€\u009d")) == ("it’s “so”…", 1)
    twice = "è".encode().decode("latin-1").encode().decode("latin-1")
    assert repaired(f"tr{twice}s bien") == ("très bien", 1)
    assert repaired("Привет, мир".encode().decode("cp1251")) == ("Привет, мир", 1)


def test_only_the_lines_with_mojibake_change() -> None:
    good = "“Größe” ﬁ ＡＢＣ e\u0301 &amp; \u00a0 x"
    text = f"{good}\r\ncafÃ© “ﬁ”\r\n{good}"
    assert repaired(text) == (f"{good}\r\ncafé “ﬁ”\r\n{good}", 1)


def test_long_lines_are_repaired_in_pieces() -> None:
    broken = "un cafÃ© noir " * 5000
    assert len(broken) > 5 * PIECE
    better, lines = repaired(broken)
    assert better == "un café noir " * 5000
    assert lines >= 5
    without_spaces = "Ã©" * 20_000
    assert repaired(without_spaces)[0] == "é" * 20_000


def test_odd_text_does_no_harm() -> None:
    for text in ("", "\ud800 Ã©", "\x00Ã\x00", "Ã", "Â ", "\n\n", "ï¿½", "\ufffd" * 10):
        repaired(text)
    assert repaired("\ud800 cafÃ©") == ("\ud800 café", 1)


@pytest.mark.slow
def test_hostile_text_takes_linear_time() -> None:
    """Seconds for a megabyte; something quadratic would take hours."""
    began = time.process_time()
    for text in ("Ã©", "é", "Ã ", "ÃÂ", "â€", "\x85", "Ð°Ð", "Â"):
        repaired(text * (1_000_000 // len(text)))
    assert time.process_time() - began < 60


@pytest.mark.data
@pytest.mark.slow
def test_real_books_stay(arriero_data: Path) -> None:
    files = locate_sources(arriero_data)["books"]
    checked = 0
    for name in files:
        raw = (arriero_data / name).read_bytes().decode("utf-8", "replace")
        if not raw.isascii():
            checked += 1
            assert repaired(raw) == (raw, 0), name
    assert checked > 20


@pytest.mark.data
@pytest.mark.slow
def test_real_wikipedias_in_many_languages_stay(arriero_data: Path) -> None:
    """The markup of real articles in 23 languages, Arabic and Japanese among them."""
    dumps = sorted((arriero_data / "corpus/wikipedia/minidumps").glob("*.bz2"))
    assert len(dumps) == 23
    for path in dumps:
        text = bz2.decompress(path.read_bytes()).decode("utf-8")
        assert not text.isascii()
        better, _ = repaired(text)
        changed = [
            (old, new)
            for old, new in zip(text.split("\n"), better.split("\n"), strict=True)
            if old != new
        ]
        assert not changed, (path.name, changed[0])
