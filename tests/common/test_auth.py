"""Tokens: every way to be wrong has its code, every known confusion is refused, and a provider may be away."""

import base64
import hmac
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs.common.auth import ROLES, Caller, DevIssuer, Verifier, caller_of, create_dev_issuer
from libs.common.errors import Misconfigured, Problem, Transient
from libs.common.jwks import Jwks, parse_jwks
from tests.gateway.serving import free_port, serving

ISSUER, AUDIENCE, NOW_S = "http://issuer.test", "ledgerbus", 1_800_000_000
KEYS: dict[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "RS256": rsa.generate_private_key(65537, 2048),
}
CLAIMS = {
    "iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 600,
    "organization": "demo", "roles": ["viewer"], "scope": "period:close weird",
}  # fmt: skip


def jwk_of(algorithm: str, key: Any, **members: str) -> dict[str, Any]:
    library = {
        "ES256": jwt.algorithms.ECAlgorithm,
        "EdDSA": jwt.algorithms.OKPAlgorithm,
        "RS256": jwt.algorithms.RSAAlgorithm,
    }
    public: dict[str, Any] = library[algorithm].to_jwk(key.public_key(), as_dict=True)  # type: ignore[attr-defined]
    return {**public, "kid": algorithm.lower(), "use": "sig", "alg": algorithm} | members


JWKS = {"keys": [jwk_of(algorithm, key) for algorithm, key in KEYS.items()]}


def token(algorithm: str = "ES256", *, kid: str | None = "", without: str = "", **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if name != without}
    headers = {} if kid is None else {"kid": kid or algorithm.lower()}
    return jwt.encode(claims, KEYS[algorithm], algorithm=algorithm, headers=headers)


def forged(header: dict[str, Any], signature: Callable[[bytes], bytes], claims: dict[str, Any] = CLAIMS) -> str:
    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    signed = part(orjson.dumps(header)) + b"." + part(orjson.dumps(claims))
    return (signed + b"." + part(signature(signed))).decode()


def verifier(jwks: Any = JWKS, *, now_s: float = NOW_S) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, jwks, now=lambda: now_s)


async def refusal(text: str | None, checked_by: Verifier | None = None) -> str:
    with pytest.raises(Problem) as refused:
        await (checked_by or verifier()).verify(text)
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")
    return refused.value.code


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_good_token_gives_its_caller(algorithm: str) -> None:
    caller = await verifier().verify(f"Bearer {token(algorithm)}")
    assert caller == Caller("anna", "demo", None, frozenset({"viewer"}), ROLES["viewer"] | {"period:close"}), (
        "roles and scopes count together, what is no scope does not"
    )


async def test_the_scheme_is_read_in_any_case() -> None:
    assert (await verifier().verify(f"bearer {token()}")).subject == "anna"


WRONG = [
    ("token-missing", None),
    ("token-missing", "Basic YTpi"),
    ("token-missing", token()),
    ("token-malformed", "Bearer "),
    ("token-malformed", "Bearer a.b.c"),
    ("token-malformed", "Bearer " + "x" * 9000),
    ("token-malformed", "Bearer é.é.é"),
    ("token-malformed", f"Bearer {token(kid=None)}"),
    ("token-malformed", f"Bearer {token(without='exp')}"),
    ("token-malformed", f"Bearer {token(exp='soon')}"),
    ("token-malformed", f"Bearer {token(exp=True)}"),
    ("token-malformed", f"Bearer {token(without='sub')}"),
    ("token-malformed", f"Bearer {token(sub='x' * 201)}"),
    ("token-malformed", f"Bearer {token(organization='Demo Inc')}"),
    ("token-malformed", f"Bearer {token(organization=['demo'])}"),
    ("token-malformed", f"Bearer {token(organization='demo', roles=['operator'])}"),
    ("token-malformed", f"Bearer {token(roles=['service'])}"),
    ("token-malformed", f"Bearer {token(roles='viewer')}"),
    ("token-malformed", f"Bearer {token(scope=['a:b'])}"),
    ("token-expired", f"Bearer {token(exp=NOW_S - 31)}"),
    ("token-not-yet-valid", f"Bearer {token(nbf=NOW_S + 31)}"),
    ("token-not-yet-valid", f"Bearer {token(iat=NOW_S + 31)}"),
    ("token-issuer-wrong", f"Bearer {token(iss='http://evil.test')}"),
    ("token-issuer-wrong", f"Bearer {token(without='iss')}"),
    ("token-audience-wrong", f"Bearer {token(aud='others')}"),
    ("token-audience-wrong", f"Bearer {token(aud=['others', 'more'])}"),
    ("token-audience-wrong", f"Bearer {token(without='aud')}"),
    ("token-key-unknown", f"Bearer {token(kid='other')}"),
]


@pytest.mark.parametrize(("code", "header"), WRONG, ids=range(len(WRONG)))
async def test_each_wrong_token_has_its_code(code: str, header: str | None) -> None:
    assert await refusal(header) == code


@pytest.mark.parametrize("changes", [{"exp": NOW_S - 29}, {"nbf": NOW_S + 29}, {"aud": ["others", AUDIENCE]}])
async def test_clocks_may_differ_a_little_and_audiences_be_many(changes: dict[str, Any]) -> None:
    assert (await verifier().verify(f"Bearer {token(**changes)}")).subject == "anna"


def rsa_public_pem() -> bytes:
    pem: bytes = KEYS["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def hs256_with_public_key(signed: bytes) -> bytes:
    return hmac.digest(rsa_public_pem(), signed, "sha256")


CONFUSIONS = {
    "alg none, no signature": forged({"alg": "none", "kid": "es256"}, lambda _: b""),
    "alg None in other letters": forged({"alg": "nOnE", "kid": "es256"}, lambda _: b""),
    "public key as an HMAC secret": forged({"alg": "HS256", "kid": "rs256"}, hs256_with_public_key),
    "HMAC with no secret": forged({"alg": "HS256", "kid": "es256"}, lambda signed: hmac.digest(b"", signed, "sha256")),
    "another algorithm than the key's": forged({"alg": "RS256", "kid": "es256"}, lambda signed: b"x" * 256),
    "another key of the same issuer": token("ES256", kid="eddsa"),
    "signature cut off": token().rpartition(".")[0] + ".",
    "all-zero ECDSA signature": forged({"alg": "ES256", "kid": "es256"}, lambda _: b"\0" * 64),
    "PS256": forged({"alg": "PS256", "kid": "rs256"}, lambda _: b"x" * 256),
    "a digest as a signature": forged({"alg": "ES256", "kid": "es256"}, lambda signed: sha256(signed).digest() * 2),
    "an unknown critical extension": forged(
        {"alg": "ES256", "kid": "es256", "crit": ["x"], "x": 1}, lambda _: b"x" * 64
    ),
    "its own key in the header": forged(
        {"alg": "ES256", "kid": "mine", "jwk": jwk_of("ES256", KEYS["ES256"])}, lambda _: b"x" * 64
    ),
    "a kid that is a path": forged({"alg": "ES256", "kid": "../../etc/passwd"}, lambda _: b"x" * 64),
    "a kid that is a number": forged({"alg": "ES256", "kid": 7}, lambda _: b"x" * 64),
    "claims that are no object": forged({"alg": "ES256", "kid": "es256"}, lambda _: b"x" * 64, [1]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CONFUSIONS)
async def test_confusions_are_refused(name: str) -> None:
    assert await refusal(f"Bearer {CONFUSIONS[name]}") in (
        "token-signature-invalid", "token-key-unknown", "token-malformed",
    )  # fmt: skip


async def test_every_changed_character_is_seen() -> None:
    text = token()
    for position in range(0, len(text) - 1, 7):  # the last letter has bits that mean nothing
        letter = "A" if text[position] != "A" else "B"
        changed = text[:position] + letter + text[position + 1 :]
        await refusal(f"Bearer {changed}")


async def test_a_remembered_token_expires_all_the_same() -> None:
    moment = [NOW_S]
    checked_by = Verifier(ISSUER, AUDIENCE, JWKS, now=lambda: moment[0])
    header = f"Bearer {token()}"
    assert await checked_by.verify(header) is await checked_by.verify(header)
    moment[0] = NOW_S + 600 + 30
    assert await refusal(header, checked_by) == "token-expired"


async def test_only_so_many_tokens_are_remembered() -> None:
    checked_by = Verifier(ISSUER, AUDIENCE, JWKS, cache_size=2, now=lambda: NOW_S)
    headers = [f"Bearer {token(sub=f's{number}')}" for number in range(3)]
    first = await checked_by.verify(headers[0])
    for header in headers[1:]:
        await checked_by.verify(header)
    assert await checked_by.verify(headers[0]) is not first


class Provider:
    """An identity provider's JWKS address that can be emptied, broken and counted."""

    def __init__(self) -> None:
        self.asked = 0
        self.body = orjson.dumps(JWKS)
        self.status = 200
        self.app = Starlette(routes=[Route("/jwks", self._answer)])

    async def _answer(self, _: Request) -> Response:
        self.asked += 1
        return Response(self.body, self.status)


class Ticking:
    """Monotonic seconds that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("status", [500, 404])
async def test_known_keys_stay_while_the_provider_is_down(status: int) -> None:
    provider, clock = Provider(), Ticking()
    async with serving(provider.app) as url:
        jwks = Jwks(f"{url}/jwks", monotonic_s=clock)
        await jwks.start()
        provider.status = status
        clock.now_s = 1_000
        assert (await verifier(jwks).verify(f"Bearer {token()}")).subject == "anna"
        await jwks.close()
    clock.now_s = 2_000
    assert (await verifier(jwks).verify(f"Bearer {token('EdDSA')}")).subject == "anna"
    await jwks.close()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys": 1}', b"<html>", b'{"keys": [' + b" " * 300_000 + b"]}"])
async def test_a_broken_document_changes_nothing(body: bytes) -> None:
    provider, clock = Provider(), Ticking()
    async with serving(provider.app) as url:
        jwks = Jwks(f"{url}/jwks", monotonic_s=clock)
        await jwks.start()
        provider.body = body
        clock.now_s = 1_000
        assert await refusal(f"Bearer {token(kid='new')}", verifier(jwks)) == "token-key-unknown"
        assert (await verifier(jwks).verify(f"Bearer {token()}")).subject == "anna"
        await jwks.close()


async def test_made_up_kids_do_not_drive_the_provider() -> None:
    provider, clock = Provider(), Ticking()
    async with serving(provider.app) as url:
        jwks = Jwks(f"{url}/jwks", monotonic_s=clock)
        checked_by = verifier(jwks)
        await checked_by.start()
        for number in range(50):
            assert await refusal(f"Bearer {token(kid=f'k{number}')}", checked_by) == "token-key-unknown"
        assert provider.asked == 1
        clock.now_s = 11
        for number in range(50):
            await refusal(f"Bearer {token(kid=f'k{number}')}", checked_by)
        assert provider.asked == 2
        await checked_by.close()


async def test_a_new_key_is_found_and_a_withdrawn_one_forgotten() -> None:
    provider, clock = Provider(), Ticking()
    provider.body = orjson.dumps({"keys": [jwk_of("ES256", KEYS["ES256"])]})
    async with serving(provider.app) as url:
        checked_by = verifier(Jwks(f"{url}/jwks", monotonic_s=clock))
        await checked_by.start()
        old = f"Bearer {token()}"
        assert (await checked_by.verify(old)).subject == "anna"
        provider.body = orjson.dumps({"keys": [jwk_of("EdDSA", KEYS["EdDSA"])]})
        clock.now_s = 11
        assert (await checked_by.verify(f"Bearer {token('EdDSA')}")).subject == "anna"
        assert await refusal(old, checked_by) == "token-key-unknown", "remembered tokens go with their key"
        await checked_by.close()


async def test_a_provider_that_never_answered_is_transient() -> None:
    checked_by = verifier(Jwks(f"http://127.0.0.1:{free_port()}/jwks"))
    await checked_by.start()
    with pytest.raises(Transient):
        await checked_by.verify(f"Bearer {token()}")


def test_keys_for_other_uses_are_left_out() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    listed = [
        jwk_of("ES256", KEYS["ES256"], use="enc"),
        jwk_of("RS256", KEYS["RS256"], alg="RS512"),
        jwk_of("RS256", weak),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "hmac", "alg": "HS256"},
        {"kty": "EC", "crv": "P-384", "kid": "p384"},
        "nonsense",
    ]
    assert parse_jwks({"keys": listed}) == {}


def test_the_dev_issuer_keeps_its_key_to_itself(tmp_path: Path) -> None:
    private, public = tmp_path / "keys" / "private.pem", tmp_path / "jwks.json"
    create_dev_issuer(private, public)
    first, shown = private.read_bytes(), public.read_bytes()
    create_dev_issuer(private, public)
    assert (private.read_bytes(), public.read_bytes()) == (first, shown), "an existing key is kept"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert set(orjson.loads(shown)["keys"][0]) == {"kty", "crv", "x", "y", "alg", "use", "kid"}


async def test_the_dev_issuers_tokens_are_good(tmp_path: Path) -> None:
    create_dev_issuer(tmp_path / "key.pem", tmp_path / "jwks.json")
    issuer = DevIssuer(tmp_path / "key.pem", ISSUER, AUDIENCE, "development")
    checked_by = Verifier(ISSUER, AUDIENCE, tmp_path / "jwks.json")
    caller = await checked_by.verify(f"Bearer {issuer.token('svc', 'demo', roles=['service'], service='invoicing')}")
    assert (caller.service, caller.organization) == ("invoicing", "demo")
    operator = await checked_by.verify(f"Bearer {issuer.token('root', None, roles=['operator'])}")
    assert operator.organization is None
    assert await refusal(f"Bearer {issuer.token('a', 'demo', lifetime_s=-60)}", checked_by) == "token-expired"


@pytest.mark.parametrize("environment", ["production", "Production", " PRODUCTION "])
def test_the_dev_issuer_refuses_production(tmp_path: Path, environment: str) -> None:
    create_dev_issuer(tmp_path / "key.pem", tmp_path / "jwks.json")
    with pytest.raises(Misconfigured):
        DevIssuer(tmp_path / "key.pem", ISSUER, AUDIENCE, environment)


def test_a_broken_key_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("not a key")
    with pytest.raises(Misconfigured, match=r"key\.pem"):
        create_dev_issuer(tmp_path / "key.pem", tmp_path / "jwks.json")


@pytest.mark.parametrize(
    ("claims", "scope", "code"),
    [
        ({"roles": ["viewer"], "organization": "demo"}, "ledger:post", "scope-missing"),
        ({"roles": ["nobody"], "organization": "demo"}, "ledger:read", "scope-missing"),
        ({"roles": ["operator"]}, "ledger:post", "scope-missing"),
        ({"scope": "ledger:post"}, "ledger:post", "organization-missing"),
        ({"scope": "organization:create", "organization": "demo"}, "organization:create", "operator-only"),
    ],
)
def test_what_a_caller_may_not_do(claims: dict[str, Any], scope: str, code: str) -> None:
    with pytest.raises(Problem) as refused:
        caller_of({"sub": "a"} | claims).require(scope)
    assert (refused.value.status, refused.value.code) == (403, code)


@pytest.mark.parametrize(
    ("claims", "scope"),
    [
        ({"roles": ["accountant"], "organization": "demo"}, "ledger:post"),
        ({"roles": ["controller"], "organization": "demo"}, "period:backdate"),
        ({"scope": "ledger:read", "organization": "demo"}, "ledger:read"),
        ({"roles": ["operator"]}, "organization:create"),
    ],
)
def test_what_a_caller_may_do(claims: dict[str, Any], scope: str) -> None:
    caller_of({"sub": "a"} | claims).require(scope)


def test_an_operator_has_no_organization() -> None:
    with pytest.raises(Problem) as refused:
        caller_of({"sub": "root", "roles": ["operator"]}).own_organization()
    assert refused.value.code == "organization-missing"
