-- An allocation knows the day of its invoice's issue. An ageing of the past puts back what came since, and most of that is
-- on invoices that were not issued yet: the day tells so without a look at them. It never changes, for issued is issued.

alter table allocations add column invoice_issued_on date;
alter table allocations disable trigger append_only;
update allocations a set invoice_issued_on = i.issued_on
from invoices i where i.organization = a.organization and i.id = a.invoice;
alter table allocations enable trigger append_only;
alter table allocations alter column invoice_issued_on set not null;

-- Looked up here, so that no writer can say another day.
create function tell_invoice_day() returns trigger language plpgsql as $$
begin
    new.invoice_issued_on := (
        select i.issued_on from invoices i where i.organization = new.organization and i.id = new.invoice);
    return new;
end $$;
create trigger tell_invoice_day before insert on allocations for each row execute function tell_invoice_day();
