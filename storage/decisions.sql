-- add_decision -- what a person says of a value; the number within the point orders them
INSERT INTO decision (point_id, day, action, total, rates, rolled_over, method, maker, reason, evidence, rev, content,
                      takes_effect)
VALUES (%(point_id)s, %(day)s, %(action)s, %(total)s, %(rates)s, %(rolled_over)s, %(method)s, %(maker)s, %(reason)s,
        %(evidence)s, (SELECT coalesce(max(rev) + 1, 1) FROM decision WHERE point_id = %(point_id)s), %(content)s,
        %(takes_effect)s)
RETURNING id

-- repeated -- the last word on a day, where it was this very one
SELECT d.id FROM decision d
WHERE d.point_id = %(point_id)s AND d.day = %(day)s
  AND d.rev = (SELECT max(x.rev) FROM decision x WHERE x.point_id = %(point_id)s AND x.day = %(day)s)
  AND (d.action, d.total, d.rates, d.rolled_over, d.method, d.maker, d.reason, d.evidence, d.content)
      IS NOT DISTINCT FROM (%(action)s, %(total)s::bigint, %(rates)s::bigint[], %(rolled_over)s, %(method)s::text, %(maker)s,
                            %(reason)s, %(evidence)s, %(content)s)
  AND NOT EXISTS (SELECT FROM decision_review r WHERE r.decision_id = d.id AND r.verdict = 'refused')

-- review -- what another person says of it
INSERT INTO decision_review (decision_id, actor, verdict, reason) VALUES (%(number)s, %(actor)s, %(verdict)s, %(reason)s)

-- take_effect -- enough others agreed; it is the newest word on its day from now on
UPDATE decision d SET takes_effect = true, checker = %(actor)s, checked_at = now(),
       rev = (SELECT max(x.rev) + 1 FROM decision x WHERE x.point_id = d.point_id)
WHERE d.id = %(number)s

-- decisions -- of a number, a point, or those that wait, each with what others said of it
SELECT d.id AS number, p.number AS point, d.point_id, d.day, d.action, d.total, i.decimals, d.rates, d.rolled_over, d.method,
       d.maker, d.made_at, d.reason, d.evidence, d.content,
       CASE WHEN d.takes_effect THEN 'counts' WHEN refused.actor IS NOT NULL THEN 'refused' ELSE 'waits' END AS state,
       (SELECT coalesce(array_agg(r.actor ORDER BY r.at), '{}') FROM decision_review r
        WHERE r.decision_id = d.id AND r.verdict = 'approved') AS approvers, refused.actor AS refuser
FROM decision d
JOIN point p ON p.id = d.point_id
LEFT JOIN LATERAL register_on(d.point_id, d.day) i ON true
LEFT JOIN LATERAL (SELECT r.actor FROM decision_review r WHERE r.decision_id = d.id AND r.verdict = 'refused' LIMIT 1) refused
    ON true
WHERE (%(number)s::bigint IS NULL OR d.id = %(number)s)
  AND (%(point)s::text IS NULL OR p.number = %(point)s)
  AND (NOT %(waiting)s OR NOT d.takes_effect AND refused.actor IS NULL)
ORDER BY d.id

-- current_reading -- registers that were read on demand on a day, of the meter that served the point at its midnight
SELECT r.total, r.stamp AS at, i.decimals, i.modulus
FROM register_on(%(point_id)s, %(day)s) i
JOIN reading r ON (r.day, r.meter_id, r.id) = (%(day)s, i.meter_id, %(reading)s)
WHERE r.kind = 3 AND r.serial IS NULL

-- lock_point -- whoever decides about a point comes one after the other
SELECT id FROM point WHERE number = %(point)s FOR NO KEY UPDATE
