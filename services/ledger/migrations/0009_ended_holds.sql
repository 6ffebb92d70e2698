-- A hold ends once, and what was captured of it stays captured.

create function guard_holds() returns trigger language plpgsql as $$
begin
    raise exception '% of a hold', tg_argv[0] using errcode = '23514', constraint = tg_argv[1];
end $$;
create trigger guard_ended before update on holds for each row
    when (old.status <> 'pending') execute function guard_holds('an end', 'hold_not_pending');
create trigger guard_captured before update on hold_lines for each row
    when (new.captured < old.captured) execute function guard_holds('a capture', 'capture_is_final');
