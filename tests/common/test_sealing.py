"""Sealed values: only the right key and the right owner open them, old keys open what is old, hashes find again."""

import os
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from libs.common.errors import Misconfigured
from libs.common.sealing import (
    KEY_BYTES,
    BrokenSeal,
    Sealer,
    add_sealing_key,
    drop_old_keys,
    read_sealer,
    sealing_key_id,
)

PLAIN = b'{"name":"Acme Corp"}'
OWNER = b"demo/customers/1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one key."""
    add_sealing_key(tmp_path / "sealing.keys")
    return tmp_path / "sealing.keys"


def test_what_is_sealed_opens_again_and_looks_like_nothing(path: Path) -> None:
    sealer = read_sealer(path)
    first, second = sealer.seal(PLAIN, OWNER), sealer.seal(PLAIN, OWNER)
    assert sealer.open(*first, OWNER) == sealer.open(*second, OWNER) == PLAIN
    assert first.value != second.value
    assert b"Acme" not in first.value


def test_the_stored_form_is_what_is_documented() -> None:
    key = bytes(range(KEY_BYTES))
    sealed = Sealer([key], key).seal(PLAIN, OWNER)
    assert sealed.value[:1] == b"\x01"
    assert AESGCM(key).decrypt(sealed.value[1:13], sealed.value[13:], OWNER) == PLAIN
    assert sealed.key_id == sealing_key_id(key) == "cecdde64b188d048"


def test_another_owner_cannot_open_it(path: Path) -> None:
    sealer = read_sealer(path)
    with pytest.raises(BrokenSeal):
        sealer.open(*sealer.seal(PLAIN, OWNER), b"demo/customers/2")


@pytest.mark.parametrize("place", [0, 1, 12, 13, -1])
def test_one_altered_bit_is_seen_anywhere(path: Path, place: int) -> None:
    sealer = read_sealer(path)
    key_id, value = sealer.seal(PLAIN, OWNER)
    altered = bytearray(value)
    altered[place] ^= 1
    with pytest.raises(BrokenSeal):
        sealer.open(key_id, bytes(altered), OWNER)


@pytest.mark.parametrize("length", [0, 1, 8, 13, 28])
def test_what_was_cut_is_refused(path: Path, length: int) -> None:
    sealer = read_sealer(path)
    key_id, value = sealer.seal(PLAIN, OWNER)
    with pytest.raises(BrokenSeal):
        sealer.open(key_id, value[:length], OWNER)


def test_old_keys_open_until_they_are_dropped(path: Path) -> None:
    before = read_sealer(path)
    old = before.seal(PLAIN, OWNER)
    new_id = add_sealing_key(path)
    between = read_sealer(path)
    assert between.open(*old, OWNER) == PLAIN
    assert between.key_id == new_id != old.key_id
    assert between.is_old(old.key_id)
    assert not between.is_old(new_id)
    again = between.seal(PLAIN, OWNER)
    assert drop_old_keys(path) == [old.key_id]
    after = read_sealer(path)
    assert after.open(*again, OWNER) == PLAIN
    with pytest.raises(Misconfigured, match=old.key_id):
        after.open(*old, OWNER)


def test_hashes_find_again_after_a_rotation_and_differ_by_value_and_file(path: Path, tmp_path: Path) -> None:
    before = read_sealer(path).keyed_hash(b"demo/acme corp")
    add_sealing_key(path)
    drop_old_keys(path)
    assert read_sealer(path).keyed_hash(b"demo/acme corp") == before
    assert read_sealer(path).keyed_hash(b"demo/acme") != before
    add_sealing_key(tmp_path / "other.keys")
    assert read_sealer(tmp_path / "other.keys").keyed_hash(b"demo/acme corp") != before


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    add_sealing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


KEY = b64encode(bytes(KEY_BYTES)).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "hold no key to seal with"),
        (f"index {KEY}\n", "hold no key to seal with"),
        (f"seal {KEY}\n", "hold 0 index keys"),
        (f"seal {KEY}\nindex {KEY}\nindex {KEY}\n", "hold 2 index keys"),
        (f"# ours\n\nseal {KEY[:-4]}\nindex {KEY}\n", "in line 3"),
        (f"seal {KEY}\nindex *{KEY[1:]}\n", "in line 2"),
        (f"open {KEY}\n", "in line 1 neither"),
    ],
)
def test_a_wrong_file_is_named_and_its_content_is_not(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "sealing.keys"
    path.write_text(text)
    with pytest.raises(Misconfigured) as raised:
        read_sealer(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert KEY[:12] not in str(raised.value)


def test_no_file_and_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="FileNotFoundError"):
        read_sealer(tmp_path / "none.keys")
    (tmp_path / "noise.keys").write_bytes(b"\xff" + os.urandom(4))
    with pytest.raises(Misconfigured, match="UnicodeDecodeError"):
        read_sealer(tmp_path / "noise.keys")
