"""The ledger against its own OpenAPI document: every operation, asked well and asked badly.

Whatever is sent: never a 5xx; a refusal is a whole problem; an answer has a status, a content type and a body that the
document promises. Nothing is drawn, so what fails once fails always. See hostile.py for what is sent, and
test_schemathesis.py for what can be drawn from the document alone: there few requests are granted, here one of each is.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import aiohttp
import orjson
from jsonschema import Draft202012Validator
from yarl import URL

from services.ledger.short_examples import ASKED
from tests.ledger.hostile import JSON, NDJSON, Sent, broken
from tests.ledger.serving import ENTRIES, Service, rent

L: Final = "/api/v1/ledgers/{ledger}"
AT_ONCE: Final = 6
SHARE: Final = 8
"""Every how many-th broken request is sent."""
TOLD_MAX: Final = 40
BROKEN: Final = {"internal", "internal-error"}
"""Codes of a result line that say what a 5xx says."""
FULL: Final = {
    "from": "2026-01-01", "to": "2026-12-31", "compare": "2025-12-31", "sequence": "3", "limit": "2", "after": "1",
    "zero": "true", "level": "2", "currency": "USD", "translate_to": "USD", "rates_known_at": "2026-01-15T00:00:00Z",
    "q": "rent", "party": "p", "origin": "o", "external_id": "x", "account": "1010-CASH", "account_id": "1010-CASH",
    "reference": "r", "side": "debit", "metadata": '{"a":1}', "type": "asset", "account_type": "asset",
    "status": "pending", "parent": "1000", "effective_on": "2026-01-31", "at": "2026-01-15T00:00:00Z", "mode": "atomic",
    "dry_run": "true", "head": "0" * 64,
}  # fmt: skip
"""A good value for every query parameter there is, but for cursors."""
MOVE: Final = {"from": "2001-ALICE", "to": "2000-FLOAT", "amount": "1.00"}
ORIGIN: Final = {"service": "invoicing", "document": "7"}
OPEN: Final = {"name": "New", "type": "asset", "currency": "USD"}


@dataclass(slots=True)
class Found:
    """What the good requests speak of."""

    entry: str
    others: Iterator[str]
    hold: str
    released: str


def good_body(method: str, path: str) -> Any:
    """A body that is granted. A path without one here takes no body, or is asked with the short path's example."""
    bodies: Mapping[str, Any] = {
        "/api/v1/organizations": {"slug": "third", "name": "Third"},
        "/api/v1/currencies": {"code": "POINTS", "decimals": 0, "name": "Points"},
        "/api/v1/ledgers": {"code": "second", "name": "Second"},
        f"{L}/accounts": {
            **OPEN, "code": "1900-NEW", "heading": {"number": 1, "name": "H"}, "metadata": {"a": [1, "b"]}
        },
        f"{L}/entries": {
            **rent(), "metadata": {"a": 1}, "external_id": "x-1", "origin": ORIGIN,
            "rates": [{"base": "EUR", "counter": "USD", "rate": "1.1"}],
        },
        f"{L}/entries/{{id}}/reverse": {"effective_on": "2026-01-20", "description": "Taken back"},
        f"{L}/transfers": {**MOVE, "currency": "USD", "description": "Moved"},
        f"{L}/holds": {"lines": rent()["lines"], "description": "Held"},
        f"{L}/holds/{{id}}/capture": {"description": "Taken"},
        f"{L}/holds/{{id}}/release": {"reason": "Gone"},
        f"{L}/accounts/{{code}}": {"name": "Spare renamed"},
        f"{L}/accounts/{{code}}/freeze": {"direction": "both", "reason": "because"},
    }  # fmt: skip
    if path in bodies:
        return bodies[path]
    if path.rstrip("/") in ASKED:
        return short_body(path.rstrip("/"))
    return {"reason": "because"}


def short_body(path: str) -> Any:
    """A short path's example on accounts that are there."""
    body = dict(ASKED[path])
    if path.endswith("/accounts"):
        body["code"] = "1980-SHORT" if "v1" in path else "1981-SHORT"
    if path.endswith("/journal"):
        body["lines"] = [{"account_code": code, "amount": 1, "is_debit": code[0] == "5"} for code in two_codes()]
    elif path.endswith("/transactions"):
        body["entries"] = [
            {"account_id": code, "direction": side, "amount": "1.00"}
            for code, side in zip(two_codes(), ("debit", "credit"), strict=True)
        ]
    elif path.endswith("/ledger/transfer"):
        body |= {"source_account_id": "2000-FLOAT", "destination_account_id": "2001-ALICE"}
    elif path.endswith("/transfers"):
        body |= {"from": "2000-FLOAT", "to": "2001-ALICE", "ccy": "USD"}
    return body


def two_codes() -> tuple[str, str]:
    return "5000-RENT", "1010-CASH"


def good(method: str, path: str, entry: Mapping[str, Any], found: Found) -> Sent:
    """A request that is granted."""
    step = any(word in path for word in ("/days/", "/periods/", "/years/"))
    known = {
        "ledger": "spare" if step else "main",
        "code": "1800-SPARE" if method != "GET" else "1010-CASH",
        "account": "1010-CASH",
        "id": found.entry,
        "date": "2025-12-20",
        "period": "2025-12",
        "year": "2025",
        "format": "ndjson",
    }
    if path.endswith("/reverse"):
        known["id"] = next(found.others)
    if "/holds/" in path:
        known["id"] = found.released if path.endswith("/release") else found.hold
    named = [each["name"] for each in entry.get("parameters", ()) if each["in"] == "path"]
    sent = Sent(method, path, {name: known[name] for name in named})
    if path.endswith(("/events", "/events/")):
        sent = replace(sent, query=(("account_id", "1010-CASH"),) if "{code}" not in path else ())
    if path.endswith("/entries/bulk"):
        return replace(sent, body=orjson.dumps(rent()), content_type=NDJSON)
    if path.endswith("/import/{format}"):
        chart = b'{"accounts": [{"code": "1950-IN", "name": "In", "type": "asset", "currency": "USD"}]}'
        return replace(sent, places={**sent.places, "format": "accounts-json"}, body=chart)
    if method == "GET":
        return sent
    return replace(sent, body=orjson.dumps(good_body(method, path)))


def better(sent: Sent, entry: Mapping[str, Any]) -> Iterator[Sent]:
    """The good request with each query parameter in turn, with all of them, and for other content types."""
    names = [each["name"] for each in entry.get("parameters", ()) if each["in"] == "query" and each["name"] in FULL]
    for name in names:
        others = tuple(pair for pair in sent.query if pair[0] != name)
        yield replace(sent, query=(*others, (name, FULL[name].replace("+", "%2B"))))
    yield replace(sent, query=tuple((name, FULL[name]) for name in names))
    for content_type in entry["responses"].get("200", {}).get("content", ()):
        yield replace(sent, accept=content_type.partition(";")[0])


@dataclass(slots=True)
class Asking:
    """Sends, and writes down every answer that is not as the document promises."""

    service: Service
    document: Mapping[str, Any]
    session: aiohttp.ClientSession
    wrong: dict[str, list[str]]
    sent: int = 0

    async def send(self, sent: Sent) -> tuple[int, bytes, str]:
        """Status, body and content type of one answer."""
        operated = sent.path == "/api/v1/organizations"
        bearer = self.service.headers("operator", organization=None) if operated else self.service.headers()
        headers = {**bearer, "Accept": sent.accept}
        if sent.key is not None:
            headers["Idempotency-Key"] = sent.key
        if sent.body is not None:
            headers["Content-Type"] = sent.content_type
        url = URL(self.service.url + sent.address, encoded=True)
        self.sent += 1
        async with self.session.request(sent.method, url, data=sent.body, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers.get("Content-Type", "")

    async def ask(self, sent: Sent, entry: Mapping[str, Any]) -> int:
        """Sends one request and looks at the answer; the status."""
        try:
            async with asyncio.timeout(20):
                status, body, content_type = await self.send(sent)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._note(sent, f"no answer: {type(error).__name__}")
            return 0
        if status >= 300:
            fault = problem_fault(status, body, content_type)
        else:
            fault = self._answer_fault(entry, status, body, content_type)
        if fault:
            self._note(sent, f"{status}: {fault}")
        return status

    def _answer_fault(self, entry: Mapping[str, Any], status: int, body: bytes, content_type: str) -> str | None:
        promised = entry["responses"].get(str(status))
        if promised is None:
            return "the status is not in the document"
        content = {name.partition(";")[0]: each for name, each in promised.get("content", {}).items()}
        media_type = content_type.partition(";")[0]
        if media_type not in content:
            return f"{content_type!r} is not in the document"
        if media_type == NDJSON:
            results = map(orjson.loads, body.splitlines())
            return next((str(each) for each in results if each.get("code") in BROKEN), None)
        if media_type != JSON:
            return None
        schema = {**content[media_type].get("schema", {}), "components": self.document["components"]}
        for error in Draft202012Validator(schema).iter_errors(orjson.loads(body)):
            return f"the body is not as the schema says: {list(error.absolute_path)} {error.message[:200]}"
        return None

    def _note(self, sent: Sent, fault: str) -> None:
        told = f"{sent.address[:300]} {(sent.body or b'')[:300]!r} {sent.content_type} {sent.key}"
        self.wrong.setdefault(f"{sent.method} {sent.path} -> {fault[:160]}", []).append(told)


def problem_fault(status: int, body: bytes, content_type: str) -> str | None:
    """What a refusal lacks of a problem; None for a whole one."""
    if status >= 500:
        return body[:200].decode(errors="replace")
    if content_type != "application/problem+json":
        return f"is {content_type!r}, no problem"
    problem = orjson.loads(body)
    if problem["status"] != status:
        return f"says {problem['status']}"
    if not (problem["code"] and problem["detail"] and problem["type"] == f"/docs/errors#{problem['code']}"):
        return "has no code, type or sentence"
    return None


async def prepared(service: Service) -> Found:
    """Accounts, entries and holds that good requests speak of, and the ledger `spare` that may be closed."""

    async def made(path: str, body: Any) -> Any:
        status, answer, _ = await service.send("POST", path, body)
        assert status == 201, answer
        return answer

    await made("/api/v1/ledgers", {"code": "spare", "name": "Spare", "retained_earnings": "3900-RE"})
    for ledger, code, type_ in (
        ("main", "2000-FLOAT", "liability"), ("main", "1800-SPARE", "asset"),
        ("spare", "3900-RE", "equity"), ("spare", "5000-RENT", "expense"), ("spare", "1010-CASH", "asset"),
    ):  # fmt: skip
        await made(f"/api/v1/ledgers/{ledger}/accounts", {**OPEN, "code": code, "type": type_})
    await made("/api/v1/ledgers/main/transfers", {"from": "2000-FLOAT", "to": "2001-ALICE", "amount": "500"})
    await made("/api/v1/ledgers/spare/entries", rent(effective_on="2025-12-15"))
    entries = [(await made(ENTRIES, rent()))["id"] for _ in range(3)]
    holds = [(await made("/api/v1/ledgers/main/holds", {"lines": rent()["lines"]}))["id"] for _ in range(2)]
    return Found(entries[0], iter(entries[1:]), *holds)


async def test_every_operation_answers_as_the_document_says(service: Service) -> None:
    found = await prepared(service)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{service.url}/openapi.json") as answer:
            document = await answer.json()
        asking = Asking(service, document, session, {})
        refused = []
        room = asyncio.Semaphore(AT_ONCE)

        async def ask(sent: Sent, entry: Mapping[str, Any]) -> None:
            async with room:
                await asking.ask(sent, entry)

        for path, entries in document["paths"].items():
            for method, entry in entries.items():
                first = good(method.upper(), path, entry, found)
                if await asking.ask(first, entry) not in (200, 201):
                    refused.append((first, (await asking.send(first))[1][:300]))
                for sent in better(first, entry):
                    await asking.ask(sent, entry)
                await asyncio.gather(*(ask(sent, entry) for sent in list(broken(first, entry))[::SHARE]))
    assert not refused
    told = [f"{len(each)} x {fault}\n      {each[0]}" for fault, each in asking.wrong.items()]
    assert not told, "\n".join(told[:TOLD_MAX])
    _, proof, _ = await service.send("GET", "/api/v1/ledgers/main/verify")
    assert proof["ok"], proof
