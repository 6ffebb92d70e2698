-- Reports leave out closing entries, and they are few among many: found without reading the others.
create index entries_by_kind on entries (ledger_no, kind, sequence) where kind <> 'normal';
-- A balance says whether there are accounts below; the lines of a party are few among a control account's.
create index accounts_by_parent on accounts (ledger_no, parent_no) where parent_no is not null;
create index lines_by_party on lines (ledger_no, account_no, party, sequence) where party is not null;
