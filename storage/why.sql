-- points_asked_for -- the points of that number, or those that the account of that number has now
SELECT p.id FROM point p WHERE p.number = %(name)s
UNION
SELECT x.point_id FROM account a JOIN point_account x ON x.account_id = a.id AND x.to_day IS NULL WHERE a.number = %(name)s

-- supplies -- what is known of the supply of these points
WITH asked AS (
    SELECT p.*, x.account_id, i.meter_id
    FROM point p
    LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
    LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
    WHERE p.id = ANY(%(points)s)
), beside AS (
    -- The meters themselves, and those of their areas.
    SELECT p.area, i.meter_id FROM point p JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
    WHERE p.area IN (SELECT area FROM asked WHERE area <> '')
    UNION
    SELECT NULL, meter_id FROM asked WHERE area = '' AND meter_id IS NOT NULL
), heard AS (
    SELECT b.area, b.meter_id, told.at, silent.at AS asked_at
    FROM beside b
    CROSS JOIN LATERAL (
        -- Day by day, by the index: how much lies behind a meter must not matter. What comes late is of the last days.
        SELECT coalesce(
            (SELECT max(y.arrived_at) FROM generate_series(0, 2) n
             JOIN reading y ON y.day = %(today)s::date - n AND y.meter_id = b.meter_id),
            (SELECT r.at FROM generate_series(3, 62) n
             CROSS JOIN LATERAL (SELECT max(y.arrived_at) AS at FROM reading y
                                 WHERE y.day = %(today)s::date - n AND y.meter_id = b.meter_id) r
             WHERE r.at IS NOT NULL ORDER BY n LIMIT 1)) AS at) told
    LEFT JOIN LATERAL (
        SELECT max(t.last_at) AS at FROM attempt t
        WHERE t.day BETWEEN %(today)s::date - 2 AND %(today)s::date AND t.meter_id = b.meter_id AND t.cause = 'no_answer'
          AND t.last_at > coalesce(told.at, '-infinity')) silent ON true
), area AS (
    SELECT h.area, count(*) AS meters, count(h.asked_at) AS silent FROM heard h WHERE h.area IS NOT NULL GROUP BY 1
)
SELECT p.number AS point, a.number AS account, p.area, p.reconnect, v.supply_state, v.cut_for, v.relay_observed, v.relay_observed_at,
       coalesce(b.balance_fen, 0) AS balance_fen, coalesce(a.reconnect_fen, 0) AS reconnect_fen, m.address, m.line,
       cut.sent_at AS cut_at, c.created_at AS command_at, c.state AS command_state,
       greatest(h.at, v.relay_observed_at) AS heard_at,
       CASE WHEN h.asked_at > coalesce(v.relay_observed_at, '-infinity') THEN h.asked_at END AS asked_at,
       coalesce(area.meters, 1) AS area_meters, coalesce(area.silent, 0) AS area_silent,
       o.since AS line_down_since, o.reason AS line_down_reason,
       planned.from_at AS outage_from, planned.to_at AS outage_to, planned.reason AS outage_reason,
       off.from_at AS off_since, off.reason AS off_reason,
       ordered.cause AS ordered, ordered.agreed_at AS ordered_at, ordered.reason AS order_reason,
       must_be_on(p.id) AS must_be_on,
       (SELECT j.opened_at FROM field_job j WHERE j.account_id = p.account_id AND j.kind = 'visit' AND j.closed_at IS NULL) AS visit_at
FROM asked p
JOIN point_supply v ON v.point_id = p.id
LEFT JOIN account a ON a.id = p.account_id
LEFT JOIN ledger_account b ON b.name = 'customer:' || a.number || ':prepaid'
LEFT JOIN meter m ON m.id = p.meter_id
LEFT JOIN heard h ON h.meter_id = p.meter_id
LEFT JOIN area ON area.area = p.area
LEFT JOIN outage o ON o.line = m.line
LEFT JOIN LATERAL (SELECT y.sent_at FROM command y WHERE y.point_id = p.id AND y.action = 'trip' AND y.sends > 0
                   ORDER BY y.sequence DESC LIMIT 1) cut ON true
LEFT JOIN LATERAL (SELECT y.created_at, y.state FROM command y WHERE y.point_id = p.id ORDER BY y.sequence DESC LIMIT 1) c ON true
LEFT JOIN LATERAL (
    SELECT y.from_at, y.to_at, y.reason FROM supply_mark y
    WHERE y.kind = 'planned_outage' AND y.lifted_at IS NULL AND y.from_at <= %(now)s AND coalesce(y.to_at > %(now)s, true)
      AND coalesce(y.area = p.area, true) AND coalesce(y.line = m.line, true)
      AND coalesce(y.account_id = p.account_id, true) AND coalesce(y.point_id = p.id, true)
    ORDER BY y.from_at LIMIT 1) planned ON true
LEFT JOIN LATERAL (
    SELECT y.from_at, y.reason FROM supply_mark y
    WHERE y.kind = 'keep_off' AND y.lifted_at IS NULL AND y.from_at <= %(now)s AND coalesce(y.to_at > %(now)s, true)
      AND coalesce(y.area = p.area, true) AND coalesce(y.line = m.line, true)
      AND coalesce(y.account_id = p.account_id, true) AND coalesce(y.point_id = p.id, true)
    ORDER BY y.from_at LIMIT 1) off ON true
LEFT JOIN order_in_force ordered ON ordered.point_id = p.id
ORDER BY p.number
