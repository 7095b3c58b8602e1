-- point -- by its number
SELECT p.id AS point_id, p.number AS point, a.number AS account, m.address AS meter, m.line
FROM point p
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
LEFT JOIN account a ON a.id = x.account_id
LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
WHERE p.number = %(point)s

-- slots -- what a point showed on each day: now, and what it was before, with who changed it
SELECT s.day, s.revision, s.state::text AS state, s.total, i.decimals, s.reading_id, s.link_days, s.rule_set,
       coalesce(d.codes, '{}') AS codes, d.next_step, d.hold, NULL::timestamptz AS until, NULL AS changed_by
FROM generate_series(%(first)s::date, %(last)s::date, interval '1 day') asked
JOIN slot s ON s.day = asked::date AND s.point_id = %(point_id)s AND s.kind = 1
LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind)
LEFT JOIN LATERAL register_on(s.point_id, s.day) i ON true
UNION ALL
SELECT j.day, j.revision, j.state::text, j.total, i.decimals, j.reading_id, 0, j.rule_set, '{}', NULL, NULL, j.changed_at, j.actor
FROM slot_journal j LEFT JOIN LATERAL register_on(j.point_id, j.day) i ON true
WHERE j.point_id = %(point_id)s AND j.kind = 1 AND j.day BETWEEN %(first)s AND %(last)s
ORDER BY day, until NULLS LAST

-- reads -- everything that the meters of a point told of these days
SELECT r.day, r.kind, m.address AS meter, i.decimals, r.source, r.arrived_at AS read_at, r.stamp, r.clock_skew_s AS skew_s,
       r.host_offset_ms, r.total, ARRAY[r.rate_1, r.rate_2, r.rate_3, r.rate_4] || r.more_rates AS rates,
       coalesce(r.decode_version, 1) AS decode_version, r.id AS reading_id, s.reading_id IS NOT NULL AS is_chosen,
       t.line, t.address AS far_end, nullif(t.terminal, '') AS terminal, t.session_at, nullif(t.certificate, '') AS certificate
FROM generate_series(%(first)s::date, %(last)s::date, interval '1 day') asked
JOIN (SELECT DISTINCT meter_id FROM installation WHERE point_id = %(point_id)s) y ON true
JOIN reading r ON r.day = asked::date AND r.meter_id = y.meter_id
JOIN meter m ON m.id = r.meter_id
LEFT JOIN teller t ON t.id = r.told_by
LEFT JOIN slot s ON s.day = r.day AND s.point_id = %(point_id)s AND s.kind = r.kind AND s.reading_id = r.id
LEFT JOIN LATERAL (SELECT decimals FROM installation x WHERE x.point_id = %(point_id)s AND x.meter_id = r.meter_id
                   ORDER BY x.first_day > r.day, x.from_at DESC LIMIT 1) i ON true
ORDER BY r.day, r.arrived_at, r.id

-- limits -- of a point, in order of days; of one day the last revision counts
SELECT DISTINCT ON (from_day) from_day, max_daily_kwh, basis FROM point_limit WHERE point_id = %(point_id)s ORDER BY from_day, rev DESC

-- limited_points -- points with the limit that holds now
SELECT p.id AS point_id, p.number AS point, l.max_daily_kwh
FROM point p
LEFT JOIN LATERAL limit_now(p.id) l ON true
WHERE (%(points)s::text[] IS NULL OR p.number = ANY(%(points)s))
  AND (%(line)s::text IS NULL OR EXISTS (SELECT FROM installation i JOIN meter m ON m.id = i.meter_id
                                         WHERE i.point_id = p.id AND i.to_at IS NULL AND m.line = %(line)s))
ORDER BY p.id
