"""E-mail addresses beyond ASCII (RFC 6531, RFC 5890), and those with a local part in quotes.

Words of Latin, Greek, Cyrillic, Armenian and Georgian script end where something else begins, so
an address beside them can be told from the text. Other scripts run on without spaces, or join what
belongs to a sentence: their letters are taken where the domain is of such letters, too, and ends
in one of the top-level domains that there are.
"""

from __future__ import annotations

import re

# Letters of words, with the marks upon them; letters of the other scripts, without punctuation.
_WORD = (
    r"\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0300-\u0373\u0376-\u037d\u0386\u0388-\u0482"
    r"\u048a-\u0556\u0561-\u0587\u10a0-\u10fa\u10fc-\u10ff\u1e00-\u1fff"
)
_OTHER = (
    r"\u05d0-\u05ea\u0620-\u0669\u066e-\u06d3\u06d5-\u06ef\u06fa-\u06fc\u0900-\u0963\u0966-\u0e3a"
    r"\u0e40-\u0e4e\u0e81-\u0eff\u1000-\u1049\u1780-\u17b3\u17b6-\u17d3\u3005-\u3007\u3041-\u3096"
    r"\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
)
_TOP_LEVEL = (
    "бг|бел|дети|ею|католик|ком|қаз|мкд|мон|москва|онлайн|орг|рус|рф|сайт|срб|укр|ελ|ευ|հայ|გე"
    "|ישראל|קום|الاردن|الجزائر|السعودية|المغرب|اليمن|امارات|ایران|بارت|بازار|بھارت|البحرين|پاکستان"
    "|تونس|سودان|سورية|شبكة|عراق|عرب|عمان|فلسطين|قطر|كوم|مصر|مليسيا|موريتانيا|موقع|همراه"
    "|कॉम|नेट|संगठन|भारत|भारतम्|भारोत|বাংলা|ভারত|ভাৰত|ਭਾਰਤ|ભારત|ଭାରତ|இந்தியா|இலங்கை|சிங்கப்பூர்"
    "|భారత్|ಭಾರತ|ഭാരതം|ලංකා|คอม|ไทย|ລາວ|닷넷|닷컴|삼성|한국|クラウド|コム|ストア|セール|みんな"
    "|中国|中國|中文网|中信|企业|佛山|信息|健康|八卦|公司|公益|台湾|台灣|商城|商店|商标|嘉里|在线"
    "|大拿|天主教|娱乐|广东|广告|慈善|我爱你|手机|招聘|政务|政府|新加坡|新闻|时尚|机构|游戏|澳門|点看"
    "|移动|组织机构|网址|网店|网站|网络|联通|购物|集团|食品|餐厅|香港"
)
_ENDS = rf"(?![A-Za-z0-9_(\[{_WORD}]|-\w)"
_ASCII_TOP = r"(?:xn--[A-Za-z0-9-]{1,58}[A-Za-z0-9]|[A-Za-z]{2,24})"
_WORD_LABEL = rf"[A-Za-z0-9{_WORD}](?:[A-Za-z0-9{_WORD}-]{{0,61}}[A-Za-z0-9{_WORD}])?"
# Never one of digits alone, which is a word's: no label is read in two ways.
_OTHER_LABEL = rf"[0-9]{{0,3}}[{_OTHER}](?:[0-9{_OTHER}-]{{0,58}}[0-9{_OTHER}])?"
_DOMAIN = re.compile(
    rf"(?:{_WORD_LABEL}\.){{1,8}}{_ASCII_TOP}{_ENDS}"
    rf"|(?:(?:{_WORD_LABEL}|{_OTHER_LABEL})\.){{1,8}}(?:{_TOP_LEVEL}|{_ASCII_TOP}){_ENDS}"
)
LONGEST_LOCAL = 64
# Not what may stand before an address in a text: ``/ = ? & { | }``.
_ATOM = r"a-zA-Z0-9!#$%*+^_~.'\-"
_WORD_LOCAL = re.compile(rf"[a-zA-Z0-9_+{_WORD}][{_ATOM}{_WORD}]{{0,63}}\Z")
_OTHER_LOCAL = re.compile(rf"[{_OTHER}][0-9._{_OTHER}-]{{0,63}}\Z")
# Where a quotation begins an address, nothing that a markup's attribute has stands before it.
_QUOTED = re.compile(r"(?<![^\s<(,;\[])\"(?:[^\"\\\s]|[ \t]|\\[^\s]){1,64}\"\Z")


def around(text: str, at: int) -> tuple[int, int] | None:
    """Start and end of an address around the ``@`` at ``at``; None for none, and for a plain one.

    Time does not depend on the length of ``text``.
    """
    domain = _DOMAIN.match(text, at + 1, at + 256)
    if domain is None:
        return None
    if text[at - 1] == '"':
        local = _QUOTED.search(text, max(0, at - LONGEST_LOCAL - 2), at)
        return (local.start(), domain.end()) if local is not None else None
    base = max(0, at - LONGEST_LOCAL)
    local = _WORD_LOCAL.search(text, base, at)
    if local is None and not domain[0].isascii():
        local = _OTHER_LOCAL.search(text, base, at)
    if local is None or (local[0].isascii() and domain[0].isascii()):
        return None
    return local.start(), domain.end()
