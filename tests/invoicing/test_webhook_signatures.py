"""Signatures of webhooks: vectors of our own, and every way in which a forgery could pass."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from zlib import crc32

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from services.invoicing.webhook_signatures import (
    check_paypal,
    check_stripe,
    paypal_certificate_is_trusted,
    paypal_message,
    sign,
)

NOW_S = 1_790_000_000
RAW = b'{"id":"evt_1","type":"charge.succeeded"}'
OLD, NEW, FOREIGN = b"whsec_old", b"whsec_new", b"whsec_foreign"

# Made once with `openssl dgst -sha256 -hmac <secret>` over "<time>.<raw>", by nothing of ours.
VECTOR_OLD = "85d464be2e890add653d5bab33854e41192f226d49e4333696646f09a943061b"
VECTOR_NEW = "39fad3c218f9c0dd451baa44301be32c1b9d23c124ddb102532fd641c0759e96"
T = f"t={NOW_S}"


def test_what_we_sign_is_the_vector() -> None:
    assert sign([NEW, OLD], NOW_S, RAW) == f"{T},v1={VECTOR_NEW},v1={VECTOR_OLD}"
    assert sign([OLD], NOW_S, RAW) == f"{T},v1={VECTOR_OLD}"


@pytest.mark.parametrize(
    ("held", "header", "verdict"),
    [
        ([OLD], f"{T},v1={VECTOR_OLD}", None),
        ([OLD], f"{T}, v1={VECTOR_OLD}", None),
        ([OLD], f"v1={VECTOR_OLD},{T}", None),
        ([OLD], f"{T},v0={VECTOR_NEW},v1={VECTOR_OLD}", None),
        # rotation: the sender signs with both, or only with the new one while we hold both
        ([OLD], f"{T},v1={VECTOR_NEW},v1={VECTOR_OLD}", None),
        ([NEW], f"{T},v1={VECTOR_NEW},v1={VECTOR_OLD}", None),
        ([NEW, OLD], f"{T},v1={VECTOR_NEW}", None),
        ([NEW], f"{T},v1={VECTOR_OLD}", "signature-wrong"),
        # forgeries
        ([FOREIGN], f"{T},v1={VECTOR_OLD}", "signature-wrong"),
        ([], f"{T},v1={VECTOR_OLD}", "signature-wrong"),
        ([OLD], f"{T},v1={VECTOR_OLD[:-1]}", "signature-wrong"),
        ([OLD], f"{T},v1=", "signature-wrong"),
        ([OLD], f"{T},v0={VECTOR_OLD}", "signature-malformed"),
        ([OLD], f"t={NOW_S + 1},v1={VECTOR_OLD}", "signature-wrong"),
        ([OLD], f"{T},t={NOW_S},v1={VECTOR_OLD}", "signature-malformed"),
        ([OLD], f"v1={VECTOR_OLD}", "signature-malformed"),
        ([OLD], f"t=soon,v1={VECTOR_OLD}", "signature-malformed"),
        ([OLD], f"t=-1,v1={VECTOR_OLD}", "signature-malformed"),
        ([OLD], f"t=٣,v1={VECTOR_OLD}", "signature-malformed"),
        ([OLD], f"{T},v1=é", "signature-malformed"),
        ([OLD], T + ",v1=00" * 21, "signature-malformed"),
        ([OLD], "nonsense", "signature-malformed"),
        ([OLD], "", "signature-missing"),
        ([OLD], None, "signature-missing"),
    ],
)
def test_stripe(held: list[bytes], header: str | None, verdict: str | None) -> None:
    assert check_stripe(held, header, RAW, NOW_S) == verdict


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0, None), (300, None), (-300, None), (301, "signature-too-old"), (-301, "signature-too-old")],
)
def test_stripe_is_refused_when_it_is_old(seconds: int, verdict: str | None) -> None:
    assert check_stripe([OLD], f"{T},v1={VECTOR_OLD}", RAW, NOW_S + seconds) == verdict


def test_every_changed_byte_is_noticed() -> None:
    header = f"{T},v1={VECTOR_OLD}"
    for place in range(len(RAW)):
        changed = RAW[:place] + bytes([RAW[place] ^ 1]) + RAW[place + 1 :]
        assert check_stripe([OLD], header, changed, NOW_S) == "signature-wrong"
    assert check_stripe([OLD], header, RAW + b" ", NOW_S) == "signature-wrong"


# --- PayPal -----------------------------------------------------------------------------------------------------------

WEBHOOK_ID = "8PT597110X687430LKGECATA"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messageverificationcerts.paypal.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - timedelta(days=90))
    return builder.not_valid_after(NOW + timedelta(days=days)).sign(key, SHA256()).public_bytes(Encoding.PEM)


def transmitted(raw: bytes = RAW, *, webhook_id: str = WEBHOOK_ID, **changed: str) -> dict[str, str]:
    at = "2026-11-26T10:00:00Z"
    signature = KEY.sign(paypal_message("69cd13f0", at, webhook_id, raw), PKCS1v15(), SHA256())
    headers = {
        "paypal-transmission-id": "69cd13f0",
        "paypal-transmission-time": at,
        "paypal-transmission-sig": b64encode(signature).decode(),
        "paypal-cert-url": "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270",
        "paypal-auth-algo": "SHA256withRSA",
    }
    return headers | {f"paypal-{name.replace('_', '-')}": value for name, value in changed.items()}


def test_what_paypal_signs() -> None:
    assert crc32(b"123456789") == 0xCBF43926  # the check value of this CRC
    assert paypal_message("a", "b", "c", b"123456789") == b"a|b|c|3421780262"


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        (transmitted(), None),
        (transmitted(b"other"), "signature-wrong"),
        (transmitted(webhook_id="ANOTHER"), "signature-wrong"),
        (transmitted(transmission_id="69cd13f1"), "signature-wrong"),
        (transmitted(transmission_time="2026-11-26T10:00:01Z"), "signature-wrong"),
        (transmitted(transmission_sig="AAAA"), "signature-wrong"),
        (transmitted(transmission_sig="not base64!"), "signature-malformed"),
        (transmitted(auth_algo="none"), "signature-malformed"),
        (transmitted(transmission_id="69cd13f0|x"), "signature-malformed"),
        (transmitted(transmission_sig=""), "signature-missing"),
        (transmitted(cert_url="https://paypal.example/v1/notifications/certs/C"), "certificate-not-trusted"),
        ({}, "signature-missing"),
    ],
)
def test_paypal(headers: dict[str, str], verdict: str | None) -> None:
    assert check_paypal(WEBHOOK_ID, headers, RAW, certificate(KEY), NOW) == verdict


@pytest.mark.parametrize(
    ("pem", "verdict"),
    [
        (certificate(OTHER_KEY), "signature-wrong"),
        (certificate(KEY, days=-1), "certificate-expired"),
        (certificate(ec.generate_private_key(ec.SECP256R1())), "certificate-not-trusted"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate-not-trusted"),
        (b"", "certificate-not-trusted"),
    ],
)
def test_paypals_certificate(pem: bytes, verdict: str) -> None:
    assert check_paypal(WEBHOOK_ID, transmitted(), RAW, pem, NOW) == verdict


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("https://api.paypal.com/v1/notifications/certs/CERT-1", True),
        ("https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1", True),
        ("http://api.paypal.com/v1/notifications/certs/CERT-1", False),
        ("https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1", False),
        ("https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1", False),
        ("https://evil@api.paypal.com/v1/notifications/certs/CERT-1", False),
        ("https://api.paypal.com:8443/v1/notifications/certs/CERT-1", False),
        ("https://api.paypal.com:notaport/v1/notifications/certs/CERT-1", False),
        ("https://api.paypal.com/v1/notifications/certs/../../oauth2/x", False),
        ("https://api.paypal.com/v1/notifications/certs/%2e%2e", False),
        ("https://api.paypal.com/v1/notifications/certs/CERT-1?to=x", False),
        ("https://api.paypal.com/v1/notifications/certs/", False),
        ("https://[api.paypal.com/v1/notifications/certs/CERT-1", False),
        ("https://www.paypal.com/v1/notifications/certs/CERT-1", False),
    ],
)
def test_where_a_certificate_may_come_from(address: str, trusted: bool) -> None:
    assert paypal_certificate_is_trusted(address) is trusted
