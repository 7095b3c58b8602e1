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

-- content -- how many rows a table has, and a sum over all that stands in them, in whatever order
SELECT count(*), coalesce(sum(hashtextextended(row_of::text, 0)), 0)::text FROM {} AS row_of;
