-- jobs -- in the field, as alarms: those that nobody has (to bring papers is work of the day), and those that are overdue
SELECT found.kind, j.id || coalesce(' (' || coalesce(p.number, a.number) || ')', '') AS about,
       coalesce(p.area, (SELECT min(y.area) FROM point_account x JOIN point y ON y.id = x.point_id
                         WHERE x.account_id = j.account_id AND x.to_day IS NULL), '') AS area, found.since
FROM field_job j LEFT JOIN point p ON p.id = j.point_id LEFT JOIN account a ON a.id = j.account_id
CROSS JOIN LATERAL (
    SELECT 'job_' || j.kind AS kind, j.opened_at AS since
    WHERE j.kind <> 'visit' AND NOT EXISTS (SELECT FROM field_job_owner o WHERE o.job_id = j.id)
    UNION ALL
    SELECT 'job_overdue', j.due_at WHERE j.due_at < %(now)s::timestamptz) found
WHERE j.closed_at IS NULL
ORDER BY j.id

-- follow -- what is wrong now is open, what was is over; what comes back soon is the same as before, with who has it
WITH found AS MATERIALIZED (
    SELECT DISTINCT ON (kind, about) * FROM unnest(%(kinds)s::text[], %(abouts)s::text[], %(areas)s::text[], %(since)s::timestamptz[])
        AS f (kind, about, area, since)
    ORDER BY kind, about, since
), over AS (
    UPDATE staff_alarm a SET over_at = %(now)s
    WHERE a.over_at IS NULL AND NOT EXISTS (SELECT FROM found f WHERE (f.kind, f.about) = (a.kind, a.about))
), known AS (
    SELECT DISTINCT ON (a.kind, a.about) a.id, a.kind, a.about, a.over_at
    FROM staff_alarm a JOIN found f ON (f.kind, f.about) = (a.kind, a.about)
    WHERE a.over_at IS NULL OR a.over_at > %(now)s::timestamptz - %(same_within)s::interval
    ORDER BY a.kind, a.about, a.over_at DESC
), back AS (
    UPDATE staff_alarm a SET over_at = NULL FROM known k WHERE a.id = k.id AND k.over_at IS NOT NULL
)
INSERT INTO staff_alarm (kind, about, area, since, opened_at)
SELECT f.kind, f.about, f.area, f.since, %(now)s FROM found f
WHERE NOT EXISTS (SELECT FROM known k WHERE (k.kind, k.about) = (f.kind, f.about))

-- waiting -- what is wrong and nobody has said to have, the oldest first
SELECT id, kind, about, area, since, opened_at, level, told_at, has_failed FROM staff_alarm
WHERE over_at IS NULL AND acknowledged_at IS NULL ORDER BY since, id

-- told_lately -- which levels were told of which kind and area since then
SELECT DISTINCT kind, area, level FROM staff_call WHERE made_at > %(since)s

-- last_number -- of all calls
SELECT coalesce(max(id), 0) FROM staff_call

-- add_calls -- they wait to be sent
INSERT INTO staff_call (id, alarms, kind, area, level, name, channel, address, language, text, made_at, next_at)
SELECT c.*, %(now)s, %(now)s
FROM jsonb_to_recordset(%(calls)s) AS c (id bigint, alarms bigint[], kind text, area text, level smallint, name text, channel text,
                                         address text, language text, text text)

-- mark_told -- how far these alarms went
UPDATE staff_alarm a SET level = t.level, told_at = %(now)s, has_failed = false
FROM unnest(%(alarms)s::bigint[], %(levels)s::smallint[]) AS t (id, level) WHERE a.id = t.id

-- withdraw_calls -- nobody is told what is over, or what somebody has by now
UPDATE staff_call c SET failed_at = %(now)s, error = 'not due any more'
WHERE c.sent_at IS NULL AND c.failed_at IS NULL
  AND NOT EXISTS (SELECT FROM staff_alarm a WHERE a.id = ANY(c.alarms) AND a.over_at IS NULL AND a.acknowledged_at IS NULL)

-- release_calls -- those whose time has come, as being tried from now on
UPDATE staff_call c SET tries = c.tries + 1,
       next_at = %(now)s::timestamptz + (%(pauses)s::interval[])[least(c.tries + 1, cardinality(%(pauses)s::interval[]))]
FROM (SELECT id FROM staff_call WHERE sent_at IS NULL AND failed_at IS NULL AND next_at <= %(now)s ORDER BY next_at, id LIMIT %(most)s) due
WHERE c.id = due.id
RETURNING c.id, c.alarms, c.tries, c.kind, c.area, c.level, c.name, c.channel, c.address, c.language, c.text

-- mark_sent -- a channel took it
UPDATE staff_call SET sent_at = %(now)s WHERE id = %(number)s AND sent_at IS NULL AND failed_at IS NULL

-- note_error -- why a channel did not take it
UPDATE staff_call SET error = %(error)s WHERE id = %(number)s AND sent_at IS NULL AND failed_at IS NULL

-- give_up -- it reaches nobody: the next level is told at once
WITH given_up AS (
    UPDATE staff_call SET failed_at = %(now)s, error = %(error)s WHERE id = %(number)s AND sent_at IS NULL AND failed_at IS NULL
    RETURNING alarms, level
)
UPDATE staff_alarm a SET has_failed = true FROM given_up g WHERE a.id = ANY(g.alarms) AND a.level = g.level

-- acknowledge -- somebody has what was told by this call; who has a job is said of the job
UPDATE staff_alarm a SET acknowledged_at = now(), acknowledged_by = %(actor)s
FROM staff_call c
WHERE c.id = %(number)s AND a.id = ANY(c.alarms) AND a.over_at IS NULL AND a.acknowledged_at IS NULL
  AND (a.kind = 'job_overdue' OR a.kind NOT LIKE 'job\_%%')
RETURNING a.about

-- unreached -- whom a call was sent to it did not reach: the next level is told at once
UPDATE staff_alarm a SET has_failed = true
FROM staff_call c
WHERE c.id = %(number)s AND a.id = ANY(c.alarms) AND a.level = c.level AND NOT a.has_failed AND a.over_at IS NULL AND a.acknowledged_at IS NULL

-- call_of -- what a number stands for
SELECT kind, name, channel FROM staff_call WHERE id = %(number)s

-- calls -- who was told what: of what is still wrong, or all
SELECT c.id AS number, c.made_at, c.kind, c.area, c.level, c.name, c.channel, left_over.about,
       CASE WHEN c.sent_at IS NOT NULL THEN 'sent' WHEN c.failed_at IS NOT NULL THEN 'failed' ELSE 'waits' END AS state, c.error,
       left_over.acknowledged_by, left_over.waiting
FROM staff_call c
CROSS JOIN LATERAL (
    SELECT string_agg(a.about, ', ' ORDER BY a.since, a.id) AS about,
           string_agg(DISTINCT a.acknowledged_by, ', ') AS acknowledged_by,
           count(*) FILTER (WHERE a.over_at IS NULL) AS open,
           count(*) FILTER (WHERE a.over_at IS NULL AND a.acknowledged_at IS NULL) AS waiting
    FROM staff_alarm a WHERE a.id = ANY(c.alarms)) left_over
WHERE %(all)s OR left_over.open > 0
ORDER BY c.id
