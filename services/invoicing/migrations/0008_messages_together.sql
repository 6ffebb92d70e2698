-- Messages that leave together are one row: what a transaction tells is stored, read and removed at once, as MessagePack
-- `[[topic, key, value, [[header, value], ...]], ...]`. What waits is packed here: each part is of a type whose length
-- follows in so many bytes (dc: array, db: text, c6: bytes, c0: nothing).
create table outbox_together (
    id bigint generated always as identity primary key,
    messages bytea not null,
    count integer not null check (count > 0),
    put_at timestamptz not null default now()
);
alter table outbox_together alter column messages set storage external;
insert into outbox_together (messages, count, put_at)
select '\xdc000194db'::bytea || int4send(octet_length(topic)) || convert_to(topic, 'UTF8')
       || coalesce('\xc6'::bytea || int4send(octet_length(key)) || key, '\xc0')
       || coalesce('\xc6'::bytea || int4send(octet_length(value)) || value, '\xc0')
       || '\xdc'::bytea || int2send(json_array_length(headers::json)::smallint) || coalesce(packed, ''),
       1, put_at
from outbox
cross join lateral (
    select string_agg('\x92db'::bytea || int4send(octet_length(convert_to(header ->> 0, 'UTF8'))) || convert_to(header ->> 0, 'UTF8')
                      || '\xc6'::bytea || int4send(octet_length(convert_to(header ->> 1, 'UTF8'))) || convert_to(header ->> 1, 'UTF8'),
                      ''::bytea order by place) as packed
    from json_array_elements(headers::json) with ordinality as told (header, place)) as headers_of
order by id;
drop table outbox;
alter table outbox_together rename to outbox;
alter sequence outbox_together_id_seq rename to outbox_id_seq;
alter index outbox_together_pkey rename to outbox_pkey;
grant select, insert, delete on outbox to invoicing_writer;
