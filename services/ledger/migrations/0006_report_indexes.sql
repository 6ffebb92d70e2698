-- Reports leave out closing entries, and they are few among many: found without reading the others.
create index entries_by_kind on entries (ledger_no, kind, sequence) where kind <> 'normal';
