-- Login roles of one service, named <service>_<role>. Wants: service, migrator_password, writer_password,
-- reader_password, auditor_password. What each may do inside the database is granted by the service's migrations.
\set ON_ERROR_STOP on
select format('create role %I login noinherit', :'service' || '_' || role)
from unnest(array['migrator', 'writer', 'reader', 'auditor']) as role
where not exists (select from pg_roles where rolname = :'service' || '_' || role)
\gexec

-- The password is sent as text and hashed by the server: keep statement logging off on a first start.
select format('alter role %I password %L', :'service' || '_' || role, password)
from (values
    ('migrator', :'migrator_password'),
    ('writer', :'writer_password'),
    ('reader', :'reader_password'),
    ('auditor', :'auditor_password')
) as wanted (role, password)
\gexec

-- A long snapshot keeps dead row versions of hot rows alive and halves the writer's speed within seconds.
select format('alter role %I set transaction_timeout = %L', :'service' || '_' || role, '60s')
from unnest(array['reader', 'auditor']) as role
\gexec
