-- lacking -- points with an owed day that is not published; bit n of what they have is the day n before `until`
WITH lacking AS MATERIALIZED (
    SELECT i.point_id, i.meter_id, owed.since, coalesce(s.published, 0) AS published, coalesce(s.suspect, 0) AS withheld
    FROM installation i
    CROSS JOIN LATERAL (SELECT greatest(%(since)s::date, i.first_day) AS since) owed
    CROSS JOIN LATERAL (SELECT bits_of_days(%(until)s, owed.since, %(until)s) AS days) every
    LEFT JOIN shown_days(%(since)s, %(until)s) s ON s.point_id = i.point_id
    WHERE i.to_at IS NULL AND owed.since <= %(until)s::date AND coalesce(s.published, 0) & every.days <> every.days
)
SELECT l.point_id, p.number AS point, l.meter_id, m.address, m.line, m.protocol, l.since AS first_day, l.published, l.withheld
FROM lacking l JOIN point p ON p.id = l.point_id JOIN meter m ON m.id = l.meter_id

-- tries_since -- slots of these days that were tried in vain
SELECT meter_id, day, cause, tries, last_at, next_at FROM attempt WHERE day >= %(since)s

-- outages -- the lines that are down
SELECT line, since, reason, next_at FROM outage

-- wrong_clocks -- what is withheld because of its meter's clock (V05)
SELECT point_id, day FROM doubt WHERE day >= %(since)s AND codes && '{V05,V05 clock}' AND kind = 1

-- add_attempts -- tries in vain since the last time, added to those before
INSERT INTO attempt AS a (day, meter_id, tries, cause, last_at, next_at)
SELECT * FROM unnest(%(days)s::date[], %(meters)s::int[], %(tries)s::int[], %(causes)s::text[], %(lasts)s::timestamptz[],
                     %(nexts)s::timestamptz[])
ON CONFLICT (day, meter_id) DO UPDATE SET
    tries = a.tries + excluded.tries,
    cause = excluded.cause,
    last_at = excluded.last_at,
    next_at = excluded.next_at

-- set_outages -- the lines that are down, as they are now
INSERT INTO outage (line, since, tries, reason, next_at)
SELECT * FROM unnest(%(lines)s::text[], %(since)s::timestamptz[], %(tries)s::int[], %(reasons)s::text[],
                     %(nexts)s::timestamptz[])
ON CONFLICT (line) DO UPDATE SET
    since = excluded.since,
    tries = excluded.tries,
    reason = excluded.reason,
    next_at = excluded.next_at

-- end_outages -- these lines are up
DELETE FROM outage WHERE line = ANY(%(lines)s::text[])
