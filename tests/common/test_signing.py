"""Signed heads: a signature is of all that the head says, keys follow one another, other tools agree."""

import shutil
import subprocess
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from libs.common.errors import Misconfigured
from libs.common.jwks import parse_jwks
from libs.common.signing import ChainHead, SigningKeys, add_key, is_signed_by, read_keys, signed_bytes

HEAD = ChainHead(
    organization="demo",
    ledger="main",
    ledger_id="82aebb8c-2336-5546-a4e1-b06bee84aa35",
    epoch=1,
    sequence=5,
    hash="10295fbd131f8c7be7742b9f3edc4a5ff62ca3ec9f07e16c27497c0ecedd9e35",
    recorded_at="2026-11-21T06:04:10.036582Z",
)
OTHER: dict[str, Any] = {
    "organization": "demon",
    "ledger": "mine",
    "ledger_id": "82aebb8c-2336-5546-a4e1-b06bee84aa36",
    "epoch": 2,
    "sequence": 6,
    "hash": "0" * 64,
    "recorded_at": "2026-11-21T06:04:10.036583Z",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one key."""
    add_key(tmp_path / "keys.pem")
    return tmp_path / "keys.pem"


def test_the_signed_bytes_are_what_is_documented() -> None:
    assert signed_bytes(HEAD).decode().split("\n") == [
        "ledgerbus-chain-head-v1",
        "demo",
        "main",
        "82aebb8c-2336-5546-a4e1-b06bee84aa35",
        "1",
        "5",
        "10295fbd131f8c7be7742b9f3edc4a5ff62ca3ec9f07e16c27497c0ecedd9e35",
        "2026-11-21T06:04:10.036582Z",
        "",
    ]


@pytest.mark.parametrize("name", list(OTHER))
def test_a_signature_is_of_everything_the_head_says(path: Path, name: str) -> None:
    keys = read_keys(path)
    signature = keys.sign(HEAD)
    assert signature is not None
    key = keys.public[signature.key_id]
    assert is_signed_by(HEAD, signature.text, key)
    assert not is_signed_by(replace(HEAD, **{name: OTHER[name]}), signature.text, key)


def test_no_signature_is_none(path: Path) -> None:
    keys = read_keys(path)
    signature = keys.sign(HEAD)
    assert signature is not None
    key = keys.public[signature.key_id]
    raw = bytearray(b64decode(signature.text))
    raw[7] ^= 1
    for text in ("", "no base64!", b64encode(bytes(raw)).decode(), b64encode(bytes(raw[:63])).decode()):
        assert not is_signed_by(HEAD, text, key)


def test_without_keys_nothing_is_signed() -> None:
    assert SigningKeys().sign(HEAD) is None
    assert SigningKeys().jwks() == {"keys": []}


def test_after_a_rotation_the_new_key_signs_and_the_old_one_verifies(path: Path) -> None:
    before = read_keys(path).sign(HEAD)
    new_id = add_key(path)
    assert path.read_bytes().count(b"BEGIN PRIVATE KEY") == 1, "the old private key is gone"
    assert path.stat().st_mode & 0o077 == 0
    keys = read_keys(path)
    after = keys.sign(HEAD)
    assert before is not None
    assert after is not None
    assert after.key_id == new_id != before.key_id
    assert list(keys.public) == [new_id, before.key_id]
    assert is_signed_by(HEAD, before.text, keys.public[before.key_id])
    assert not is_signed_by(HEAD, before.text, keys.public[new_id])


def test_the_published_keys_are_a_jwks_that_others_read(path: Path) -> None:
    add_key(path)
    keys = read_keys(path)
    read = parse_jwks(keys.jwks())
    assert {id_: key.public_key for id_, key in read.items()} == keys.public
    assert {key.algorithm for key in read.values()} == {"EdDSA"}


def test_openssl_checks_the_same_bytes(path: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("not run: openssl is not installed")
    keys = read_keys(path)
    signature = keys.sign(HEAD)
    assert signature is not None
    (tmp_path / "head").write_bytes(signed_bytes(HEAD))
    (tmp_path / "signature").write_bytes(b64decode(signature.text))
    public = keys.public[signature.key_id].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    words = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "public.pem", "-in", "head", "-sigfile", "signature"]
    said = subprocess.run(["openssl", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in said.stdout, said


def test_files_that_hold_no_signing_key_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_keys(tmp_path / "nowhere")
    other = generate_private_key(SECP256R1())
    wrong = {
        "hold no Ed25519 private key": b"no PEM",
        "is not an Ed25519 key": other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "a public key in .* is not an Ed25519": path.read_bytes()
        + other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "a private key in .* cannot be read": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "a public key in .* cannot be read": path.read_bytes()
        + b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    }
    for sentence, content in wrong.items():
        (tmp_path / "wrong.pem").write_bytes(content)
        with pytest.raises(Misconfigured, match=sentence):
            read_keys(tmp_path / "wrong.pem")
