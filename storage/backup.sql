-- begin -- everything that is asked from here on is of one moment; nothing may end it while pg_dump works
SELECT set_config('statement_timeout', '0', false),
       set_config('idle_in_transaction_session_timeout', '0', false),
       set_config('TimeZone', 'UTC', false),
       set_config('DateStyle', 'ISO, YMD', false),
       set_config('IntervalStyle', 'postgres', false),
       set_config('bytea_output', 'hex', false),
       set_config('extra_float_digits', '1', false);

-- snapshot -- the moment, for pg_dump to look at the same
SELECT pg_export_snapshot();

-- server -- its version, and that of TimescaleDB where it is used
SELECT current_setting('server_version_num')::int / 10000,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb');

-- tables -- every table of ours, not their parts
SELECT relname
FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
  AND NOT EXISTS (
      SELECT FROM pg_depend
      WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
  )
ORDER BY relname;

-- hand_over -- statements that give what is a superuser's to the database's owner; a column's sequence goes with it
SELECT format('ALTER %s %s OWNER TO %s', identified.type, identified.identity, datdba::regrole)
FROM (
    SELECT 'pg_class'::regclass, oid
    FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT 'pg_proc'::regclass, oid
    FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace
    UNION ALL
    SELECT 'pg_type'::regclass, oid
    FROM pg_type
    WHERE typnamespace = current_schema()::regnamespace AND typtype IN ('d', 'e')
) AS made (classid, objid)
CROSS JOIN pg_database
CROSS JOIN LATERAL pg_identify_object(made.classid, made.objid, 0) AS identified
WHERE datname = current_database() AND datdba <> current_user::regrole
  AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
  AND NOT EXISTS (
      SELECT FROM pg_depend
      WHERE pg_depend.classid = made.classid AND pg_depend.objid = made.objid
        AND (deptype = 'e' OR deptype IN ('a', 'i') AND identified.type = 'sequence')
  );

-- content -- how many rows a table has, and a sum over all that stands in them, in whatever order
SELECT count(*), coalesce(sum(hashtextextended(row_of::text, 0)), 0)::text FROM {} AS row_of;
