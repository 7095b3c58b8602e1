-- act_as -- whom journals name until the transaction ends
SELECT set_config('meterd.actor', %(actor)s, true)

-- lock_chains -- nobody else judges or changes what is judged
SELECT pg_advisory_xact_lock(%(lock)s)

-- begin -- the same, and partitions of the months that are not there yet
SELECT pg_advisory_xact_lock(%(lock)s), make_partitions(%(months)s::date[])
