"""The files around the code agree with it and with each other."""

import re
import tomllib
from collections.abc import Iterator

from tests.tidy.tree import Rule, Tree

DECISION_HEADINGS = ("Context", "Decision", "Consequences", "Alternatives", "Measurement")
DECISION_LINES_MAX = 90

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_REGISTRIES = re.compile(
    r"\b(py" + r"pi\.org|pythonhosted\.org|repo1?\.maven|maven\.org|registry\.npmjs|crates\.io|proxy\.golang)",
    re.IGNORECASE,
)
_MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(ro" + r"ot|ho" + r"me|Us" + r"ers|wo" + r"rk)/")
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)(.*)$", re.MULTILINE | re.IGNORECASE)


def _anchors(markdown: str) -> set[str]:
    headings = re.findall(r"^#+\s+(.*)$", _FENCE.sub("", markdown), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _resolve(path: str, target: str) -> str:
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                return "../"
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def broken_links(tree: Tree) -> Iterator[str]:
    folders = {path[:place] for path in tree for place, letter in enumerate(path) if letter == "/"}
    for path, text in tree.items():
        if not path.endswith(".md"):
            continue
        for target in _LINK.findall(_FENCE.sub("", text)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            found = _resolve(path, file) if file else path
            if found not in tree and found not in folders:
                yield f"{path}: link to {target}, which is not there"
            elif anchor and found.endswith(".md") and anchor not in _anchors(tree[found]):
                yield f"{path}: link to {target}, but {found} has no such heading"


def decisions_incomplete(tree: Tree) -> Iterator[str]:
    records = sorted(path for path in tree if re.fullmatch(r"docs/decisions/\d{4}-[a-z0-9-]+\.md", path))
    for number, path in enumerate(records, 1):
        if not path.startswith(f"docs/decisions/{number:04}-"):
            yield f"{path}: decision records are numbered without gaps; {number:04} was expected"
        headings = tuple(re.findall(r"^## (.*)$", tree[path], re.MULTILINE))
        if headings != DECISION_HEADINGS:
            yield f"{path}: headings are {headings}, a decision record has {DECISION_HEADINGS}"
        if tree[path].count("\n") > DECISION_LINES_MAX:
            yield f"{path}: more than one page ({DECISION_LINES_MAX} lines)"
    for path in tree:
        if path.startswith("docs/decisions/") and path not in records and not path.endswith("README.md"):
            yield f"{path}: a decision record is called NNNN-subject.md"


def decisions_cited_in_vain(tree: Tree) -> Iterator[str]:
    known = {path.split("/")[-1][:4] for path in tree if path.startswith("docs/decisions/")}
    for path, text in tree.items():
        for cited in re.findall(r"\bdecision (?:record )?(\d{4})\b", text, re.IGNORECASE):
            if cited not in known and not path.startswith("tests/tidy/"):
                yield f"{path}: cites decision {cited}, which is not there"


def registries_named(tree: Tree) -> Iterator[str]:
    for path, text in tree.items():
        if found := _REGISTRIES.search(text):
            yield f"{path}: names the package registry {found[0]}; where packages come from is the installer's setting"


def machine_paths(tree: Tree) -> Iterator[str]:
    for path, text in tree.items():
        for found in _MACHINE_PATHS.finditer(text):
            number = text.count("\n", 0, found.start()) + 1
            yield f"{path}:{number}: a path of one machine: {found[0]}"


def version_unmentioned(tree: Tree) -> Iterator[str]:
    version = tomllib.loads(tree["pyproject.toml"])["project"]["version"]
    if f"## {version}" not in tree.get("CHANGELOG.md", ""):
        yield f"CHANGELOG.md: no heading for version {version}"


def other_versions(tree: Tree) -> Iterator[str]:
    version = tomllib.loads(tree["pyproject.toml"])["project"]["version"]
    for path, text in tree.items():
        for stated in re.findall(r'^(?:__version__|VERSION)\b[^=\n]*= "(\d+\.[\w.]+)"', text, re.MULTILINE):
            if path.endswith(".py") and stated != version:
                yield f"{path}: says version {stated}, pyproject.toml says {version}"


def dependencies_unexplained(tree: Tree) -> Iterator[str]:
    explained = set(re.findall(r"[a-z0-9][a-z0-9-]*", tree.get("docs/decisions/0008-dependencies.md", "")))
    explained |= set(re.findall(r"[a-z0-9][a-z0-9-]*", tree.get("docs/decisions/0007-embedded-parts.md", "")))
    project = tomllib.loads(tree["pyproject.toml"])["project"]
    for line in [*project.get("dependencies", []), *project.get("optional-dependencies", {}).get("stack", [])]:
        name = _normal(re.split(r"[\[<>=!~; ]", line)[0])
        if name not in explained:
            yield f"pyproject.toml: {name} has no reason in docs/decisions/0008-dependencies.md"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_missing(tree: Tree) -> Iterator[str]:
    project = tomllib.loads(tree["pyproject.toml"])["project"]
    runtime = project.get("dependencies", [])
    extra = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    for lock, wanted in (("requirements.lock", runtime), ("requirements-dev.lock", runtime + extra)):
        pins = {_normal(name): version for name, version, _ in _PIN.findall(tree[lock])}
        for line in wanted:
            name = _normal(re.split(r"[\[<>=!~; ]", line)[0])
            if name not in pins:
                yield f"{lock}: {name} of pyproject.toml is not pinned; run `make lock`"
            least = re.search(r">=([\d.]+)", line)
            if least and name in pins and _version(pins[name]) < _version(least[1]):
                yield f"{lock}: {name} {pins[name]} is older than pyproject.toml asks; run `make lock`"
        for block in re.split(r"\n(?=\S)", tree[lock]):
            if _PIN.match(block) and "--hash=sha256:" not in block:
                yield f"{lock}: {block.splitlines()[0]} has no hash"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def entry_point(tree: Tree) -> Iterator[str]:
    if not re.search(r"^exec make .*\bcheck\b", tree.get(".ci/run", ""), re.MULTILINE):
        yield ".ci/run: does not end in `exec make ... check`"


def unlisted_targets(tree: Tree) -> Iterator[str]:
    for line in tree["Makefile"].splitlines():
        if re.match(r"[a-z][a-z-]*:(?!=)", line) and " ## " not in line:
            yield f"Makefile: {line.split(':')[0]} has no sentence for `make help`"


_PROJECT = '[project]\nversion = "1.0.0"\ndependencies = ["aiohttp>=3.14"]\n'
_PINNED = {"requirements.lock": "aiohttp==3.14.5 \\\n    --hash=sha256:ab\n"}
_DECISION = "\n".join(f"## {heading}\n" for heading in DECISION_HEADINGS)

RULES = [
    Rule(
        "links lead somewhere",
        broken_links,
        bad={"README.md": "[a](docs/a.md) [b](#nowhere)\n", "docs/b.md": "[c](../README.md#none)\n"},
        good={
            "README.md": "# Top\n[a](docs/a.md#two-words) [b](#top)\n",
            "docs/a.md": "# Two words\n[c](../README.md)",
        },
    ),
    Rule(
        "decision records are whole",
        decisions_incomplete,
        bad={"docs/decisions/0002-a.md": "## Context\n", "docs/decisions/notes.md": ""},
        good={"docs/decisions/0001-a.md": _DECISION},
    ),
    Rule(
        "decisions cited exist",
        decisions_cited_in_vain,
        bad={"README.md": "see decision 0009\n"},
        good={"README.md": "see decision 0001\n", "docs/decisions/0001-a.md": _DECISION},
    ),
    Rule(
        "no package registry is named",
        registries_named,
        bad={"Makefile": "curl https://py" + "pi.org/simple\n"},
        good={"Makefile": "pip install\n"},
    ),
    Rule(
        "no path of one machine",
        machine_paths,
        bad={"README.md": "see /ro" + "ot/.cache\n"},
        good={"README.md": "see ~/.cache and http://localhost/a/work/b\n"},
    ),
    Rule(
        "the change log knows the version",
        version_unmentioned,
        bad={"pyproject.toml": _PROJECT, "CHANGELOG.md": "## 0.9.0\n"},
        good={"pyproject.toml": _PROJECT, "CHANGELOG.md": "## 1.0.0\n"},
    ),
    Rule(
        "one version",
        other_versions,
        bad={"pyproject.toml": _PROJECT, "services/ledger/main.py": 'VERSION = "0.9.0"\n'},
        good={"pyproject.toml": _PROJECT, "services/ledger/main.py": 'VERSION = "1.0.0"\n'},
    ),
    Rule(
        "every dependency has a reason",
        dependencies_unexplained,
        bad={"pyproject.toml": _PROJECT, "docs/decisions/0008-dependencies.md": "| orjson | JSON |\n"},
        good={"pyproject.toml": _PROJECT, "docs/decisions/0008-dependencies.md": "| aiohttp | HTTP |\n"},
    ),
    Rule(
        "everything is pinned by hash",
        pins_missing,
        bad={"pyproject.toml": _PROJECT, "requirements.lock": "aiohttp==3.13\n", "requirements-dev.lock": ""},
        good={"pyproject.toml": _PROJECT, **_PINNED, "requirements-dev.lock": _PINNED["requirements.lock"]},
    ),
    Rule(
        "one entry for continuous integration",
        entry_point,
        bad={".ci/run": "make test\n"},
        good={".ci/run": "exec make --no-print-directory check\n"},
    ),
    Rule(
        "make help lists everything",
        unlisted_targets,
        bad={"Makefile": "test: x\n\tpytest\n"},
        good={"Makefile": "test: x ## run the tests\n\tpytest\nBIN := a\n"},
    ),
]
