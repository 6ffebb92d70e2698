"""What can go wrong, and who hears of it.

    Rejection            a value, not an exception: the business answer "no", remembered and published like any answer
    Failure              everything that is raised on purpose
    ├── Poison           a message that cannot be decoded: dead letter
    ├── Transient        the world is not ready (database down, race lost): retry, then pause; never a dead letter
    ├── Problem          an HTTP answer (RFC 9457) for one request
    └── Misconfigured    a wrong setting, file or folder: stop the start and name it

Anything else that is raised is a defect and stops the process that meets it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """One thing that is wrong at one place of a request. `pointer` is an RFC 6901 JSON pointer ("" is the whole)."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A business answer "no". `code` is a stable slug of the service's closed set, `facts` are JSON values."""

    code: str
    detail: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    errors: Sequence[Fault] = ()


class Failure(Exception):  # noqa: N818 - the tree above names them as what they are
    """Root of what is raised on purpose."""


class Poison(Failure):
    """The message cannot be decoded or is against its schema; `pointer` says where, `code` groups it in metrics."""

    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.pointer = pointer


class Transient(Failure):
    """The world is not ready; the same thing may succeed later. `retry_after_s` is a hint in seconds."""

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class Misconfigured(Failure):
    """A setting, file or folder is wrong; the message names it and the way out."""


class Problem(Failure):
    """An RFC 9457 answer. `status` is the HTTP status, `code` a stable slug, `errors` name places in the request."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        facts: Mapping[str, Any] | None = None,
        errors: Sequence[Fault] = (),
        retryable: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.facts = dict(facts or {})
        self.errors = tuple(errors)
        self.retryable = retryable
        self.headers = dict(headers or {})
