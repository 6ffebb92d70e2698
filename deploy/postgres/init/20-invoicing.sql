-- Invoicing's database and its login roles. Safe to run again; a changed password in the environment is taken over.
-- Run by psql as a superuser: the container image does it on first start, the local stack at every start.
\set ON_ERROR_STOP on
\set service invoicing
\getenv migrator_password INVOICING_MIGRATOR_PASSWORD
\getenv writer_password INVOICING_WRITER_PASSWORD
\getenv reader_password INVOICING_READER_PASSWORD
\getenv auditor_password INVOICING_AUDITOR_PASSWORD
\ir service/roles.sql
\ir service/database.sql
