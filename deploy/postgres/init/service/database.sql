-- One service's database, owned by its migrator; nobody but its own roles may connect. Wants: service.
\set ON_ERROR_STOP on
select format('create database %I owner %I', :'service', :'service' || '_migrator')
where not exists (select from pg_database where datname = :'service')
\gexec

select format('revoke all on database %I from public', :'service')
\gexec

select format('grant connect on database %I to %I', :'service', :'service' || '_' || role)
from unnest(array['writer', 'reader', 'auditor']) as role
\gexec
