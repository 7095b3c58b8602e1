-- act_as -- whom journals name until the transaction ends
SELECT set_config('meterd.actor', %(actor)s, true)

-- lock_chains -- nobody else judges or changes what is judged
SELECT pg_advisory_xact_lock(%(lock)s)

-- begin -- nobody else judges, and what was changed: see the function
SELECT id, writer, point_id, meter_id
FROM begin_batch(%(lock)s, %(months)s::date[], %(writer)s, %(seen)s, %(most)s)
