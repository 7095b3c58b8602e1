-- limit_session -- no statement waits for ever; a server that is stricter keeps what it has
SELECT set_config(name, l.ms::text, false)
FROM unnest(%(names)s::text[], %(limits)s::int[]) AS l (name, ms) JOIN pg_settings s USING (name)
WHERE s.setting::bigint = 0 OR s.setting::bigint > l.ms

-- notice_vanished_client -- the server ends the session, and its lock on the site, of a machine that is gone
SELECT set_config(name, value, false)
FROM (VALUES ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '25000')) AS s (name, value)
WHERE inet_client_addr() IS NOT NULL

-- session -- which session this is
SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()

-- end_sessions -- these, where they are still there
SELECT pg_terminate_backend(a.pid)
FROM unnest(%(processes)s::int[], %(began)s::timestamptz[]) AS left_behind (pid, began)
JOIN pg_stat_activity a ON a.pid = left_behind.pid AND a.backend_start = left_behind.began

-- lock_roles -- several processes may open a new embedded database at once
SELECT pg_advisory_xact_lock(hashtext('meterd roles'))

-- has_roles -- is there the role that the tables of an embedded database belong to
SELECT FROM pg_roles WHERE rolname = %(owner)s

-- make_roles -- of an embedded database
DO $$
BEGIN
    CREATE ROLE meterd_owner LOGIN;
    CREATE ROLE meterd LOGIN;
    EXECUTE format('ALTER DATABASE %I OWNER TO meterd_owner', current_database());
END $$

-- group_by_hash -- until the transaction ends: what is grouped or joined by every point is hashed, whatever is known of its size
SELECT set_config('enable_sort', 'off', true), set_config('enable_nestloop', 'off', true), set_config('work_mem', '64MB', true)
