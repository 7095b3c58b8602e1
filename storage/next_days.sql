-- take -- accounts of which only a recent day's reading is new, by that day; they are locked in their order
WITH first AS (
    SELECT account_id, from_day FROM marks_of_readings(%(after)s, %(until)s, %(since)s, %(most)s)
), chosen AS MATERIALIZED (
    SELECT id FROM account WHERE id = ANY(ARRAY(SELECT account_id FROM first)) ORDER BY id FOR NO KEY UPDATE
), looks_up AS MATERIALIZED (  -- `next_days` joins what it looked up by indexes, however few rows somebody thinks there are
    SELECT set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'off', true),
           set_config('plan_cache_mode', 'force_generic_plan', true), set_config('join_collapse_limit', '1', true)
)
SELECT from_day, array_agg(DISTINCT id::bigint) FROM chosen JOIN first ON account_id = id CROSS JOIN looks_up GROUP BY 1

-- next_days -- those of these accounts to which a day came as it mostly does, all that a charge needs of them by what they have in common:
-- of accounts, their links, points, month and months before, which whoever asks puts together. Their marks are taken off, and those of
-- accounts with this very link: only what is marked otherwise makes it cost something else
WITH due AS MATERIALIZED (
    SELECT account_id FROM to_settle WHERE account_id = ANY(%(accounts)s::int[])
    GROUP BY 1 HAVING min(from_day) = %(day)s::date AND max(to_day) = %(day)s::date AND bool_and(cause = 'readings')
), held AS MATERIALIZED (
    SELECT account_id, min(point_id) AS point_id FROM point_account WHERE account_id = ANY(%(accounts)s::int[])
    GROUP BY 1 HAVING count(*) = 1 AND count(to_day) = 0
), linked AS MATERIALIZED (
    SELECT point_id, account_id, from_day, to_day, meter_id, modulus, decimals, ratio, hold, pieces, l.ends,
           CASE WHEN from_day = %(day)s::date - 1 THEN l.begins END AS begins
    FROM link l
    WHERE point_id = ANY(ARRAY(SELECT point_id FROM held))
      AND from_day = ANY(ARRAY[%(day)s::date - 2, %(day)s::date - 1])
), read AS NOT MATERIALIZED (
    SELECT meter_id, id,
           CASE WHEN rate_1 IS NULL THEN ARRAY[total] WHEN rate_2 IS NULL THEN ARRAY[total, rate_1]
                WHEN rate_3 IS NULL THEN ARRAY[total, rate_1, rate_2]
                WHEN rate_4 IS NULL THEN ARRAY[total, rate_1, rate_2, rate_3]
                ELSE ARRAY[total, rate_1, rate_2, rate_3, rate_4] END AS registers
    FROM reading
    WHERE day = %(day)s::date AND meter_id = ANY(ARRAY(SELECT meter_id FROM linked)) AND more_rates IS NULL
), shown AS MATERIALIZED (
    -- A value that is linked to that of the day before, and no document between them: so its meter and ratio are those of the
    -- link before, which no file changes once there is one.
    SELECT h.account_id, h.point_id, l.meter_id, l.modulus, l.decimals, l.ratio, l.ends AS begins, r.registers AS ends,
           n.point_id IS NOT NULL AS is_linked
    FROM due
    JOIN held h ON h.account_id = due.account_id
    JOIN linked l ON l.point_id = h.point_id AND l.from_day = %(day)s::date - 2
    JOIN slot s ON s.point_id = h.point_id
    JOIN read r ON (r.meter_id, r.id) = (s.meter_id, s.reading_id)
    LEFT JOIN linked n ON n.point_id = h.point_id AND n.from_day = %(day)s::date - 1
    WHERE s.day = %(day)s::date AND s.point_id = ANY(ARRAY(SELECT point_id FROM held)) AND s.kind = 1
      AND s.state = 'published' AND s.link_days = 1
      -- Its links end where this one begins, or this one is there already: it is told once more.
      AND l.account_id = h.account_id AND l.to_day = %(day)s::date - 1 AND l.modulus > 0 AND l.meter_id = s.meter_id
      AND l.hold IS DISTINCT FROM 'rates' AND l.pieces IS NULL
      AND (n.point_id IS NULL
           OR (n.account_id, n.to_day, n.meter_id, n.begins, n.ends, n.modulus, n.decimals, n.ratio)
              = (l.account_id, %(day)s::date, l.meter_id, l.ends, r.registers, l.modulus, l.decimals, l.ratio)
              AND n.hold IS NULL AND n.pieces IS NULL)
      AND h.point_id <> ALL (ARRAY(
          SELECT point_id FROM crossing WHERE day = %(day)s::date AND point_id = ANY(ARRAY(SELECT point_id FROM held))
          UNION ALL
          SELECT point_id FROM point_ratio
          WHERE document_id IS NOT NULL AND from_day = %(day)s::date - 1 AND point_id = ANY(ARRAY(SELECT point_id FROM held))
          UNION ALL
          SELECT point_id FROM point_supply WHERE supply_state <> 'energised' AND point_id = ANY(ARRAY(SELECT point_id FROM held))))
      AND h.account_id <> ALL (ARRAY(SELECT account_id FROM account_tariff WHERE account_id = ANY(%(accounts)s::int[])))
      AND %(month)s::date > coalesce((SELECT max(month) FROM closed_month), '-infinity')
), fresh AS MATERIALIZED (
    SELECT array_agg(account_id) AS accounts, array_agg(point_id) AS points FROM shown WHERE NOT is_linked
), asked AS MATERIALIZED (
    SELECT id, 'customer:' || number || ':prepaid' AS prepaid, tariff_id, greatest(opened_on, %(month)s::date) AS opened_on,
           trip_fen - credit_limit_fen AS floor_fen, trip_fen, warn_fen, reconnect_fen,
           array_position('{exhausted,emergency,low,good}', credit_state) - 1 AS standing
    FROM account
    WHERE id = ANY((SELECT accounts FROM fresh)::int[]) AND state = 'active' AND last_day IS NULL AND settlement <> 'month'
      AND id <> ALL (ARRAY(SELECT account_id FROM account_month
                           WHERE account_id = ANY((SELECT accounts FROM fresh)::int[]) AND month > %(month)s::date))
), found AS MATERIALIZED (
    SELECT a.*, b.id AS ledger_account_id, b.balance_fen,
           a.id = ANY(ARRAY(SELECT account_id FROM arrears_episode
                            WHERE ended_at IS NULL AND account_id = ANY(%(accounts)s::int[]))) AS is_in_arrears,
           a.id = ANY(ARRAY(
               SELECT account_id FROM household_bonus WHERE account_id = ANY(%(accounts)s::int[])
               UNION ALL SELECT account_id FROM used_elsewhere WHERE account_id = ANY(%(accounts)s::int[]))) AS has_entries
    FROM asked a JOIN ledger_account b ON b.name = a.prepaid
    WHERE b.name = ANY(ARRAY(SELECT prepaid FROM asked))
), usual AS MATERIALIZED (
    SELECT set_config('enable_nestloop', 'on', true), set_config('join_collapse_limit', '8', true)
), taken AS (
    DELETE FROM to_settle WHERE account_id = ANY(ARRAY(SELECT id FROM found UNION ALL SELECT account_id FROM shown WHERE is_linked))
)
SELECT 'account', jsonb_build_array(tariff_id, opened_on, has_entries)::text,
       array_agg(ARRAY[id, ledger_account_id, balance_fen, floor_fen, trip_fen, warn_fen, reconnect_fen, standing, is_in_arrears::int]),
       NULL, NULL
FROM found, usual GROUP BY tariff_id, opened_on, has_entries
UNION ALL
SELECT 'link', jsonb_build_array(modulus, decimals, ratio::text)::text,
       array_agg(ARRAY[account_id::bigint, point_id, meter_id]), array_agg(begins), array_agg(ends)
FROM shown WHERE NOT is_linked GROUP BY modulus, decimals, ratio, cardinality(begins), cardinality(ends)
UNION ALL
SELECT 'point', jsonb_build_array(rates, residual_rate, phases)::text, array_agg(ARRAY[id::bigint]), NULL, NULL
FROM point WHERE id = ANY((SELECT points FROM fresh)::int[]) GROUP BY rates, residual_rate, phases
UNION ALL
SELECT 'month', to_jsonb(components)::text, array_agg(ARRAY[account_id::bigint]),
       array_agg(CASE WHEN use = '{}' THEN '{0}' ELSE use END),  -- PostgreSQL makes no array of empty ones
       array_agg(CASE WHEN posted_fen = '{}' THEN '{0}' ELSE posted_fen END)
FROM account_month WHERE account_id = ANY((SELECT accounts FROM fresh)::int[]) AND month = %(month)s::date
GROUP BY components, cardinality(use), use[1]
UNION ALL
SELECT 'before', '[]', array_agg(ARRAY[account_id, used]), NULL, NULL
FROM (SELECT account_id, sum(CASE WHEN cardinality(use) = 4 + use[4] THEN use[5] ELSE used_in(use) END)::bigint AS used
      FROM account_month
      WHERE account_id = ANY((SELECT accounts FROM fresh)::int[])
        AND month >= date_trunc('year', %(month)s::date) AND month < %(month)s::date
      GROUP BY 1) year
HAVING count(*) > 0
