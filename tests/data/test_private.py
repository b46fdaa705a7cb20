"""Secrets and personal data in texts: found, replaced, and in time that grows with the text."""

import sys
import time

import pytest

from sweeper.data import private
from sweeper.data.private import PERSONAL, private_in, redacted

TOKENS = {
    "Slack Token": "https://hooks.slack.com/services/" + "T01ABCDEF/" + "B01ABCDEF/" + "a1B2c3D4",
    "Stripe Access Key": "sk_" + "live_" + "a1B2c3D4" * 3,
    "GitLab Token": "glpat-" + "a1B2c3D4e5" * 2,
    "SendGrid API Key": "SG." + "a1B2c3D4e5F6g7H8i9J0k1" + "." + "a1B2c3D4" * 5 + "a1B",
    "PyPI Token": "pypi-" + "AgEIcHlwaS5vcmc" + "a1B2c3D4" * 9,
    "Twilio API Key": "SK" + "a1b2c3d4" * 4,
    "Discord Bot Token": "MTk4NjIyNDgzNDcxOTI1MjQ4" + ".Cl2FMQ." + "ZnCjm1XVW7vRze4b7Cq4se7kKWs",
    "Telegram Bot Token": "110201543:" + "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1",
    "Mailchimp Access Key": "a1b2c3d4" * 4 + "-us12",
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "x4K8" * 11,
}
OWN = {
    "access key": (
        "gh" + "u_" + "a1B2" * 9,
        "api_" + "org_" + "a1B2" * 9,
        "AKIA" + "ABCD" * 4,
        "xoxb-" + "1234567890",
    ),
    "password": ("https://ann:hunter22@db.host.org/x",),
    "e-mail address": ("ann.lee@mailbox.org",),
}


@pytest.mark.parametrize(("name", "token"), TOKENS.items())
def test_tokens_of_services_are_replaced_wherever_they_stand(name, token):
    long = "word " * 1000
    for text in (
        token,
        f"Use {token} for that.",
        f'{{"key": "{token}"}}',
        f"{long}{token}\n{long}",
    ):
        assert private_in(text) == [name]
        assert token not in redacted(text)
        assert f"[{name.upper()}]" in redacted(text)
    assert name not in PERSONAL


def test_without_the_package_only_the_commonest_forms_are_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "detect_secrets", None)
    private._detectors.cache_clear()
    assert [token for token in TOKENS.values() if private_in(token)] == []
    private._detectors.cache_clear()
    for name, texts in OWN.items():
        for text in texts:
            assert private_in(f"See {text} there") == [name]
    assert {name for name in OWN if name in PERSONAL} == {"e-mail address"}


ORDINARY = """\
Server 216.8.94.196 answered at https://docs.python.org/3/library/re.html#re.Pattern.findall.
def area(side_length: float) -> float: return math.sqrt(3) / 4 * side_length**2  # 0xdeadbeefcafe
d41d8cd98f00b204e9800998ecf8427e  da39a3ee5e6b4b0d3255bfef95601890afd80709
password = input("Your password: "); token = tokenizer.encode("Donaudampfschifffahrtsgesellschaft")
Write to ann@example.org, order 1234 5678 9012 3456, ISBN 978-3-16-148410-0."""


@pytest.mark.parametrize("text", ORDINARY.splitlines())
def test_ordinary_texts_with_long_words_are_no_secrets(text):
    assert private_in(text) == []


@pytest.mark.parametrize("part", ["a.", "1-1", "x@a.", "eyJ", "-----BEGIN PRIVATE KEY-----"])
def test_time_grows_with_the_length_of_a_text(part):
    begun = time.process_time()
    private_in(part * (150_000 // len(part)))
    assert time.process_time() - begun < 10
