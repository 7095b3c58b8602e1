-- take -- accounts of which only a recent day's reading is new, with that day; they are locked in their order
WITH first AS (
    SELECT account_id, from_day FROM to_settle s
    WHERE account_id > %(after)s AND since <= %(until)s AND cause = 'readings' AND from_day = to_day AND from_day >= %(since)s
      AND NOT EXISTS (SELECT FROM not_settled n WHERE n.account_id = s.account_id)
    ORDER BY account_id LIMIT %(most)s
), chosen AS MATERIALIZED (
    SELECT id FROM account WHERE id = ANY(ARRAY(SELECT account_id FROM first)) ORDER BY id FOR NO KEY UPDATE
), looks_up AS MATERIALIZED (  -- `next_days` joins what it looked up by indexes, however few rows somebody thinks there are
    SELECT set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'off', true),
           set_config('plan_cache_mode', 'force_generic_plan', true), set_config('join_collapse_limit', '1', true)
)
SELECT DISTINCT id, from_day FROM chosen JOIN first ON account_id = id CROSS JOIN looks_up

-- next_days -- those of these accounts to which a day came as it mostly does, all that a charge needs of them; their marks are taken off
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
), ratio AS MATERIALIZED (
    SELECT DISTINCT ON (point_id) point_id, ratio FROM point_ratio
    WHERE point_id = ANY(ARRAY(SELECT point_id FROM held)) AND from_day < %(day)s::date
    ORDER BY point_id, from_day DESC, rev DESC
), meter AS MATERIALIZED (
    SELECT DISTINCT ON (point_id, meter_id) point_id, meter_id, modulus, decimals FROM installation
    WHERE point_id = ANY(ARRAY(SELECT point_id FROM held))
    ORDER BY point_id, meter_id, from_at DESC
), told AS MATERIALIZED (
    -- A value that is linked to that of the day before, and no document between them.
    SELECT s.point_id, s.meter_id,
           CASE WHEN r.rate_1 IS NULL THEN ARRAY[s.total] WHEN r.rate_2 IS NULL THEN ARRAY[s.total, r.rate_1]
                WHEN r.rate_3 IS NULL THEN ARRAY[s.total, r.rate_1, r.rate_2]
                WHEN r.rate_4 IS NULL THEN ARRAY[s.total, r.rate_1, r.rate_2, r.rate_3]
                ELSE ARRAY[s.total, r.rate_1, r.rate_2, r.rate_3, r.rate_4] END AS registers
    FROM slot s JOIN reading r ON (r.day, r.meter_id, r.id) = (s.day, s.meter_id, s.reading_id)
    WHERE s.day = %(day)s::date AND s.point_id = ANY(ARRAY(SELECT point_id FROM held)) AND s.kind = 1
      AND s.state = 'published' AND s.link_days = 1
      AND r.day = %(day)s::date AND r.meter_id = ANY(ARRAY(SELECT meter_id FROM meter)) AND r.more_rates IS NULL
      AND s.point_id <> ALL (ARRAY(SELECT c.point_id FROM crossing c WHERE c.day = %(day)s::date
                                   AND c.point_id = ANY(ARRAY(SELECT point_id FROM held))))
), kept AS MATERIALIZED (
    SELECT account_id, max(month) AS newest, max(use) FILTER (WHERE month = %(month)s::date) AS use,
           max(components) FILTER (WHERE month = %(month)s::date) AS components,
           max(posted_fen) FILTER (WHERE month = %(month)s::date) AS posted_fen,
           coalesce(sum(CASE WHEN cardinality(use) = 4 + use[4] THEN use[5] ELSE used_in(use) END)
                        FILTER (WHERE month < %(month)s::date), 0)::bigint AS used_before
    FROM account_month
    WHERE account_id = ANY(%(accounts)s::int[]) AND month >= date_trunc('year', %(month)s::date)
    GROUP BY 1
), asked AS MATERIALIZED (
    SELECT *, 'customer:' || number || ':prepaid' AS prepaid FROM account
    WHERE id = ANY(%(accounts)s::int[]) AND state = 'active' AND last_day IS NULL AND settlement <> 'month'
), balance AS MATERIALIZED (
    SELECT id, name, balance_fen FROM ledger_account WHERE name = ANY(ARRAY(SELECT prepaid FROM asked))
), found AS MATERIALIZED (
    SELECT a.id AS account_id, h.point_id, told.meter_id, l.ends AS begins, told.registers AS ends,
           coalesce(k.use, '{}') AS use, coalesce(k.components, '{}') AS components, coalesce(k.posted_fen, '{}') AS posted_fen,
           coalesce(k.used_before, 0) AS used_before, b.id AS ledger_account_id, b.balance_fen, a.warn_fen, a.trip_fen,
           a.reconnect_fen, a.credit_limit_fen, a.credit_state, e.account_id IS NOT NULL AS is_in_arrears, a.tariff_id,
           greatest(a.opened_on, %(month)s::date) AS opened_on, p.rates, p.residual_rate, p.phases, i.modulus, i.decimals, x.ratio,
           n.point_id IS NOT NULL AS is_linked, a.id = ANY(ARRAY(
               SELECT account_id FROM household_bonus WHERE account_id = ANY(%(accounts)s::int[])
               UNION ALL SELECT account_id FROM used_elsewhere WHERE account_id = ANY(%(accounts)s::int[]))) AS has_entries
    FROM due
    JOIN asked a ON a.id = due.account_id
    JOIN held h ON h.account_id = a.id
    JOIN point p ON p.id = h.point_id
    JOIN linked l ON l.point_id = h.point_id AND l.from_day = %(day)s::date - 2
    JOIN told ON told.point_id = h.point_id
    JOIN meter i ON i.point_id = h.point_id AND i.meter_id = told.meter_id
    JOIN ratio x ON x.point_id = h.point_id
    JOIN balance b ON b.name = a.prepaid
    LEFT JOIN linked n ON n.point_id = h.point_id AND n.from_day = %(day)s::date - 1
    LEFT JOIN kept k ON k.account_id = a.id
    LEFT JOIN arrears_episode e ON e.account_id = a.id AND e.ended_at IS NULL AND e.account_id = ANY(%(accounts)s::int[])
    WHERE p.id = ANY(ARRAY(SELECT point_id FROM held))
      -- Its links end where this one begins, or this one is there already: it is told once more.
      AND l.account_id = a.id AND l.to_day = %(day)s::date - 1 AND l.modulus > 0 AND (l.meter_id, l.decimals) = (told.meter_id, i.decimals)
      AND l.hold IS DISTINCT FROM 'rates'
      AND (n.point_id IS NULL
           OR (n.account_id, n.to_day, n.meter_id, n.begins, n.ends, n.modulus, n.decimals, n.ratio)
              = (a.id, %(day)s::date, told.meter_id, l.ends, told.registers, i.modulus, i.decimals, x.ratio)
              AND n.hold IS NULL AND n.pieces IS NULL)
      AND (k.newest <= %(month)s::date) IS NOT FALSE
      AND %(month)s::date > coalesce((SELECT max(month) FROM closed_month), '-infinity')
      AND a.id <> ALL (ARRAY(SELECT account_id FROM account_tariff WHERE account_id = ANY(%(accounts)s::int[])))
      AND h.point_id <> ALL (ARRAY(SELECT point_id FROM point_supply WHERE supply_state <> 'energised'
                                   AND point_id = ANY(ARRAY(SELECT point_id FROM held))))
), usual AS MATERIALIZED (
    SELECT set_config('enable_nestloop', 'on', true), set_config('join_collapse_limit', '8', true)
), taken AS (
    DELETE FROM to_settle WHERE account_id = ANY(ARRAY(SELECT account_id FROM found))
)
SELECT jsonb_build_array(jsonb_build_array(tariff_id, to_jsonb(rates), residual_rate, phases, opened_on, has_entries),
                         modulus, decimals, ratio::text, to_jsonb(components), is_linked)::text,
       array_agg(account_id::bigint), array_agg(point_id::bigint), array_agg(ledger_account_id::bigint), array_agg(balance_fen),
       array_agg(trip_fen - credit_limit_fen), array_agg(trip_fen), array_agg(warn_fen), array_agg(reconnect_fen),
       array_agg(array_position('{exhausted,emergency,low,good}', credit_state)::bigint - 1), array_agg(is_in_arrears::int::bigint),
       array_agg(meter_id::bigint), array_agg(begins), array_agg(ends),
       array_agg(CASE WHEN use = '{}' THEN '{0}' ELSE use END),
       array_agg(CASE WHEN posted_fen = '{}' THEN '{0}' ELSE posted_fen END), array_agg(used_before)
FROM found, usual
GROUP BY tariff_id, rates, residual_rate, phases, opened_on, modulus, decimals, ratio, components, is_linked, has_entries,
         cardinality(begins), cardinality(ends), cardinality(use), use[1]
