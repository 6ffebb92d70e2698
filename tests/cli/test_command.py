"""What the command says and returns when it is asked wrongly or nothing runs. No stack is started here."""

from pathlib import Path

import orjson
import pytest

from libs.cli import session
from libs.cli.exits import Exit
from libs.cli.main import main
from libs.common.sealing import read_sealer
from libs.common.signing import read_keys
from libs.devstack import services
from libs.devstack.folder import StackFolder

NOTHING_RUNS = "No stack is running on"
A_TRACE = "0123456789abcdef" * 2


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["status"], 3, "stopped"),
        (["seed", "demo"], 3, NOTHING_RUNS),
        (["verify"], 3, NOTHING_RUNS),
        (["token", "--org", "demo", "--role", "viewer"], 3, NOTHING_RUNS),
        (["down"], 0, "No stack was running."),
        (
            ["seed", "nothing-like-it"],
            2,
            "There is no chart nothing-like-it; there are demo, marketplace, receivables, small-business, starter",
        ),
        (["export"], 3, NOTHING_RUNS),
        (["export", "--format", "xlsx"], 2, "There is no format xlsx; there are ndjson, hledger"),
        (["export", "--json"], 2, "say --out FILE"),
        (["token", "--org", "demo"], 2, "at least one --role or --scope"),
        (["token", "--role", "viewer"], 2, "Say --org ORG"),
        (["token", "--role", "operator", "--org", "demo"], 2, "operators stand above all organizations"),
        (["token", "--org", "demo", "--role", "service"], 2, "--service NAME"),
        (["token", "--org", "demo", "--role", "viewer", "--lifetime", "0"], 2, "Invalid value"),
        (["verify", "--ledger", "main"], 2, "--ledger needs --org"),
        (["verify", "--head", "nowhere.json"], 2, "does not exist"),
        (["verify", "--head", __file__], 2, "holds no chain head"),
        (["verify", "--head", __file__, "--org", "demo"], 2, "leave --org out"),
        (["verify", "--keys", __file__], 2, "--keys needs --head"),
        (["head"], 3, NOTHING_RUNS),
        (["rebuild", "--org", "demo"], 1, "No stack ever ran on"),
        (["import", "nowhere.ndjson"], 2, "does not exist"),
        (["trace", "12"], 2, "12 is no trace id"),
        (["trace", A_TRACE], 1, f"No span of trace {A_TRACE}"),
        (["bench", "nothing-like-it"], 2, "There is no benchmark nothing-like-it"),
        (["reset"], 2, "say --yes"),
        (["nothing-like-it"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_exit_code_and_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    found, out, err = run(capsys, "--data", tmp_path / "nothing", *arguments)
    assert sentence in " ".join((out + err).split())
    assert found == code
    assert not (tmp_path / "nothing").exists()


def test_status_is_json_where_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "--data", tmp_path, "status", "--json")
    assert code == 3
    assert orjson.loads(out) == {"running": False, "phase": "stopped", "data": str(tmp_path.resolve())}


def test_charts_are_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "--data", tmp_path, "seed", "--json")
    assert code == 0
    assert [row["chart"] for row in orjson.loads(out)] == [
        "demo", "marketplace", "receivables", "small-business", "starter",
    ]  # fmt: skip
    code, out, _ = run(capsys, "--data", tmp_path, "seed")
    assert (code, "A marketplace that holds" in " ".join(out.split())) == (0, True)


def test_a_file_of_no_known_format_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "books.xyz"
    path.write_text("x")
    for arguments, sentence in ([path], "say --format"), ([path, "--format", "xyz"], "There is no format xyz"):
        code, _, err = run(capsys, "--data", tmp_path, "import", *arguments)
        assert (code, sentence in err) == (2, True)


def test_a_beancount_file_that_cannot_be_taken_over_is_refused_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "broken.beancount"
    path.write_text('2020-01-01 * "x"\n  Assets:Cash  1 USD\n')
    code, _, err = run(capsys, "--data", tmp_path, "import", path)
    assert code == 1
    assert "broken.beancount:1" in err


def test_reset_of_an_unused_folder_is_done_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "unused" / "examples").mkdir(parents=True)
    code, out, _ = run(capsys, "--data", tmp_path / "unused", "reset", "--yes")
    assert code == 0
    assert not (tmp_path / "unused").exists()
    assert "is empty" in " ".join(out.split())


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for word in [
        "up",
        "demo",
        "down",
        "reset",
        "status",
        "token",
        "seed",
        "import",
        "export",
        "verify",
        "rebuild",
        "head",
        "keys",
        "close",
        "parked",
        "trace",
        "bench",
    ]:
        assert f" {word} " in out
    assert "3 no stack is running" in " ".join(out.split())


def test_tokens_are_what_the_stack_tells_its_services_to_trust(tmp_path: Path) -> None:
    spec = services.ServiceSpec("gateway", ())
    told = services.environment(spec, StackFolder(tmp_path), {"gateway": 1}, "127.0.0.1:2", "postgresql://x/y")
    assert told["LEDGERBUS_JWT_ISSUER"] == session.ISSUER
    assert told["LEDGERBUS_JWT_AUDIENCE"] == session.AUDIENCE


def test_a_rotation_keeps_the_older_public_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for _ in range(2):
        code, out, _ = run(capsys, "keys", "rotate", tmp_path / "keys.pem")
        assert code == 0
    assert next(iter(read_keys(tmp_path / "keys.pem").public)) in out
    assert len(read_keys(tmp_path / "keys.pem").public) == 2


def test_a_rotation_of_sealing_keys_keeps_the_older_until_it_is_dropped(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "sealing.keys"
    assert run(capsys, "keys", "rotate", file, "--customers")[0] == 0
    first = read_sealer(file).seal(b"Acme", b"1")
    code, out, _ = run(capsys, "keys", "rotate", file, "--customers")
    assert code == 0
    newest = read_sealer(file)
    assert newest.key_id in out
    assert newest.open(*first, b"1") == b"Acme"
    assert run(capsys, "keys", "rotate", file, "--drop-old")[0] == Exit.USAGE
    assert newest.is_old(first.key_id)
    code, out, _ = run(capsys, "keys", "rotate", file, "--customers", "--drop-old")
    assert code == 0
    assert first.key_id in out
    assert file.read_text().count("seal ") == 1


def test_the_stack_s_own_sealing_keys_are_rotated_where_no_file_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(capsys, "--data", tmp_path, "keys", "rotate", "--customers")[0] == 0
    spec = services.ServiceSpec("invoicing", ())
    told = services.environment(spec, StackFolder(tmp_path), {"invoicing": 1}, "127.0.0.1:2", "postgresql://x/y")
    assert read_sealer(Path(told["LEDGERBUS_INVOICING_SEALING_KEYS"])).key_id
