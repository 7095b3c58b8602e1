-- take -- accounts with new readings of whatever days, which are locked in their order
WITH first AS (
    SELECT DISTINCT account_id
    FROM marks_of_readings(%(after)s, %(until)s, NULL, 8 * %(most)s::int)  -- an account has several
    ORDER BY 1 LIMIT %(most)s
), chosen AS MATERIALIZED (
    SELECT id FROM account WHERE id = ANY(ARRAY(SELECT account_id FROM first)) ORDER BY id FOR NO KEY UPDATE
), looks_up AS MATERIALIZED (  -- what follows joins what it looked up by indexes, however few rows somebody thinks there are
    SELECT set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'off', true),
           set_config('plan_cache_mode', 'force_generic_plan', true), set_config('join_collapse_limit', '1', true)
)
SELECT id, m.from_day
FROM chosen CROSS JOIN LATERAL (SELECT min(from_day) AS from_day FROM to_settle WHERE account_id = id) m CROSS JOIN looks_up

-- facts -- those of these accounts, locked before, that have one point and nothing out of the common; by what they have in common
WITH held AS MATERIALIZED (
    SELECT account_id, min(point_id) AS point_id, min(from_day) AS from_day FROM point_account
    WHERE account_id = ANY(%(accounts)s::int[])
    GROUP BY 1 HAVING count(*) = 1 AND count(to_day) = 0
), meter AS MATERIALIZED (
    SELECT point_id, min(first_day) AS first_day FROM installation WHERE point_id = ANY(ARRAY(SELECT point_id FROM held)) GROUP BY 1
), asked AS MATERIALIZED (
    SELECT *, 'customer:' || number || ':prepaid' AS prepaid FROM account
    WHERE id = ANY(%(accounts)s::int[]) AND state IN ('pending', 'active') AND opened_on IS NOT NULL AND agreement IS NOT NULL
      AND last_day IS NULL AND settlement <> 'month'
), balance AS MATERIALIZED (
    SELECT id, name, balance_fen FROM ledger_account WHERE name = ANY(ARRAY(SELECT prepaid FROM asked))
), found AS MATERIALIZED (
    SELECT a.*, h.point_id, coalesce(b.id, 0) AS ledger_account_id, coalesce(b.balance_fen, 0) AS balance_fen, e.account_id IS NOT NULL AS is_in_arrears,
           p.rates, p.residual_rate, p.phases, greatest(a.opened_on, %(since)s::date) AS since,
           greatest(h.from_day, a.opened_on, m.first_day) AS opens_on,
           a.id = ANY(ARRAY(
               SELECT account_id FROM household_bonus WHERE account_id = ANY(%(accounts)s::int[])
               UNION ALL SELECT account_id FROM used_elsewhere WHERE account_id = ANY(%(accounts)s::int[]))) AS has_entries
    FROM asked a
    JOIN held h ON h.account_id = a.id
    JOIN point p ON p.id = h.point_id
    JOIN meter m ON m.point_id = h.point_id
    LEFT JOIN balance b ON b.name = a.prepaid  -- made with the first posting
    LEFT JOIN arrears_episode e ON e.account_id = a.id AND e.ended_at IS NULL AND e.account_id = ANY(%(accounts)s::int[])
    WHERE p.id = ANY(ARRAY(SELECT point_id FROM held))
      AND a.id <> ALL (ARRAY(SELECT account_id FROM account_tariff WHERE account_id = ANY(%(accounts)s::int[])))
      AND h.point_id <> ALL (ARRAY(SELECT point_id FROM point_supply WHERE supply_state <> 'energised'
                                   AND point_id = ANY(ARRAY(SELECT point_id FROM held))))
)
SELECT jsonb_build_array(tariff_id, to_jsonb(rates), residual_rate, phases, since, has_entries)::text,
       array_agg(id::bigint), array_agg(point_id::bigint), array_agg(ledger_account_id::bigint), array_agg(balance_fen),
       array_agg(trip_fen - credit_limit_fen), array_agg(trip_fen), array_agg(warn_fen), array_agg(reconnect_fen),
       array_agg(array_position('{exhausted,emergency,low,good}', credit_state)::bigint - 1), array_agg(is_in_arrears::int::bigint),
       array_agg((opens_on - date '2000-01-01')::bigint), array_agg((state = 'pending')::int::bigint)
FROM found
GROUP BY tariff_id, rates, residual_rate, phases, since, has_entries

-- moved -- the links of these points that leave (-1) and come (1) with what changed, and what changed (0), where all of it is of one
-- meter and ratio, published, and without a document; its marks are taken off. Few days of a point lie between its last link and the
-- next one: `most_days` at the most
WITH due AS MATERIALIZED (
    SELECT account_id, min(from_day) AS first, max(to_day) AS last FROM to_settle WHERE account_id = ANY(%(accounts)s::int[])
    GROUP BY 1 HAVING bool_and(cause = 'readings') AND min(from_day) >= %(earliest)s::date
), held AS MATERIALIZED (
    SELECT due.*, x.point_id, date '2000-01-01' + x.opens_on::int AS opens_on
    FROM unnest(%(accounts)s::int[], %(points)s::int[], %(opens_on)s::int[]) AS x (account_id, point_id, opens_on)
    JOIN due ON due.account_id = x.account_id
), linked AS MATERIALIZED (
    -- One link lies over the first day at the most, so the one before it ends where links begin anew.
    SELECT h.first, l.* FROM held h
    CROSS JOIN LATERAL (
        (SELECT *, y.begins, y.ends FROM link y WHERE y.point_id = h.point_id AND y.from_day < h.first ORDER BY y.from_day DESC LIMIT 2)
        UNION ALL
        SELECT *, y.begins, y.ends FROM link y WHERE y.point_id = h.point_id AND y.from_day BETWEEN h.first AND h.last) l
), ends AS MATERIALIZED (
    -- Use that waits for rates goes on to the value that has them: it ends nothing.
    SELECT point_id, max(to_day) FILTER (WHERE to_day < first AND hold IS DISTINCT FROM 'rates') AS ends_on FROM linked GROUP BY 1
), scope AS MATERIALIZED (
    SELECT h.account_id, h.point_id, h.first, h.last, coalesce(e.ends_on, h.opens_on) AS begins_on,
           CASE WHEN e.point_id IS NULL THEN greatest(h.last, %(newest)s::date) ELSE h.last END AS until
    FROM held h LEFT JOIN ends e ON e.point_id = h.point_id
    -- Without a link the account opens here; else what lies behind may have to be given back. What was linked before is another's.
    WHERE e.ends_on >= h.opens_on
       OR e.point_id IS NULL AND NOT EXISTS (SELECT FROM link y WHERE y.point_id = h.point_id)
), there AS MATERIALIZED (
    SELECT l.* FROM scope s JOIN linked l ON l.point_id = s.point_id AND l.to_day > s.begins_on
), asked AS MATERIALIZED (
    SELECT day, array_agg(point_id) AS points FROM (
        SELECT point_id, generate_series(begins_on, until, interval '1 day')::date AS day FROM scope WHERE until - begins_on <= %(most_days)s
        UNION ALL SELECT point_id, to_day FROM there) d
    GROUP BY 1
), chosen AS MATERIALIZED (
    SELECT s.* FROM asked a
    CROSS JOIN LATERAL (SELECT * FROM slot y WHERE y.day = a.day AND y.point_id = ANY(a.points) AND y.kind = 1
                        AND y.state IN ('published', 'substituted') OFFSET 0) s
), told AS MATERIALIZED (
    SELECT r.day, r.meter_id, r.id,
           CASE WHEN r.more_rates IS NOT NULL THEN NULL WHEN r.rate_1 IS NULL THEN '{}' WHEN r.rate_2 IS NULL THEN ARRAY[r.rate_1]
                WHEN r.rate_3 IS NULL THEN ARRAY[r.rate_1, r.rate_2]
                WHEN r.rate_4 IS NULL THEN ARRAY[r.rate_1, r.rate_2, r.rate_3]
                ELSE ARRAY[r.rate_1, r.rate_2, r.rate_3, r.rate_4] END AS rates
    FROM (SELECT day, array_agg(meter_id) AS meters FROM chosen GROUP BY 1) m
    CROSS JOIN LATERAL (SELECT * FROM reading y WHERE y.day = m.day AND y.meter_id = ANY(m.meters) OFFSET 0) r
), shown AS MATERIALIZED (
    SELECT c.point_id, c.day, c.meter_id, c.link_days, c.total || t.rates AS registers,
           -- What leads to the first of them is another's.
           c.state = 'published' AND t.rates IS NOT NULL
           AND (c.day = s.begins_on OR x.point_id IS NULL) AS is_plain
    FROM chosen c
    JOIN scope s ON s.point_id = c.point_id
    LEFT JOIN told t ON t.day = c.day AND t.meter_id = c.meter_id AND t.id = c.reading_id
    LEFT JOIN (SELECT * FROM crossing WHERE point_id = ANY(ARRAY(SELECT point_id FROM scope))) x ON x.point_id = c.point_id AND x.day = c.day
), chain AS MATERIALIZED (
    SELECT point_id, min(meter_id) AS meter_id, max(day) AS ends_on, min(cardinality(registers)) AS registers
    FROM shown GROUP BY 1
    HAVING bool_and(is_plain) AND min(meter_id) = max(meter_id) AND min(cardinality(registers)) = max(cardinality(registers))
), meter AS MATERIALIZED (
    SELECT DISTINCT ON (point_id, meter_id) point_id, meter_id, modulus, decimals FROM installation
    WHERE point_id = ANY(ARRAY(SELECT point_id FROM chain))
    ORDER BY point_id, meter_id, from_at DESC
), ratio AS MATERIALIZED (
    SELECT DISTINCT ON (point_id) point_id, ratio, from_day FROM point_ratio WHERE point_id = ANY(ARRAY(SELECT point_id FROM chain))
    ORDER BY point_id, from_day DESC, rev DESC
), plain AS MATERIALIZED (
    SELECT s.*, c.meter_id, c.registers, m.modulus, m.decimals, r.ratio
    FROM scope s
    JOIN chain c ON c.point_id = s.point_id
    JOIN meter m ON m.point_id = s.point_id AND m.meter_id = c.meter_id
    JOIN ratio r ON r.point_id = s.point_id
    LEFT JOIN (SELECT point_id, max(to_day) AS ends_on, count(DISTINCT account_id) AS accounts, min(account_id) AS account_id,
                      bool_and(pieces IS NULL AND modulus > 0 AND hold IS DISTINCT FROM 'rates') AS is_plain,
                      array_agg(DISTINCT (meter_id, modulus, decimals, ratio, cardinality(begins), cardinality(ends))::text) AS facts
               FROM there GROUP BY 1) t ON t.point_id = s.point_id
    WHERE r.from_day <= s.begins_on
      AND date_trunc('month', least(s.first, s.begins_on)) > coalesce((SELECT max(month) FROM closed_month), '-infinity')
      AND EXISTS (SELECT FROM shown o WHERE o.point_id = s.point_id AND o.day = s.begins_on)
      AND (t.point_id IS NULL
           OR t.is_plain AND t.accounts = 1 AND t.account_id = s.account_id AND t.ends_on <= c.ends_on
              AND t.facts = ARRAY[(c.meter_id, m.modulus, m.decimals, r.ratio, c.registers, c.registers)::text])
), made AS MATERIALIZED (
    SELECT p.point_id, b.day AS from_day, v.day AS to_day, b.registers AS begins, v.registers AS ends,
           CASE WHEN v.link_days < 0 THEN coalesce(d.hold, 'span') END AS hold
    FROM plain p
    JOIN shown v ON v.point_id = p.point_id
    JOIN shown b ON b.point_id = v.point_id AND b.day = v.day - abs(v.link_days)
    LEFT JOIN (SELECT * FROM doubt WHERE point_id = ANY(ARRAY(SELECT point_id FROM chain)) AND kind = 1) d
        ON d.point_id = v.point_id AND d.day = v.day
    WHERE v.link_days <> 0
), changed AS (
    SELECT p.*, -1 AS sign, t.from_day, t.to_day, t.begins, t.ends, t.hold
    FROM plain p JOIN there t ON t.point_id = p.point_id
    LEFT JOIN made m ON m.point_id = t.point_id AND m.from_day = t.from_day AND m.to_day = t.to_day AND m.begins = t.begins
                     AND m.ends = t.ends AND coalesce(m.hold, '') = coalesce(t.hold, '')
    WHERE m.point_id IS NULL
    UNION ALL
    SELECT p.*, 1, m.from_day, m.to_day, m.begins, m.ends, m.hold
    FROM plain p JOIN made m ON m.point_id = p.point_id
    LEFT JOIN there t ON t.point_id = m.point_id AND t.from_day = m.from_day AND t.to_day = m.to_day AND t.begins = m.begins
                     AND t.ends = m.ends AND coalesce(t.hold, '') = coalesce(m.hold, '')
    WHERE t.point_id IS NULL
    UNION ALL
    SELECT p.*, 0, p.first, p.last, '{0}', '{0}', NULL FROM plain p
), usual AS MATERIALIZED (
    SELECT set_config('enable_nestloop', 'on', true), set_config('join_collapse_limit', '8', true)
), taken AS (
    DELETE FROM to_settle WHERE account_id = ANY(ARRAY(SELECT account_id FROM plain))
)
SELECT jsonb_build_array(sign, modulus, decimals, ratio::text, hold)::text, array_agg(account_id::bigint), array_agg(point_id::bigint),
       array_agg(meter_id::bigint), array_agg((from_day - date '2000-01-01')::bigint), array_agg((to_day - date '2000-01-01')::bigint),
       array_agg(begins), array_agg(ends)
FROM changed, usual
GROUP BY sign, modulus, decimals, ratio, hold, registers

-- months -- what is kept of these accounts since a month
SELECT jsonb_build_array(month, to_jsonb(components))::text, array_agg(account_id::bigint),
       array_agg(CASE WHEN use = '{}' THEN '{0}' ELSE use END), array_agg(CASE WHEN posted_fen = '{}' THEN '{0}' ELSE posted_fen END)
FROM account_month WHERE account_id = ANY(%(accounts)s::int[]) AND month >= %(since)s::date
GROUP BY month, components, cardinality(use), use[1]
