-- act_as -- whom journals name until the transaction ends
SELECT set_config('meterd.actor', %(actor)s, true)

-- lock_chains -- nobody else judges or changes what is judged
SELECT pg_advisory_xact_lock(%(lock)s)

-- begin -- the same by whom, and partitions of the months that are not there yet; then every look is one by an index
-- Whatever statistics say: a first start has none, and those of yesterday know nothing of today.
SELECT pg_advisory_xact_lock(%(lock)s), make_partitions(%(months)s::date[]), set_config('enable_seqscan', 'off', true),
       set_config('enable_nestloop', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true),
       set_config('jit', 'off', true), set_config('meterd.writer', %(writer)s, true)
