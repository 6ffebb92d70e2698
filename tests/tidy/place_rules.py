"""Everything has one place: the clock, clients, SQL, settings, printing, money's arithmetic."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.tree import Rule, Tree, dotted, nodes

CLOCK = "libs/common/clock.py"
BUS = "libs/common/bus.py"

_NOW = frozenset(
    {
        "datetime.now", "datetime.utcnow", "datetime.today", "datetime.datetime.now", "datetime.datetime.utcnow",
        "date.today", "datetime.date.today", "time.time", "time.time_ns", "time.localtime", "time.gmtime",
    }
)  # fmt: skip
_RANDOM_IDS = frozenset({"uuid1", "uuid4", "uuid6", "uuid7", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"})
_CLIENTS = frozenset({"AIOKafkaProducer", "AIOKafkaConsumer", "AIOKafkaAdminClient"})
_POOLS = frozenset({"asyncpg.create_pool", "asyncpg.connect"})
_SETTINGS = frozenset({"os.environ", "os.getenv"})

SQL_PLACES = re.compile(
    r"services/\w+/(store|reads|statement|sums|verify|verify_rows|relay|\w*_statement|\w*_store|\w*_reads)\.py|libs/common/(db|inbox|outbox|migrations|idempotency)\.py"
)
_SQL = re.compile(
    r"\A\s*(select\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|truncate\s|with\s+\w+(\s*\(|\s+as\s)|create\s+(table|index))",
    re.IGNORECASE,
)

_MONEY = ("services/", "libs/common/")
_NOT_MONEY = re.compile(
    r"libs/common/(telemetry|metrics|traces|log|runtime|bus|consumer|publisher|http|edge|settings|\w*limits?)\.py"
)


def _calls(tree: Tree, *starts: str) -> Iterator[tuple[str, str, str]]:
    for found in nodes(tree, *starts):
        if isinstance(found.node, ast.Call):
            yield found.path, dotted(found.node.func), str(found)


def clock_elsewhere(tree: Tree) -> Iterator[str]:
    for path, called, place in _calls(tree, *_MONEY):
        if path != CLOCK and (called in _NOW or called in _RANDOM_IDS):
            yield f"{place}: {called}() outside {CLOCK}; take the time or the id as an argument"


def clients_elsewhere(tree: Tree) -> Iterator[str]:
    for path, called, place in _calls(tree, "services/", "libs/"):
        if path != BUS and called.rpartition(".")[2] in _CLIENTS and not path.startswith("libs/devstack/"):
            yield f"{place}: {called} is built outside {BUS}, whose settings are the safe ones"
        if called in _POOLS and path.startswith(_MONEY) and path != "libs/common/db.py":
            yield f"{place}: {called} outside libs/common/db.py"


def settings_elsewhere(tree: Tree) -> Iterator[str]:
    for found in nodes(tree, *_MONEY):
        if re.fullmatch(r"services/\w+/main\.py", found.path):
            continue
        node = found.node
        imported = (
            isinstance(node, ast.ImportFrom) and node.module == "os" and node.names[0].name in {"environ", "getenv"}
        )
        if imported or (isinstance(node, ast.Attribute) and dotted(node) in _SETTINGS):
            yield f"{found}: the environment is read outside main.py"
        if isinstance(node, ast.ClassDef) and any(dotted(base).endswith("BaseSettings") for base in node.bases):
            yield f"{found}: settings are declared outside main.py"


def print_elsewhere(tree: Tree) -> Iterator[str]:
    for _, called, place in _calls(tree, *_MONEY):
        if called in {"print", "pprint", "sys.stdout.write"}:
            yield f"{place}: {called}(); services speak by the log"


def sql_elsewhere(tree: Tree) -> Iterator[str]:
    for found in nodes(tree, "services/", "libs/common/", "libs/cli/"):
        node = found.node
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not SQL_PLACES.fullmatch(found.path):
            words = node.value.split()
            if len(words) > 3 and _SQL.match(node.value):
                yield f"{found}: SQL outside the files that keep it: {' '.join(words)[:60]}"


def built_sql(tree: Tree) -> Iterator[str]:
    for found in nodes(tree, "services/", "libs/common/"):
        first = found.node.values[0] if isinstance(found.node, ast.JoinedStr) and found.node.values else None
        if isinstance(first, ast.Constant) and _SQL.match(str(first.value)):
            yield f"{found}: SQL put together from parts; write the statement out"


def floats_near_money(tree: Tree) -> Iterator[str]:
    for path, called, place in _calls(tree, *_MONEY):
        if called in {"float", "math.floor", "math.ceil", "round"} and not _NOT_MONEY.fullmatch(path):
            yield f"{place}: {called}(); money is whole minor units, rounded by libs.common.money alone"


def swallowed(tree: Tree) -> Iterator[str]:
    for found in nodes(tree, "services/", "libs/", "bench/", "tests/"):
        node = found.node
        if isinstance(node, ast.Call) and dotted(node.func).endswith("suppress"):
            broad = [dotted(arg) for arg in node.args if dotted(arg) in {"Exception", "BaseException"}]
            if broad:
                yield f"{found}: suppress({broad[0]}) hides defects; name the error"
        if isinstance(node, ast.ExceptHandler) and isinstance(node.body[0], ast.Pass):
            is_broad = node.type is None or dotted(node.type) in {"Exception", "BaseException"}
            if is_broad:
                yield f"{found}: an error is swallowed"


RULES = [
    Rule(
        "one clock",
        clock_elsewhere,
        bad={"services/ledger/a.py": "x = datetime.now(UTC)\n", "libs/common/b.py": "y = uuid4()\n"},
        good={CLOCK: "x = datetime.now(UTC)\n", "services/ledger/a.py": "x = clock.now()\n"},
    ),
    Rule(
        "one bus, one pool",
        clients_elsewhere,
        bad={"services/ledger/a.py": "p = aiokafka.AIOKafkaProducer()\nq = asyncpg.create_pool()\n"},
        good={BUS: "p = AIOKafkaProducer()\n", "services/ledger/a.py": "p = await bus.producer()\n"},
    ),
    Rule(
        "settings in main",
        settings_elsewhere,
        bad={"services/ledger/store.py": "x = os.environ['A']\n", "libs/common/b.py": "class S(BaseSettings): ...\n"},
        good={"services/ledger/main.py": "class S(BaseSettings): ...\n", "libs/devstack/a.py": "os.environ\n"},
    ),
    Rule(
        "services do not print",
        print_elsewhere,
        bad={"services/ledger/a.py": "print('posted')\n"},
        good={"libs/cli/a.py": "print('posted')\n", "services/ledger/a.py": "log.info('posted')\n"},
    ),
    Rule(
        "SQL in its files",
        sql_elsewhere,
        bad={"services/ledger/commands.py": "x = 'select a, b from entries where c = $1'\n"},
        good={"services/ledger/store.py": "x = 'select a, b from entries where c = $1'\n"},
    ),
    Rule(
        "SQL is literal",
        built_sql,
        bad={"services/ledger/store.py": "x = f'select {a} from entries'\n"},
        good={"services/ledger/store.py": "x = 'select a from entries'\n"},
    ),
    Rule(
        "no floats near money",
        floats_near_money,
        bad={"services/ledger/a.py": "x = float(amount)\n", "libs/common/b.py": "y = round(amount, 2)\n"},
        good={"services/ledger/a.py": "x = to_minor(amount, 2)\n"},
    ),
    Rule(
        "no error is swallowed",
        swallowed,
        bad={"libs/a.py": "with suppress(Exception): x()\n", "libs/b.py": "try: x()\nexcept Exception: pass\n"},
        good={"libs/a.py": "with suppress(FileNotFoundError): x()\n"},
    ),
]
