-- open_reconnects -- those that may leave and have no job: the command, the supply of its point, for how long it waits
SELECT r.id, r.supply_state, now() - r.since FROM reconnect_to_do r
WHERE NOT EXISTS (SELECT FROM field_job j WHERE j.point_id = r.point_id AND j.kind = 'restore' AND j.closed_at IS NULL)

-- open_restore_jobs -- somebody goes where these reconnects did not work (R89a)
INSERT INTO field_job (kind, account_id, point_id, command_id, address, route, cause, opened_at, due_at)
SELECT 'restore', x.account_id, c.point_id, c.id, c.address, m.line,
       coalesce(nullif(c.detail, ''), 'not sent') || ' (' || c.sends || ' sends)', now(),
       greatest(now(), r.since + interval '24 hours')
FROM command c
JOIN reconnect_to_do r ON r.id = c.id
JOIN meter m ON m.id = c.meter_id
LEFT JOIN point_account x ON x.point_id = c.point_id AND x.to_day IS NULL
WHERE c.id = ANY(%(commands)s)
ON CONFLICT DO NOTHING
RETURNING id

-- open_order_jobs -- somebody goes, once, where what two persons ordered off is on still when their word is too old to cut by
INSERT INTO field_job (kind, account_id, point_id, address, route, cause, opened_at, due_at)
SELECT 'trip', x.account_id, o.point_id, m.address, coalesce(m.line, ''),
       'order ' || o.id || ' (' || replace(o.cause, '_', ' ') || ') is not carried out: ' || o.reason, now(), now() + interval '24 hours'
FROM order_not_done o
LEFT JOIN installation i ON i.point_id = o.point_id AND i.to_at IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
LEFT JOIN point_account x ON x.point_id = o.point_id AND x.to_day IS NULL
WHERE o.cut_until <= now()
  AND NOT EXISTS (SELECT FROM field_job j WHERE j.point_id = o.point_id AND j.kind = 'trip' AND j.opened_at >= o.agreed_at
                  AND j.closed_by IS DISTINCT FROM 'daemon')
ON CONFLICT DO NOTHING
RETURNING id

-- close_order_jobs -- nobody goes where the order is not in force any more
UPDATE field_job j SET closed_at = now(), closed_by = 'daemon', result = 'the order is not in force any more'
WHERE j.kind = 'trip' AND j.closed_at IS NULL
  AND NOT EXISTS (SELECT FROM order_in_force o WHERE o.point_id = j.point_id AND o.agreed_at <= j.opened_at)
RETURNING id

-- field_jobs -- those that are open, or all, with who has them
SELECT j.id AS number, j.kind, a.number AS account, p.number AS point, j.address, j.route, j.cause, j.opened_at, j.due_at,
       o.owner, j.closed_at, j.closed_by, j.result, j.closed_at IS NULL AND j.due_at < now() AS is_overdue,
       j.notice_id AS notice, n.text
FROM field_job j
LEFT JOIN notice n ON n.id = j.notice_id
LEFT JOIN account a ON a.id = j.account_id
LEFT JOIN point p ON p.id = j.point_id
LEFT JOIN LATERAL (SELECT owner FROM field_job_owner y WHERE y.job_id = j.id ORDER BY y.at DESC LIMIT 1) o ON true
WHERE %(all)s OR j.closed_at IS NULL
ORDER BY j.due_at, j.id

-- assign -- somebody has it now
INSERT INTO field_job_owner (job_id, owner, actor)
SELECT id, %(owner)s, %(actor)s FROM field_job WHERE id = %(number)s AND closed_at IS NULL RETURNING job_id

-- open_visits -- who has to be visited with a written notice, with the job
SELECT a.number, j.id FROM field_job j JOIN account a ON a.id = j.account_id WHERE j.kind = 'visit' AND j.closed_at IS NULL

-- paper_of -- the notice that somebody goes there with, and when it was made
SELECT n.id, n.made_at FROM field_job j JOIN notice n ON n.id = j.notice_id WHERE j.id = %(number)s AND j.closed_at IS NULL

-- close_visit -- what came of the way on which this notice was taken
UPDATE field_job SET closed_at = greatest(now(), opened_at), closed_by = %(actor)s, result = %(result)s WHERE notice_id = %(notice)s AND closed_at IS NULL

-- close_job -- what came of it
WITH closed AS (
    UPDATE field_job SET closed_at = greatest(now(), opened_at), closed_by = %(actor)s, result = %(result)s
    WHERE id = %(number)s AND closed_at IS NULL RETURNING id, point_id, kind
)
-- Whether it is so is seen at once.
SELECT c.id, pg_notify('meterd_relay', i.meter_id::text) FROM closed c
LEFT JOIN installation i ON i.point_id = c.point_id AND i.to_at IS NULL AND c.kind IN ('foreign_open', 'foreign_closed')
