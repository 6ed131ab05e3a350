-- The role that servers use, which is no superuser and makes the databases that it owns itself.
-- For psql, as a superuser, at each start of PostgreSQL; ARTSTORE_SERVERS_PASSWORD is in its
-- environment. Answers the databases in which servers_objects.sql is to be run then: those that the
-- servers have made, and those that they made as this superuser.
\set ON_ERROR_STOP on
\getenv password ARTSTORE_SERVERS_PASSWORD
SELECT 'CREATE ROLE artstore_servers'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'artstore_servers') \gexec
-- What makes guessing dear would be most of what a connection costs, and nobody guesses a password
-- that was drawn by a machine.
SET scram_iterations = 1;
ALTER ROLE artstore_servers
    LOGIN NOSUPERUSER CREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
-- After a large change an operator may want one.
GRANT pg_checkpoint TO artstore_servers;
SELECT datname FROM pg_database
WHERE NOT datistemplate AND datallowconn AND datname <> 'postgres'
    AND datdba IN (current_user::regrole, 'artstore_servers'::regrole);
