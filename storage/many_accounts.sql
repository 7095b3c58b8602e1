-- add_links -- links that come into force
COPY link (point_id, account_id, from_day, to_day, meter_id, modulus, decimals, ratio, hold, billed_by, end_total, end_rate_1, end_rate_2,
           end_rate_3, end_rate_4, more_ends, used_total, used_rate_1, used_rate_2, used_rate_3, used_rate_4, told_begins)
FROM STDIN (FORMAT BINARY)

-- put_months -- what is kept of a month from now on: the account's part of all numbers
INSERT INTO account_month (account_id, month, use, components, posted_fen)
SELECT n.account_id, date '2000-01-01' + n.month::int, (%(uses)s::bigint[])[n.use_first::int:n.use_last::int], (%(components)s::text[])[n.components::int]::text[],
       (%(posted)s::bigint[])[n.posted_first::int:n.posted_last::int]
FROM unnest(%(accounts)s::bigint[], %(months)s::bigint[], %(use_firsts)s::bigint[], %(use_lasts)s::bigint[], %(posted_firsts)s::bigint[],
            %(posted_lasts)s::bigint[], %(of_components)s::bigint[])
     AS n (account_id, month, use_first, use_last, posted_first, posted_last, components)
ON CONFLICT (account_id, month)
DO UPDATE SET use = excluded.use, components = excluded.components, posted_fen = excluded.posted_fen
