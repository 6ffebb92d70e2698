-- Messages that leave together are one row: what a transaction tells is stored, read and removed at once, as JSON
-- `[[topic, key, value, [[header, value], ...]], ...]` in which bytes stand for Latin-1. What waits goes with it.
create table outbox_together (
    id bigint generated always as identity primary key,
    messages bytea not null,
    count integer not null check (count > 0),
    put_at timestamptz not null default now()
);
alter table outbox_together alter column messages set storage external;
insert into outbox_together (messages, count, put_at)
select convert_to(json_build_array(json_build_array(topic, convert_from(key, 'LATIN1'), convert_from(value, 'LATIN1'),
           headers::json))::text, 'UTF8'), 1, put_at
from outbox order by id;
drop table outbox;
alter table outbox_together rename to outbox;
alter sequence outbox_together_id_seq rename to outbox_id_seq;
alter index outbox_together_pkey rename to outbox_pkey;
grant select, insert, delete on outbox to invoicing_writer;
