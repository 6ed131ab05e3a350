-- Gives the database, and all that is made in it and not by an extension, to the servers' role. What
-- is theirs already is not touched, and nothing is written. See servers_role.sql.
\set ON_ERROR_STOP on
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        WITH ours AS (
            SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        ), made (catalog, object, owner, command) AS (
            SELECT 'pg_class'::regclass, oid, relowner, format('%s %s',
                CASE relkind
                    WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                    WHEN 'c' THEN 'TYPE' ELSE 'TABLE'
                END, oid::regclass)
            FROM pg_class WHERE relnamespace IN (TABLE ours) AND relkind IN ('r', 'p', 'v', 'm', 'c', 'S')
            UNION ALL
            SELECT 'pg_proc'::regclass, oid, proowner, format('ROUTINE %s', oid::regprocedure)
            FROM pg_proc WHERE pronamespace IN (TABLE ours) AND prokind <> 'a'
            UNION ALL
            SELECT 'pg_type'::regclass, oid, typowner, format('TYPE %s', oid::regtype)
            FROM pg_type WHERE typnamespace IN (TABLE ours) AND typtype IN ('e', 'd', 'r')
            UNION ALL
            SELECT 'pg_statistic_ext'::regclass, oid, stxowner,
                format('STATISTICS %I.%I', stxnamespace::regnamespace::text, stxname)
            FROM pg_statistic_ext WHERE stxnamespace IN (TABLE ours)
        )
        SELECT format('ALTER %s OWNER TO artstore_servers', command) FROM made
        WHERE owner <> 'artstore_servers'::regrole AND NOT EXISTS (
            -- What an extension made is the extension's; a column's sequence goes with its table.
            SELECT FROM pg_depend WHERE classid = catalog AND objid = object
                AND (deptype = 'e' OR deptype IN ('a', 'i') AND command LIKE 'SEQUENCE %')
        )
    LOOP
        EXECUTE statement;
    END LOOP;
    IF (SELECT datdba FROM pg_database WHERE datname = current_database())
        <> 'artstore_servers'::regrole
    THEN
        EXECUTE format('ALTER DATABASE %I OWNER TO artstore_servers', current_database());
    END IF;
END
$$;
