-- amnesties -- those that hold now, the first one first, and how fast who is cut comes back
SELECT id, kw_per_minute, kw_per_point FROM supply_mark
WHERE kind = 'amnesty' AND lifted_at IS NULL AND from_at <= %(now)s AND coalesce(to_at, 'infinity') > %(now)s ORDER BY id

-- lock_ramps -- one portion at a time
SELECT pg_advisory_xact_lock(%(lock)s)

-- still_cut -- (account, point) of an amnesty's points that are cut and no reconnect is under way of, the longest cut first; none that is kept
-- off, which would come first each time
SELECT x.account_id, p.id FROM supply_mark k
JOIN point_supply v ON v.supply_state IN ('disconnected', 'trip_commanded')
JOIN point p ON p.id = v.point_id
JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
LEFT JOIN LATERAL (SELECT max(c.sequence) AS last FROM command c WHERE c.point_id = p.id) c ON true
WHERE k.id = %(number)s AND (num_nonnulls(k.area, k.line, k.account_id, k.point_id) = 0 OR p.area = k.area
    OR m.line = k.line OR x.account_id = k.account_id OR p.id = k.point_id)
  AND NOT EXISTS (SELECT FROM kept_off_points() o WHERE o.point_id = p.id)
  AND (%(of_lines_down)s OR NOT EXISTS (SELECT FROM outage o WHERE o.line = m.line))
ORDER BY c.last, p.id LIMIT %(most)s

-- left_dark -- points of a mark that are cut, and no reconnect is under way of, whatever keeps them so
SELECT p.number FROM supply_mark k
JOIN point_supply v ON v.supply_state IN ('disconnected', 'trip_commanded')
JOIN point p ON p.id = v.point_id
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
WHERE k.id = %(number)s AND (num_nonnulls(k.area, k.line, k.account_id, k.point_id) = 0 OR p.area = k.area
    OR m.line = k.line OR x.account_id = k.account_id OR p.id = k.point_id)
ORDER BY 1

-- coming_back -- points of an amnesty whose reconnect was sent within the window, or is to be sent soon: not by a line that has not taken it for
-- so long, nor where somebody works
SELECT count(*) FROM command c
JOIN point p ON p.id = c.point_id
JOIN meter m ON m.id = c.meter_id
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
JOIN supply_mark k ON k.id = %(number)s
WHERE c.action <> 'trip' AND c.id IS DISTINCT FROM %(but)s
  AND (c.sent_at > %(now)s::timestamptz - %(window)s::interval
       OR %(with_unsent)s AND c.sends = 0 AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')
          AND c.next_at > %(now)s::timestamptz - %(window)s::interval
          AND NOT EXISTS (SELECT FROM kept_off_points() o WHERE o.point_id = p.id))
  AND (num_nonnulls(k.area, k.line, k.account_id, k.point_id) = 0 OR p.area = k.area
       OR m.line = k.line OR x.account_id = k.account_id OR p.id = k.point_id)
