-- of_account -- of each point that is an account's: its newest link, and the newest registers of a moment behind it
SELECT p.id AS point_id, p.number AS point, n.max_daily_kwh,
       i.from_at > l.ends_at OR EXISTS (SELECT FROM point_ratio r WHERE r.point_id = p.id AND r.from_day > l.to_day) AS is_documented,
       a.id AS account_id, l.from_day, l.to_day, l.meter_id, l.begins, l.ends, i.modulus, i.decimals, k.ratio, l.hold,
       c.meter_id AS current_meter_id, c.at, c.registers
FROM account a
JOIN point_account x ON x.account_id = a.id AND x.to_day IS NULL
JOIN point p ON p.id = x.point_id
CROSS JOIN LATERAL limit_now(p.id) n
LEFT JOIN LATERAL (SELECT y.from_day, y.to_day, y.meter_id, begins(y), ends(y), y.hold, y.to_day::timestamp AT TIME ZONE %(zone)s AS ends_at FROM link y WHERE y.point_id = p.id AND y.account_id = a.id AND y.from_day >= x.from_day
                   ORDER BY y.from_day DESC LIMIT 1) l ON true
LEFT JOIN LATERAL (SELECT ratio FROM point_ratio WHERE point_id = p.id AND from_day <= l.to_day ORDER BY from_day DESC, rev DESC LIMIT 1) k ON true
LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
LEFT JOIN LATERAL (SELECT r.meter_id, least(r.stamp, r.arrived_at) AS at,
                          array_remove(ARRAY[r.total, r.rate_1, r.rate_2, r.rate_3, r.rate_4], NULL) || coalesce(r.more_rates, '{}') AS registers
                   FROM reading r
                   -- What is older is no register of these days, and its partitions are not looked into.
                   WHERE r.meter_id = i.meter_id AND r.kind = 3 AND r.total IS NOT NULL AND r.serial IS NULL
                     AND r.day >= l.to_day AND r.day >= site_today() - 31
                     AND least(r.stamp, r.arrived_at) > l.ends_at
                   ORDER BY 2 DESC LIMIT 1) c ON true
WHERE a.number = %(account)s AND a.state = 'active'
ORDER BY p.number

-- near_real_time_meters -- those of accounts whose balance is estimated every hour
SELECT i.meter_id
FROM account a
JOIN point_account x ON x.account_id = a.id AND x.to_day IS NULL
JOIN installation i ON i.point_id = x.point_id AND i.to_at IS NULL
WHERE a.settlement = 'near_real_time' AND a.state = 'active'
ORDER BY 1
