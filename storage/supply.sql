-- control_facts -- all that the guard must know of the points of these accounts (whose rows the caller has locked)
SELECT p.id AS point_id, p.account_id, p.supply_state, p.relay_observed, p.keep_power_observed, p.protected,
       p.life_support, p.reconnect, m.id AS meter_id, m.address, m.line,
       a.state AS account_state, a.agreement IS NOT NULL AS has_agreement, a.trip_fen, a.credit_limit_fen,
       a.reconnect_fen, a.credit_state, a.episode_started_at,
       coalesce(b.balance_fen, 0) AS balance_fen,
       newest.state AS newest_state,
       published.day AS last_published_day,
       coalesce((SELECT max(l.to_day - l.from_day) FROM link l
                 WHERE l.account_id = a.id AND l.state = 'billed' AND l.made_at > %(now)s::timestamptz - interval '24 hours'),
                0) AS longest_recent_span_days,
       EXISTS (SELECT FROM command c WHERE c.point_id = p.id AND c.action <> 'trip'
               AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')) AS reconnect_pending,
       (SELECT count(*) FROM command_event e JOIN command c ON c.id = e.command_id
        WHERE c.action = 'trip' AND e.state = 'sent' AND e.at > %(now)s::timestamptz - interval '1 minute')
           AS trips_last_minute
FROM point p
JOIN account a ON a.id = p.account_id
JOIN installation i ON i.point_id = p.id AND i.removed_on IS NULL
JOIN meter m ON m.id = i.meter_id
LEFT JOIN ledger_account b ON b.name = 'customer:' || a.id || ':prepaid'
LEFT JOIN LATERAL (SELECT s.state FROM slot s WHERE s.point_id = p.id AND s.kind = 'daily_freeze'
                   ORDER BY s.day DESC LIMIT 1) newest ON true
LEFT JOIN LATERAL (SELECT s.day FROM slot s WHERE s.point_id = p.id AND s.kind = 'daily_freeze'
                   AND s.state = 'published' ORDER BY s.day DESC LIMIT 1) published ON true
WHERE a.id = ANY(%(accounts)s)
ORDER BY p.id

-- accounts_to_look_at -- accounts whose money and supply may not fit together
SELECT DISTINCT a.id
FROM account a JOIN point p ON p.account_id = a.id
LEFT JOIN ledger_account b ON b.name = 'customer:' || a.id || ':prepaid'
WHERE (a.credit_state = 'exhausted' AND p.supply_state = 'energised')
   OR (p.supply_state IN ('disconnected', 'trip_commanded')
       AND (coalesce(b.balance_fen, 0) >= a.reconnect_fen OR p.protected OR p.life_support))
ORDER BY a.id

-- last_verdicts -- what the guard said last about each point
SELECT p.id, v.decision, v.reasons
FROM unnest(%(points)s::text[]) AS p (id)
CROSS JOIN LATERAL (SELECT decision, reasons FROM guard_verdict x WHERE x.point_id = p.id
                    ORDER BY x.id DESC LIMIT 1) v

-- add_verdict -- the guard changed its mind
INSERT INTO guard_verdict (point_id, at, decision, reasons, facts)
VALUES (%(point)s, %(at)s, %(decision)s, %(reasons)s, %(facts)s)

-- recently_tried -- points of which a command of this kind was tried a short time ago and ended
SELECT DISTINCT point_id FROM command
WHERE point_id = ANY(%(points)s::text[]) AND (action = 'trip') = %(is_trip)s
  AND (state IN ('expired', 'cancelled', 'failed') AND created_at > %(since)s
       OR state = 'refused' AND created_at > %(refused_since)s)

-- add_command -- the row comes first, the frame afterwards
INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state, guard, created_at, expires_at, next_at)
VALUES (%(id)s, %(point_id)s, %(meter_id)s, %(address)s, %(line)s, %(action)s, %(cause)s, 'persisted', %(guard)s,
        %(now)s, %(expires_at)s, %(now)s)

-- set_supply -- the supply state of points
UPDATE point SET supply_state = %(supply_state)s WHERE id = ANY(%(points)s)

-- end_open_trips -- payment ends every trip: the unsent are cancelled, the others superseded
UPDATE command SET state = CASE WHEN sends = 0 THEN 'cancelled' ELSE 'superseded' END, detail = %(detail)s
WHERE point_id = ANY(%(points)s) AND action = 'trip'
  AND state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')
RETURNING point_id, sends

-- due_command -- what the line has to do next; restoring comes first. A meter may have moved to another line since
SELECT c.id, p.account_id
FROM command c JOIN point p ON p.id = c.point_id JOIN meter m ON m.id = c.meter_id
WHERE m.line = %(line)s AND c.next_at <= %(now)s
  AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')
  AND (%(sending)s OR c.state <> 'persisted')
ORDER BY (c.action = 'trip'), c.next_at, c.sequence LIMIT 1

-- next_due -- when the line has to look again
SELECT min(c.next_at) FROM command c JOIN meter m ON m.id = c.meter_id
WHERE m.line = %(line)s AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')

-- lines_with_commands -- the lines that have to look
SELECT DISTINCT m.line FROM command c JOIN meter m ON m.id = c.meter_id
WHERE c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')

-- is_sent -- is this very send still in force
SELECT state = 'sent' AND sends = %(sends)s FROM command WHERE id = %(id)s

-- holds_site -- does this database process hold the site's lock
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = %(process)s
               AND classid = 0 AND objid = %(lock)s AND objsubid = 1
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))

-- lock_account_of -- the account row of a point
SELECT a.id FROM account a WHERE a.id = (SELECT account_id FROM point WHERE id = %(point)s) FOR UPDATE

-- lock_trips -- one release of a trip at a time
SELECT pg_advisory_xact_lock(%(lock)s)

-- lock_command -- one command, if it is still open
SELECT * FROM command
WHERE id = %(id)s AND state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') FOR UPDATE

-- move_command -- its next state
UPDATE command SET state = %(state)s, detail = %(detail)s, next_at = %(next_at)s,
    checks = checks + %(checks)s, sends = sends + %(sends)s,
    sent_at = CASE WHEN %(sends)s > 0 THEN %(now)s ELSE sent_at END,
    guard = coalesce(%(guard)s, guard), expires_at = coalesce(%(expires_at)s, expires_at)
WHERE id = %(id)s

-- answer_command -- what the meter said to the control frame, unless the command was superseded meanwhile
UPDATE command SET state = %(state)s, detail = %(detail)s
WHERE id = %(id)s AND state = 'sent' RETURNING point_id

-- observe_relay -- what status word 3 said
UPDATE point SET relay_observed = %(relay)s, relay_observed_at = %(now)s, keep_power_observed = %(keep_power)s
WHERE id = %(point)s

-- resume -- after a restart: look at the relay before anything else
UPDATE command SET state = 'verifying', next_at = %(now)s, detail = 'daemon restarted'
WHERE state IN ('sent', 'acked', 'unknown') OR (state = 'persisted' AND action = 'trip' AND sends > 0)

-- expire_old_trips -- a trip that waited over a restart is never sent late
WITH expired AS (
    UPDATE command SET state = 'expired', detail = 'waited over a restart'
    WHERE state = 'persisted' AND action = 'trip' AND sends = 0 AND created_at < %(before)s
    RETURNING point_id
)
UPDATE point SET supply_state = 'energised' FROM expired WHERE id = expired.point_id

-- commands_by_state -- for the metrics
SELECT action, state, count(*) FROM command GROUP BY action, state

-- supply -- points with their supply and last command
SELECT p.id AS point_id, p.account_id, m.address, m.line, p.supply_state, p.relay_observed, p.relay_observed_at,
       c.action, c.state AS command_state, c.created_at, c.detail,
       v.decision, v.reasons, v.at AS verdict_at
FROM point p
LEFT JOIN installation i ON i.point_id = p.id AND i.removed_on IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
LEFT JOIN LATERAL (SELECT * FROM command x WHERE x.point_id = p.id ORDER BY x.sequence DESC LIMIT 1) c ON true
LEFT JOIN LATERAL (SELECT * FROM guard_verdict x WHERE x.point_id = p.id ORDER BY x.id DESC LIMIT 1) v ON true
WHERE (%(account)s::text IS NULL OR p.account_id = %(account)s)
  AND (%(point)s::text IS NULL OR p.id = %(point)s)
ORDER BY p.id

-- command_history -- every transition of a point's commands
SELECT c.id, c.action, c.cause, e.at, e.state, e.detail
FROM command c JOIN command_event e ON e.command_id = c.id
WHERE c.point_id = %(point)s ORDER BY e.at, c.sequence
