-- points -- that are served, in order, behind one
SELECT DISTINCT point_id FROM installation WHERE to_at IS NULL AND point_id > %(behind)s ORDER BY 1 LIMIT %(most)s

-- uses -- of each point its billed and held use since a day, and that of two whole months
WITH span AS (
    SELECT least(%(since)s::date, %(month)s::date) AS begin
), used AS MATERIALIZED (  -- so that kWh are worked out once, not for each of their columns; of long histories no other link is read
    SELECT l.*
    FROM unnest(%(points)s::int[]) AS p (point_id) CROSS JOIN span
    CROSS JOIN LATERAL (
        SELECT x.point_id, x.from_day, x.to_day, link_kwh(x) AS kwh FROM link x
        WHERE x.point_id = p.point_id AND x.from_day >= %(last_year)s::date AND x.from_day < %(last_year_end)s::date
          AND x.to_day <= least(%(last_year_end)s::date, span.begin)
        UNION ALL
        SELECT x.point_id, x.from_day, x.to_day, link_kwh(x) FROM link x
        WHERE x.point_id = p.point_id AND x.to_day > span.begin
          AND x.from_day >= coalesce((SELECT max(y.from_day) FROM link y WHERE y.point_id = p.point_id AND y.from_day < span.begin),
                                     span.begin)
    ) l
)
SELECT point_id,
       array_agg(from_day ORDER BY from_day) FILTER (WHERE to_day > %(since)s) AS from_days,
       array_agg(to_day ORDER BY from_day) FILTER (WHERE to_day > %(since)s) AS to_days,
       array_agg(kwh ORDER BY from_day) FILTER (WHERE to_day > %(since)s) AS kwhs,
       sum(kwh) FILTER (WHERE from_day >= %(month)s AND to_day <= %(month_end)s) AS month_kwh,
       coalesce(sum(to_day - from_day) FILTER (WHERE from_day >= %(month)s AND to_day <= %(month_end)s), 0)::int
           AS month_days,
       sum(kwh) FILTER (WHERE from_day >= %(last_year)s AND to_day <= %(last_year_end)s) AS last_year_kwh,
       coalesce(sum(to_day - from_day) FILTER (WHERE from_day >= %(last_year)s AND to_day <= %(last_year_end)s), 0)::int
           AS last_year_days
FROM used GROUP BY 1 ORDER BY 1

-- rates -- what the rates of points showed on a day, some days before, and some before those, by one meter
SELECT i.point_id, i.modulus,
       array_remove(ARRAY[r.rate_1, r.rate_2, r.rate_3, r.rate_4] || r.more_rates, NULL) AS ends,
       array_remove(ARRAY[b.rate_1, b.rate_2, b.rate_3, b.rate_4] || b.more_rates, NULL) AS begins,
       array_remove(ARRAY[e.rate_1, e.rate_2, e.rate_3, e.rate_4] || e.more_rates, NULL) AS earlier
FROM installation i
JOIN slot s ON (s.day, s.point_id, s.kind, s.state) = (%(day)s, i.point_id, 1, 'published')
JOIN slot t ON (t.day, t.point_id, t.kind, t.state) = (%(begin)s, i.point_id, 1, 'published')
JOIN slot u ON (u.day, u.point_id, u.kind, u.state) = (%(since)s, i.point_id, 1, 'published')
JOIN reading r ON (r.day, r.meter_id, r.id) = (s.day, i.meter_id, s.reading_id)
JOIN reading b ON (b.day, b.meter_id, b.id) = (t.day, i.meter_id, t.reading_id)
JOIN reading e ON (e.day, e.meter_id, e.id) = (u.day, i.meter_id, u.reading_id)
WHERE i.point_id = ANY(%(points)s) AND i.to_at IS NULL AND i.first_day <= %(since)s AND r.rate_2 IS NOT NULL

-- settled -- the newest month-end freeze of each point's meter, with the daily freezes that it has to fit
SELECT i.point_id, p.number AS point, i.decimals, i.modulus, r.day, r.total, same.total AS same, before.total AS before,
       behind.total AS behind
FROM installation i
JOIN point p ON p.id = i.point_id
JOIN meter m ON m.id = i.meter_id
CROSS JOIN LATERAL (SELECT * FROM reading x WHERE x.day = m.month_end_on AND x.meter_id = m.id AND x.kind = 2 AND x.serial IS NULL
                    ORDER BY x.arrived_at DESC LIMIT 1) r
LEFT JOIN slot same ON (same.day, same.point_id, same.kind, same.state, same.meter_id) = (r.day, i.point_id, 1, 'published', m.id)
LEFT JOIN LATERAL (SELECT total FROM slot_beside(i.point_id, 1::smallint, r.day - 1, -1, '{published}') s
                   WHERE s.meter_id = m.id) before ON same.total IS NULL
LEFT JOIN LATERAL (SELECT total FROM slot_beside(i.point_id, 1::smallint, r.day + 1, 1, '{published}') s
                   WHERE s.meter_id = m.id) behind ON same.total IS NULL
WHERE i.point_id = ANY(%(points)s) AND i.to_at IS NULL AND i.first_day <= r.day

-- settings -- of points whose meters are set otherwise than they are billed, or were when it was last said
SELECT i.point_id, p.number AS point, m.address, nullif(m.told_ratio, 1) AS told_ratio, x.ratio, m.told_rates,
       CASE WHEN priced.by_rates THEN cardinality(p.rates) END AS rates
FROM installation i
JOIN point p ON p.id = i.point_id
JOIN meter m ON m.id = i.meter_id
CROSS JOIN LATERAL (SELECT ratio FROM point_ratio y WHERE y.point_id = i.point_id AND y.from_day <= %(day)s
                    ORDER BY y.from_day DESC, y.rev DESC LIMIT 1) x
LEFT JOIN LATERAL (SELECT active FROM finding f WHERE f.point_id = i.point_id AND f.code = 'V28' ORDER BY rev DESC LIMIT 1) said
    ON true
-- How a meter cuts the day matters where somebody is billed by it.
LEFT JOIN LATERAL (
    SELECT v.form #>> '{energy,mode}' = 'tou' OR v.form #>> '{ladder,method}' = 'matrix' AS by_rates
    FROM point_account g JOIN tariff_version v ON v.tariff_id = tariff_on(g.account_id, %(day)s)
    WHERE g.point_id = i.point_id AND g.to_day IS NULL AND v.state = 'counts' AND v.effective_from <= %(day)s
    ORDER BY v.effective_from DESC LIMIT 1) priced ON m.told_rates <> cardinality(p.rates)
WHERE i.point_id = ANY(%(points)s) AND i.to_at IS NULL
  AND (m.told_ratio <> 1 AND m.told_ratio <> x.ratio OR priced.by_rates OR said.active)

-- equal -- points that showed the same totals as others on three days in a row, in order
WITH shown AS MATERIALIZED (
    -- Slots of three days are read once: joined with each other they are taken for a few, whatever their number.
    SELECT point_id, array_agg(total ORDER BY day) AS totals FROM slot
    WHERE day BETWEEN %(day)s::date - 2 AND %(day)s AND kind = 1
    GROUP BY 1
    HAVING count(*) = 3 AND bool_and(total >= %(least)s AND reading_id IS NOT NULL) FILTER (WHERE day = %(day)s)
), alike AS MATERIALIZED (
    SELECT point_id, i.decimals, i.meter_id, totals, count(*) OVER (PARTITION BY i.decimals, totals) AS points
    FROM shown JOIN installation i USING (point_id) WHERE i.to_at IS NULL
)
SELECT point_id, p.number AS point, m.address, a.decimals, totals
FROM alike a JOIN point p ON p.id = point_id JOIN meter m ON m.id = meter_id
WHERE points > 1
ORDER BY m.address

-- told_equal -- points of which the last word is that their registers are another's too
SELECT point_id FROM (SELECT DISTINCT ON (point_id) point_id, active, detail FROM finding WHERE code = 'V25'
                      ORDER BY point_id, rev DESC) f
WHERE active AND detail ? 'totals'

-- active -- what is so of points now: of each code the last word
SELECT p.number AS point, a.number AS account, f.code, f.from_day AS day, f.detail ->> 'command' AS command
FROM (SELECT DISTINCT ON (x.point_id, x.code) * FROM finding x
      WHERE x.code = ANY(%(codes)s) ORDER BY x.point_id, x.code, x.found_at DESC, x.rev DESC) f
JOIN point p ON p.id = f.point_id
LEFT JOIN point_account g ON g.point_id = f.point_id AND g.to_day IS NULL
LEFT JOIN account a ON a.id = g.account_id
WHERE f.active AND f.from_day <= %(until)s
  AND (%(points)s::text[] IS NULL OR p.number = ANY (%(points)s))
  AND (%(account)s::text IS NULL OR a.number = %(account)s)
  AND (%(code)s::text IS NULL OR f.code = %(code)s)
ORDER BY p.number, f.code
