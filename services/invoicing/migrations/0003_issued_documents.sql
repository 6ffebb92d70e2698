-- What was printed at issue: who sold and who bought, as they were known then, and the rendered document's hash. And drafts
-- that are given up.

-- Seller and buyer are sealed, each for itself: the associated data is the invoice and the part. `document_hash` is the
-- SHA-256 of the document as the form of that number renders it; it comes soon after the issue and then stays. (The column
-- of that name in invoices is not used: every change there raises the version, and moves a long row.)
create table issued_parties (
    organization text not null,
    invoice uuid not null,
    customer uuid not null,
    seller bytea not null,
    buyer bytea,
    key_id text not null,
    erased_at timestamptz,
    document_hash bytea check (octet_length(document_hash) = 32),
    document_form smallint,
    primary key (organization, invoice),
    foreign key (organization, invoice) references invoices (organization, id),
    constraint buyer_until_erased check ((buyer is null) = (erased_at is not null)),
    constraint hash_with_form check ((document_hash is null) = (document_form is null))
);
create index issued_parties_by_customer on issued_parties (customer, organization) where buyer is not null;
create index issued_parties_unhashed on issued_parties (invoice) where document_hash is null and buyer is not null;

create function guard_issued_parties() returns trigger language plpgsql as $$
begin
    if (new.organization, new.invoice, new.customer) is distinct from (old.organization, old.invoice, old.customer)
       or (old.document_hash is not null and (new.document_hash, new.document_form)
           is distinct from (old.document_hash, old.document_form))
       or (old.buyer is null and (new.buyer is not null or new.erased_at is distinct from old.erased_at))
       or (new.key_id = old.key_id and (new.seller <> old.seller or (new.buyer is not null and new.buyer <> old.buyer)))
    then
        raise exception 'what was printed at issue is what it is' using errcode = '23514', constraint = 'issued_is_fixed';
    end if;
    return new;
end $$;
create trigger guard_issued_parties before update on issued_parties
    for each row execute function guard_issued_parties();
create trigger never_removed before delete or truncate on issued_parties
    for each statement execute function refuse_change();

-- A draft may go, with its lines; nothing was numbered, posted or told of it.
drop trigger never_removed on invoices;
create trigger never_removed before truncate on invoices for each statement execute function refuse_change();
create function guard_removed_invoice() returns trigger language plpgsql as $$
begin
    if old.status <> 'draft' then
        raise exception 'an issued invoice is what it is' using errcode = '23514', constraint = 'issued_is_fixed';
    end if;
    return old;
end $$;
create trigger guard_removed_invoice before delete on invoices for each row execute function guard_removed_invoice();

grant select, insert on issued_parties to invoicing_writer;
grant update (seller, buyer, key_id, erased_at, document_hash, document_form) on issued_parties to invoicing_writer;
grant delete on invoices to invoicing_writer;
grant select on issued_parties to invoicing_reader, invoicing_auditor;
alter table issued_parties enable row level security;
alter table issued_parties force row level security;
create policy reads on issued_parties for select to invoicing_reader
    using (organization = current_setting('ledgerbus.organization', true));
create policy owns on issued_parties to invoicing_migrator using (true) with check (true);
create policy writes on issued_parties to invoicing_writer using (true) with check (true);
create policy audits on issued_parties to invoicing_auditor using (true) with check (true);
