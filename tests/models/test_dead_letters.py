"""Dead letters keep what is needed to mend and resend, and show nobody without the key what was in them."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dead_letters import DeadLetter, Vault, as_json, dead_letter, late_record, letter_body, letter_key
from models.observations import DeadReason, DecodeFailure
from tests.support import record

FAILURE = DecodeFailure(0, "decode", DeadReason.BAD_TIME, "$.frame_time", "expected a time, found none")
BODY = '{"plate":"浙F12345"}'.encode()
VAULT = Vault(b"operators' key")


def letter(body: bytes | None = BODY, vault: Vault | None = VAULT, **more: bool) -> DeadLetter:
    sent = record(body, offset=88, headers=(("ce_id", b"e-1"), ("Authorization", b"Bearer x")))
    return dead_letter("camera.tracks", 2, sent, FAILURE, vault, **more)


def test_the_letter_is_what_the_contract_says() -> None:
    said = json.loads(as_json(letter()))
    assert list(said) == [
        "topic", "partition", "offset", "stage", "reason", "path", "detail", "body_b64", "encrypted", "headers",
        "key_b64",
    ]  # fmt: skip
    assert (said["topic"], said["partition"], said["offset"], said["reason"]) == ("camera.tracks", 2, 88, "bad_time")
    assert said["headers"] == {"ce_id": "e-1"}
    assert said["encrypted"] is True


def test_the_bytes_come_back_with_the_key_only() -> None:
    sealed = letter()
    assert b"F12345" not in as_json(sealed)
    assert letter_body(sealed, VAULT) == BODY
    with pytest.raises(ValueError, match="not sealed with this key"):
        letter_body(sealed, Vault(b"another"))
    with pytest.raises(ValueError, match="no key is set"):
        letter_body(sealed, None)


def test_without_a_key_the_bytes_are_kept_only_where_that_is_allowed() -> None:
    assert letter(vault=None).body_b64 is None
    assert letter_body(letter(vault=None, keep_clear=True), None) == BODY
    assert letter(vault=None, keep_clear=True).encrypted is False
    assert letter(None).body_b64 is None
    assert letter_body(letter(b""), VAULT) == b""


def keyed(key: bytes | None, vault: Vault | None = VAULT, **more: bool) -> DeadLetter:
    return dead_letter("camera.tracks", 2, record(BODY, offset=88, key=key), FAILURE, vault, **more)


@pytest.mark.parametrize("key", [b"danghu", b"\xff\x00", b"", None])
def test_the_key_comes_back_as_the_bytes_do(key: bytes | None) -> None:
    sealed = keyed(key)
    assert letter_key(sealed, VAULT) == key
    assert letter_key(keyed(key, None, keep_clear=True), None) == key
    assert keyed(key, None).key_b64 is None
    assert b"danghu" not in as_json(sealed)
    if key is not None:
        with pytest.raises(ValueError, match="no key is set"):
            letter_key(sealed, None)


def test_a_tombstone_keeps_its_key() -> None:
    sealed = dead_letter("camera.tracks", 2, record(None, offset=88, key=b"danghu"), FAILURE, VAULT)
    assert (sealed.body_b64, sealed.encrypted, letter_key(sealed, VAULT)) == (None, True, b"danghu")


def test_a_key_cannot_be_passed_off_as_a_body() -> None:
    sealed = keyed(b"danghu")
    swapped = msgspec.structs.replace(sealed, body_b64=sealed.key_b64)
    with pytest.raises(ValueError, match="not sealed"):
        letter_body(swapped, VAULT)


def test_a_letter_from_before_keys_were_kept_is_read() -> None:
    before = json.loads(as_json(letter()))
    del before["key_b64"]
    read = msgspec.json.decode(json.dumps(before), type=DeadLetter)
    assert (letter_key(read, VAULT), letter_body(read, VAULT)) == (None, BODY)


def test_a_letter_cannot_be_passed_off_as_another() -> None:
    sealed = VAULT.seal(BODY, b"here")
    with pytest.raises(ValueError, match="not sealed"):
        VAULT.open(sealed, b"there")
    with pytest.raises(ValueError, match="not sealed"):
        VAULT.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), b"here")


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=8))
def test_sealing_repeats_exactly_and_nonces_differ(one: bytes, other: bytes, context: bytes) -> None:
    sealed = VAULT.seal(one, context)
    assert sealed == VAULT.seal(one, context)
    assert VAULT.open(sealed, context) == one
    if one != other:
        assert sealed[:12] != VAULT.seal(other, context)[:12]


def test_a_letter_of_the_largest_record_fits_the_topic() -> None:
    assert len(as_json(letter(b"x" * (5 << 20)))) < 4 << 20


@pytest.mark.parametrize("headers", [[("x", b"\0" * 900)] * 1000, [(f"{n}", b"\xff" * 90_000) for n in range(11)],
                                     [(f"{n}" * 4000, b"") for n in range(250)], [("x" * 1_000_000, b"")]])  # fmt: skip
def test_the_headers_of_a_record_made_its_letter_too_large(headers: list[tuple[str, bytes]]) -> None:
    named = [(f"{number}{name}", value) for number, (name, value) in enumerate(headers)]
    sent = record(b"x" * (5 << 20), key=b"k" * (1 << 20), headers=(("ce_id", b"1"), *named))
    said = dead_letter("camera.tracks", 2, sent, FAILURE, VAULT)
    assert len(as_json(said)) < 4 << 20
    assert said.headers["ce_id"] == "1"
    assert len(said.headers) <= len(headers) + 1


def test_a_late_record_carries_its_own_json() -> None:
    late = late_record("camera.tracks", 1, record(b'{"a":1}', offset=7), 2_500_000)
    assert json.loads(as_json(late)) == {
        "topic": "camera.tracks", "partition": 1, "offset": 7, "late_by_s": 2.5, "value": {"a": 1},
    }  # fmt: skip
