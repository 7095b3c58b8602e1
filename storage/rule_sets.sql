-- newest -- the one that holds now
SELECT id, program, thresholds, since, actor FROM rule_set ORDER BY id DESC LIMIT 1

-- put -- a new one, where the program or the site says something else than the newest
INSERT INTO rule_set (id, program, thresholds, actor)
SELECT newest.id + 1, %(program)s, %(thresholds)s, %(actor)s FROM (SELECT * FROM rule_set ORDER BY id DESC LIMIT 1) newest
WHERE (newest.program, newest.thresholds) IS DISTINCT FROM (%(program)s::smallint, %(thresholds)s::jsonb)
RETURNING id, program, thresholds, since, actor

-- every_point -- that shows anything, with its first day
SELECT point_id, first_day FROM chain WHERE kind = 1

-- long_or_open -- points with a link of more days than these, or with a value that is not in the chain or may be none of it
SELECT c.point_id, c.first_day
FROM chain c
JOIN (SELECT s.point_id FROM slot s
      WHERE s.kind = 1 AND (s.link_days <> 1 OR s.state NOT IN ('published', 'substituted'))
        AND (abs(s.link_days) > %(days)s OR s.state <> 'published')
      UNION
      SELECT d.point_id FROM doubt d WHERE d.kind = 1 AND NOT (d.hold IS NULL AND d.codes <@ '{V10,V25,V28,V37}')
      UNION
      SELECT d.point_id FROM decision d WHERE d.action = 'substitute' AND d.takes_effect) touched USING (point_id)
WHERE c.kind = 1

-- some -- by their ids
SELECT id, program, thresholds, since, actor FROM rule_set WHERE id = ANY(%(ids)s) ORDER BY id
