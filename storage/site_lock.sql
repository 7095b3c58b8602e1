-- try_lock -- the lock of the site, if nobody has it; the transaction's number never repeats
SELECT CASE WHEN pg_try_advisory_lock(%(lock)s) THEN pg_current_xact_id()::text::bigint END

-- lock_token -- negative keys are of tokens alone; it ends with the session, as the lock of the site does
SELECT pg_advisory_lock(-%(token)s::bigint)

-- holder -- who has it, and for how long nothing was heard of them
SELECT a.application_name, host(a.client_addr), a.pid, a.backend_start, extract(epoch FROM clock_timestamp() - a.state_change)::float8
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = %(lock)s AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- renew -- the server ends this session, and its lock, when nothing is heard of it for so long from now on; can nothing be written here now
SELECT current_setting('transaction_read_only')::boolean, set_config('idle_session_timeout', %(lease_ms)s::text, false)

-- is_read_only -- can nothing be written here now
SELECT current_setting('transaction_read_only')::boolean

-- holds_site -- is the session still there that took the site with this token
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
               AND (classid::bigint << 32) | objid::bigint = -%(token)s::bigint
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
