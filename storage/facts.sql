-- zone -- of the site
SELECT zone FROM site

-- installations -- the meters of these points in order of time, each with what the one before it ended with
SELECT i.id, i.point_id, i.meter_id, m.address, i.from_at, i.to_at, i.initial, i.modulus, i.decimals, i.wire_decimals,
       lag(i.final) OVER of_point AS old_final, lag(i.decimals) OVER of_point AS old_decimals, i.document_id
FROM installation i JOIN meter m ON m.id = i.meter_id
WHERE i.point_id = ANY(%(points)s)
WINDOW of_point AS (PARTITION BY i.point_id ORDER BY i.from_at)
ORDER BY i.point_id, i.from_at

-- ratios -- of these points
SELECT point_id, from_day, from_at, rev, ratio, registers FROM point_ratio WHERE point_id = ANY(%(points)s)

-- limits -- of these points
SELECT point_id, from_day, rev, max_daily_kwh FROM point_limit WHERE point_id = ANY(%(points)s)

-- clock_settings -- of the meters that serve these points now
SELECT i.point_id, c.rev, c.clock
FROM installation i JOIN clock_setting c USING (meter_id) WHERE i.to_at IS NULL AND i.point_id = ANY(%(points)s)

-- clock_findings -- of the meters of these points
SELECT i.point_id, c.from_day, c.to_day, c.rev, c.skew_s
FROM installation i JOIN clock_finding c USING (meter_id) WHERE i.point_id = ANY(%(points)s)

-- findings -- of other rules
SELECT point_id, code, from_day, to_day, rev, active FROM finding WHERE point_id = ANY(%(points)s)

-- decisions -- of persons, as far as they count
SELECT point_id, action, day, total, rev, rolled_over, method FROM decision
WHERE point_id = ANY(%(points)s) AND action <> 'release_link' AND takes_effect

-- closings -- of periods
SELECT point_id, through_day, published FROM closing WHERE point_id = ANY(%(points)s)

-- reads -- what the meters of these points told for their days, day by day, as they lie
SELECT i.point_id, r.day, r.meter_id, r.total, r.rate_1, r.rate_2, r.rate_3, r.rate_4, r.more_rates, r.stamp, r.arrived_at,
       r.source, r.clock_skew_s, r.host_offset_ms
FROM (SELECT x.point_id, x.meter_id, min(x.first_day) AS first_day
      FROM installation x WHERE x.point_id = ANY(%(points)s) GROUP BY 1, 2) i
CROSS JOIN LATERAL generate_series(i.first_day, current_date + 2, interval '1 day') asked
JOIN reading r ON r.day = asked::date AND r.meter_id = i.meter_id AND r.kind = 1
