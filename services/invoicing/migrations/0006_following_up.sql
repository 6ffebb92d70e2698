-- Ageing, tax returns and what follows from them.

-- What is open, in the order in which an ageing adds it up; enough in the index itself that no invoice is read for it.
create index invoices_aged on invoices (organization, ledger, customer, currency)
    include (due_on, issued_on, issued_at, open) where status in ('issued', 'part-paid');
-- The few that are not open any more without anything on them.
create index invoices_void on invoices (organization, ledger) where status = 'void';
-- What came after a day or an instant. Both rise with the table, so that block ranges tell it, and an insert pays nothing.
create index allocations_by_time on allocations
    using brin (on_date date_minmax_multi_ops, created_at timestamptz_minmax_multi_ops) with (pages_per_range = 16);
