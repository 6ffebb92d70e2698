"""What waited before an upgrade is there after it."""

from pathlib import Path
from shutil import copy

import orjson

from libs.common import db, outbox
from libs.common.messages import Message
from services.invoicing.pools import MIGRATIONS
from tests.invoicing.conftest import SERVICE
from tests.support.postgres import PostgresServer

OLD = """
    insert into outbox (topic, key, value, headers) values ($1, $2, $3, $4)
"""
MESSAGES = [
    Message("ledger.requests.v1", b"k", b'{"a": "\xc3\xbc"}', [("ce_id", b"1"), ("ce_subject", "ü".encode())]),
    Message("invoicing.events.v1", None, None, []),
]


def _copy_first(count: int, folder: Path) -> None:
    for file in sorted(Path(MIGRATIONS).glob("*.sql"))[:count]:
        copy(file, folder)


async def test_messages_that_waited_go_on_as_they_were_put(postgres: PostgresServer, tmp_path: Path) -> None:
    await postgres.service_roles(SERVICE)
    dsn = await postgres.create_database(owner="invoicing_migrator")
    migrator = postgres.service_dsns(dsn, SERVICE).migrator
    _copy_first(7, tmp_path)
    await db.migrate(migrator, tmp_path)
    connection = await db.connect(migrator, name="upgrading")
    for message in MESSAGES:
        headers = orjson.dumps([(name, content.decode()) for name, content in message.headers]).decode()
        await connection.execute(OLD, message.topic, message.key, message.value, headers)
    await db.migrate(migrator, Path(MIGRATIONS))
    rows = await outbox.unpublished(connection, 10)
    await connection.close()
    assert [message for _, messages in rows for message in messages] == MESSAGES
    await postgres.drop_database(dsn)
