-- copy_readings -- straight into the table: most batches bring nothing that is there already
COPY reading (day, meter_id, id, kind, source, decode_version, stamp, total, rate_1, rate_2, rate_3, rate_4, more_rates,
              arrived_at, clock_skew_s, host_offset_ms) FROM STDIN (FORMAT BINARY)

-- stage_readings -- where a batch is copied to that brought something twice
CREATE TEMP TABLE staged_reading ON COMMIT DROP AS
    SELECT day, meter_id, id, kind, source, decode_version, stamp, total, rate_1, rate_2, rate_3, rate_4, more_rates,
           arrived_at, clock_skew_s, host_offset_ms
    FROM reading WITH NO DATA

-- copy_staged -- the same columns
COPY staged_reading FROM STDIN (FORMAT BINARY)

-- merge_readings -- what is there already stays as it is
INSERT INTO reading (day, meter_id, id, kind, source, decode_version, stamp, total, rate_1, rate_2, rate_3, rate_4,
                     more_rates, arrived_at, clock_skew_s, host_offset_ms)
SELECT * FROM staged_reading ON CONFLICT DO NOTHING

-- drop_staged -- a transaction may bring several batches
DROP TABLE staged_reading

-- slots_around -- all slots of each span, and its nearest published neighbours outside
WITH span AS (
    SELECT * FROM unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[]) AS s (point_id, first_day, last_day)
)
SELECT s.point_id, s.day, s.state, coalesce(d.codes, '{}') AS codes, s.meter_id, s.total, s.reading_id
FROM span, LATERAL (
    SELECT x.* FROM generate_series(span.first_day, span.last_day, interval '1 day') asked
    JOIN slot x ON x.day = asked::date AND x.point_id = span.point_id AND x.kind = 1
    UNION ALL
    SELECT * FROM slot_beside(span.point_id, 1::smallint, span.first_day - 1, -1, '{published}')
    UNION ALL
    SELECT * FROM slot_beside(span.point_id, 1::smallint, span.last_day + 1, 1, '{published}')
) s
LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind)
ORDER BY s.point_id, s.day

-- published_chains -- the published values of each span, and the next one behind it
WITH span AS (
    SELECT * FROM unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[]) AS s (point_id, first_day, last_day)
)
SELECT s.point_id, s.day, s.meter_id, s.total
FROM span
CROSS JOIN LATERAL generate_series(span.first_day, least(span.last_day, current_date + 2), interval '1 day') asked
JOIN slot s ON s.day = asked::date AND s.point_id = span.point_id AND s.kind = 1
WHERE s.state = 'published'
UNION ALL
SELECT s.point_id, s.day, s.meter_id, s.total
FROM span
CROSS JOIN LATERAL slot_beside(span.point_id, 1::smallint, least(span.last_day, current_date + 2) + 1, 1, '{published}') s
ORDER BY 1, 2

-- add_slots -- decided slots; one that is there already is not replaced
INSERT INTO slot (day, point_id, kind, state, meter_id, total, reading_id, rule_set)
SELECT day, point_id, 1, state::slot_state, meter_id, total, reading_id, 1
FROM unnest(%(days)s::date[], %(points)s::int[], %(states)s::text[], %(meters)s::int[], %(totals)s::bigint[],
            %(readings)s::bigint[]) AS s (day, point_id, state, meter_id, total, reading_id)

-- add_doubts -- what is to be said of them
INSERT INTO doubt (day, point_id, kind, codes, next_step)
SELECT day, point_id, 1, string_to_array(codes, '|'), next_step
FROM unnest(%(days)s::date[], %(points)s::int[], %(codes)s::text[], %(next_steps)s::text[])
     AS d (day, point_id, codes, next_step)

-- begin_chains -- where the search for an earlier slot ends
INSERT INTO chain (point_id, kind, first_day)
SELECT point_id, 1, min(day) FROM unnest(%(points)s::int[], %(days)s::date[]) AS c (point_id, day)
GROUP BY 1 ORDER BY 1
ON CONFLICT (point_id, kind) DO UPDATE SET first_day = excluded.first_day WHERE excluded.first_day < chain.first_day

-- present_days -- the days for which each meter's point has a value, as a bitmap: bit n is the day n before `newest`
SELECT i.meter_id, s.bits
FROM installation i
JOIN (SELECT point_id, bit_or(1::bigint << (%(newest)s::date - day)) AS bits
      FROM slot WHERE kind = 1 AND day BETWEEN %(since)s AND %(newest)s GROUP BY 1) s USING (point_id)
WHERE i.to_at IS NULL

-- present_days_of -- the same for some meters
SELECT i.meter_id, bit_or(1::bigint << (%(newest)s::date - s.day))
FROM installation i
CROSS JOIN LATERAL generate_series(%(since)s::date, %(newest)s::date, interval '1 day') asked
JOIN slot s ON s.day = asked::date AND s.point_id = i.point_id AND s.kind = 1
WHERE i.to_at IS NULL AND i.meter_id = ANY(%(meters)s::int[])
GROUP BY i.meter_id

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
    WHERE r.day = d.day AND r.meter_id = s.meter_id
) read
WHERE (d.next_step IN ('reread', 'recollect') OR d.codes && '{V33,V36}')
  AND d.kind = 1 AND d.day >= %(since)s AND read.times > 0
