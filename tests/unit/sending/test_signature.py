"""Receipts and notices are signed: neither a changed body nor an old one is taken."""

import hmac
from hashlib import sha256

import pytest

from daemon.sending.signature import VALID_S, is_signed, signature

KEY = "secret"
BODY = b'{"channel":"app"}'
NOW = 1_800_000_000


def test_it_is_the_hmac_that_is_documented() -> None:
    expected = hmac.new(b"secret", b"1800000000." + BODY, sha256).hexdigest()
    assert signature(KEY, str(NOW), BODY) == f"sha256={expected}"


@pytest.mark.parametrize(
    ("key", "timestamp", "body", "now_s", "is_taken"),
    [
        (KEY, str(NOW), BODY, NOW, True),
        (KEY, str(NOW), BODY, NOW + VALID_S, True),
        (KEY, str(NOW), BODY, NOW - VALID_S, True),
        (KEY, str(NOW), BODY, NOW + VALID_S + 1, False),
        (KEY, str(NOW), BODY, NOW - VALID_S - 1, False),
        ("other", str(NOW), BODY, NOW, False),
        (KEY, str(NOW + 1), BODY, NOW, False),
        (KEY, str(NOW), BODY + b" ", NOW, False),
        (KEY, "", BODY, NOW, False),
        (KEY, "-1", BODY, NOW, False),
        (KEY, "９", BODY, NOW, False),
        (KEY, "9" * 5000, BODY, NOW, False),
    ],
)
def test_only_a_right_and_recent_signature_is_taken(
    key: str, timestamp: str, body: bytes, now_s: int, is_taken: bool
) -> None:
    told = signature(KEY, str(NOW), BODY)
    assert is_signed(key, timestamp, told, body, now_s) == is_taken


def test_a_signature_that_is_no_ascii_is_refused() -> None:
    assert not is_signed(KEY, str(NOW), "签名", BODY, NOW)
