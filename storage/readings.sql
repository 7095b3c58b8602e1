-- stage_readings -- where a batch of readings is copied to
CREATE TEMP TABLE staged_reading ON COMMIT DROP AS
    SELECT frozen_at, meter_id, kind, total, rates, arrived_at, clock_skew_s, host_offset_s, error_bound
    FROM reading WITH NO DATA

-- copy_readings -- one COPY per batch
COPY staged_reading FROM STDIN (FORMAT BINARY)

-- merge_readings -- what is there already stays as it is
INSERT INTO reading SELECT * FROM staged_reading ON CONFLICT DO NOTHING

-- slots_around -- all slots of each span, and its nearest published neighbours outside
WITH span AS (
    SELECT * FROM unnest(%(points)s::text[], %(firsts)s::date[], %(lasts)s::date[]) AS s (point_id, first_day, last_day)
)
SELECT s.point_id, s.day, s.state, s.reasons, s.meter_id, s.total
FROM span, LATERAL (
    (SELECT * FROM slot x WHERE x.point_id = span.point_id AND x.kind = 'daily_freeze'
        AND x.day BETWEEN span.first_day AND span.last_day)
    UNION ALL
    (SELECT * FROM slot x WHERE x.point_id = span.point_id AND x.kind = 'daily_freeze' AND x.state = 'published'
        AND x.day < span.first_day ORDER BY x.day DESC LIMIT 1)
    UNION ALL
    (SELECT * FROM slot x WHERE x.point_id = span.point_id AND x.kind = 'daily_freeze' AND x.state = 'published'
        AND x.day > span.last_day ORDER BY x.day LIMIT 1)
) s
ORDER BY s.point_id, s.day

-- add_slots -- decided slots; one that is there already is not replaced
INSERT INTO slot (day, point_id, kind, state, reasons, meter_id, total)
SELECT day, point_id, 'daily_freeze', state, string_to_array(reasons, '|'), meter_id, total
FROM unnest(%(days)s::date[], %(points)s::text[], %(states)s::text[], %(reasons)s::text[], %(meters)s::int[],
            %(totals)s::bigint[]) AS s (day, point_id, state, reasons, meter_id, total)

-- present_days -- the days for which a meter's point has a value, as a bitmap: bit n is the day n before `newest`
SELECT i.meter_id, bit_or(1::bigint << (%(newest)s::date - s.day))
FROM slot s JOIN installation i ON i.point_id = s.point_id AND i.removed_on IS NULL
WHERE s.kind = 'daily_freeze' AND s.day BETWEEN %(since)s AND %(newest)s
  AND (%(meters)s::bigint[] IS NULL OR i.meter_id = ANY(%(meters)s::bigint[]))
GROUP BY i.meter_id

-- gaps -- runs of owed days without a value: from `since` (or the day the meter was installed) to `until`
WITH owed AS (
    SELECT i.point_id, m.address, m.line, d::date AS day
    FROM installation i
    JOIN meter m ON m.id = i.meter_id
    CROSS JOIN LATERAL generate_series(greatest(%(since)s::date, i.installed_on), %(until)s::date, interval '1 day') d
    WHERE i.removed_on IS NULL
), missing AS (
    SELECT o.*, o.day - (row_number() OVER (PARTITION BY o.point_id ORDER BY o.day))::int AS run
    FROM owed o
    WHERE NOT EXISTS (SELECT FROM slot s
                      WHERE s.point_id = o.point_id AND s.kind = 'daily_freeze' AND s.day = o.day)
)
SELECT point_id, address, line, min(day) AS first_day, max(day) AS last_day, count(*)::int AS days
FROM missing GROUP BY point_id, address, line, run
ORDER BY line, point_id, first_day

-- withheld -- values that were not published, with their reasons
SELECT s.point_id, m.address, s.day, s.total, m.decimals, s.reasons
FROM slot s JOIN meter m ON m.id = s.meter_id
WHERE s.state = 'suspect' AND s.day BETWEEN %(since)s AND %(until)s
ORDER BY s.point_id, s.day

-- add_dead_letter -- a reading that could not be stored; it is read again now and then, and kept once
INSERT INTO dead_letter (content, reason)
SELECT %(content)s, %(reason)s
WHERE NOT EXISTS (SELECT FROM dead_letter d WHERE d.content - 'arrived_at' = %(content)s::jsonb - 'arrived_at')
