-- add -- straight into the table: nothing of it is there
COPY reading (day, meter_id, id, kind, source, decode_version, stamp, total, rate_1, rate_2, rate_3, rate_4, more_rates,
              arrived_at, clock_skew_s, host_offset_ms, serial, told_by) FROM STDIN (FORMAT BINARY)

-- merge -- the same rows where some are there already: those stay as they are
INSERT INTO reading (day, meter_id, id, kind, source, decode_version, stamp, total, rate_1, rate_2, rate_3, rate_4, more_rates,
                     arrived_at, clock_skew_s, host_offset_ms, serial, told_by)
SELECT day, meter_id, id, kind, source, decode_version, stamp, total, rate_1, rate_2, rate_3, rate_4,
       string_to_array(more_rates, ',')::bigint[], arrived_at, clock_skew_s, host_offset_ms, serial, told_by
FROM unnest(%(day)s::date[], %(meter_id)s::int[], %(id)s::bigint[], %(kind)s::smallint[], %(source)s::smallint[],
            %(decode_version)s::smallint[], %(stamp)s::timestamptz[], %(total)s::bigint[], %(rate_1)s::bigint[],
            %(rate_2)s::bigint[], %(rate_3)s::bigint[], %(rate_4)s::bigint[], %(more_rates)s::text[],
            %(arrived_at)s::timestamptz[], %(clock_skew_s)s::bigint[], %(host_offset_ms)s::int[],
            %(serial)s::text[], %(told_by)s::int[])
     AS n (day, meter_id, id, kind, source, decode_version, stamp, total, rate_1, rate_2, rate_3, rate_4, more_rates,
           arrived_at, clock_skew_s, host_offset_ms, serial, told_by)
WHERE NOT EXISTS (SELECT FROM reading r WHERE (r.day, r.meter_id, r.id) = (n.day, n.meter_id, n.id) OFFSET 0)
ON CONFLICT DO NOTHING
RETURNING day, meter_id, id

-- published_chains -- the published values of each span and the next one behind it, each with the use that ends there
WITH span AS (
    SELECT * FROM unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[]) AS s (point_id, first_day, last_day)
), s AS (
    -- Day by day, by the index: how much lies behind a point must not matter.
    SELECT x.* FROM span
    CROSS JOIN LATERAL generate_series(span.first_day, least(span.last_day, current_date + 2), interval '1 day') asked
    CROSS JOIN LATERAL (SELECT * FROM slot y WHERE y.day = asked::date AND y.point_id = span.point_id AND y.kind = 1
                        AND y.state IN ('published', 'substituted') OFFSET 0) x
    UNION ALL
    (SELECT x.* FROM span
     CROSS JOIN LATERAL (
        SELECT y.* FROM generate_series(span.last_day + 1, current_date + 2, interval '1 day') behind
        CROSS JOIN LATERAL (SELECT * FROM slot z WHERE z.day = behind::date AND z.point_id = span.point_id AND z.kind = 1
                            AND z.state IN ('published', 'substituted') OFFSET 0) y
        ORDER BY y.day LIMIT 1) x
     WHERE span.last_day BETWEEN current_date - 7 AND current_date + 2)
    UNION ALL
    SELECT x.* FROM span
    CROSS JOIN LATERAL slot_beside(span.point_id, 1::smallint, least(span.last_day, current_date + 2) + 1, 1,
                                   '{published,substituted}') x
    WHERE span.last_day NOT BETWEEN current_date - 7 AND current_date + 2
)
SELECT s.point_id, s.day, s.meter_id, s.total, s.link_days, c.kwh, coalesce(c.is_agreed, false) AS is_agreed,
       CASE WHEN s.link_days < 0 THEN coalesce(d.hold, 'span') END AS hold,
       coalesce(r.rate_1, told.rates[1]) AS rate_1, coalesce(r.rate_2, told.rates[2]) AS rate_2,
       coalesce(r.rate_3, told.rates[3]) AS rate_3, coalesce(r.rate_4, told.rates[4]) AS rate_4,
       coalesce(r.more_rates, told.rates[5:]) AS more_rates
FROM s
LEFT JOIN LATERAL (SELECT * FROM reading y WHERE (y.day, y.meter_id, y.id) = (s.day, s.meter_id, s.reading_id) OFFSET 0) r ON true
LEFT JOIN LATERAL (
    -- A substitute has the rates that were said with it.
    SELECT y.rates FROM decision y
    WHERE s.state = 'substituted' AND y.point_id = s.point_id AND y.day = s.day AND y.action = 'substitute' AND y.takes_effect
      AND y.total = s.total
    ORDER BY y.rev DESC LIMIT 1) told ON true
LEFT JOIN doubt d ON s.link_days < 0 AND (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind)
LEFT JOIN crossing c ON (c.point_id, c.day) = (s.point_id, s.day)
ORDER BY 1, 2

-- present_days -- the days for which each meter's point has a value, as a bitmap: bit n is the day n before `newest`
SELECT i.meter_id, present.days
FROM installation i
JOIN shown_days(%(since)s, %(newest)s) s USING (point_id)
LEFT JOIN (SELECT point_id, bit_or(1::bigint << (%(newest)s::date - day)) AS days FROM doubt
           WHERE next_step = 'recollect' AND kind = 1 AND day BETWEEN %(since)s AND %(newest)s GROUP BY 1) again USING (point_id)
CROSS JOIN LATERAL (SELECT (s.published | s.suspect | s.other) & ~coalesce(again.days, 0) AS days) present
WHERE i.to_at IS NULL AND present.days <> 0

-- look_up -- until the transaction ends: no table is read as a whole, whatever is known of its size
SELECT set_config('enable_seqscan', 'off', true)

-- present_days_of -- the same for some meters
WITH asked AS MATERIALIZED (
    SELECT point_id, meter_id FROM installation WHERE to_at IS NULL AND meter_id = ANY(%(meters)s::int[])
), present AS (
    SELECT x.point_id, bit_or(1::bigint << (%(newest)s::date - x.day)) AS days FROM slot x
    WHERE x.day = ANY(%(days)s::date[]) AND x.point_id = ANY(ARRAY(SELECT point_id FROM asked)) AND x.kind = 1
    GROUP BY 1
), again AS (
    SELECT point_id, bit_or(1::bigint << (%(newest)s::date - day)) AS days FROM doubt
    WHERE next_step = 'recollect' AND kind = 1 AND day = ANY(%(days)s::date[]) AND point_id = ANY(ARRAY(SELECT point_id FROM asked))
    GROUP BY 1
)
SELECT a.meter_id, p.days & ~coalesce(again.days, 0)
FROM asked a JOIN present p USING (point_id) LEFT JOIN again USING (point_id)
WHERE p.days & ~coalesce(again.days, 0) <> 0

-- changed_meters -- the meters that serve points of which a slot was changed since then
SELECT DISTINCT i.meter_id FROM slot_journal j JOIN installation i ON i.point_id = j.point_id AND i.to_at IS NULL
WHERE j.changed_at > %(since)s

-- withheld -- values that were not published, with their codes
SELECT p.number AS point_id, m.address, s.day, s.total, i.decimals, coalesce(d.codes, '{}') AS reasons
FROM doubt d
JOIN slot s ON (s.day, s.point_id, s.kind) = (d.day, d.point_id, d.kind)
JOIN point p ON p.id = s.point_id
JOIN meter m ON m.id = s.meter_id
JOIN LATERAL (SELECT decimals FROM installation y WHERE y.meter_id = m.id AND y.point_id = p.id
              ORDER BY from_at DESC LIMIT 1) i ON true
WHERE s.state = 'suspect' AND d.day BETWEEN %(since)s AND %(until)s
ORDER BY p.number, s.day

-- withheld_slots -- what is withheld and can be asked for again
SELECT s.meter_id, d.day
FROM doubt d JOIN slot s ON (s.day, s.point_id, s.kind) = (d.day, d.point_id, d.kind)
WHERE s.state = 'suspect' AND d.kind = 1 AND d.day BETWEEN %(since)s AND %(until)s AND s.meter_id IS NOT NULL
ORDER BY d.day, s.meter_id

-- in_doubt -- what is to be read again: withheld or disputed; how often its day was read, and how long ago the last time was
SELECT s.meter_id, d.day,
       CASE WHEN d.next_step = 'recollect' THEN least(read.times, 2) ELSE read.times END AS reads,
       extract(epoch FROM %(now)s::timestamptz - read.last_at)::float AS age_s
FROM doubt d
JOIN slot s ON (s.day, s.point_id, s.kind) = (d.day, d.point_id, d.kind)
CROSS JOIN LATERAL (
    SELECT count(*)::int AS times, max(r.arrived_at) AS last_at FROM reading r
    WHERE r.day = d.day AND r.meter_id = s.meter_id AND r.kind = d.kind
) read
WHERE (d.next_step IN ('reread', 'recollect') OR d.codes && '{V33,V36}')
  AND d.kind = 1 AND d.day >= %(since)s AND read.times > 0

-- newest_arrival -- when the newest reading came; a look at the newest days is enough
SELECT max(arrived_at) FROM reading WHERE day BETWEEN (SELECT max(day) - 3 FROM reading) AND (SELECT max(day) FROM reading)
