-- points -- that are served, in order, behind one
SELECT DISTINCT point_id FROM installation WHERE to_at IS NULL AND point_id > %(behind)s ORDER BY 1 LIMIT %(most)s

-- uses -- of each point its billed and held use since a day, and that of two whole months
WITH used AS (
    SELECT l.point_id, l.from_day, l.to_day,
           trim_scale((l.ends[1] - l.begins[1] + CASE WHEN l.ends[1] < l.begins[1] THEN l.modulus ELSE 0 END)::numeric
                      / 10::numeric ^ l.decimals * l.ratio) AS kwh
    FROM link l
    WHERE l.point_id = ANY(%(points)s) AND l.state <> 'replaced'
      AND (l.to_day > %(since)s OR l.from_day >= %(last_year)s AND l.to_day <= %(last_year_end)s)
)
SELECT point_id,
       array_agg(from_day ORDER BY from_day) FILTER (WHERE to_day > %(since)s) AS from_days,
       array_agg(to_day ORDER BY from_day) FILTER (WHERE to_day > %(since)s) AS to_days,
       array_agg(kwh ORDER BY from_day) FILTER (WHERE to_day > %(since)s) AS kwhs,
       sum(kwh) FILTER (WHERE from_day >= %(month)s AND to_day <= %(month_end)s) AS month_kwh,
       coalesce(sum(to_day - from_day) FILTER (WHERE from_day >= %(month)s AND to_day <= %(month_end)s), 0)::int
           AS month_days,
       sum(kwh) FILTER (WHERE from_day >= %(last_year)s AND to_day <= %(last_year_end)s) AS last_year_kwh,
       coalesce(sum(to_day - from_day) FILTER (WHERE from_day >= %(last_year)s AND to_day <= %(last_year_end)s), 0)::int
           AS last_year_days
FROM used GROUP BY 1 ORDER BY 1

-- active -- what is so of points now: of each code the last word
SELECT p.number AS point, a.number AS account, f.code, f.from_day AS day
FROM (SELECT DISTINCT ON (x.point_id, x.code) * FROM finding x
      WHERE x.code = ANY(%(codes)s) ORDER BY x.point_id, x.code, x.found_at DESC, x.rev DESC) f
JOIN point p ON p.id = f.point_id
LEFT JOIN point_account g ON g.point_id = f.point_id AND g.to_day IS NULL
LEFT JOIN account a ON a.id = g.account_id
WHERE f.active AND f.from_day <= %(until)s
  AND (%(point)s::text IS NULL OR p.number = %(point)s)
  AND (%(account)s::text IS NULL OR a.number = %(account)s)
  AND (%(code)s::text IS NULL OR f.code = %(code)s)
ORDER BY p.number, f.code
