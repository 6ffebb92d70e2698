"""What the ledger's log would have told of entries that were answered: heads and book lines, without Kafka between."""

from libs.common.clock import now
from libs.common.db import transaction
from tests.invoicing.trading import LEDGER, ORGANIZATION, Company


async def hear(company: Company) -> int:
    """Puts every posted entry's lines on followed accounts into the book lines; gives the sequence heard through."""
    async with transaction(company.pool) as connection:
        await connection.execute(
            """
            insert into book_lines (organization, ledger, sequence, line, account, currency, party, amount, entry_id,
                service, effective_on)
            select p.organization, p.ledger, p.sequence, m.place, a.account, m.currency, nullif(m.party, ''), m.amount,
                p.id, 'invoicing', p.effective_on
            from postings p
            join movements m on m.organization = p.organization and m.posting = p.id
            join account_mappings a on a.organization = m.organization and a.ledger = m.ledger and a.role = m.role
                and a.currency = ''
            where p.state = 'posted' and m.amount <> 0
              and not exists (select from book_lines b where b.organization = p.organization and b.entry_id = p.id)
            """
        )
        heard: int = await connection.fetchval("select coalesce(max(sequence), 1) from book_lines")
        await connection.execute(
            """
            insert into heads (organization, ledger, ledger_id, epoch, sequence, hash, heard_at)
            values ($1, $2, gen_random_uuid(), 1, $3, repeat('0', 64), $4)
            on conflict (organization, ledger) do update set sequence = excluded.sequence
            """,
            ORGANIZATION,
            LEDGER,
            heard,
            now(),
        )
    return heard
