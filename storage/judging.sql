-- tails -- of each point what a clean new value is compared with: its neighbours, its register, whether anything is open
WITH rules AS MATERIALIZED (
    SELECT id, (thresholds ->> 'max_auto_span_days')::int AS max_auto_span_days FROM rule_set ORDER BY id DESC LIMIT 1
), a AS MATERIALIZED (
    SELECT * FROM unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[], %(totals)s::bigint[])
                  AS a (point_id, first_day, last_day, total)
), shown AS MATERIALIZED (
    SELECT point_id, day, state, meter_id, reading_id FROM slot
    WHERE day = ANY(%(days)s::date[]) AND point_id = ANY(%(points)s::int[]) AND kind = 1
), remark AS MATERIALIZED (
    SELECT point_id, day, codes, next_step FROM doubt WHERE point_id = ANY(%(points)s::int[]) AND kind = 1
), installed AS MATERIALIZED (
    SELECT point_id, meter_id, to_at, modulus, decimals, wire_decimals, first_day, initial FROM installation
    WHERE point_id = ANY(%(points)s::int[])
), begun AS MATERIALIZED (
    SELECT point_id, first_day FROM chain WHERE point_id = ANY(%(points)s::int[]) AND kind = 1
), way AS MATERIALIZED (
    SELECT a.point_id, w.step, w.from_day, s.day, s.state, s.meter_id, s.reading_id
    FROM a JOIN begun USING (point_id)
    CROSS JOIN LATERAL (VALUES (-1, a.first_day - 1, a.first_day > begun.first_day),
                               (1, a.last_day + 1, a.last_day < (SELECT max(day) FROM slot))) w (step, from_day, leads_on)
    LEFT JOIN shown s ON s.point_id = a.point_id AND s.day = w.from_day AND s.state IN ('published', 'suspect', 'substituted')
    WHERE w.leads_on
), told AS MATERIALIZED (
    SELECT day, meter_id, id, source, total, rate_1, rate_2, rate_3, rate_4, more_rates FROM reading
    WHERE day = ANY(%(days)s::date[]) AND meter_id = ANY(%(meters)s::int[])
), near AS MATERIALIZED (
    -- A value behind a longer gap than a link may have is the first of all, or remarked on: it ends a held link. All points
    -- of a day are looked up at once.
    SELECT DISTINCT ON (w.point_id, w.step) w.point_id, w.step, s.day, s.state, s.meter_id, s.reading_id
    FROM (SELECT from_day + step * n AS day, points
          FROM (SELECT from_day, step, array_agg(point_id) AS points FROM way WHERE day IS NULL GROUP BY 1, 2) x
          CROSS JOIN generate_series(1, greatest(7, (SELECT max_auto_span_days FROM rules))) n
          UNION ALL
          SELECT x.day, array_agg(x.point_id)
          FROM way w JOIN (SELECT point_id, day FROM remark UNION ALL SELECT point_id, first_day FROM begun) x
              ON x.point_id = w.point_id AND x.day > w.from_day
          WHERE w.day IS NULL AND w.step = 1 GROUP BY 1) look
    CROSS JOIN LATERAL (SELECT * FROM slot x WHERE x.day = look.day AND x.point_id = ANY(look.points) AND x.kind = 1
                        AND x.state IN ('published', 'suspect', 'substituted') OFFSET 0) s
    JOIN way w ON w.point_id = s.point_id AND w.day IS NULL AND w.step * (s.day - w.from_day) > 0
    ORDER BY w.point_id, w.step, w.step * (s.day - w.from_day)
), far AS MATERIALIZED (
    SELECT * FROM near
    UNION ALL
    SELECT w.point_id, w.step, s.day, s.state, s.meter_id, s.reading_id
    FROM way w
    CROSS JOIN LATERAL slot_beside(w.point_id, 1::smallint, w.from_day - 8, -1, '{published,suspect,substituted}') s
    WHERE w.day IS NULL AND w.step = -1 AND w.point_id NOT IN (SELECT point_id FROM near WHERE step = -1)
), neighbour AS (
    SELECT w.point_id, w.step, w.day, w.state, w.reading_id, r.source, r.total, r.rate_1, r.rate_2, r.rate_3, r.rate_4, r.more_rates
    FROM way w LEFT JOIN told r ON (r.day, r.meter_id, r.id) = (w.day, w.meter_id, w.reading_id)
    WHERE w.day IS NOT NULL
    UNION ALL
    SELECT f.point_id, f.step, f.day, f.state, f.reading_id, r.source, r.total, r.rate_1, r.rate_2, r.rate_3, r.rate_4, r.more_rates
    FROM far f
    LEFT JOIN (SELECT r.* FROM (SELECT day, array_agg(meter_id) AS meters FROM far GROUP BY 1) look
               CROSS JOIN LATERAL (SELECT * FROM reading x WHERE x.day = look.day AND x.meter_id = ANY(look.meters) OFFSET 0) r) r
        ON (r.day, r.meter_id, r.id) = (f.day, f.meter_id, f.reading_id)
), beside AS MATERIALIZED (
    SELECT n.point_id, n.step, n.day, n.state, n.reading_id, n.source, n.total,
           array_remove(ARRAY[n.total, n.rate_1, n.rate_2, n.rate_3, n.rate_4] || n.more_rates, NULL) AS steps,
           n.total IS NULL OR n.state = 'substituted' OR NOT coalesce(d.codes, '{}') <@ '{V10,V32}' AS is_open
    FROM neighbour n LEFT JOIN remark d ON (d.point_id, d.day) = (n.point_id, n.day)
), doubted AS MATERIALIZED (
    SELECT point_id, max(day) AS day FROM remark
    WHERE NOT codes <@ '{V10,V25,V28,V32,V37}' AND (NOT codes && %(own_checks)s OR 'V34' = ANY (codes))
    GROUP BY point_id
), opened AS (
    -- What was said of days before the new values is settled, or shows at their neighbours.
    SELECT point_id FROM (SELECT point_id, day FROM decision WHERE point_id = ANY(%(points)s::int[]) AND day >= %(first)s
                          AND takes_effect) x JOIN a USING (point_id) WHERE x.day >= a.first_day
    UNION ALL
    SELECT point_id FROM (SELECT point_id, through_day FROM closing WHERE point_id = ANY(%(points)s::int[])
                          AND through_day >= %(first)s) x JOIN a USING (point_id) WHERE x.through_day >= a.first_day
    UNION ALL
    SELECT point_id FROM (SELECT point_id, from_day, coalesce(to_day, from_day) AS to_day FROM finding
                          WHERE point_id = ANY(%(points)s::int[]) AND code <> ALL ('{V09,V12,V14,V15,V26}')) x
    JOIN a USING (point_id) WHERE x.from_day <= a.last_day AND x.to_day >= a.first_day
    UNION ALL
    -- What is open may yet become part of the chain, unless a confirmed value lies behind it.
    SELECT d.point_id FROM doubted d JOIN a USING (point_id)
    WHERE d.day > coalesce(confirmed_before(d.point_id, a.first_day), '-infinity')
    UNION ALL
    SELECT point_id FROM installed WHERE to_at::date > %(first)s::date - 63
    UNION ALL
    SELECT point_id FROM point_ratio
    WHERE point_id = ANY(%(points)s::int[]) AND document_id IS NOT NULL AND from_day > %(first)s::date - 63
    UNION ALL
    SELECT point_id FROM to_judge WHERE point_id = ANY(%(points)s::int[])
    UNION ALL
    SELECT point_id FROM beside WHERE is_open
), doubted_clock AS (
    SELECT meter_id FROM clock_finding
    WHERE meter_id = ANY(%(meters)s::int[]) AND to_day >= %(first)s AND from_day <= %(last)s
    UNION ALL
    SELECT meter_id FROM clock_setting WHERE meter_id = ANY(%(meters)s::int[])
), limited AS (
    SELECT point_id, min(max_daily_kwh) AS max_daily_kwh
    FROM (SELECT DISTINCT ON (point_id, from_day) point_id, max_daily_kwh FROM point_limit
          WHERE point_id = ANY(%(points)s::int[]) ORDER BY point_id, from_day, rev DESC) x
    GROUP BY point_id
)
SELECT a.point_id, i.meter_id, i.modulus, i.decimals, i.wire_decimals, i.first_day AS begins_on,
       floor(limited.max_daily_kwh * (ARRAY[1, 10, 100, 1000, 10000])[i.decimals + 1])::bigint AS max_daily,
       NOT coalesce(a.point_id IN (SELECT point_id FROM opened)
                    OR i.meter_id IN (SELECT meter_id FROM doubted_clock)
                    OR limited.point_id IS NULL
                    OR i.initial IS NOT NULL AND before.day IS NULL
                    OR before.day < i.first_day, false) AS is_plain,
       a.point_id IN (SELECT point_id FROM shown JOIN a USING (point_id) WHERE shown.day BETWEEN a.first_day AND a.last_day) AS is_told,
       again.days AS recollect, begun.first_day AS chain_begins_on,
       coalesce(before.state, after.state) = 'published' AS is_published, coalesce(before.source, after.source) AS source,
       before.day AS before_day, before.steps AS before_steps, before.reading_id AS before_reading,
       CASE WHEN before.total = a.total THEN
           (SELECT max(before.day - x.day) FROM generate_series(1, 31) n
            CROSS JOIN LATERAL (SELECT day FROM slot s WHERE s.day = before.day - n AND s.point_id = a.point_id AND s.kind = 1
                                AND s.state = 'published' AND s.total = a.total OFFSET 0) x)
       END AS unchanged_days,
       after.day AS after_day, after.steps AS after_steps, after.reading_id AS after_reading,
       held.account_id,
       coalesce(held.is_now, true) AND NOT (a.point_id IN (SELECT point_id FROM finding WHERE point_id = ANY(%(points)s::int[])
                           AND code <> ALL ('{V09,V12,V14,V15,V26}') AND coalesce(to_day, from_day) >= %(first)s)
            OR i.meter_id IN (SELECT meter_id FROM clock_finding WHERE meter_id = ANY(%(meters)s::int[])
                              AND to_day >= %(first)s)
            OR i.meter_id IN (SELECT meter_id FROM other_serial
                              WHERE meter_id = ANY(%(meters)s::int[]) AND until_at IS NULL)) AS is_quiet,
       rules.id AS rule_set, rules.max_auto_span_days
FROM a
CROSS JOIN rules
JOIN installed i ON i.point_id = a.point_id AND i.to_at IS NULL
LEFT JOIN begun ON begun.point_id = a.point_id
LEFT JOIN (SELECT point_id, max(account_id) AS account_id, bool_and(to_day IS NULL) AS is_now FROM point_account
           WHERE point_id = ANY(%(points)s::int[]) AND coalesce(to_day, 'infinity') >= %(first)s GROUP BY 1) held
    ON held.point_id = a.point_id
LEFT JOIN limited ON limited.point_id = a.point_id
LEFT JOIN (SELECT point_id, array_agg(day) AS days FROM remark WHERE next_step = 'recollect' GROUP BY 1) again
    ON again.point_id = a.point_id
LEFT JOIN beside before ON before.point_id = a.point_id AND before.step = -1
LEFT JOIN beside after ON after.point_id = a.point_id AND after.step = 1

-- wait -- points that another transaction judges, from a day on
INSERT INTO to_judge (point_id, from_day)
SELECT point_id, day FROM unnest(%(points)s::int[], %(days)s::date[]) AS w (point_id, day) ORDER BY 1
ON CONFLICT (point_id) DO UPDATE SET from_day = least(to_judge.from_day, excluded.from_day)

-- take_waiting -- the first ones of them
DELETE FROM to_judge WHERE point_id = ANY(ARRAY(
    SELECT point_id FROM to_judge WHERE not_before <= now() ORDER BY point_id LIMIT %(most)s))
RETURNING point_id, from_day

-- put_off -- a point that cannot be judged is tried later
UPDATE to_judge SET not_before = now() + interval '5 minutes', error = %(error)s WHERE point_id = %(point)s

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
FROM finding WHERE point_id = ANY(%(points)s) AND code <> ALL ('{V09,V12,V14,V15,V26}')
UNION ALL
SELECT point_id, 'decision', jsonb_build_object('action', action, 'day', day, 'total', total, 'number', rev,
                                                'rolled_over', rolled_over, 'method', method, 'rates', rates,
                                                'seen', content -> 'seen')
FROM decision WHERE point_id = ANY(%(points)s) AND action <> 'release_link' AND takes_effect
UNION ALL
SELECT point_id, 'link_release', jsonb_build_object('from', content -> 'from', 'day', day, 'shown_kwh', content -> 'shown_kwh',
                                                    'agreed_kwh', content -> 'kwh', 'number', rev)
FROM decision WHERE point_id = ANY(%(points)s) AND action = 'release_link' AND takes_effect
UNION ALL
SELECT id, 'number', to_jsonb(number) FROM point WHERE id = ANY(%(points)s)
UNION ALL
SELECT id, 'max_auto_span_days', (SELECT thresholds -> 'max_auto_span_days' FROM rule_set ORDER BY id DESC LIMIT 1)
FROM point WHERE id = ANY(%(points)s)
UNION ALL
SELECT point_id, 'first_day', jsonb_build_object('day', first_day) FROM chain WHERE point_id = ANY(%(points)s) AND kind = 1
UNION ALL
SELECT point_id, 'closing', jsonb_build_object('through', through_day, 'published', published)
FROM closing WHERE point_id = ANY(%(points)s)

-- slots -- what points show from a day on, and every day before about which something is to be said
SELECT s.point_id, s.day, s.state, s.meter_id, s.total, s.reading_id, s.link_days, coalesce(d.codes, '{}') AS codes,
       d.next_step, d.hold, x.kwh, coalesce(x.is_agreed, false) AS is_agreed
FROM (SELECT n.point_id, greatest(n.since, c.first_day) AS first_day
      FROM unnest(%(points)s::int[], %(sinces)s::date[]) AS n (point_id, since)
      JOIN chain c ON c.point_id = n.point_id AND c.kind = 1 OFFSET 0) a
CROSS JOIN LATERAL (
    SELECT d::date AS day FROM generate_series(a.first_day, current_date + 2, interval '1 day') d
    UNION
    SELECT o.day FROM doubt o WHERE o.point_id = a.point_id AND o.kind = 1
) asked
CROSS JOIN LATERAL (SELECT * FROM slot x WHERE x.day = asked.day AND x.point_id = a.point_id AND x.kind = 1 OFFSET 0) s
LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind)
LEFT JOIN crossing x ON (x.point_id, x.day) = (s.point_id, s.day)
ORDER BY s.point_id, s.day

-- reads -- what the meters of points told from a day on, and on one day before
SELECT i.point_id, r.day, r.meter_id, m.address, r.id, i.decimals, r.total,
       ARRAY[r.rate_1, r.rate_2, r.rate_3, r.rate_4] || r.more_rates AS rates, r.arrived_at, r.source, r.stamp,
       r.clock_skew_s, r.host_offset_ms, r.serial
FROM unnest(%(points)s::int[], %(sinces)s::date[], %(befores)s::date[]) AS a (point_id, since, before)
JOIN installation i ON i.point_id = a.point_id
JOIN meter m ON m.id = i.meter_id
CROSS JOIN LATERAL (
    SELECT d::date AS day
    FROM generate_series(greatest(a.since, i.first_day),
                         coalesce((SELECT min(n.first_day) FROM installation n
                                   WHERE n.point_id = i.point_id AND n.from_at >= i.to_at), current_date + 2), interval '1 day') d
    UNION ALL
    SELECT a.before WHERE a.before >= i.first_day
) asked
CROSS JOIN LATERAL (SELECT * FROM reading x WHERE x.day = asked.day AND x.meter_id = i.meter_id AND x.kind = 1 OFFSET 0) r

-- add_slots -- what days show that showed nothing
COPY slot (reading_id, total, point_id, day, meter_id, kind, rule_set, link_days) FROM STDIN (FORMAT BINARY)

-- link_chains -- where the search for an earlier slot ends, and which values follow others now: by a negative link that is held
WITH n AS MATERIALIZED (
    SELECT * FROM unnest(%(points)s::int[], %(days)s::date[], %(link_days)s::smallint[]) AS n (point_id, day, link_days)
), begun AS (
    INSERT INTO chain (point_id, kind, first_day)
    SELECT point_id, 1, day FROM unnest(%(begun)s::int[], %(firsts)s::date[]) AS c (point_id, day) ORDER BY 1
    ON CONFLICT (point_id, kind) DO UPDATE SET first_day = excluded.first_day WHERE excluded.first_day < chain.first_day
), settled AS (
    DELETE FROM doubt WHERE point_id = ANY(%(points)s::int[]) AND kind = 1
      AND (point_id, day) IN (SELECT point_id, day FROM n WHERE link_days > 0)
), held AS (
    INSERT INTO doubt (day, point_id, kind, codes, hold) SELECT day, point_id, 1, '{}', 'span' FROM n WHERE link_days < 0
    ON CONFLICT (point_id, day, kind) DO UPDATE SET codes = excluded.codes, next_step = NULL, hold = excluded.hold
    WHERE (doubt.codes, doubt.next_step, doubt.hold) IS DISTINCT FROM (excluded.codes, NULL, excluded.hold)
)
UPDATE slot SET link_days = n.link_days, rule_set = (SELECT max(id) FROM rule_set)
FROM n
WHERE (slot.day, slot.point_id) = (n.day, n.point_id) AND slot.link_days <> n.link_days
  AND slot.day = ANY(%(each_day)s::date[]) AND slot.point_id = ANY(%(points)s::int[]) AND slot.kind = 1

-- put_slots -- what days show now, what is to be said of them, and where the search for an earlier slot ends
WITH n AS MATERIALIZED (
    SELECT n.* FROM (SELECT set_config('meterd.writer', '0', true)) named,
                    unnest(%(days)s::date[], %(points)s::int[], %(states)s::text[], %(meters)s::int[], %(totals)s::bigint[],
                         %(readings)s::bigint[], %(link_days)s::smallint[], %(codes)s::text[], %(next_steps)s::text[],
                         %(holds)s::text[], %(kwhs)s::numeric[], %(agreed)s::boolean[])
                  AS n (day, point_id, state, meter_id, total, reading_id, link_days, codes, next_step, hold, kwh, is_agreed)
), noted AS (
    INSERT INTO chain_change (writer, point_id) SELECT DISTINCT 0, point_id FROM n
), begun AS (
    INSERT INTO chain (point_id, kind, first_day)
    SELECT point_id, 1, min(day)
    FROM (SELECT point_id, day FROM n WHERE state <> 'missing'
          UNION ALL SELECT * FROM unnest(%(begun)s::int[], %(firsts)s::date[]) AS c (point_id, day)) c
    GROUP BY 1 ORDER BY 1
    ON CONFLICT (point_id, kind) DO UPDATE SET first_day = excluded.first_day WHERE excluded.first_day < chain.first_day
), emptied AS (
    DELETE FROM slot WHERE day = ANY(%(gone_days)s::date[]) AND point_id = ANY(%(gone_points)s::int[]) AND kind = 1
      AND (day, point_id) IN (SELECT day, point_id FROM n WHERE state = 'missing')
), settled AS (
    DELETE FROM doubt WHERE point_id = ANY(%(points)s::int[]) AND kind = 1
      AND (point_id, day) IN (SELECT point_id, day FROM n WHERE codes = '' AND next_step IS NULL AND hold IS NULL)
), shown AS (
    DELETE FROM crossing WHERE point_id = ANY(%(points)s::int[])
      AND (point_id, day) IN (SELECT point_id, day FROM n WHERE kwh IS NULL)
), crossed AS (
    INSERT INTO crossing (point_id, day, kwh, is_agreed) SELECT point_id, day, kwh, is_agreed FROM n WHERE kwh IS NOT NULL
    ON CONFLICT (point_id, day) DO UPDATE SET kwh = excluded.kwh, is_agreed = excluded.is_agreed
), doubted AS (
    INSERT INTO doubt (day, point_id, kind, codes, next_step, hold)
    SELECT day, point_id, 1, string_to_array(codes, '|'), next_step, hold FROM n
    WHERE codes <> '' OR next_step IS NOT NULL OR hold IS NOT NULL
    ON CONFLICT (point_id, day, kind) DO UPDATE SET
        codes = excluded.codes, next_step = excluded.next_step, hold = excluded.hold
    WHERE (doubt.codes, doubt.next_step, doubt.hold) IS DISTINCT FROM (excluded.codes, excluded.next_step, excluded.hold)
)
INSERT INTO slot (day, point_id, kind, state, meter_id, total, reading_id, rule_set, link_days)
SELECT day, point_id, 1, state::slot_state, meter_id, total, reading_id, (SELECT max(id) FROM rule_set), link_days FROM n WHERE state <> 'missing'
ON CONFLICT (day, point_id, kind) DO UPDATE SET
    state = excluded.state, meter_id = excluded.meter_id, total = excluded.total, reading_id = excluded.reading_id,
    rule_set = excluded.rule_set, link_days = excluded.link_days,
    revision = slot.revision + ((slot.state, slot.total, slot.reading_id)
                                IS DISTINCT FROM (excluded.state, excluded.total, excluded.reading_id))::int
WHERE (slot.state, slot.meter_id, slot.total, slot.reading_id, slot.link_days)
      IS DISTINCT FROM (excluded.state, excluded.meter_id, excluded.total, excluded.reading_id, excluded.link_days)

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
