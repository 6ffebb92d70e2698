"""The one statement, put together of the steps that have rows.

Its first step moves the ledger's head forward if it is still where the batch was decided, every other step joins that
step's row, so that nothing is written where another writer was faster. Each table is written by one step, in its final
state. The last step raises unless every expected row was written. A batch of entries runs the steps of entries alone;
what holds, closings and accounts need is in the statement when a batch has them.

Arrays are unnested side by side in the select list, where PostgreSQL takes a row from each in turn; in the from clause
it first stores each of them (6 % of the statement's processor time).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Final

HEAD: Final = """
with head as (
    update ledgers set sequence = sequence + $4, hash = $5,
        recorded_at = case when $4 > 0 then $6 else recorded_at end{closing}
    where id = $1 and organization_id = $2 and sequence = $3
    returning no
)"""
HEAD_PARAMETERS: Final = 6

CLOSING: Final = """,
        days_closed_through = ({days})[cardinality({days})], soft_closed_through = ({softly})[cardinality({softly})],
        closed_through = ({months})[cardinality({months})]"""

END: Final = """
select must(array[{counts}]::bigint[] = {expected}::bigint[], 'not every row of the batch was written')
from head
"""


@dataclass(frozen=True, slots=True)
class Step:
    """Rows of one table. `?` stands for the next parameter."""

    sql: str

    @property
    def parameters(self) -> int:
        """How many arrays it takes."""
        return self.sql.count("?")


STEPS: Final[Mapping[str, Step]] = {
    "log": Step("""
    insert into log (ledger_no, sequence, payload, hash)
    select head.no, unnest(?::text::bigint[]), unnest(?::text[]), unnest(?::bytea[])
    from head"""),
    "requests": Step("""
    insert into requests (ledger_no, scope, key, fingerprint, sequence, rejection)
    select head.no, unnest(?::text::text[]), unnest(?::text::text[]), unnest(?::bytea[]), unnest(?::text::bigint[]),
        unnest(?::text::text[])
    from head"""),
    "entries": Step("""
    insert into entries (ledger_no, id, sequence, kind, effective_on, value_on, description, external_id,
        origin_service, origin_document, reverses, line_count)
    select head.no, unnest(?::text::uuid[]), unnest(?::text::bigint[]), unnest(?::text::text[]),
        unnest(?::text::date[]), unnest(?::text::date[]), unnest(?::text::text[]), unnest(?::text::text[]),
        unnest(?::text::text[]), unnest(?::text::text[]), unnest(?::text::uuid[]), unnest(?::text::smallint[])
    from head"""),
    "lines": Step("""
    insert into lines (ledger_no, account_no, sequence, line, debit, amount, currency, balance_after, effective_on,
        party)
    select head.no, unnest(?::text::integer[]), unnest(?::text::bigint[]), unnest(?::text::smallint[]),
        unnest(?::text::boolean[]), unnest(?::text::numeric[]), unnest(?::text::text[]), unnest(?::text::numeric[]),
        unnest(?::text::date[]), unnest(?::text::text[])
    from head"""),
    "accounts": Step("""
    insert into accounts (ledger_no, no, id, code, name, type, normal_side, currency, decimals, heading, parent_no,
        summary, control_owner, reconcilable, cash, cash_flow_class, monetary, translation, overdraft_policy,
        overdraft_limit, external_id, metadata, opened_sequence, version)
    select head.no, t.no, t.id, t.code, t.name, t.type, t.normal_side, t.currency, t.decimals, t.heading, t.parent_no,
        t.summary, t.control_owner, t.reconcilable, t.cash, t.cash_flow_class, t.monetary, t.translation,
        t.overdraft_policy, t.overdraft_limit, t.external_id, t.metadata, t.version, t.version
    from head, jsonb_to_recordset(?::text::jsonb) as t (no integer, id uuid, code text, name text, type text,
        normal_side text, currency text, decimals smallint, heading jsonb, parent_no integer, summary boolean,
        control_owner text, reconcilable boolean, cash boolean, cash_flow_class text, monetary boolean,
        translation text, overdraft_policy text, overdraft_limit numeric, external_id text, metadata jsonb,
        version bigint)"""),
    "revised": Step("""
    update accounts a set name = t.name, heading = t.heading, parent_no = t.parent_no, reconcilable = t.reconcilable,
        cash = t.cash, cash_flow_class = t.cash_flow_class, monetary = t.monetary, translation = t.translation,
        overdraft_policy = t.overdraft_policy, overdraft_limit = t.overdraft_limit, external_id = t.external_id,
        metadata = t.metadata, frozen = t.frozen, closed = t.closed, version = t.version
    from head, jsonb_to_recordset(?::text::jsonb) as t (no integer, name text, heading jsonb, parent_no integer,
        reconcilable boolean, cash boolean, cash_flow_class text, monetary boolean, translation text,
        overdraft_policy text, overdraft_limit numeric, external_id text, metadata jsonb, frozen text, closed boolean,
        version bigint, decided_on bigint)
    where a.ledger_no = head.no and a.no = t.no and a.version = t.decided_on"""),
    "changes": Step("""
    insert into account_changes (ledger_no, account_no, sequence)
    select head.no, unnest(?::text::integer[]), unnest(?::text::bigint[])
    from head"""),
    "balances": Step("""
    merge into balances b
    using (select head.no, unnest(?::text::integer[]) as account_no, unnest(?::text::numeric[]) as debits,
            unnest(?::text::numeric[]) as credits, unnest(?::text::bigint[]) as version,
            unnest(?::text::bigint[]) as decided_on, unnest(?::text::text[]) as currency
        from head) t
    on b.ledger_no = t.no and b.account_no = t.account_no
    when matched and b.version = t.decided_on then
        update set debits = t.debits, credits = t.credits, version = t.version
    when not matched and t.decided_on = -1 then
        insert (ledger_no, account_no, currency, debits, credits, version)
        values (t.no, t.account_no, t.currency, t.debits, t.credits, t.version)"""),
    "pending_balances": Step("""
    merge into balances b
    using (select head.no, unnest(?::text::integer[]) as account_no, unnest(?::text::numeric[]) as debits,
            unnest(?::text::numeric[]) as credits, unnest(?::text::bigint[]) as version,
            unnest(?::text::bigint[]) as decided_on, unnest(?::text::text[]) as currency,
            unnest(?::text::numeric[]) as pending_debits, unnest(?::text::numeric[]) as pending_credits
        from head) t
    on b.ledger_no = t.no and b.account_no = t.account_no
    when matched and b.version = t.decided_on then
        update set debits = t.debits, credits = t.credits, version = t.version, pending_debits = t.pending_debits,
            pending_credits = t.pending_credits
    when not matched and t.decided_on = -1 then
        insert (ledger_no, account_no, currency, debits, credits, version, pending_debits, pending_credits)
        values (t.no, t.account_no, t.currency, t.debits, t.credits, t.version, t.pending_debits,
            t.pending_credits)"""),
    "daily": Step("""
    insert into daily_totals (ledger_no, account_no, effective_on, block, debits, credits)
    select head.no, unnest(?::text::integer[]), unnest(?::text::date[]), unnest(?::text::integer[]),
        unnest(?::text::numeric[]), unnest(?::text::numeric[])
    from head
    on conflict (ledger_no, account_no, effective_on, block)
    do update set debits = daily_totals.debits + excluded.debits, credits = daily_totals.credits + excluded.credits"""),
    "parties": Step("""
    insert into party_balances (ledger_no, account_no, party, debits, credits)
    select head.no, unnest(?::text::integer[]), unnest(?::text::text[]), unnest(?::text::numeric[]),
        unnest(?::text::numeric[])
    from head
    on conflict (ledger_no, account_no, party)
    do update set debits = party_balances.debits + excluded.debits,
        credits = party_balances.credits + excluded.credits"""),
    "holds": Step("""
    merge into holds h
    using (select head.no, unnest(?::uuid[]) as id, unnest(?::text[]) as status,
            unnest(?::timestamptz[]) as expires_at, unnest(?::text::bigint[]) as placed_sequence,
            unnest(?::text::bigint[]) as version, unnest(?::text::bigint[]) as decided_on
        from head) t
    on h.ledger_no = t.no and h.id = t.id
    when matched and h.version = t.decided_on then update set status = t.status, version = t.version
    when not matched and t.decided_on = -1 then
        insert (ledger_no, id, status, expires_at, placed_sequence, version)
        values (t.no, t.id, t.status, t.expires_at, t.placed_sequence, t.version)"""),
    "hold_lines": Step("""
    merge into hold_lines h
    using (select head.no, unnest(?::uuid[]) as hold_id, unnest(?::text::smallint[]) as line,
            unnest(?::text::integer[]) as account_no, unnest(?::text::boolean[]) as debit,
            unnest(?::text::numeric[]) as amount, unnest(?::text::numeric[]) as captured,
            unnest(?::text[]) as party
        from head) t
    on h.ledger_no = t.no and h.hold_id = t.hold_id and h.line = t.line
    when matched then update set captured = t.captured
    when not matched then
        insert (ledger_no, hold_id, line, account_no, debit, amount, captured, party)
        values (t.no, t.hold_id, t.line, t.account_no, t.debit, t.amount, t.captured, t.party)"""),
    "pendings": Step("""
    insert into pendings (ledger_no, account_no, sequence, pending_debits, pending_credits)
    select head.no, unnest(?::text::integer[]), unnest(?::text::bigint[]), unnest(?::text::numeric[]),
        unnest(?::text::numeric[])
    from head"""),
    "closings": Step("""
    insert into closings (ledger_no, sequence, type, period, reason, days_closed_through, soft_closed_through,
        closed_through)
    select head.no, unnest(?::text::bigint[]), unnest(?::text[]), unnest(?::text[]), unnest(?::text[]),
        unnest(?::text::date[]), unnest(?::text::date[]), unnest(?::text::date[])
    from head"""),
    "backdatings": Step("""
    insert into backdatings (ledger_no, sequence, effective_on)
    select head.no, unnest(?::text::bigint[]), unnest(?::text::date[])
    from head"""),
}
"""In the order in which `projection.Batch.arguments` names them."""


@lru_cache(maxsize=256)
def statement_of(names: tuple[str, ...]) -> str:
    """The statement of these steps. Parameters: six of the head, those of each step, the expected counts."""
    number = count(HEAD_PARAMETERS + 1)
    steps, closing = [], ""
    for name in names:
        parameters = [f"${next(number)}" for _ in range(STEPS[name].parameters)]
        text = STEPS[name].sql
        for parameter in parameters:
            text = text.replace("?", parameter, 1)
        steps.append(f", {name}_written as ({text}\n    returning 1\n)")
        if name == "closings":
            days, softly, months = (f"{parameter}::text::date[]" for parameter in parameters[-3:])
            closing = CLOSING.format(days=days, softly=softly, months=months)
    counts = ", ".join(f"(select count(*) from {name}_written)" for name in names)  # noqa: S608 - the names are those of STEPS
    end = END.format(counts=counts, expected=f"${next(number)}")
    return HEAD.format(closing=closing) + "".join(steps) + end
