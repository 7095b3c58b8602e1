-- tails -- of each point what a clean new value is compared with: its neighbours, its register, whether anything is open
SELECT a.point_id, i.meter_id, i.modulus, i.decimals, i.wire_decimals, i.first_day AS begins_on,
       (SELECT min(l.max_daily_kwh) FROM (SELECT DISTINCT ON (x.from_day) x.max_daily_kwh FROM point_limit x
                                          WHERE x.point_id = a.point_id ORDER BY x.from_day, x.rev DESC) l) AS max_daily_kwh,
       NOT coalesce(EXISTS (SELECT FROM decision x WHERE x.point_id = a.point_id)
            OR EXISTS (SELECT FROM closing x WHERE x.point_id = a.point_id)
            OR EXISTS (SELECT FROM finding x WHERE x.point_id = a.point_id)
            OR EXISTS (SELECT FROM clock_finding x WHERE x.meter_id = i.meter_id)
            OR EXISTS (SELECT FROM clock_setting x WHERE x.meter_id = i.meter_id)
            OR EXISTS (SELECT FROM doubt x WHERE x.point_id = a.point_id AND NOT x.codes <@ '{V10,V32}'
                       AND (NOT x.codes && %(own_checks)s OR 'V34' = ANY (x.codes)))
            OR coalesce(before.state = 'suspect' AND before.codes <> '{V32}', false)
            OR coalesce(after.state = 'suspect' AND after.codes <> '{V32}', false)
            OR EXISTS (SELECT FROM installation x WHERE x.point_id = a.point_id AND x.to_at::date > a.first_day - 63)
            OR EXISTS (SELECT FROM point_ratio x WHERE x.point_id = a.point_id AND x.document_id IS NOT NULL
                       AND x.from_day > a.first_day - 63)
            OR i.initial IS NOT NULL AND before.day IS NULL
            OR coalesce(before.day < i.first_day, false)
            OR EXISTS (SELECT FROM generate_series(a.first_day, a.last_day, interval '1 day') d
                       JOIN slot x ON x.day = d::date AND x.point_id = a.point_id AND x.kind = 1), false) AS is_plain,
       before.day AS before_day, coalesce(before.state, after.state) = 'published' AS is_published,
       coalesce(before.source, after.source) AS source,
       before.total AS before_total, before.rates AS before_rates, before.reading_id AS before_reading,
       (SELECT max(before.day - x.day) FROM generate_series(1, 31) n
        JOIN slot x ON x.day = before.day - n AND x.point_id = a.point_id AND x.kind = 1
        WHERE x.state = 'published' AND x.total = before.total AND before.total = a.total) AS unchanged_days,
       after.day AS after_day, after.total AS after_total, after.rates AS after_rates, after.reading_id AS after_reading
FROM unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[], %(totals)s::bigint[])
     AS a (point_id, first_day, last_day, total)
JOIN installation i ON i.point_id = a.point_id AND i.to_at IS NULL
LEFT JOIN LATERAL (
    SELECT s.day, s.state, r.source, r.total, ARRAY[r.rate_1, r.rate_2, r.rate_3, r.rate_4] || r.more_rates AS rates, d.codes,
           s.reading_id
    FROM slot_beside(a.point_id, 1::smallint, a.first_day - 1, -1, '{published,suspect}') s
    JOIN reading r ON r.day = s.day AND r.meter_id = s.meter_id AND r.id = s.reading_id
    LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind)) before ON true
LEFT JOIN LATERAL (
    SELECT s.day, s.state, r.source, r.total, ARRAY[r.rate_1, r.rate_2, r.rate_3, r.rate_4] || r.more_rates AS rates, d.codes,
           s.reading_id
    FROM slot_beside(a.point_id, 1::smallint, a.last_day + 1, 1, '{published,suspect}') s
    JOIN reading r ON r.day = s.day AND r.meter_id = s.meter_id AND r.id = s.reading_id
    LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind)) after ON true

-- facts -- everything that points are judged by but their reads, as one row a fact
SELECT i.point_id, 'installation', jsonb_build_object(
    'at', i.from_at, 'serial', m.address, 'meter_id', m.id, 'modulus', i.modulus, 'decimals', i.decimals,
    'wire_decimals', i.wire_decimals, 'initial', i.initial, 'final', i.final, 'to', i.to_at)
FROM installation i JOIN meter m ON m.id = i.meter_id WHERE i.point_id = ANY(%(points)s)
UNION ALL
SELECT point_id, 'ratio', jsonb_build_object('day', from_day, 'at', from_at, 'ratio', ratio::text, 'rev', rev, 'registers', registers)
FROM point_ratio WHERE point_id = ANY(%(points)s)
UNION ALL
SELECT point_id, 'limit', jsonb_build_object('day', from_day, 'max_daily_kwh', max_daily_kwh::text, 'rev', rev)
FROM point_limit WHERE point_id = ANY(%(points)s)
UNION ALL
SELECT i.point_id, 'clock_setting', jsonb_build_object('clock', c.clock, 'rev', c.rev)
FROM installation i JOIN clock_setting c ON c.meter_id = i.meter_id WHERE i.point_id = ANY(%(points)s) AND i.to_at IS NULL
UNION ALL
SELECT i.point_id, 'clock_finding', jsonb_build_object('first', c.from_day, 'last', c.to_day, 'skew_s', c.skew_s, 'rev', c.rev)
FROM installation i JOIN clock_finding c ON c.meter_id = i.meter_id WHERE i.point_id = ANY(%(points)s)
UNION ALL
SELECT point_id, 'finding', jsonb_build_object('code', code, 'first', from_day, 'last', coalesce(to_day, from_day),
                                               'rev', rev, 'active', active)
FROM finding WHERE point_id = ANY(%(points)s)
UNION ALL
SELECT point_id, 'decision', jsonb_build_object('action', action, 'day', day, 'total', total, 'number', rev,
                                                'rolled_over', rolled_over, 'method', method)
FROM decision WHERE point_id = ANY(%(points)s) AND action <> 'release_link' AND takes_effect
UNION ALL
SELECT id, 'number', to_jsonb(number) FROM point WHERE id = ANY(%(points)s)
UNION ALL
SELECT point_id, 'first_day', jsonb_build_object('day', first_day) FROM chain WHERE point_id = ANY(%(points)s) AND kind = 1
UNION ALL
SELECT point_id, 'closing', jsonb_build_object('through', through_day, 'published', published)
FROM closing WHERE point_id = ANY(%(points)s)

-- slots -- what points show from a day on, and every day before about which something is to be said
SELECT s.point_id, s.day, s.state, s.meter_id, s.total, s.reading_id, s.link_days, coalesce(d.codes, '{}') AS codes,
       d.next_step, d.hold, x.kwh
FROM unnest(%(points)s::int[], %(sinces)s::date[]) AS a (point_id, since)
JOIN chain c ON c.point_id = a.point_id AND c.kind = 1
CROSS JOIN LATERAL (
    SELECT d::date AS day FROM generate_series(greatest(a.since, c.first_day), current_date + 2, interval '1 day') d
    UNION
    SELECT o.day FROM doubt o WHERE o.point_id = a.point_id AND o.kind = 1
) asked
JOIN slot s ON s.day = asked.day AND s.point_id = a.point_id AND s.kind = 1
LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind)
LEFT JOIN crossing x ON (x.point_id, x.day) = (s.point_id, s.day)
ORDER BY s.point_id, s.day

-- reads -- what the meters of points told from a day on
SELECT i.point_id, r.day, r.meter_id, m.address, r.id, i.decimals, r.total,
       ARRAY[r.rate_1, r.rate_2, r.rate_3, r.rate_4] || r.more_rates AS rates, r.arrived_at, r.source, r.stamp,
       r.clock_skew_s, r.host_offset_ms, r.serial
FROM unnest(%(points)s::int[], %(sinces)s::date[]) AS a (point_id, since)
JOIN installation i ON i.point_id = a.point_id
JOIN meter m ON m.id = i.meter_id
CROSS JOIN LATERAL generate_series(greatest(a.since, i.first_day),
                                   coalesce((SELECT min(n.first_day) FROM installation n
                                             WHERE n.point_id = i.point_id AND n.from_at >= i.to_at), current_date + 2), interval '1 day') asked
JOIN reading r ON r.day = asked::date AND r.meter_id = i.meter_id AND r.kind = 1

-- put_slots -- what days show now, and where the search for an earlier slot ends
WITH begun AS (
    INSERT INTO chain (point_id, kind, first_day)
    SELECT n.point_id, 1, n.day
    FROM (SELECT point_id, min(day) AS day FROM unnest(%(points)s::int[], %(days)s::date[]) AS c (point_id, day) GROUP BY 1) n
    LEFT JOIN chain c ON c.point_id = n.point_id AND c.kind = 1
    WHERE c.first_day IS NULL OR n.day < c.first_day
    ORDER BY 1
    ON CONFLICT (point_id, kind) DO UPDATE SET first_day = least(chain.first_day, excluded.first_day)
)
INSERT INTO slot (day, point_id, kind, state, meter_id, total, reading_id, rule_set, link_days)
SELECT day, point_id, 1, state::slot_state, meter_id, total, reading_id, %(rule_set)s, link_days
FROM unnest(%(days)s::date[], %(points)s::int[], %(states)s::text[], %(meters)s::int[], %(totals)s::bigint[],
            %(readings)s::bigint[], %(link_days)s::smallint[])
     AS n (day, point_id, state, meter_id, total, reading_id, link_days)
ON CONFLICT (day, point_id, kind) DO UPDATE SET
    state = excluded.state, meter_id = excluded.meter_id, total = excluded.total, reading_id = excluded.reading_id,
    rule_set = excluded.rule_set, link_days = excluded.link_days,
    revision = slot.revision + ((slot.state, slot.total, slot.reading_id)
                                IS DISTINCT FROM (excluded.state, excluded.total, excluded.reading_id))::int
WHERE (slot.state, slot.meter_id, slot.total, slot.reading_id, slot.link_days)
      IS DISTINCT FROM (excluded.state, excluded.meter_id, excluded.total, excluded.reading_id, excluded.link_days)

-- drop_slots -- days that show nothing any more: a substitute that was taken back
DELETE FROM slot s USING unnest(%(days)s::date[], %(points)s::int[]) AS n (day, point_id)
WHERE s.day = n.day AND s.point_id = n.point_id AND s.kind = 1

-- put_remarks -- what is to be said of days now, and the use that their slots do not show; nothing of the others
WITH n AS (
    SELECT * FROM unnest(%(days)s::date[], %(points)s::int[], %(codes)s::text[], %(next_steps)s::text[], %(holds)s::text[],
                         %(kwhs)s::numeric[])
                  AS n (day, point_id, codes, next_step, hold, kwh)
), settled AS (
    DELETE FROM doubt d USING n WHERE (d.point_id, d.day, d.kind) = (n.point_id, n.day, 1)
      AND n.codes = '' AND n.next_step IS NULL AND n.hold IS NULL
), shown AS (
    DELETE FROM crossing c USING n WHERE (c.point_id, c.day) = (n.point_id, n.day) AND n.kwh IS NULL
), crossed AS (
    INSERT INTO crossing (point_id, day, kwh) SELECT point_id, day, kwh FROM n WHERE kwh IS NOT NULL
    ON CONFLICT (point_id, day) DO UPDATE SET kwh = excluded.kwh
)
INSERT INTO doubt (day, point_id, kind, codes, next_step, hold)
SELECT day, point_id, 1, string_to_array(codes, '|'), next_step, hold FROM n
WHERE codes <> '' OR next_step IS NOT NULL OR hold IS NOT NULL
ON CONFLICT (point_id, day, kind) DO UPDATE SET
    codes = excluded.codes, next_step = excluded.next_step, hold = excluded.hold

-- raise_limits -- as a reload does it: a limit that was too small was so from the beginning
INSERT INTO point_limit (point_id, from_day, rev, max_daily_kwh)
SELECT l.point_id, l.from_day, l.rev + 1, s.max_daily_kwh
FROM unnest(%(points)s::int[], %(limits)s::numeric[]) AS s (point_id, max_daily_kwh)
JOIN LATERAL limit_now(s.point_id) n ON n.max_daily_kwh < s.max_daily_kwh
JOIN LATERAL (SELECT DISTINCT ON (x.from_day) * FROM point_limit x WHERE x.point_id = n.point_id
              ORDER BY x.from_day, x.rev DESC) l ON l.max_daily_kwh < s.max_daily_kwh
RETURNING point_id

-- lower_limits -- as a reload does it: a smaller limit holds from today on
INSERT INTO point_limit (point_id, from_day, rev, max_daily_kwh)
SELECT n.point_id, %(today)s, (SELECT coalesce(max(l.rev) + 1, 0) FROM point_limit l
                               WHERE l.point_id = n.point_id AND l.from_day = %(today)s), s.max_daily_kwh
FROM unnest(%(points)s::int[], %(limits)s::numeric[]) AS s (point_id, max_daily_kwh)
JOIN LATERAL limit_now(s.point_id) n ON n.max_daily_kwh > s.max_daily_kwh
RETURNING point_id
