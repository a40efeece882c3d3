"""Private data: what is replaced, what only looks like it, and time on hostile text."""

from __future__ import annotations

import time

import pytest

from tasks.corpus.private import replaced

# Made up, and written in parts: nothing that looks like a key stands in this file.
AWS = "AKIA" + "Q3EGRFZ7T2LMNO4P"
GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
SLACK = "xoxb-" + "1234567890-abcdefABCDEF"
GOOGLE = "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw"
STRIPE = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
RANDOM = "q8Zr2Lk0Vt5XnB7wJc3HdS9f"
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq0\n" * 5
PEM_END = "-----END RSA PRIVATE KEY-----"


def one(text: str, kind: str) -> str:
    return replaced(text, [kind])[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+news@mail.site.co.uk.", "Write to <email>."),
        ("<a href='mailto:x_y@site.org'>", "<a href='mailto:<email>'>"),
        ("(me@site.org),you@site.org;", "(<email>),<email>;"),
        ("a@b.museum", "<email>"),
        ("me@site.org", "<email>"),
        ("email:\tme@site.org\n", "email:\t<email>\n"),
    ],
)
def test_addresses_of_mail_are_replaced(text: str, expected: str) -> None:
    assert one(text, "email") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An jörg.weiß@müller.de.", "An <email>."),
        ("me@grün-x.de, a@www.grün-x.de", "<email>, <email>"),
        ("иван@почта.рф иван@pochta.ru", "<email> <email>"),
        ("см. и/или/иван@почта.рф", "см. и/или/<email>"),
        ("(δοκιμή@παράδειγμα.ελ)", "(<email>)"),
        ("用户@例子.广告。अनुज@भारत.भारत मिथ", "<email>。<email> मिथ"),
        ("anna@mill.中国", "<email>"),
        ("请联系me@site.org谢谢", "请联系<email>谢谢"),
        ("me@site.org和b.com", "<email>和b.com"),
        ("“me@site.org”—you@site.org", "“<email>”—<email>"),
        ("anna@xn--mller-kva.de me@site.xn--p1ai", "<email> <email>"),
        ('"john doe"@site.org <"a\\"b"@site.org>', "<email> <<email>>"),
        ("o\u0308l@site.org", "<email>"),
    ],
)
def test_addresses_beyond_ascii_and_in_quotes_are_replaced(text: str, expected: str) -> None:
    found, counts = replaced(text, ["email"])
    assert found == expected and counts == {"email": expected.count("<email>")}


@pytest.mark.parametrize(
    "text",
    [
        "“git@forge.org:group/project.git”",
        "git@bücher.de:group/project.git",
        'v-on:"a"@click.stop',
        "ö@mail.example.org me@müller.test",
        "谢谢@john.smith的 شكرا@user.name",
        'class="x"@click.prevent "chat"@fr. "a"@en.x @"NSString"',
        "θ@w.transpose(0) A@B.T Σ@x.mean(axis=1) a@b, W_α@x[0]",
        "@app.route('/ü') @é.x",
        "\\makeatletter\\@ifnextchar\\é@name.x",
        '"""@dataclass.field',
        "é@",
        "某@公司.今天",
    ],
)
def test_what_only_looks_like_mail_beyond_ascii_stays(text: str) -> None:
    assert replaced(text, ["email"]) == (text, {})


@pytest.mark.parametrize(
    "text",
    [
        "me@example.com",
        "me@mail.example.org",
        "me@host.test",
        "@handle and @pytest.fixture",
        "git@forge.org:group/project.git",
        "icon@2x.png",
        "user@localhost",
        "10 @ 5.00",
        "a@b",
        "x @ site.org",
        "me@-site.org",
        "me@site.1",
    ],
)
def test_what_only_looks_like_mail_stays(text: str) -> None:
    assert replaced(text, ["email"]) == (text, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from 8.8.4.114 to", "from <ip> to"),
        ("http://93.184.216.34:80/x", "http://<ip>:80/x"),
        ("93.184.216.34.", "<ip>."),
        ("::ffff:93.184.216.34", "::ffff:<ip>"),
        ("at 2606:2800:220:1:248:1893:25c8:1946, and", "at <ip>, and"),
        ("2a00:1450::200e", "<ip>"),
        ("[2a00:1450:4001:81b::200e]:443", "[<ip>]:443"),
        ("2a00:1450::93.184.216.34, 2a00:1450::93.184.216.34.", "<ip>, <ip>."),
        ("2a00:1450::200e%eth0 [2a00:1450::1%25en0]:80", "<ip> [<ip>]:80"),
        ("2a00:1450::200e%20x", "<ip>%20x"),
        ("::ffff:5db8:d822 ::FFFF:5DB8:D822", "<ip> <ip>"),
        ("64:ff9b::93.184.216.34", "64:ff9b::<ip>"),
    ],
)
def test_public_addresses_are_replaced(text: str, expected: str) -> None:
    assert one(text, "ip") == expected


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1 10.1.2.33 192.168.1.20 172.16.0.12 169.254.10.1 0.0.0.0 255.255.255.255",
        "192.0.2.17 198.51.100.7 203.0.113.99 224.0.0.251",
        "::1 fe80::1ff:fe23:4567:890a 2001:db8::17 fd00::10 fe80::1%eth0 2001:db8::1%eth0",
        "::ffff:a00:1 ::ffff:c0a8:101 a::ffff:5db8:d822 ::ffff:5db8:d822:1 std::ffff",
        "2001:db8::192.0.2.33 2001:db8::1.2.3.4",
        "version 93.184.216.34",
        "Version: 27.0.145.94, v12.0.10.1, release 11.2.30.4, build 10.11.12.13",
        "Firefox/35.0.11.2 Chrome/27.0.145.94",
        "see section 12.1.10.2 and § 10.2.11.4",
        "1.2.3.4",
        "93.184.216.34.5 and 1.93.184.216.34",
        "999.184.216.34 93.184.216",
        "12:34:56 2009:10:12 2001:Space::Odyssey std::array a::b",
        "1193.184.216.34",
        "01.02.2003.17 11.02.03.04",
        "x93.184.216.34",
    ],
)
def test_what_is_not_a_public_address_stays(text: str) -> None:
    assert replaced(text, ["ip"]) == (text, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"id {AWS}.", "id <key>."),
        (f"git clone https://{GITHUB}@forge.org", "git clone https://<key>@forge.org"),
        (f"'{SLACK}'", "'<key>'"),
        (f"key={GOOGLE}&x", "key=<key>&x"),
        (STRIPE, "<key>"),
        (
            "https://hooks.slack.com/services/T0ABCDEF1/B0ABCDEF2/q8Zr2Lk0Vt5XnB7wJc3HdS9f",
            "https://hooks.slack.com/services/<key>",
        ),
        (f"a\n{PEM}{PEM_END}\nb", "a\n<key>\nb"),
        (f"a\n{PEM}\nno end", "a\n<key>\n\nno end"),
        (f'API_KEY = "{RANDOM}"', 'API_KEY = "<key>"'),
        (f"password: {RANDOM}\n", "password: <key>\n"),
        (f'"client_secret": "{RANDOM}",', '"client_secret": "<key>",'),
        (f"export AUTH_TOKEN={RANDOM}", "export AUTH_TOKEN=<key>"),
        ("secret_key='9f86d081884c7d659a2feaa0c55ad015'", "secret_key='<key>'"),
        (f"sk-{RANDOM}{RANDOM} sk-proj-{RANDOM}_{RANDOM}", "<key> <key>"),
        (f"hf_{(RANDOM * 2)[:34]},glpat-{RANDOM[:20]}", "<key>,<key>"),
        (f"npm_{(RANDOM * 2)[:36]} SG.{RANDOM}.{RANDOM}", "<key> <key>"),
        (f"token eyJ{RANDOM}.eyJ{RANDOM}.{RANDOM}.", "token <key>."),
        (f"Authorization: Bearer {RANDOM}\n", "Authorization: Bearer <key>\n"),
        ("postgres://user:" + "s3cr3t@db.mill.org/x", "postgres://user:<key>@db.mill.org/x"),
    ],
)
def test_keys_are_replaced(text: str, expected: str) -> None:
    assert one(text, "key") == expected


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "password = os.environ.get('DATABASE_PASSWORD_2')",
        "token: string_of_some_length_without_chance",
        "api_key = 'your_api_key_goes_here_123'",
        "the secret: aaaaaaaaaaaaaaaaaaaaaaaa1",
        "tokens = 1234567890123456",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "sha256 9f86d081884c7d659a2feaa0c55ad015",
        "Passwords: the history of a bad idea in computing",
        "disk-0123456789abcdefghijklmnopqrstuvwxyz",
        "sk-learn-contrib-project-of-some-length-name",
        "the bearer of the sword-of-damocles-and-others came",
        "http://user:password@host/ and https://user:${PASS}@host and http://host:8080/a@b",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "550e8400-e29b-41d4-a716-446655440000",
        "eyJhbGciOiJub25lIn0.x",
    ],
)
def test_what_is_no_key_stays(text: str) -> None:
    assert replaced(text, ["key"]) == (text, {})


def test_each_kind_is_counted_and_only_those_wanted() -> None:
    text = f"me@site.org 93.184.216.34 you@site.org token={RANDOM}"
    assert replaced(text, ["email", "ip", "key"]) == (
        "<email> <ip> <email> token=<key>",
        {"email": 2, "ip": 1, "key": 1},
    )
    assert replaced(text, ["ip"]) == (text.replace("93.184.216.34", "<ip>"), {"ip": 1})
    assert replaced(text, []) == (text, {})


def test_a_password_in_an_address_is_a_key_and_no_mail() -> None:
    text = "postgres://user:" + "s3cr3t@db.mill.org/x"
    assert replaced(text, ["email", "key"]) == ("postgres://user:<key>@db.mill.org/x", {"key": 1})


def test_what_lies_inside_another_find_is_replaced_once() -> None:
    text = f"-----BEGIN PRIVATE KEY-----\nme@site.org {AWS}\n-----END PRIVATE KEY-----"
    assert replaced(text, ["email", "key"]) == ("<key>", {"key": 1})


def test_other_writing_is_left_alone() -> None:
    text = "Wörter 你好 имя — é\u0301 \ud800 \x00 @ :: 1.2 =\n"
    assert replaced(text * 10, ["email", "ip", "key"]) == (text * 10, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    ["1", ".", "@", "a@", "a", "1.", "2001:", ":", "token", "token=", "AKIA", "a.", "a-", "0a"]
    + ["-eyJ", "eyJ.", "sk-", "://a:", "://", "Bearer ", "Bearer a1", "SG.", "://a:b1@"]
    + ["ö@", "ö@1.1.1.1.1.1.1.1", "用@", "a@ö.", "ö" * 63 + "@ö-" + "ö-" * 30, '"@a', ' "a"@b.']
    + ["::ffff:", "2001::1.", "2001::1%a", "é.", "用户.", "@用户.例", "ö@a-"]
    + ["-----BEGIN PRIVATE KEY-----", "-----BEGIN A ", "api_key: a1B2", "token ", "8.18.8.8 "],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """Two megabytes in seconds; something quadratic would take hours."""
    began = time.process_time()
    replaced(unit * (2_000_000 // len(unit)), ["email", "ip", "key"])
    assert time.process_time() - began < 30
