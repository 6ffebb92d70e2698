"""Who sent a webhook, told by its signature: Stripe's way with shared secrets, PayPal's with a certificate. Pure.

    Stripe   Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>...]     v1 = HMAC-SHA256(secret, "<t>." + raw body)
    PayPal   Paypal-Transmission-Sig: base64 of RSA PKCS#1 v1.5 SHA-256 over "<id>|<time>|<webhook id>|<crc32>"

While a secret is replaced, both sides may hold two: any signature that fits any secret is enough. The time is part of
what is signed, and Stripe's way refuses what is more than 300 s away from now, so a message caught on its way cannot
be sent again later. PayPal sends the same message for days under the time of the first try, so there the event id
alone keeps a repetition from having an effect. The raw bytes are signed: not what a parser made of them.

What we send out ourselves is signed in Stripe's way (`sign`), so whoever can check Stripe's can check ours.

Sources: Stripe, "Verify webhook signatures manually"; PayPal, "Integrate webhooks", self verification.
"""

import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import urlsplit
from zlib import crc32

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

TOLERANCE_S: Final = 300
SIGNATURES_MAX: Final = 20
"""More than this many signatures in one header are not looked at: each costs a hash over the body."""

STRIPE_HEADER: Final = "stripe-signature"
PAYPAL_ALGORITHM: Final = "SHA256withRSA"
PAYPAL_HOSTS: Final = frozenset({"api.paypal.com", "api.sandbox.paypal.com"})
PAYPAL_CERTIFICATE_PATH: Final = "/v1/notifications/certs/"

SignatureFault = Literal[
    "signature-missing",
    "signature-malformed",
    "signature-too-old",
    "signature-wrong",
    "certificate-not-trusted",
    "certificate-expired",
]
"""Why a webhook is refused; goes into metrics, so the set is closed."""


# --- shared secrets ---------------------------------------------------------------------------------------------------


def sign(secrets: Sequence[bytes], at_s: int, raw: bytes) -> str:
    """The header of a message we send: signed with every secret that is valid now, the newest first."""
    signed = b"%d." % at_s + raw
    return ",".join([f"t={at_s}", *(f"v1={hmac.new(secret, signed, sha256).hexdigest()}" for secret in secrets)])


def check_stripe(
    secrets: Sequence[bytes], header: str | None, raw: bytes, now_s: int, tolerance_s: int = TOLERANCE_S
) -> SignatureFault | None:
    """None where one of the header's v1 signatures is `raw` signed with one of the secrets, not long ago."""
    if not header:
        return "signature-missing"
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not signatures or len(signatures) > SIGNATURES_MAX:
        return "signature-malformed"
    if not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        return "signature-malformed"
    if not all(signature.isascii() for signature in signatures):
        return "signature-malformed"
    signed = times[0].encode() + b"." + raw
    known = [hmac.new(secret, signed, sha256).hexdigest() for secret in secrets]
    fits = [hmac.compare_digest(ours, theirs) for ours in known for theirs in signatures]
    if not any(fits):
        return "signature-wrong"
    return "signature-too-old" if abs(now_s - int(times[0])) > tolerance_s else None


# --- certificates -----------------------------------------------------------------------------------------------------


def paypal_certificate_is_trusted(address: str) -> bool:
    """Whether a certificate may be fetched from this address: PayPal's own hosts, over TLS, at their place for it."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return False
    path = parts.path
    return (
        parts.scheme == "https"
        and parts.hostname in PAYPAL_HOSTS
        and parts.netloc.lower() in PAYPAL_HOSTS
        and port is None
        and path.startswith(PAYPAL_CERTIFICATE_PATH)
        and path[len(PAYPAL_CERTIFICATE_PATH) :].replace("-", "").isalnum()
        and not parts.query
        and not parts.fragment
    )


def paypal_message(transmission_id: str, transmission_time: str, webhook_id: str, raw: bytes) -> bytes:
    """What PayPal signs; `webhook_id` is the one configured here, never one that came with the message."""
    return f"{transmission_id}|{transmission_time}|{webhook_id}|{crc32(raw)}".encode()


def check_paypal(
    webhook_id: str, headers: Mapping[str, str], raw: bytes, certificate: bytes, now: datetime
) -> SignatureFault | None:
    """None where `raw` was signed with the certificate (PEM) that its headers name; their names are in lower case.

    That the certificate came from PayPal is the caller's to see to, by `paypal_certificate_is_trusted`.
    """
    if paypal_fault(headers) is not None:
        return paypal_fault(headers)
    try:
        signature = b64decode(headers["paypal-transmission-sig"], validate=True)
    except (Base64Error, ValueError):
        return "signature-malformed"
    try:
        issued = load_pem_x509_certificate(certificate)
        key = issued.public_key()
    except ValueError:
        return "certificate-not-trusted"
    if not isinstance(key, RSAPublicKey):
        return "certificate-not-trusted"
    leeway = timedelta(minutes=5)
    if not issued.not_valid_before_utc - leeway <= now <= issued.not_valid_after_utc:
        return "certificate-expired"
    signed = paypal_message(headers["paypal-transmission-id"], headers["paypal-transmission-time"], webhook_id, raw)
    try:
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return "signature-wrong"
    return None


def paypal_fault(headers: Mapping[str, str]) -> SignatureFault | None:
    """What is wrong with the headers alone, before a certificate is fetched for them."""
    wanted = ("transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo")
    if not all(headers.get(f"paypal-{name}") for name in wanted):
        return "signature-missing"
    if headers["paypal-auth-algo"] != PAYPAL_ALGORITHM:
        return "signature-malformed"
    if "|" in headers["paypal-transmission-id"] or "|" in headers["paypal-transmission-time"]:
        return "signature-malformed"
    return None if paypal_certificate_is_trusted(headers["paypal-cert-url"]) else "certificate-not-trusted"
