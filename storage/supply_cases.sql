-- held_supplies -- points that are cut, and those whose relay was seen open although we hold it closed; each looked up by index,
-- though without statistics nobody knows that they are few
WITH held AS (
    SELECT * FROM point_supply WHERE supply_state <> 'energised' AND supply_state = 'disconnected'
    UNION ALL
    SELECT * FROM point_supply WHERE relay_observed = 'open' AND supply_state = 'energised'
)
SELECT p.id AS point_id, p.number AS point, p.account_id, p.address, p.line, v.supply_state, v.relay_observed,
       v.relay_observed_at, v.relay_evidence, p.decimals::integer, used.steps AS used
FROM held v
CROSS JOIN LATERAL (
    SELECT y.id, y.number, x.account_id, m.address, m.line, i.decimals
    FROM point y
    JOIN installation i ON i.point_id = y.id AND i.to_at IS NULL AND i.has_relay
    JOIN meter m ON m.id = i.meter_id
    LEFT JOIN point_account x ON x.point_id = y.id AND x.to_day IS NULL
    WHERE y.id = v.point_id OFFSET 0) p
LEFT JOIN LATERAL (
    SELECT e.at FROM command c JOIN command_event e ON e.command_id = c.id AND e.state = 'verified'
    WHERE c.point_id = p.id AND c.action = 'trip' ORDER BY c.sequence DESC LIMIT 1) cut ON v.supply_state = 'disconnected'
LEFT JOIN LATERAL (
    SELECT max(j.closed_at) AS at FROM field_job j WHERE j.point_id = p.id AND j.kind = 'foreign_closed') mended ON true
LEFT JOIN LATERAL newest_slot(p.id, 1::smallint, '{published}') newest ON cut.at IS NOT NULL
LEFT JOIN LATERAL (
    -- The first midnight of the site that lies behind both.
    SELECT newest.total - s.total AS steps FROM slot s
    WHERE s.point_id = p.id AND s.kind = 1 AND s.state = 'published' AND s.meter_id = newest.meter_id AND s.day < newest.day
      AND s.day > (greatest(cut.at, mended.at) AT TIME ZONE coalesce((SELECT zone FROM site), 'UTC'))::date
    ORDER BY s.day LIMIT 1) used ON true
ORDER BY p.id

-- open_case -- somebody looks into it, unless somebody did since it was seen
INSERT INTO field_job (kind, account_id, point_id, address, route, cause, opened_at, due_at)
SELECT %(kind)s, %(account)s, %(point)s, %(address)s, %(line)s, %(cause)s, %(now)s::timestamptz, %(now)s::timestamptz + %(lasts)s
WHERE NOT EXISTS (SELECT FROM field_job j WHERE j.point_id = %(point)s AND j.kind = %(kind)s AND j.closed_at >= %(seen_at)s::timestamptz)
ON CONFLICT DO NOTHING
RETURNING id

-- prove_dark -- what registers say agrees with what relays say
UPDATE point_supply SET relay_evidence = 'A' WHERE point_id = ANY(%(points)s) AND relay_observed = 'open'

-- alarms -- what a person has to know of supply, each with its age, whatever became of its line
WITH dark AS (
    SELECT v.point_id, v.supply_state, v.relay_observed_at, p.number AS point, m.line,
           coalesce((SELECT max(c.created_at) FROM command c WHERE c.point_id = v.point_id), %(now)s::timestamptz) AS since
    FROM point_supply v JOIN point p ON p.id = v.point_id
    LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
    LEFT JOIN meter m ON m.id = i.meter_id
    WHERE v.supply_state <> 'energised'
), found AS (
    SELECT 'reconnect_late' AS kind, p.number AS point, m.line, c.created_at AS since, c.state || ' ' || c.detail AS detail
    FROM point_supply v JOIN point p ON p.id = v.point_id
    CROSS JOIN LATERAL (SELECT * FROM command y WHERE y.point_id = p.id ORDER BY y.sequence DESC LIMIT 1) c
    JOIN meter m ON m.id = c.meter_id
    -- One that the meter refused is over, and its customer as dark as before.
    WHERE v.supply_state <> 'energised' AND c.action <> 'trip' AND c.state <> 'verified'
      AND v.supply_state <> 'wait_customer_button' AND c.created_at <= %(now)s::timestamptz - %(reconnect_after)s::interval
    UNION ALL
    SELECT 'trip_unverified', p.number, m.line, c.sent_at, c.state || ' ' || c.detail
    FROM command c JOIN point p ON p.id = c.point_id JOIN meter m ON m.id = c.meter_id
    WHERE c.action = 'trip' AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')
      AND c.sent_at <= %(now)s::timestamptz - %(trip_after)s::interval
    UNION ALL
    SELECT 'cut_on_disabled_line', d.point, d.line, d.since, d.supply_state FROM dark d WHERE NOT coalesce(d.line = ANY(%(lines)s), false)
    UNION ALL
    SELECT 'cut_on_silent_line', d.point, d.line, o.since, o.reason
    FROM dark d JOIN outage o ON o.line = d.line
    WHERE d.line = ANY(%(lines)s) AND o.since <= %(now)s::timestamptz - %(silent_after)s::interval
    UNION ALL
    SELECT 'cut_not_seen', d.point, d.line, coalesce(d.relay_observed_at, d.since), d.supply_state
    FROM dark d WHERE coalesce(d.relay_observed_at, d.since) <= %(now)s::timestamptz - %(unseen_after)s::interval
    UNION ALL
    SELECT 'cut_in_shadow', d.point, d.line, d.since, d.supply_state FROM dark d WHERE %(shadow_mode)s
    UNION ALL
    SELECT 'order_not_done', p.number, m.line, o.agreed_at, o.cause || ' order ' || o.id
    FROM order_not_done o JOIN point p ON p.id = o.point_id
    LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL LEFT JOIN meter m ON m.id = i.meter_id
    WHERE o.agreed_at <= %(now)s::timestamptz - %(trip_after)s::interval
), told AS (
    SELECT *, NULL::integer AS account_id, NULL AS area FROM found
    UNION ALL
    -- Of a line whose points are all in one area it is about that one.
    SELECT 'breaker_open', NULL, NULL, b.opened_at, concat_ws(' ', b.scope, nullif(b.name, ''), b.cause), NULL,
           CASE b.scope WHEN 'area' THEN b.name WHEN 'line' THEN (
               SELECT min(p.area) FROM meter m JOIN installation i ON i.meter_id = m.id AND i.to_at IS NULL
               JOIN point p ON p.id = i.point_id WHERE m.line = b.name HAVING min(p.area) = max(p.area)) END
    FROM breaker b WHERE b.reset_at IS NULL
    UNION ALL
    SELECT k.kind, p.number, j.route, k.since, k.detail, j.account_id, NULL
    FROM field_job j LEFT JOIN point p ON p.id = j.point_id
    CROSS JOIN LATERAL (
        SELECT CASE j.kind WHEN 'notice' THEN 'notice_failed' ELSE j.kind END, j.opened_at, j.cause
        WHERE j.kind IN ('notice', 'foreign_open', 'foreign_closed')
        UNION ALL
        SELECT 'job_overdue', j.due_at, j.kind || ': ' || j.cause WHERE j.due_at < %(now)s::timestamptz) k (kind, since, detail)
    WHERE j.closed_at IS NULL
)
SELECT f.kind, f.point, a.number AS account, f.line, f.since, btrim(f.detail) AS detail, coalesce(p.area, f.area, '') AS area,
       f.kind IN ('notice_failed', 'foreign_open', 'foreign_closed', 'job_overdue') OR EXISTS (
           SELECT FROM field_job j WHERE j.point_id = p.id AND j.closed_at IS NULL
           AND (f.kind, j.kind) IN (('reconnect_late', 'restore'), ('order_not_done', 'trip'))) AS has_job
FROM told f
LEFT JOIN point p ON p.number = f.point
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
LEFT JOIN account a ON a.id = coalesce(x.account_id, f.account_id)
ORDER BY f.kind, f.since, f.point

-- cut_points -- those that we hold open, or on their way to or from it
SELECT p.number FROM point_supply v JOIN point p ON p.id = v.point_id WHERE v.supply_state <> 'energised' ORDER BY 1

-- dark_on_lines -- points that are cut, or on their way to or from it, by the meters of these lines
SELECT m.line, m.address, p.number
FROM point_supply v
JOIN point p ON p.id = v.point_id
JOIN installation i ON i.point_id = v.point_id AND i.to_at IS NULL
JOIN meter m ON m.id = i.meter_id
WHERE v.supply_state <> 'energised' AND m.line = ANY(%(lines)s)
ORDER BY 1, 3
