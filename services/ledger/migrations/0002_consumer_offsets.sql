-- Where the consumer of ledger.requests.v1 goes on: Kafka's own committed offsets expire. The request key is the guard
-- against doing a request twice; this is the position only. The cluster's id stands beside it, since offsets of another
-- cluster mean nothing here.

create table consumer_offsets (
    topic       text    not null,
    partition   integer not null,
    cluster_id  text    not null,
    next_offset bigint  not null check (next_offset >= 0),
    primary key (topic, partition)
);

revoke all on consumer_offsets from public;
grant select, insert, update on consumer_offsets to ledger_writer;
grant select on consumer_offsets to ledger_auditor;
