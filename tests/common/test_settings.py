"""Settings: read from an environment, and every way of getting them wrong told in one sentence."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr

from libs.common.bus import KafkaSettings
from libs.common.errors import Misconfigured
from libs.common.settings import ServiceSettings, load, table


class LedgerSettings(ServiceSettings):
    writer_dsn: SecretStr = Field(alias="LEDGERBUS_LEDGER_WRITER_DSN", description="where it writes")
    mode: Literal["fast", "slow"] = Field("fast", alias="LEDGERBUS_LEDGER_MODE", description="how it writes")


LEAST = {"LEDGERBUS_LEDGER_WRITER_DSN": "postgresql://secret-dsn"}


def test_defaults_and_values() -> None:
    settings = load(LedgerSettings, {**LEAST, "LEDGERBUS_HTTP_PORT": "9001", "MIGRATE_ON_START": "false", "PATH": "/x"})
    assert (settings.http_port, settings.migrate_on_start, settings.environment) == (9001, False, "development")
    assert (settings.trace_sample_ratio, settings.mode) == (1.0, "fast")
    assert settings.writer_dsn.get_secret_value() == "postgresql://secret-dsn"


def test_an_empty_value_is_absent() -> None:
    assert load(LedgerSettings, {**LEAST, "LEDGERBUS_JWKS_URL": "", "LOG_LEVEL": ""}).jwks_url is None


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://from-file\n", encoding="utf-8")
    settings = load(LedgerSettings, {"LEDGERBUS_LEDGER_WRITER_DSN_FILE": str(tmp_path / "dsn")})
    assert settings.writer_dsn.get_secret_value() == "postgresql://from-file"


WRONG = [
    ({}, "LEDGERBUS_LEDGER_WRITER_DSN is not set and has no default."),
    ({**LEAST, "LEDGERBUS_HTTP_PORT": "many"}, "LEDGERBUS_HTTP_PORT is wrong: "),
    ({**LEAST, "LEDGERBUS_HTTP_PORT": "70000"}, "LEDGERBUS_HTTP_PORT is wrong: "),
    ({**LEAST, "LOG_FORMAT": "xml"}, "LOG_FORMAT is wrong: input should be 'json' or 'console'."),
    ({**LEAST, "MIGRATE_ON_START": "perhaps"}, "MIGRATE_ON_START is wrong: "),
    ({**LEAST, "LEDGERBUS_TRACE_SAMPLE_RATIO": "1.5"}, "LEDGERBUS_TRACE_SAMPLE_RATIO is wrong: "),
    ({**LEAST, "LEDGERBUS_HTTP_PROT": "1"}, "LEDGERBUS_HTTP_PROT is no setting of this service; the nearest is "),
    ({**LEAST, "LEDGERBUS_POSTGRES_WRITTER_DSN": "1"}, "LEDGERBUS_POSTGRES_WRITTER_DSN is no setting"),
    ({**LEAST, "LEDGERBUS_LEDGER_MOOD": "1"}, "LEDGERBUS_LEDGER_MOOD is no setting of this service; the nearest is "),
    ({**LEAST, "LEDGERBUS_LEDGER_WRITER_DSN_FILE": "/x"}, "LEDGERBUS_LEDGER_WRITER_DSN_FILE are both set"),
    ({"LEDGERBUS_LEDGER_WRITER_DSN_FILE": "/does/not/exist"}, "which cannot be read: FileNotFoundError."),
]


@pytest.mark.parametrize(("environ", "words"), WRONG, ids=[row[1][:60] for row in WRONG])
def test_a_wrong_setting_is_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        load(LedgerSettings, environ)
    assert words in str(refused.value)
    assert "secret-dsn" not in str(refused.value)


def test_a_wrong_secret_is_not_repeated() -> None:
    with pytest.raises(Misconfigured) as refused:
        load(LedgerSettings, {**LEAST, "LEDGERBUS_LEDGER_MODE": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_what_belongs_to_other_services_is_not_judged() -> None:
    names = ("FX_ANYTHING", "JAVA", "TEST_X", "POSTGRES_READER_DSN", "POSTGRES_READER_DSN_FILE")
    load(LedgerSettings, {**LEAST, **{f"LEDGERBUS_{name}": "1" for name in names}})


def test_settings_do_not_change_and_do_not_tell_secrets() -> None:
    settings = load(LedgerSettings, {**LEAST, "LEDGERBUS_KAFKA_SASL_PASSWORD": "hunter2"})
    assert "hunter2" not in repr(settings)
    assert "secret-dsn" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.http_port = 1  # type: ignore[misc]


def test_sasl_without_password_is_misconfigured() -> None:
    settings = load(LedgerSettings, {**LEAST, "LEDGERBUS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"})
    with pytest.raises(Misconfigured, match="LEDGERBUS_KAFKA_SASL_USERNAME"):
        KafkaSettings.of(settings)


def test_kafka_settings_come_over_and_hide_the_password() -> None:
    environ = {
        **LEAST,
        "LEDGERBUS_KAFKA_BOOTSTRAP": "a:1,b:2",
        "LEDGERBUS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "LEDGERBUS_KAFKA_SASL_USERNAME": "ledger",
        "LEDGERBUS_KAFKA_SASL_PASSWORD": "hunter2",
    }
    kafka = KafkaSettings.of(load(LedgerSettings, environ))
    assert (kafka.bootstrap, kafka.sasl_username, kafka.sasl_password) == ("a:1,b:2", "ledger", "hunter2")
    assert "hunter2" not in repr(kafka)


def test_missing_tls_files_are_misconfigured() -> None:
    kafka = KafkaSettings("a:1", "SSL", ssl_cafile=Path("/does/not/exist"))
    with pytest.raises(Misconfigured, match="TLS files"):
        kafka.producer("p", batch_bytes=1)


def test_the_table_names_every_setting_once() -> None:
    page = table([LedgerSettings])
    for field in LedgerSettings.model_fields.values():
        assert page.count(f"| `{field.alias}` |") == 1
    assert "| `LEDGERBUS_LEDGER_WRITER_DSN` | required | where it writes |" in page
    assert "## ledger" in page
