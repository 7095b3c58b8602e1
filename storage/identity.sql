-- lock_known -- what is known of meters, each with the point that it serves now
SELECT m.id AS meter_id, m.address, m.serial, p.id AS point_id, p.number AS point, EXISTS (
           SELECT FROM point_account g JOIN account a ON a.id = g.account_id
           WHERE g.point_id = p.id AND g.to_day IS NULL AND a.state IN ('active', 'closing')) AS is_billed
FROM meter m
LEFT JOIN installation i ON i.meter_id = m.id AND i.to_at IS NULL
LEFT JOIN point p ON p.id = i.point_id
WHERE m.id = ANY(%(meters)s::int[])
ORDER BY m.id
FOR NO KEY UPDATE OF m

-- elsewhere -- other meters in use that told one of these serials, or are registered with it
SELECT DISTINCT asked.meter_id, m.address, i.point_id
FROM unnest(%(meters)s::int[], %(serials)s::text[]) AS asked (meter_id, serial)
CROSS JOIN LATERAL (
    SELECT x.id, x.address FROM meter x WHERE x.asset_number = asked.serial
    UNION
    SELECT x.id, x.address FROM meter x WHERE x.serial = asked.serial
) m
JOIN installation i ON i.meter_id = m.id AND i.to_at IS NULL
WHERE m.id <> asked.meter_id
ORDER BY asked.meter_id, m.address

-- store -- what each meter told last, and what it must tell from now on
UPDATE meter m SET
    serial = t.serial,
    asset_number = coalesce(t.told, m.asset_number),
    prepayment_mode = coalesce(t.prepayment, m.prepayment_mode),
    identity_read_at = t.at,
    told_ratio = coalesce(t.ratio, m.told_ratio),
    told_rates = coalesce(t.rates, m.told_rates),
    month_end_on = coalesce(t.month_end_on, m.month_end_on)
FROM unnest(%(meters)s::int[], %(ats)s::timestamptz[], %(serials)s::text[], %(tolds)s::text[], %(prepayments)s::text[],
            %(ratios)s::int[], %(rates)s::smallint[], %(month_ends)s::date[])
     AS t (meter_id, at, serial, told, prepayment, ratio, rates, month_end_on)
WHERE m.id = t.meter_id

-- end_other_serials -- a meter tells its own serial again, or a third one; one that tells none proves nothing
UPDATE other_serial o SET until_at = t.at
FROM unnest(%(meters)s::int[], %(ats)s::timestamptz[], %(tolds)s::text[]) AS t (meter_id, at, told)
WHERE o.meter_id = t.meter_id AND o.until_at IS NULL AND t.told IS NOT NULL AND o.serial <> t.told

-- begin_other_serials -- a meter tells another serial than it must
INSERT INTO other_serial (meter_id, serial, from_at)
SELECT t.meter_id, t.other, t.at
FROM unnest(%(meters)s::int[], %(ats)s::timestamptz[], %(others)s::text[]) AS t (meter_id, at, other)
WHERE t.other IS NOT NULL
  AND NOT EXISTS (SELECT FROM other_serial o WHERE o.meter_id = t.meter_id AND o.until_at IS NULL)

-- said -- what is so of these points by the last word of it
SELECT point_id, code
FROM (SELECT DISTINCT ON (point_id, code) point_id, code, active FROM finding WHERE point_id = ANY(%(points)s::int[])
      ORDER BY point_id, code, rev DESC) f
WHERE active

-- add_findings -- what is new: another state of this finding than the last one of its point
INSERT INTO finding (point_id, code, from_day, rev, active, detail)
SELECT f.point_id, f.code, f.day, coalesce(last.rev, 0) + 1, f.active, f.detail
FROM unnest(%(points)s::int[], %(codes)s::text[], %(days)s::date[], %(actives)s::boolean[], %(details)s::jsonb[])
     AS f (point_id, code, day, active, detail)
LEFT JOIN LATERAL (
    SELECT rev, active FROM finding x WHERE x.point_id = f.point_id AND x.code = f.code ORDER BY rev DESC LIMIT 1
) last ON true
WHERE f.active <> coalesce(last.active, false)
RETURNING point_id, code, from_day AS day, active, detail

-- deducting -- meters of an account, or of points that it is given, that deduct from a balance of their own
SELECT DISTINCT m.address
FROM point p
LEFT JOIN point_account g ON g.point_id = p.id AND g.to_day IS NULL
LEFT JOIN account a ON a.id = g.account_id
JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
JOIN meter m ON m.id = i.meter_id
WHERE (a.number = %(account)s OR p.number = ANY(%(points)s::text[])) AND m.prepayment_mode IN ('energy', 'money')
ORDER BY m.address

-- expected -- meters that tell another serial than they must, and since when; what those must tell that told one
SELECT meter_id, from_at, NULL FROM other_serial WHERE until_at IS NULL AND meter_id = ANY(%(meters)s::int[])
UNION ALL
SELECT id, NULL, serial FROM meter WHERE id = ANY(%(told)s::int[]) AND serial IS NOT NULL
