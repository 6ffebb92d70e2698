"""What every service can be told from outside, and the refusal of anything it does not understand.

    environment (and <NAME>_FILE for secrets)  ->  load(LedgerSettings, environ)  ->  a frozen object, or one sentence

A service's main.py declares its own class on `ServiceSettings`, calls `load` and hands the values on. Names are the
upper case of the fields, with `LEDGERBUS_` before those that are ours alone. A name that begins with LEDGERBUS_ and
that this service does not know is refused: a typing error must not become a default. Settings that other services
share an environment with (`LEDGERBUS_<OTHER SERVICE>_...`) are not ours to judge.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from libs.common.errors import Misconfigured

PREFIX: Final = "LEDGERBUS_"
SERVICES: Final = ("LEDGER", "INVOICING", "RECON", "FX", "GATEWAY")
_STACK: Final = ("CACHE", "DATA", "JAR_REPOSITORY", "JAVA", "TEST_", "VERSION")
_ROLES: Final = tuple(f"POSTGRES_{role}_DSN" for role in ("MIGRATOR", "WRITER", "READER", "AUDITOR"))
"""What the local stack and docker compose leave in a service's environment whether it wants it or not."""
_FILE: Final = "_FILE"

S = TypeVar("S", bound="ServiceSettings")
Ratio = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=0, le=65535)]


class ServiceSettings(BaseModel):
    """The names every service shares. Each field's alias is its environment variable."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False, hide_input_in_errors=True)

    environment: Literal["development", "production"] = Field(
        "development", alias="ENVIRONMENT", description="production refuses development keys and defaults"
    )
    migrate_on_start: bool = Field(
        True, alias="MIGRATE_ON_START", description="apply migrations at start; else refuse to start without them"
    )
    log_format: Literal["json", "console"] = Field(
        "json", alias="LOG_FORMAT", description="one JSON object per line, or text"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="LOG_LEVEL", description="least level logged"
    )
    otlp_endpoint: str | None = Field(
        None, alias="OTEL_EXPORTER_OTLP_ENDPOINT", description="base address of an OTLP/HTTP collector; absent: none"
    )
    http_host: str = Field("127.0.0.1", alias="LEDGERBUS_HTTP_HOST", description="address to listen on")
    http_port: Port = Field(8000, alias="LEDGERBUS_HTTP_PORT", description="port to listen on")
    kafka_bootstrap: str = Field(
        "127.0.0.1:9092", alias="LEDGERBUS_KAFKA_BOOTSTRAP", description="host:port of brokers, separated by commas"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", alias="LEDGERBUS_KAFKA_SECURITY_PROTOCOL", description="how to speak to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", alias="LEDGERBUS_KAFKA_SASL_MECHANISM", description="used with the SASL protocols"
    )
    kafka_sasl_username: str | None = Field(
        None, alias="LEDGERBUS_KAFKA_SASL_USERNAME", description="used with the SASL protocols"
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, alias="LEDGERBUS_KAFKA_SASL_PASSWORD", description="used with the SASL protocols"
    )
    kafka_ssl_cafile: Path | None = Field(
        None, alias="LEDGERBUS_KAFKA_SSL_CAFILE", description="certificates to trust; absent: the system's"
    )
    kafka_ssl_certfile: Path | None = Field(
        None, alias="LEDGERBUS_KAFKA_SSL_CERTFILE", description="this client's certificate, where brokers ask for one"
    )
    kafka_ssl_keyfile: Path | None = Field(
        None, alias="LEDGERBUS_KAFKA_SSL_KEYFILE", description="the private key of that certificate"
    )
    jwks_file: Path | None = Field(None, alias="LEDGERBUS_JWKS_FILE", description="public keys of tokens, as a file")
    jwks_url: str | None = Field(None, alias="LEDGERBUS_JWKS_URL", description="public keys of tokens, fetched")
    jwt_issuer: str = Field("ledgerbus-dev", alias="LEDGERBUS_JWT_ISSUER", description="`iss` a token must have")
    jwt_audience: str = Field("ledgerbus", alias="LEDGERBUS_JWT_AUDIENCE", description="`aud` a token must have")
    span_file: Path | None = Field(
        None, alias="LEDGERBUS_SPAN_FILE", description="also write spans here, as JSON Lines, for `ledgerbus trace`"
    )
    trace_sample_ratio: Ratio = Field(
        1.0,
        alias="LEDGERBUS_TRACE_SAMPLE_RATIO",
        description="share of the traces beginning here that are recorded; lower it above thousands per second",
    )


def load(settings: type[S], environ: Mapping[str, str]) -> S:
    """The settings from an environment. Raises Misconfigured with one sentence that names the variable.

    `<NAME>_FILE` is a file whose content (without the last line break) is the value of NAME; both together are refused.
    An empty value counts as absent, so that compose files can pass variables on.
    """
    known = {_alias(name, field): field for name, field in settings.model_fields.items()}
    own_name = settings.__name__.upper().removesuffix("SETTINGS")
    assert own_name in {*SERVICES, "SERVICE"}, "a settings class is called after its service: LedgerSettings"
    values: dict[str, str] = {}
    for name, value in environ.items():
        if value == "":
            continue
        base = name.removesuffix(_FILE)
        if name in known:
            values[name] = value
        elif base != name and base in known:
            if environ.get(base):
                raise Misconfigured(f"{base} and {name} are both set: keep one of them.")
            values[base] = _file_content(name, value)
        elif name.startswith(PREFIX) and not _is_others(name, own_name):
            raise Misconfigured(f"{name} is no setting of this service; the nearest is {_nearest(name, known)}.")
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        raise Misconfigured(_sentence(error)) from None


def table(classes: Sequence[type[ServiceSettings]]) -> str:
    """docs/settings.md: the shared settings once, then each class's own."""
    shared = set(ServiceSettings.model_fields)
    parts = [
        "# Settings\n\n"
        "Rendered from the settings classes; a test compares. All are environment variables. For each, `NAME_FILE`\n"
        "may name a file that holds the value (secrets). An unknown `LEDGERBUS_` name stops the start.\n\n"
        "## Every service\n\n" + _rows(ServiceSettings, shared)
    ]
    for settings in classes:
        own = [name for name in settings.model_fields if name not in shared]
        title = settings.__name__.removesuffix("Settings").lower()
        parts.append(f"\n## {title}\n\n" + (_rows(settings, own) if own else "Nothing of its own.\n"))
    return "".join(parts)


def _rows(settings: type[ServiceSettings], names: Any) -> str:
    head = "| variable | default | meaning |\n|---|---|---|\n"
    fields = [(name, field) for name, field in settings.model_fields.items() if name in names]
    return head + "".join(
        f"| `{_alias(name, field)}` | {_default(field)} | {field.description or ''} |\n" for name, field in fields
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "absent"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _alias(name: str, field: FieldInfo) -> str:
    return field.alias or name.upper()


def _file_content(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{name} names {path}, which cannot be read: {type(error).__name__}.") from error


def _is_others(name: str, own_name: str) -> bool:
    others = [f"{service}_" for service in SERVICES if service != own_name]
    return name.removeprefix(PREFIX).startswith((*others, *_STACK, *_ROLES))


def _nearest(name: str, known: Mapping[str, FieldInfo]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, 1, 0.0)))


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "The settings"
    if first["type"] == "missing":
        return f"{name} is not set and has no default."
    return f"{name} is wrong: {first['msg'][:1].lower()}{first['msg'][1:]}."
