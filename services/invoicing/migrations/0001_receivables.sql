-- Receivables: what customers owe, what they paid, and what the ledger was asked to post for it.
--
-- Every table's key starts with the organization's slug; nothing ever joins two organizations. Amounts are minor units
-- in numeric(38, 0) beside an ISO 4217 currency. Rules that the domain checks are checked here again; what they refuse
-- they refuse with SQLSTATE 23514 and a constraint name that is the domain's rejection.
--
-- Indexes other than primary keys begin with what tells rows apart, not with the organization: while a table is young
-- the planner has no statistics, takes all that begin alike for equally good, and reads a whole organization for a row.
-- For the same reason hot look-ups by them compare `organization || ''`, which no other index can be used for.
--
-- Order within one transaction, wherever several of these change: payments, credit notes and write-offs first, then
-- invoices (locked in the order of their ids), then allocations, then postings with their movements, then the outbox.
-- The guard of allocations looks at the rows that stand before it.

-- Catalog -----------------------------------------------------------------------------------------------------------

-- Personal data of a customer (names, addresses, tax ids) is sealed; the keyed hash of the name finds it again.
create table customers (
    organization text not null,
    id uuid not null,
    name_hash bytea,
    sealed bytea,
    key_id text,
    currency text,
    payment_terms_days integer not null default 30 check (payment_terms_days between 0 and 3650),
    external_id text,
    version bigint not null default 1,
    created_at timestamptz not null,
    erased_at timestamptz,
    primary key (organization, id),
    constraint sealed_until_erased check ((sealed is null) = (erased_at is not null) and (sealed is null) = (key_id is null))
);
create index customers_by_name on customers (name_hash, organization) where name_hash is not null;
create unique index duplicate_customer on customers (external_id, organization) where external_id is not null;

create table products (
    organization text not null,
    id uuid not null,
    code text not null,
    name text not null,
    currency text not null,
    unit_price numeric not null check (unit_price >= 0),
    base_quantity numeric not null default 1 check (base_quantity > 0),
    tax_rate text,
    revenue_account text,
    active boolean not null default true,
    version bigint not null default 1,
    created_at timestamptz not null,
    primary key (organization, id),
    constraint product_code_taken unique (organization, code)
);

-- A tax rate has a code and, for each stretch of time, what it is then; stretches of one code do not overlap.
create table tax_rates (
    organization text not null,
    id uuid not null,
    code text not null,
    category text not null check (category in ('S', 'Z', 'E', 'AE', 'K', 'G', 'O', 'L', 'M')),
    rate numeric not null check (rate between 0 and 1000),
    exemption_code text,
    exemption_reason text,
    valid_from date not null,
    valid_to date,
    version bigint not null default 1,
    created_at timestamptz not null,
    primary key (organization, id),
    constraint tax_rate_taken unique (organization, code, valid_from),
    constraint validity_in_order check (valid_to is null or valid_to >= valid_from)
);

create table account_mappings (
    organization text not null,
    ledger text not null,
    role text not null check (role in ('receivable', 'revenue', 'tax-due', 'tax-not-yet-due', 'bank',
        'processor-clearing', 'fees', 'unapplied-receipts', 'customer-credit', 'refunds-payable', 'deferred-revenue',
        'bad-debt', 'bad-debt-recovery', 'discounts', 'withholding', 'rounding')),
    currency text not null default '',
    account text not null,
    primary key (organization, ledger, role, currency)
);

create table receivables_settings (
    organization text not null,
    ledger text not null,
    functional_currency text not null,
    tax_basis text not null default 'accrual' check (tax_basis in ('accrual', 'cash')),
    number_prefix text not null default '',
    cash_rounding jsonb not null default '{}',
    seller jsonb not null default '{}',
    version bigint not null default 1,
    changed_at timestamptz not null,
    primary key (organization, ledger)
);

create table number_series (
    organization text not null,
    ledger text not null,
    series text not null,
    year integer not null check (year between 1900 and 9999),
    last bigint not null check (last >= 0),
    primary key (organization, ledger, series, year)
) with (fillfactor = 50);

-- Documents ---------------------------------------------------------------------------------------------------------

-- `content` is what was asked for and what it came to, frozen at issue. total = paid + credited + written_off + open.
create table invoices (
    organization text not null,
    id uuid not null,
    ledger text not null,
    customer uuid not null,
    series text,
    year integer,
    serial bigint,
    number text,
    plain_number text generated always as (upper(regexp_replace(number, '[\W_]', '', 'g'))) stored,
    status text not null check (status in ('draft', 'issued', 'part-paid', 'paid', 'credited', 'void', 'written-off')),
    posting text not null default 'none' check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    issued_on date,
    tax_point_on date,
    due_on date,
    net numeric(38, 0) not null,
    tax numeric(38, 0) not null,
    rounding numeric(38, 0) not null default 0,
    total numeric(38, 0) not null constraint total_negative check (total >= 0),
    paid numeric(38, 0) not null default 0 constraint paid_negative check (paid >= 0),
    credited numeric(38, 0) not null default 0 constraint credited_negative check (credited >= 0),
    written_off numeric(38, 0) not null default 0 constraint written_off_negative check (written_off >= 0),
    open numeric(38, 0) not null generated always as (total - paid - credited - written_off) stored,
    content jsonb not null,
    document_hash bytea,
    creditor_reference text,
    client_ref text,
    version bigint not null default 1,
    created_at timestamptz not null,
    issued_at timestamptz,
    voided_at timestamptz,
    primary key (organization, id),
    foreign key (organization, customer) references customers (organization, id),
    constraint duplicate_number unique (serial, series, year, ledger, organization),
    constraint total_differs check (total = net + tax + rounding),
    constraint allocation_exceeds_open check (paid + credited + written_off <= total),
    constraint status_fits_amounts check (case status
        when 'draft' then paid = 0 and credited = 0 and written_off = 0
        when 'void' then paid = 0 and credited = 0 and written_off = 0
        when 'issued' then paid = 0 and credited = 0 and written_off = 0 and total > 0
        when 'part-paid' then paid + credited + written_off > 0 and paid + credited + written_off < total
        when 'written-off' then paid + credited + written_off = total and written_off > 0
        when 'credited' then paid + credited + written_off = total and written_off = 0 and paid = 0 and credited > 0
        when 'paid' then paid + credited + written_off = total and written_off = 0 and (paid > 0 or total = 0)
        end),
    constraint number_at_issue check ((status = 'draft') = (number is null) and (number is null) = (serial is null)
        and (number is null) = (series is null) and (number is null) = (year is null)
        and (number is null) = (issued_at is null)),
    constraint dates_at_issue check (status = 'draft'
        or (issued_on is not null and due_on is not null and tax_point_on is not null))
) with (fillfactor = 80);
create unique index invoices_by_number on invoices (number, ledger, organization) where number is not null;
-- Letters and digits alone: what a payer's text is compared with.
create index invoices_by_plain_number on invoices (plain_number, ledger) where plain_number is not null;
create index invoices_by_reference on invoices (creditor_reference) where creditor_reference is not null;
create index invoices_open on invoices (customer, ledger, currency, due_on, id)
    where status in ('issued', 'part-paid');
create index invoices_by_customer on invoices (customer, id);

create table invoice_lines (
    organization text not null,
    invoice uuid not null,
    line smallint not null,
    description text not null,
    quantity numeric not null,
    unit_price numeric not null check (unit_price >= 0),
    product text,
    revenue_account text,
    discount numeric(38, 0) not null,
    net numeric(38, 0) not null,
    tax numeric(38, 0) not null,
    service_from date,
    service_to date,
    primary key (organization, invoice, line),
    foreign key (organization, invoice) references invoices (organization, id)
);

create table invoice_taxes (
    organization text not null,
    invoice uuid not null,
    place smallint not null,
    category text not null,
    rate numeric not null,
    exemption_code text,
    exemption_reason text,
    base numeric(38, 0) not null,
    amount numeric(38, 0) not null,
    primary key (organization, invoice, place),
    foreign key (organization, invoice) references invoices (organization, id)
);

-- A credit note lowers what is open of its invoice; what exceeds it becomes customer credit.
create table credit_notes (
    organization text not null,
    id uuid not null,
    ledger text not null,
    invoice uuid not null,
    customer uuid not null,
    series text not null,
    year integer not null,
    serial bigint not null,
    number text not null,
    currency text not null,
    issued_on date not null,
    reason text not null,
    net numeric(38, 0) not null,
    tax numeric(38, 0) not null,
    total numeric(38, 0) not null check (total > 0),
    applied numeric(38, 0) not null check (applied >= 0),
    to_credit numeric(38, 0) not null check (to_credit >= 0),
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    content jsonb not null,
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, invoice) references invoices (organization, id),
    constraint duplicate_credit_number unique (organization, ledger, series, year, serial),
    constraint credit_adds_up check (total = applied + to_credit)
);
create index credit_notes_by_invoice on credit_notes (invoice);

create table credit_note_taxes (
    organization text not null,
    credit_note uuid not null,
    place smallint not null,
    category text not null,
    rate numeric not null,
    exemption_code text,
    exemption_reason text,
    base numeric(38, 0) not null,
    amount numeric(38, 0) not null,
    primary key (organization, credit_note, place),
    foreign key (organization, credit_note) references credit_notes (organization, id)
);

-- Money in ----------------------------------------------------------------------------------------------------------

-- `amount` is what the payer paid, the fee is inside it; what went back (refunded, returned, disputed) was taken from
-- unapplied, credit or allocations: amount = allocated + unapplied + to_credit + refunded, always. `receipt` is where the
-- money went at first, kept where its entry could not be made yet.
create table payments (
    organization text not null,
    id uuid not null,
    ledger text not null,
    provider text not null,
    payment_id text not null,
    customer uuid,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    amount numeric(38, 0) not null constraint amount_not_positive check (amount > 0),
    fee numeric(38, 0) not null default 0 constraint fee_out_of_range check (fee >= 0 and fee <= amount),
    received_on date not null,
    method text not null,
    account text,
    reference text,
    allocated numeric(38, 0) not null default 0 check (allocated >= 0),
    unapplied numeric(38, 0) not null default 0 check (unapplied >= 0),
    to_credit numeric(38, 0) not null default 0 check (to_credit >= 0),
    refunded numeric(38, 0) not null default 0 check (refunded >= 0),
    unapplied_party text,
    receipt jsonb,
    reason text,
    posting text not null default 'none' check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    client_ref text,
    version bigint not null default 1,
    created_at timestamptz not null,
    primary key (organization, id),
    constraint duplicate_payment unique (payment_id, provider, organization),
    constraint payment_adds_up check (allocated + unapplied + to_credit + refunded = amount)
) with (fillfactor = 80);
create index payments_unapplied on payments (customer, id) where unapplied > 0;
create index payments_by_customer on payments (customer, id);

-- Many to many, dated, never deleted: an undoing is another row with the same amount that names the row it undoes.
create table allocations (
    organization text not null,
    id uuid not null,
    source text not null check (source in ('payment', 'credit', 'credit-note')),
    source_id uuid not null,
    invoice uuid not null,
    amount numeric(38, 0) not null constraint allocation_not_positive check (amount > 0),
    on_date date not null,
    undoes uuid,
    created_at timestamptz not null,
    primary key (organization, id),
    constraint already_undone unique (undoes, organization)
);
create index allocations_by_invoice on allocations (invoice);
create index allocations_by_source on allocations (source_id);

create table customer_credits (
    organization text not null,
    ledger text not null,
    customer uuid not null,
    currency text not null,
    balance numeric(38, 0) not null constraint credit_exceeded check (balance >= 0),
    primary key (organization, ledger, customer, currency)
);

create table credit_applications (
    organization text not null,
    id uuid not null,
    ledger text not null,
    customer uuid not null,
    currency text not null,
    amount numeric(38, 0) not null check (amount > 0),
    applied_on date not null,
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    created_at timestamptz not null,
    primary key (organization, id)
);

-- `taken_from` says what the money was until it went back: unapplied receipts, customer credit, or allocations undone.
create table refunds (
    organization text not null,
    id uuid not null,
    ledger text not null,
    kind text not null check (kind in ('refund', 'return')),
    provider text not null,
    refund_id text not null,
    payment uuid,
    customer uuid,
    currency text not null,
    amount numeric(38, 0) not null check (amount > 0),
    fee numeric(38, 0) not null default 0 check (fee >= 0),
    from_unapplied numeric(38, 0) not null default 0 check (from_unapplied >= 0),
    from_credit numeric(38, 0) not null default 0 check (from_credit >= 0),
    from_allocated numeric(38, 0) not null default 0 check (from_allocated >= 0),
    refunded_on date not null,
    reason text,
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    created_at timestamptz not null,
    primary key (organization, id),
    constraint duplicate_refund unique (organization, provider, refund_id),
    constraint refund_adds_up check (amount = from_unapplied + from_credit + from_allocated)
);
create index refunds_by_payment on refunds (organization, payment);

create table disputes (
    organization text not null,
    id uuid not null,
    ledger text not null,
    provider text not null,
    dispute_id text not null,
    payment uuid not null,
    status text not null check (status in ('opened', 'won', 'lost')),
    currency text not null,
    amount numeric(38, 0) not null check (amount > 0),
    fee numeric(38, 0) not null default 0 check (fee >= 0),
    from_unapplied numeric(38, 0) not null default 0 check (from_unapplied >= 0),
    from_credit numeric(38, 0) not null default 0 check (from_credit >= 0),
    from_allocated numeric(38, 0) not null default 0 check (from_allocated >= 0),
    opened_on date not null,
    settled_on date,
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    created_at timestamptz not null,
    primary key (organization, id),
    constraint duplicate_dispute unique (organization, provider, dispute_id),
    constraint dispute_adds_up check (amount = from_unapplied + from_credit + from_allocated),
    constraint settled_with_date check ((status = 'opened') = (settled_on is null))
);

create table payouts (
    organization text not null,
    id uuid not null,
    ledger text not null,
    provider text not null,
    payout_id text not null,
    currency text not null,
    amount numeric(38, 0) not null check (amount > 0),
    paid_on date not null,
    items jsonb not null,
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    created_at timestamptz not null,
    primary key (organization, id),
    constraint duplicate_payout unique (organization, provider, payout_id)
);

create table write_offs (
    organization text not null,
    id uuid not null,
    ledger text not null,
    invoice uuid not null,
    kind text not null check (kind in ('write-off', 'reversal', 'relief', 'recovery')),
    amount numeric(38, 0) not null check (amount > 0),
    tax numeric(38, 0) not null default 0 check (tax >= 0),
    on_date date not null,
    undoes uuid,
    posting text not null check (posting in ('none', 'requested', 'posted', 'needs-attention')),
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, invoice) references invoices (organization, id),
    constraint write_off_undone unique (organization, undoes)
);
create index write_offs_by_invoice on write_offs (invoice);

-- What of a line's deferred revenue is over, recognised or credited, line by line and as booked (a returned line's is
-- negative); a period end posts a line once.
create table recognitions (
    organization text not null,
    id uuid not null,
    ledger text not null,
    invoice uuid not null,
    line smallint not null,
    kind text not null check (kind in ('recognised', 'credited')),
    through_on date not null,
    amount numeric(38, 0) not null check (amount <> 0),
    created_at timestamptz not null,
    primary key (organization, id),
    foreign key (organization, invoice) references invoices (organization, id)
);
create unique index recognised_once on recognitions (organization, invoice, line, through_on) where kind = 'recognised';

-- What the ledger was asked ------------------------------------------------------------------------------------------

-- `id` is the entry's id, derived from the document, so it is the same whoever asks again. `value` is what was or will
-- be sent, byte by byte; `draft` is the accounting decision it was made of, so that a changed mapping can be tried.
-- waiting: for the posting it depends on, or (value null) for a rate or an account; what it waits for stands in rejection.
create table postings (
    organization text not null,
    id uuid not null,
    ledger text not null,
    document text not null,
    purpose text not null,
    type text not null,
    draft bytea,
    value bytea,
    attempt integer not null default 1 check (attempt > 0),
    state text not null check (state in ('waiting', 'requested', 'posted', 'needs-attention', 'withdrawn')),
    depends_on uuid,
    created_at timestamptz not null,
    requested_at timestamptz,
    resend_at timestamptz,
    tries integer not null default 0,
    sequence bigint,
    effective_on date,
    recorded_at timestamptz,
    rejection jsonb,
    primary key (organization, id),
    constraint one_posting_per_purpose unique (document, purpose, organization),
    constraint posted_has_sequence check ((state = 'posted') = (sequence is not null)),
    constraint requested_has_value check (state not in ('requested', 'posted') or value is not null),
    constraint requested_is_resent check ((state = 'requested') = (resend_at is not null))
) with (fillfactor = 70);
create index postings_waiting on postings (depends_on) where state = 'waiting';
create index postings_to_resend on postings (resend_at) where state = 'requested';
create index postings_in_trouble on postings (organization, id) where state = 'needs-attention';

-- Debit positive, for accounts that a party or a document ties out; `sequence` comes with the ledger's answer.
create table movements (
    organization text not null,
    posting uuid not null,
    place smallint not null,
    ledger text not null,
    role text not null,
    party text not null default '',
    currency text not null,
    amount numeric(38, 0) not null,
    sequence bigint,
    primary key (organization, posting, place),
    foreign key (organization, posting) references postings (organization, id)
) with (fillfactor = 80);
create index movements_by_role on movements (role, organization, ledger, currency, party);

-- Answers to REST requests by the caller's own key, stored with what they did.
create table requests (
    organization text not null,
    scope text not null,
    key text not null,
    fingerprint bytea not null,
    status smallint,
    body bytea,
    created_at timestamptz not null,
    primary key (organization, scope, key)
);
create index requests_by_time on requests (created_at);

create table consumer_offsets (
    topic text not null,
    partition integer not null,
    cluster_id text not null,
    next_offset bigint not null check (next_offset >= 0),
    primary key (topic, partition)
);
create table inbox (
    source text not null,
    event_id text not null,
    received_at timestamptz not null default now(),
    primary key (source, event_id)
);
create index inbox_by_time on inbox (received_at);
create table outbox (
    id bigint generated always as identity primary key,
    topic text not null,
    key bytea,
    value bytea,
    headers text not null,
    put_at timestamptz not null default now(),
    published_at timestamptz
);
create index outbox_unpublished on outbox (id) where published_at is null;
create index outbox_published on outbox (published_at) where published_at is not null;

-- Guards ------------------------------------------------------------------------------------------------------------

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)
        using errcode = '23514', constraint = 'append_only';
end $$;
do $$
declare name text;
begin
    foreach name in array array['allocations', 'invoice_taxes', 'credit_note_taxes', 'recognitions']
    loop
        execute format('create trigger append_only before update or delete or truncate on %I for each statement execute function refuse_change()', name);
    end loop;
    foreach name in array array['customers', 'invoices', 'credit_notes', 'payments', 'refunds', 'disputes', 'payouts',
        'write_offs', 'credit_applications', 'postings', 'movements', 'number_series']
    loop
        execute format('create trigger never_removed before delete or truncate on %I for each statement execute function refuse_change()', name);
    end loop;
end $$;

-- Numbers only move on by the one who issues; nobody takes one back.
create function guard_series() returns trigger language plpgsql as $$
begin
    if new.last < old.last then
        raise exception 'the numbers of a series never fall' using errcode = '23514', constraint = 'numbers_fall';
    end if;
    return new;
end $$;
create trigger guard_series before update on number_series for each row execute function guard_series();

-- Which status may follow which. Amounts say what a status is (status_fits_amounts); this says where one may come from.
create function guard_invoice() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        if new.status not in ('draft', 'issued') and not (new.status = 'paid' and new.total = 0) then
            raise exception 'an invoice begins as a draft or issued, not %', new.status
                using errcode = '23514', constraint = 'status_change_illegal';
        end if;
        return new;
    end if;
    if new.status <> old.status and not (
        (old.status = 'draft' and (new.status = 'issued' or (new.status = 'paid' and new.total = 0)))
        or (old.status = 'issued' and new.status in ('part-paid', 'paid', 'credited', 'written-off', 'void'))
        or (old.status = 'part-paid' and new.status in ('issued', 'paid', 'credited', 'written-off'))
        or (old.status = 'paid' and new.status in ('issued', 'part-paid'))
        or (old.status = 'written-off' and new.status in ('issued', 'part-paid'))
    ) then
        raise exception 'an invoice that is % never becomes %', old.status, new.status
            using errcode = '23514', constraint = 'status_change_illegal';
    end if;
    if old.status = 'void' and (new.paid, new.credited, new.written_off) is distinct from (old.paid, old.credited, old.written_off) then
        raise exception 'nothing happens to a void invoice' using errcode = '23514', constraint = 'invoice_void';
    end if;
    if new.version <= old.version then
        raise exception 'every change raises the version' using errcode = '23514', constraint = 'version_conflict';
    end if;
    return new;
end $$;
create trigger guard_invoice before insert or update on invoices for each row execute function guard_invoice();

-- An update that names a fixed column is looked at; the hot updates (amounts, status, posting) never name one.
create function guard_issued() returns trigger language plpgsql as $$
begin
    if (new.organization, new.id, new.ledger, new.created_at) is distinct from (old.organization, old.id, old.ledger, old.created_at)
       or (old.status <> 'draft' and (
           (new.customer, new.series, new.year, new.serial, new.number, new.currency, new.issued_on, new.tax_point_on,
            new.due_on, new.net, new.tax, new.rounding, new.total, new.content, new.creditor_reference, new.client_ref,
            new.issued_at)
           is distinct from
           (old.customer, old.series, old.year, old.serial, old.number, old.currency, old.issued_on, old.tax_point_on,
            old.due_on, old.net, old.tax, old.rounding, old.total, old.content, old.creditor_reference, old.client_ref,
            old.issued_at)
           or (old.document_hash is not null and new.document_hash is distinct from old.document_hash)))
    then
        raise exception 'an issued invoice is what it is' using errcode = '23514', constraint = 'issued_is_fixed';
    end if;
    return new;
end $$;
create trigger guard_issued
    before update of organization, id, ledger, created_at, customer, series, year, serial, number, currency, issued_on,
        tax_point_on, due_on, net, tax, rounding, total, content, document_hash, creditor_reference, client_ref, issued_at
    on invoices for each row execute function guard_issued();

-- Lines and tax rows come with their document: a transaction adds them to drafts and to what it issues itself, no other.
create function guard_invoice_lines() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1
        from (select distinct organization, invoice from touched) t
        join invoices i on i.organization = t.organization and i.id = t.invoice
        where i.status <> 'draft' and i.xmin <> pg_current_xact_id()::xid
    ) then
        raise exception 'the lines of an issued invoice are what they are'
            using errcode = '23514', constraint = 'issued_is_fixed';
    end if;
    return null;
end $$;
create trigger guard_added_lines after insert on invoice_lines referencing new table as touched
    for each statement execute function guard_invoice_lines();
create trigger guard_changed_lines after update on invoice_lines referencing old table as touched
    for each statement execute function guard_invoice_lines();
create trigger guard_removed_lines after delete on invoice_lines referencing old table as touched
    for each statement execute function guard_invoice_lines();
create trigger guard_added_taxes after insert on invoice_taxes referencing new table as touched
    for each statement execute function guard_invoice_lines();

-- What stands on an invoice and what a payment placed are the sums of allocations. Seen from the allocations, set by
-- set, when they are written (last); seen from an invoice whose sums were changed, at the end of the transaction.
create function guard_allocations() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1
        from added a
        left join allocations u on u.organization = a.organization and u.id = a.undoes
        where a.undoes is not null
          and (u.undoes is not null or (u.source, u.source_id, u.invoice, u.amount)
               is distinct from (a.source, a.source_id, a.invoice, a.amount))
    ) then
        raise exception 'an undoing is of the same amount, source and invoice' using errcode = '23514', constraint = 'undoing_differs';
    end if;
    if exists (
        select 1
        from (select distinct organization, invoice from added) d
        join invoices i on i.organization = d.organization and i.id = d.invoice
        cross join lateral (
            select coalesce(sum(case when undoes is null then amount else -amount end) filter (where source <> 'credit-note'), 0) as paid,
                   coalesce(sum(case when undoes is null then amount else -amount end) filter (where source = 'credit-note'), 0) as credited
            from allocations a where a.organization || '' = d.organization and a.invoice = d.invoice) s
        where i.paid <> s.paid or i.credited <> s.credited or i.status in ('draft', 'void')
    ) or exists (
        select 1 from added d where not exists (
            select 1 from invoices i where i.organization = d.organization and i.id = d.invoice)
    ) then
        raise exception 'what stands on an invoice is the sum of its allocations'
            using errcode = '23514', constraint = 'allocations_add_up';
    end if;
    if exists (
        select 1
        from (select distinct organization, source_id from added where source = 'payment') d
        left join payments p on p.organization = d.organization and p.id = d.source_id
        cross join lateral (
            select sum(case when undoes is null then amount else -amount end) as allocated
            from allocations a where a.organization || '' = d.organization and a.source_id = d.source_id) s
        where p.allocated is distinct from s.allocated
    ) then
        raise exception 'what a payment placed is the sum of its allocations'
            using errcode = '23514', constraint = 'allocations_add_up';
    end if;
    return null;
end $$;
create trigger guard_allocations after insert on allocations referencing new table as added
    for each statement execute function guard_allocations();

create function guard_invoice_sums() returns trigger language plpgsql security definer
    set search_path = public, pg_temp set enable_seqscan = off as $$
begin
    if exists (
        select 1
        from invoices i
        cross join lateral (
            select coalesce(sum(case when undoes is null then amount else -amount end) filter (where source <> 'credit-note'), 0) as paid,
                   coalesce(sum(case when undoes is null then amount else -amount end) filter (where source = 'credit-note'), 0) as credited
            from allocations a where a.organization || '' = i.organization and a.invoice = i.id) s
        where i.organization = new.organization and i.id = new.id
          and (i.paid <> s.paid or i.credited <> s.credited
               or (i.written_off <> 0 or old.written_off <> 0) and i.written_off <> (
                   select coalesce(sum(case when kind = 'write-off' then amount else -amount end), 0)
                   from write_offs w
                   where w.organization || '' = i.organization and w.invoice = i.id and w.kind in ('write-off', 'reversal')))
    ) then
        raise exception 'what stands on an invoice is the sum of its allocations and write-offs'
            using errcode = '23514', constraint = 'allocations_add_up';
    end if;
    return null;
end $$;
create constraint trigger guard_invoice_sums after update of paid, credited, written_off on invoices
    deferrable initially deferred for each row
    when (old.paid <> new.paid or old.credited <> new.credited or old.written_off <> new.written_off)
    execute function guard_invoice_sums();

create function guard_payment() returns trigger language plpgsql as $$
begin
    if (new.organization, new.id, new.ledger, new.provider, new.payment_id, new.currency, new.amount, new.fee, new.received_on, new.created_at)
       is distinct from
       (old.organization, old.id, old.ledger, old.provider, old.payment_id, old.currency, old.amount, old.fee, old.received_on, old.created_at)
    then
        raise exception 'what was received is what it is' using errcode = '23514', constraint = 'payment_is_fixed';
    end if;
    return new;
end $$;
create trigger guard_payment before update on payments for each row execute function guard_payment();

-- A posted entry stays posted, and what a posting is for never changes.
create function guard_posting() returns trigger language plpgsql as $$
begin
    if (new.organization, new.id, new.ledger, new.document, new.purpose, new.type, new.created_at)
       is distinct from (old.organization, old.id, old.ledger, old.document, old.purpose, old.type, old.created_at)
    then
        raise exception 'what a posting is for never changes' using errcode = '23514', constraint = 'posting_is_fixed';
    end if;
    if old.state = 'posted' and (new.state, new.sequence) is distinct from (old.state, old.sequence)
       or new.attempt < old.attempt
       or (old.state = 'withdrawn' and new.state <> 'withdrawn')
       or (old.state in ('requested', 'posted') and new.state = 'withdrawn')
    then
        raise exception 'a posting that is % never becomes %', old.state, new.state
            using errcode = '23514', constraint = 'posting_change_illegal';
    end if;
    return new;
end $$;
create trigger guard_posting before update on postings for each row execute function guard_posting();

create function guard_movement() returns trigger language plpgsql as $$
begin
    if (new.organization, new.posting, new.place, new.ledger, new.role, new.party, new.currency, new.amount)
       is distinct from (old.organization, old.posting, old.place, old.ledger, old.role, old.party, old.currency, old.amount)
       or (old.sequence is not null and new.sequence is distinct from old.sequence)
    then
        raise exception 'a movement is what it is' using errcode = '23514', constraint = 'movement_is_fixed';
    end if;
    return new;
end $$;
create trigger guard_movement before update on movements for each row execute function guard_movement();

-- Roles -------------------------------------------------------------------------------------------------------------
-- migrator owns all of this. The writer inserts and changes what may change, for every organization, and names it in
-- every statement; the reader sees one organization's rows under forced row-level security; the auditor reads all.

revoke all on all tables in schema public from public;
grant usage on schema public to invoicing_writer, invoicing_reader, invoicing_auditor;
grant select, insert on customers, products, tax_rates, account_mappings, receivables_settings, number_series, invoices,
    invoice_lines, invoice_taxes, credit_notes, credit_note_taxes, payments, allocations, customer_credits,
    credit_applications, refunds, disputes, payouts, write_offs, recognitions, postings, movements, requests,
    consumer_offsets, inbox, outbox to invoicing_writer;
grant update on customers, products, tax_rates, account_mappings, receivables_settings, number_series, invoices,
    invoice_lines, payments, postings, requests, consumer_offsets, outbox to invoicing_writer;
grant update (sequence) on movements to invoicing_writer;
grant update (balance) on customer_credits to invoicing_writer;
grant update (posting) on credit_notes, credit_applications, refunds, payouts, write_offs to invoicing_writer;
grant update (posting, status, settled_on) on disputes to invoicing_writer;
grant delete on invoice_lines, account_mappings, requests, inbox, outbox to invoicing_writer;
grant select on all tables in schema public to invoicing_auditor;
grant select on customers, products, tax_rates, account_mappings, receivables_settings, invoices, invoice_lines,
    invoice_taxes, credit_notes, credit_note_taxes, payments, allocations, customer_credits, credit_applications,
    refunds, disputes, payouts, write_offs, recognitions, postings, movements to invoicing_reader;

do $$
declare name text;
begin
    foreach name in array array['customers', 'products', 'tax_rates', 'account_mappings', 'receivables_settings',
        'number_series', 'invoices', 'invoice_lines', 'invoice_taxes', 'credit_notes', 'credit_note_taxes', 'payments',
        'allocations', 'customer_credits', 'credit_applications', 'refunds', 'disputes', 'payouts', 'write_offs',
        'recognitions', 'postings', 'movements', 'requests']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy reads on %I for select to invoicing_reader using (organization = current_setting(''ledgerbus.organization'', true))', name);
        execute format('create policy owns on %I to invoicing_migrator using (true) with check (true)', name);
        execute format('create policy writes on %I to invoicing_writer using (true) with check (true)', name);
        execute format('create policy audits on %I to invoicing_auditor using (true) with check (true)', name);
    end loop;
end $$;
