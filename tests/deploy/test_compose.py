"""docker-compose.yml agrees with the code: settings, ports, commands, roles, topics, versions; and with the schema."""

import asyncio
import importlib
import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from libs.common import settings
from libs.devstack.databases import SERVICES_WITH_DATABASE
from libs.devstack.jars import KAFKA_VERSION
from libs.devstack.postgres import MAJOR_VERSION
from tests.deploy import compose, prometheus

OURS = ("ledger", "invoicing", "gateway")
ONE_SHOT = ("keys", "kafka-topics")
Stack = dict[str, Any]


@pytest.fixture(scope="module")
def example(repository: Path) -> dict[str, str]:
    return compose.environment_file(repository / ".env.example")


@pytest.fixture(scope="module")
def stack(repository: Path, example: dict[str, str]) -> Stack:
    return compose.read(repository / "docker-compose.yml", example)


def _settings_class(service: str) -> type[settings.ServiceSettings]:
    module = importlib.import_module(f"services.{service}.main")
    found: type[settings.ServiceSettings] = getattr(module, f"{service.capitalize()}Settings")
    return found


@pytest.mark.parametrize("service", OURS)
def test_a_service_takes_the_settings_it_is_given(service: str, stack: Stack) -> None:
    given = stack["services"][service]["environment"]
    read = settings.load(_settings_class(service), given)
    assert read.http_port == 8080
    known = {field.alias for field in _settings_class(service).model_fields.values()}
    assert set(given) <= known


@pytest.mark.parametrize("service", OURS)
def test_a_service_runs_its_module(service: str, stack: Stack) -> None:
    assert stack["services"][service]["command"] == ["python", "-m", f"services.{service}.main"]
    assert importlib.util.find_spec(f"services.{service}.main") is not None


def test_services_have_no_rights_they_do_not_need(stack: Stack) -> None:
    for name in OURS + ONE_SHOT:
        service = stack["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_one_shots_run_scripts_that_are_in_the_image(stack: Stack, repository: Path) -> None:
    image = (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    for name in ONE_SHOT:
        script = stack["services"][name]["command"][1]
        assert (repository / script).is_file()
        assert f"COPY {Path(script).parent} " in image
        assert stack["services"][name]["restart"] == "no"


def test_everything_waits_for_what_it_needs(stack: Stack) -> None:
    services = stack["services"]
    for name, service in services.items():
        needed = service.get("depends_on", {})
        for other, how in needed.items() if isinstance(needed, dict) else ():
            condition = how["condition"]
            assert (condition == "service_completed_successfully") == (other in ONE_SHOT), f"{name} waits for {other}"
            if condition == "service_healthy":
                assert other in OURS or "test" in services[other]["healthcheck"], f"{other} has no health check"
    for name in SERVICES_WITH_DATABASE:
        assert {"postgres", "kafka-topics", "keys"} <= set(services[name]["depends_on"])
        assert name in services["gateway"]["depends_on"]


def test_ports_are_on_loopback(stack: Stack) -> None:
    for name, service in stack["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} opens {port} to the world"


def test_images_are_pinned(stack: Stack, repository: Path) -> None:
    version = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    images = {name: service["image"] for name, service in stack["services"].items()}
    for name, image in images.items():
        assert re.search(r":v?\d+(\.\d+)+", image), f"{name}: {image}"
    assert images["postgres"].startswith(f"postgres:{MAJOR_VERSION}.")
    assert images["kafka"] == f"apache/kafka:{KAFKA_VERSION}"
    assert {images[name] for name in OURS} == {f"ledgerbus:{version}"}
    assert f"ARG VERSION={version}\n" in (repository / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def test_what_is_mounted_is_there(stack: Stack, repository: Path) -> None:
    for name, service in stack["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (repository / source).exists() if source.startswith(".") else source in stack["volumes"], name


def test_every_variable_is_in_the_example_and_every_example_is_used(repository: Path, example: dict[str, str]) -> None:
    text = (repository / "docker-compose.yml").read_text(encoding="utf-8")
    used = compose.variables(text)
    assert set(used) - set(example) == {"LEDGERBUS_VERSION"}
    assert set(example) <= set(used)
    for name, default in used.items():
        if default and name in example:
            assert example[name] == default, f"{name} has another default in docker-compose.yml"


def test_a_missing_password_stops_the_start(repository: Path) -> None:
    with pytest.raises(AssertionError, match="PASSWORD"):
        compose.read(repository / "docker-compose.yml", {})


def test_postgres_gets_the_passwords_its_scripts_ask_for(stack: Stack, repository: Path) -> None:
    scripts = (repository / "deploy" / "postgres" / "init").glob("*.sql")
    asked = {name for script in scripts for name in re.findall(r"\\getenv \w+ (\w+)", script.read_text("utf-8"))}
    environment = stack["services"]["postgres"]["environment"]
    assert asked == set(environment) - {"POSTGRES_PASSWORD"}
    for name in SERVICES_WITH_DATABASE:
        given = stack["services"][name]["environment"]
        for role in ("MIGRATOR", "WRITER", "READER", "AUDITOR"):
            password = environment[f"{name.upper()}_{role}_PASSWORD"]
            address = given[f"LEDGERBUS_POSTGRES_{role}_DSN"]
            assert address == f"postgresql://{name}_{role.lower()}:{password}@postgres:5432/{name}"


def test_kafka_is_found_where_it_listens(stack: Stack) -> None:
    kafka = stack["services"]["kafka"]["environment"]
    inside = kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")[0].removeprefix("INSIDE://")
    for name in (*OURS, "kafka-topics"):
        assert stack["services"][name]["environment"]["LEDGERBUS_KAFKA_BOOTSTRAP"] == inside
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_prometheus_scrapes_every_service(stack: Stack, repository: Path) -> None:
    scraped = prometheus.load(repository / "deploy" / "prometheus" / "prometheus.yml")["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped}
    for name in OURS:
        assert targets[name] == [f"{name}:{stack['services'][name]['environment']['LEDGERBUS_HTTP_PORT']}"]


def test_traces_go_from_services_to_collector_to_store(stack: Stack, repository: Path) -> None:
    collector = prometheus.load(repository / "deploy" / "otel-collector" / "config.yaml")
    port = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    for name in OURS:
        assert stack["services"][name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://otel-collector:{port}"
    assert collector["exporters"]["otlp/jaeger"]["endpoint"].split(":")[0] in stack["services"]
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])


def test_grafana_knows_its_sources_and_dashboards(stack: Stack, repository: Path) -> None:
    folder = repository / "deploy" / "grafana"
    sources = prometheus.load(folder / "provisioning" / "datasources" / "datasources.yml")["datasources"]
    assert {source["url"].split("/")[2].split(":")[0] for source in sources} <= set(stack["services"])
    known = {source["uid"] for source in sources}
    provider = prometheus.load(folder / "provisioning" / "dashboards" / "dashboards.yml")["providers"][0]
    mounts = [volume.split(":") for volume in stack["services"]["grafana"]["volumes"]]
    assert ["./deploy/grafana/dashboards", provider["options"]["path"], "ro"] in mounts
    for dashboard in (folder / "dashboards").glob("*.json"):
        for panel in prometheus.load(dashboard)["panels"]:
            assert panel.get("datasource", {"uid": "prometheus"})["uid"] in known


@pytest.mark.parametrize(
    ("schema", "file"),
    [("vendor.compose-spec", "docker-compose.yml"), ("vendor.github-workflows", ".github/workflows/check.yml")],
)
async def test_the_file_fits_its_published_schema(repository: Path, schema: str, file: str) -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("not run: check-jsonschema is not installed")
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file,
        cwd=repository, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await done.communicate()
    assert done.returncode == 0, said.decode()


async def test_docker_compose_itself_takes_the_file(repository: Path) -> None:
    try:
        asked = await asyncio.create_subprocess_exec(
            "docker", "compose", "version", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError:
        pytest.skip("not run: docker is not installed")
    if await asked.wait() != 0:
        pytest.skip("not run: docker has no compose plugin")
    done = await asyncio.create_subprocess_exec(
        "docker", "compose", "--env-file", ".env.example", "config", "--quiet",
        cwd=repository, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await done.communicate()
    assert done.returncode == 0, said.decode()
