-- forget_month -- the oldest month of readings and slots that may go: how many rows went, by table
SELECT table_name, deleted FROM forget_month(%(now)s)

-- forget_rows -- the oldest rows of a table that may go, at most so many: how many went
SELECT forget_rows(%(table)s, %(now)s, %(most)s)

-- kept -- how long each table's rows are kept, its oldest one that is not kept for ever, when its time is over, what needs it
WITH oldest (table_name, at) AS (
    SELECT 'reading', min(day)::timestamptz FROM reading
    UNION ALL SELECT 'slot', min(day)::timestamptz FROM slot
    UNION ALL SELECT 'slot_journal', min(changed_at) FROM slot_journal
    UNION ALL SELECT 'dead_letter', min(coalesce(replayed_at, dropped_at)) FROM dead_letter
    UNION ALL SELECT 'attempt', min(day)::timestamptz FROM attempt
    UNION ALL (SELECT 'guard_verdict', v.at FROM guard_verdict v
               WHERE EXISTS (SELECT FROM guard_verdict x WHERE x.point_id = v.point_id AND x.id > v.id) ORDER BY v.at LIMIT 1)
), series AS (
    SELECT (SELECT min(m.end_day) FROM months_of('slot') m)
           + (SELECT max(keep) FROM retention WHERE table_name IN ('reading', 'slot') HAVING count(keep) = 2) AS goes_at,
           (SELECT still_needed(m.first_day, m.end_day) FROM months_of('slot') m ORDER BY m.first_day LIMIT 1) AS needed_by
)
SELECT r.table_name, r.keep::text AS keep, r.reason, o.at AS oldest,
       CASE WHEN r.table_name IN ('reading', 'slot') THEN s.goes_at
            WHEN r.table_name = 'slot_journal' AND o.at IS NOT NULL THEN greatest(o.at + r.keep, s.goes_at)
            ELSE o.at + r.keep END AS goes_at,
       CASE WHEN r.table_name IN ('reading', 'slot', 'slot_journal') THEN s.needed_by END AS needed_by
FROM retention r CROSS JOIN series s LEFT JOIN oldest o USING (table_name)
ORDER BY r.keep IS NULL, r.keep, r.table_name
