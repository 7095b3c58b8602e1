-- add_links -- links that come into force
COPY link (point_id, account_id, from_day, to_day, meter_id, modulus, decimals, ratio, hold, billed_by, end_total, end_rate_1, end_rate_2,
           end_rate_3, end_rate_4, more_ends, used_total, used_rate_1, used_rate_2, used_rate_3, used_rate_4, told_begins)
FROM STDIN (FORMAT BINARY)

-- put_months -- what is kept of a month from now on: of each group of accounts, which have as many numbers, their part of all numbers
INSERT INTO account_month (account_id, month, use, components, posted_fen)
SELECT (%(accounts)s::bigint[])[g.before + n], date '2000-01-01' + g.month,
       (%(uses)s::bigint[])[g.uses_before + (n - 1) * g.use_size + 1 : g.uses_before + n * g.use_size], g.components::text[],
       (%(posted)s::bigint[])[g.posted_before + (n - 1) * g.posted_size + 1 : g.posted_before + n * g.posted_size]
FROM unnest(%(months)s::int[], %(components)s::text[], %(counts)s::int[], %(befores)s::int[], %(uses_before)s::int[], %(use_sizes)s::int[],
            %(posted_before)s::int[], %(posted_sizes)s::int[])
     AS g (month, components, count, before, uses_before, use_size, posted_before, posted_size)
CROSS JOIN LATERAL generate_series(1, g.count) n
ON CONFLICT (account_id, month)
DO UPDATE SET use = excluded.use, components = excluded.components, posted_fen = excluded.posted_fen
