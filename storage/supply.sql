-- plan_once -- a statement of so many tables takes twenty times as long to be planned as to be answered about one account.
-- Kept for a day, its plan looks up by index, whatever statistics say: a month that was empty then is full an hour later
SELECT set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false)

-- plan_as_usual -- for what comes next on this connection
SELECT set_config('plan_cache_mode', 'auto', false), set_config('enable_seqscan', 'on', false)

-- control_facts -- all that the guard must know of the points of these accounts (whose rows the caller has locked)
WITH trips AS (
    SELECT count(*) AS last_minute FROM command_event e JOIN command c ON c.id = e.command_id
    WHERE c.action = 'trip' AND e.state = 'sent'
      AND e.at > now() - interval '1 minute' -- found by its index: what lies behind must not matter
      AND e.at > clock_timestamp() - interval '1 minute' -- by the clock that stamped it
), restores AS (
    SELECT count(*) AS failed FROM reconnect_to_do
    WHERE supply_state <> 'wait_customer_button' AND since <= %(now)s::timestamptz - interval '10 minutes'
), moves AS (
    SELECT point_id, array_agg(sent_at) AS sent FROM command WHERE sent_at > %(now)s::timestamptz - interval '1 day' GROUP BY 1
), waiting AS (
    -- A payment that is to be taken back names itself, and itself its account.
    SELECT d.point, coalesce(d.content ->> 'account', paid.content ->> 'account') AS account
    FROM document d LEFT JOIN document_review r ON r.document_id = d.id
    LEFT JOIN journal paid ON d.kind = 'payment_reversal' AND paid.key = d.content ->> 'payment'
    WHERE d.waits AND r.document_id IS NULL
), undecided AS (
    SELECT d.point_id FROM decision d
    WHERE NOT d.takes_effect
      AND NOT EXISTS (SELECT FROM decision_review r WHERE r.decision_id = d.id AND r.verdict = 'refused')
), open_breaker AS (
    SELECT scope, name FROM breaker WHERE reset_at IS NULL
), priced AS (
    SELECT tariff_id, max(effective_from) AS first FROM tariff_version
    WHERE state = 'counts' AND effective_from <= site_today() GROUP BY 1
), changed AS (
    SELECT DISTINCT ON (account_id) account_id, tariff_id, from_day FROM tariff_change
    WHERE from_day <= site_today() ORDER BY account_id, from_day DESC
), chosen AS (
    SELECT DISTINCT ON (account_id) account_id, profile FROM account_policy WHERE NOT waits ORDER BY account_id, rev DESC
)
SELECT p.id AS point_id, p.number AS point, a.id AS account_id, a.number AS account, v.supply_state, v.cut_for, v.relay_observed,
       v.relay_observed_at, v.keep_power_observed, i.has_relay, coalesce(moves.sent, '{}') AS relay_moves,
       p.protected, p.life_support, p.reconnect, m.id AS meter_id, m.address, m.line,
       a.state AS account_state, a.agreement IS NOT NULL AS has_agreement, a.trip_fen, a.credit_limit_fen,
       a.reconnect_fen, a.credit_state, episode.id AS episode_id, episode.started_at AS episode_started_at, chosen.profile,
       coalesce(b.balance_fen, 0) AS balance_fen,
       CASE WHEN EXISTS (SELECT FROM to_settle t WHERE t.account_id = a.id) THEN 'unsettled'
            WHEN EXISTS (SELECT FROM point_account y JOIN to_judge t ON t.point_id = y.point_id WHERE y.account_id = a.id)
                 THEN 'unjudged'
            WHEN EXISTS (SELECT FROM doubt d WHERE (d.point_id, d.day, d.kind) = (p.id, newest.day, newest.kind)
                         AND d.codes && '{V33,V37}') THEN 'disputed'
            ELSE newest.state::text END AS newest_state,
       published.day AS last_published_day,
       a.span_grace_until, coalesce(jump.active, false) AS use_jump,
       p.number IN (SELECT point FROM waiting WHERE point IS NOT NULL)
           OR a.number IN (SELECT account FROM waiting WHERE account IS NOT NULL)
           OR p.id IN (SELECT point_id FROM undecided) AS correction_open,
       greatest(priced.first, changed.from_day) AS tariff_from,
       EXISTS (SELECT FROM command c WHERE c.point_id = p.id AND c.action <> 'trip'
               AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')) AS reconnect_pending,
       EXISTS (SELECT FROM open_breaker o WHERE (o.scope, o.name) IN (('site', ''), ('area', p.area), ('line', m.line),
               ('tariff', coalesce(changed.tariff_id, a.tariff_id)))) AS breaker_open,
       restores.failed AS failed_restores, trips.last_minute AS trips_last_minute, source.identity AS source_identity, sources.told AS sources,
       (SELECT count(*) FROM point_account y WHERE y.account_id = a.id AND y.to_day IS NULL) AS meters
-- What is of the account first: in another order there are a hundred times as many ways to join it all, and to plan it takes six times as long.
FROM account a
LEFT JOIN chosen ON chosen.account_id = a.id
LEFT JOIN changed ON changed.account_id = a.id
LEFT JOIN priced ON priced.tariff_id = coalesce(changed.tariff_id, a.tariff_id)
LEFT JOIN arrears_episode episode ON episode.account_id = a.id AND episode.ended_at IS NULL
LEFT JOIN ledger_account b ON b.name = 'customer:' || a.number || ':prepaid'
JOIN point_account x ON x.account_id = a.id AND x.to_day IS NULL
JOIN point p ON p.id = x.point_id
JOIN point_supply v ON v.point_id = p.id
JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
JOIN meter m ON m.id = i.meter_id
LEFT JOIN LATERAL (SELECT t.identity FROM teller t WHERE t.line = m.line ORDER BY t.first_at DESC, t.id DESC LIMIT 1) source ON true
LEFT JOIN moves ON moves.point_id = p.id
LEFT JOIN LATERAL newest_slot(p.id, 1::smallint, enum_range(NULL::slot_state)) newest ON true
LEFT JOIN LATERAL newest_slot(p.id, 1::smallint, '{published}') published ON true
LEFT JOIN LATERAL (
    -- V14: the use of the day that ended with the newest freeze is far from the usual.
    SELECT f.active AND coalesce(f.to_day, 'infinity') >= newest.day - 1 AS active FROM finding f
    WHERE f.point_id = p.id AND f.code = 'V14' AND f.from_day < newest.day ORDER BY f.from_day DESC, f.rev DESC LIMIT 1
) jump ON true
CROSS JOIN LATERAL (
    -- Of every line of the account: what one of them told may have emptied it.
    SELECT coalesce(array_agg(ARRAY[s.proof, s.is_new::int, s.has_changed::int]), '{}') AS told
    FROM (SELECT DISTINCT mm.line FROM point_account xx
          JOIN installation ii ON ii.point_id = xx.point_id AND ii.to_at IS NULL
          JOIN meter mm ON mm.id = ii.meter_id
          WHERE xx.account_id = a.id AND xx.to_day IS NULL) l
    CROSS JOIN LATERAL (
        SELECT (array_agg(w.proof ORDER BY w.first_at DESC, w.id DESC))[1] AS proof, bool_and(w.is_young) AS is_new,
               count(DISTINCT w.identity) > 1 AS has_changed
        FROM (SELECT t.*, true AS is_young FROM teller t WHERE t.line = l.line AND t.first_at > %(sources_since)s
              UNION ALL
              (SELECT t.*, false FROM teller t WHERE t.line = l.line AND t.first_at <= %(sources_since)s
               ORDER BY t.first_at DESC, t.id DESC LIMIT 1)) w
        HAVING count(*) > 0) s
) sources
CROSS JOIN trips
CROSS JOIN restores
WHERE a.id = ANY(%(accounts)s)
ORDER BY p.id

-- supply_facts -- who is at the points of these accounts (whose rows the caller has locked), their money and their supply
SELECT p.id AS point_id, p.number AS point, a.id AS account_id, a.number AS account, v.supply_state, v.cut_for, v.relay_observed,
       i.has_relay, p.protected, p.life_support, p.reconnect, m.id AS meter_id, m.address, m.line, a.state AS account_state,
       a.reconnect_fen, coalesce((SELECT b.balance_fen FROM ledger_account b
                                  WHERE b.name = 'customer:' || a.number || ':prepaid'), 0) AS balance_fen,
       (SELECT e.started_at FROM arrears_episode e WHERE e.account_id = a.id AND e.ended_at IS NULL) AS episode_started_at
FROM account a
JOIN point_account x ON x.account_id = a.id AND x.to_day IS NULL
JOIN point p ON p.id = x.point_id
JOIN point_supply v ON v.point_id = p.id
JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
JOIN meter m ON m.id = i.meter_id
WHERE a.id = ANY(%(accounts)s)
ORDER BY p.id

-- marks_that_hold -- by point the kinds of what keeps it from being cut now
WITH holding AS MATERIALIZED (
    SELECT * FROM supply_mark
    WHERE lifted_at IS NULL AND from_at <= %(now)s AND coalesce(to_at, 'infinity') > %(now)s
), marked AS (
    SELECT p.id AS point_id, h.kind FROM holding h JOIN point p ON num_nonnulls(h.area, h.line, h.account_id, h.point_id) = 0
        OR p.area = h.area OR p.id = h.point_id
    WHERE p.id = ANY(%(points)s::int[])
    UNION
    SELECT i.point_id, h.kind FROM holding h JOIN meter m ON m.line = h.line
    JOIN installation i ON i.meter_id = m.id AND i.to_at IS NULL WHERE i.point_id = ANY(%(points)s::int[])
    UNION
    SELECT x.point_id, h.kind FROM holding h JOIN point_account x ON x.account_id = h.account_id AND x.to_day IS NULL
    WHERE x.point_id = ANY(%(points)s::int[])
    UNION
    SELECT o.point_id, o.cause FROM order_in_force o WHERE o.point_id = ANY(%(points)s::int[])
)
SELECT point_id, array_agg(kind ORDER BY kind) FROM marked GROUP BY 1

-- delivered_notices -- those that are written before a cut in these episodes
SELECT episode_id, kind, delivered_at, planned_at FROM notice
WHERE episode_id = ANY(%(episodes)s::bigint[]) AND kind IN ('written', 'final') AND delivered_at IS NOT NULL
ORDER BY id

-- approvals_given -- who asked for a cut in these episodes, and who agreed to it
SELECT r.episode_id, r.requester, r.debt_fen, a.approver, a.approved_at, a.expires_at
FROM cut_request r LEFT JOIN approval a ON a.request_id = r.id AND a.withdrawn_at IS NULL
WHERE r.episode_id = ANY(%(episodes)s::bigint[]) AND r.withdrawn_at IS NULL
ORDER BY a.id

-- persons_of_orders -- who ordered that these points are off, and who agreed: until when they may be cut for it
SELECT point_id, actor, second, agreed_at, cut_until FROM order_in_force WHERE point_id = ANY(%(points)s::int[])

-- accounts_with_orders -- those with a point that is ordered off and is on
SELECT x.account_id FROM order_in_force o
JOIN point_supply v ON v.point_id = o.point_id AND v.supply_state = 'energised'
JOIN point_account x ON x.point_id = o.point_id AND x.to_day IS NULL ORDER BY 1

-- accounts_exhausted -- those of these accounts whose money has run out
SELECT id FROM account WHERE id = ANY(%(accounts)s) AND credit_state = 'exhausted' ORDER BY 1

-- accounts_not_energised -- those of these accounts that have a point that is cut, or on its way to or from it
SELECT DISTINCT x.account_id
FROM point_account x JOIN point_supply v ON v.point_id = x.point_id
WHERE x.account_id = ANY(%(accounts)s) AND x.to_day IS NULL AND v.supply_state <> 'energised'

-- payers_to_look_at -- those of these accounts that are cut, on the way to or from it, seen open, or never seen
SELECT x.account_id, bool_or(v.supply_state <> 'energised' OR v.relay_observed = 'open') AS is_dark,
       bool_or(v.relay_observed = 'unknown') AS is_unknown
FROM point_account x JOIN point_supply v ON v.point_id = x.point_id
WHERE x.account_id = ANY(%(accounts)s) AND x.to_day IS NULL
GROUP BY 1
HAVING bool_or(v.supply_state <> 'energised' OR v.relay_observed <> 'closed')

-- ask_for_relays -- lines look at the relays of these accounts' points that were never seen
SELECT pg_notify('meterd_relay', i.meter_id::text)
FROM point_account x
JOIN point_supply v ON v.point_id = x.point_id AND v.relay_observed = 'unknown'
JOIN installation i ON i.point_id = x.point_id AND i.to_at IS NULL AND i.has_relay
WHERE x.account_id = ANY(%(accounts)s) AND x.to_day IS NULL

-- trips_before -- supplies that are on and had a trip: when it expires, and when their relay was seen last
SELECT i.meter_id, max(c.expires_at), v.relay_observed_at, v.relay_observed = 'closed' AND v.command_observed = 'open'
FROM command c JOIN point_supply v ON v.point_id = c.point_id JOIN installation i ON i.point_id = c.point_id AND i.to_at IS NULL
WHERE c.action = 'trip' AND c.sent_at > %(sent_since)s AND v.supply_state = 'energised' AND v.relay_observed_at IS NOT NULL
GROUP BY 1, 3, 4

-- look_at_relays -- lines look at these meters' relays at once
SELECT pg_notify('meterd_relay', meter::text) FROM unnest(%(meters)s::int[]) AS meter

-- accounts_to_ask_about -- in their order the next accounts whose money asks for a trip of a point; each looked up by index, though
-- without statistics nobody knows that they are few
SELECT a.id FROM account a
WHERE a.credit_state = 'exhausted' AND a.id > %(after)s
  AND EXISTS (SELECT FROM point_account x JOIN point_supply v ON v.point_id = x.point_id
              WHERE x.account_id = a.id AND x.to_day IS NULL AND v.supply_state = 'energised' OFFSET 0)
ORDER BY a.id LIMIT %(most)s

-- accounts_that_may_be_cut -- of all whose money has run out those whom no column that is asked here saves; first those behind `after`
WITH asked AS (
    SELECT * FROM unnest(%(profiles)s::text[], %(written_from)s::timestamptz[], %(written_to)s::timestamptz[],
                         %(final_from)s::timestamptz[], %(final_to)s::timestamptz[])
        AS t (profile, written_from, written_to, final_from, final_to)
), chosen AS (
    SELECT DISTINCT ON (account_id) account_id, profile FROM account_policy WHERE NOT waits ORDER BY account_id, rev DESC
)
SELECT a.id
FROM account a
LEFT JOIN chosen ON chosen.account_id = a.id
JOIN asked ON asked.profile = CASE WHEN chosen.profile = ANY(%(known)s) THEN chosen.profile ELSE '' END
LEFT JOIN arrears_episode e ON e.account_id = a.id AND e.ended_at IS NULL
WHERE a.credit_state = 'exhausted' AND a.state = 'active'
  AND NOT EXISTS (SELECT FROM breaker WHERE reset_at IS NULL AND scope = 'site')
  AND (asked.written_from IS NULL OR EXISTS (
      SELECT FROM notice n WHERE n.episode_id = e.id AND n.kind = 'written'
        AND n.delivered_at BETWEEN asked.written_from AND asked.written_to))
  AND (asked.final_from IS NULL OR EXISTS (
      SELECT FROM notice n WHERE n.episode_id = e.id AND n.kind = 'final'
        AND n.delivered_at BETWEEN asked.final_from AND asked.final_to))
  AND EXISTS (
      SELECT FROM point_account x
      JOIN point p ON p.id = x.point_id AND NOT (p.protected OR p.life_support)
      JOIN point_supply v ON v.point_id = p.id AND v.supply_state = 'energised' AND v.relay_observed <> 'open'
      JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL AND i.has_relay
      WHERE x.account_id = a.id AND x.to_day IS NULL)
ORDER BY a.id <= %(after)s, a.id LIMIT %(most)s

-- accounts_to_restore -- accounts of which a point may have to be restored
SELECT x.account_id
FROM point_supply v
JOIN point p ON p.id = v.point_id
JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
JOIN account a ON a.id = x.account_id
LEFT JOIN ledger_account b ON b.name = 'customer:' || a.number || ':prepaid'
WHERE v.supply_state <> 'energised' AND v.supply_state IN ('disconnected', 'trip_commanded')
  AND (coalesce(b.balance_fen, 0) >= a.reconnect_fen OR p.protected OR p.life_support OR v.cut_for <> 'arrears'
       OR EXISTS (SELECT FROM supply_mark k WHERE k.kind IN ('protected', 'life_support') AND k.lifted_at IS NULL
                  AND (k.point_id = p.id OR k.account_id = a.id OR k.area = p.area)))
UNION
-- Opened by somebody else.
SELECT x.account_id
FROM point_supply v
JOIN point_account x ON x.point_id = v.point_id AND x.to_day IS NULL
WHERE v.relay_observed = 'open' AND v.supply_state = 'energised'
ORDER BY 1

-- last_verdicts -- what the guard said last about each point
SELECT p.id, v.decision, v.reasons
FROM unnest(%(points)s::int[]) AS p (id)
CROSS JOIN LATERAL (SELECT decision, reasons FROM guard_verdict x WHERE x.point_id = p.id
                    ORDER BY x.id DESC LIMIT 1) v

-- add_verdicts -- the guard changed its mind about these points
INSERT INTO guard_verdict (point_id, at, decision, reasons, facts)
SELECT t.point, %(at)s, t.decision, string_to_array(t.reasons, ' '), t.facts
FROM unnest(%(points)s::int[], %(decisions)s::text[], %(reasons)s::text[], %(facts)s::jsonb[]) t (point, decision, reasons, facts)

-- ended_in_vain -- commands of this kind that ended without success, of these points since then
SELECT point_id, state, created_at FROM command
WHERE point_id = ANY(%(points)s::int[]) AND (action = 'trip') = %(is_trip)s AND created_at > %(since)s
  AND state IN ('expired', 'cancelled', 'failed', 'refused')

-- add_command -- the row comes first, the frame afterwards
INSERT INTO command (id, point_id, meter_id, address, line, action, cause, state, guard, created_at, expires_at, next_at)
VALUES (%(id)s, %(point_id)s, %(meter_id)s, %(address)s, %(line)s, %(action)s, %(cause)s, 'persisted', %(guard)s,
        %(now)s, %(expires_at)s, %(now)s)

-- database_clock -- by which all times of control are compared
SELECT clock_timestamp()

-- set_supply -- the supply state of points
UPDATE point_supply SET supply_state = %(supply_state)s, cut_for = coalesce(%(cut_for)s::text, cut_for)
WHERE point_id = ANY(%(points)s)

-- lock_open_trips -- those of these points, until the transaction ends
SELECT id, point_id, sends FROM command
WHERE point_id = ANY(%(points)s::int[]) AND action = 'trip'
  AND state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') ORDER BY id FOR UPDATE

-- move_commands -- several at once to their next states
UPDATE command SET state = t.state, detail = %(detail)s, next_at = %(now)s
FROM unnest(%(ids)s::uuid[], %(states)s::text[]) AS t (id, state) WHERE command.id = t.id

-- due_command -- what the line has to do next: whoever is dark comes before a look at what became of others. A meter may have moved to another line since
SELECT c.id, x.account_id
FROM command c JOIN meter m ON m.id = c.meter_id
LEFT JOIN point_account x ON x.point_id = c.point_id AND x.to_day IS NULL
WHERE m.line = %(line)s AND c.next_at <= %(now)s
  AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')
  AND (%(sending)s OR c.state <> 'persisted')
ORDER BY (c.action = 'trip'), (c.state <> 'persisted'), c.next_at, c.sequence LIMIT 1

-- next_due -- when the line has to look again
SELECT min(c.next_at) FROM command c JOIN meter m ON m.id = c.meter_id
WHERE m.line = %(line)s AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')

-- longest_wait -- how long the open command has been due that waits longest, of all that a line still looks at
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(next_at))::float8, 0) FROM command
WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')

-- lines_with_commands -- the lines that have to look
SELECT DISTINCT m.line FROM command c JOIN meter m ON m.id = c.meter_id
WHERE c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')

-- is_sent -- is this very send still in force, and meanwhile no breaker opened, nor said anybody that the point is not to be cut, or is to stay off
SELECT c.state = 'sent' AND c.sends = %(sends)s AND NOT (c.action = 'trip' AND (p.protected OR p.life_support))
    -- What an order cut for leaves while it is in force, and no reconnect does.
    AND (c.action = 'trip' AND c.guard #>> '{facts,cause}' = 'arrears'
         OR (c.action = 'trip') = EXISTS (SELECT FROM order_in_force o WHERE o.point_id = p.id))
    AND NOT EXISTS (
    SELECT FROM supply_mark k WHERE k.lifted_at IS NULL AND k.from_at <= now() AND coalesce(k.to_at, 'infinity') > now()
      AND (c.action = 'trip') = (k.kind <> 'keep_off')
      AND k.kind <> ALL (CASE c.guard #>> '{facts,cause}' WHEN 'safety' THEN '{payment_in_flight,dispute,wrongful_cut,weather}'
                         WHEN 'arrears' THEN '{}' ELSE '{payment_in_flight}' END::text[])
      AND (num_nonnulls(k.area, k.line, k.account_id, k.point_id) = 0 OR k.area = p.area OR k.line = m.line
           OR k.account_id = x.account_id OR k.point_id = p.id))
    AND NOT (c.action = 'trip' AND EXISTS (
        SELECT FROM breaker b WHERE b.reset_at IS NULL
          AND (b.scope, b.name) IN (('site', ''), ('area', p.area), ('line', m.line), ('tariff', tariff_on(x.account_id, site_today())))))
FROM command c JOIN point p ON p.id = c.point_id JOIN meter m ON m.id = c.meter_id
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
WHERE c.id = %(id)s

-- lock_account_of -- the account row of a point
SELECT a.id FROM account a
WHERE a.id = (SELECT account_id FROM point_account WHERE point_id = %(point)s AND to_day IS NULL) FOR NO KEY UPDATE

-- lock_trips -- one release of a trip at a time
SELECT pg_advisory_xact_lock(%(lock)s)

-- lock_command -- one command, if it is still open
SELECT c.*, p.number AS point FROM command c JOIN point p ON p.id = c.point_id
WHERE c.id = %(id)s AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') FOR UPDATE OF c

-- move_command -- its next state
UPDATE command SET state = %(state)s, detail = %(detail)s, next_at = %(next_at)s,
    checks = checks + %(checks)s, sends = sends + %(sends)s,
    sent_at = CASE WHEN %(sends)s > 0 THEN %(now)s ELSE sent_at END,
    guard = coalesce(%(guard)s, guard), expires_at = coalesce(%(expires_at)s, expires_at),
    fence = coalesce(%(fence)s, fence)
WHERE id = %(id)s

-- answer_command -- what the meter said to the control frame, unless the command was superseded meanwhile
UPDATE command SET state = %(state)s, detail = %(detail)s, next_at = %(next_at)s
WHERE id = %(id)s AND state = 'sent' RETURNING point_id

-- observe_relay -- what status word 3 said
UPDATE point_supply SET relay_observed = %(relay)s, command_observed = %(command)s, relay_observed_at = %(now)s,
    keep_power_observed = %(keep_power)s, relay_evidence = evidence_of_relay(point_id)
WHERE point_id = %(point)s

-- accounts_of_meters -- who is billed for what these meters serve
SELECT DISTINCT x.account_id FROM installation i JOIN point_account x ON x.point_id = i.point_id AND x.to_day IS NULL
WHERE i.meter_id = ANY(%(meters)s) AND i.to_at IS NULL ORDER BY 1

-- see_relays -- where relays were when a line looked; what was seen later stays
UPDATE point_supply v SET relay_observed = t.relay, command_observed = t.command, relay_observed_at = t.at,
    keep_power_observed = t.keep_power, relay_evidence = evidence_of_relay(v.point_id)
FROM unnest(%(meters)s::int[], %(relays)s::text[], %(commands)s::text[], %(keep_powers)s::boolean[], %(ats)s::timestamptz[])
     AS t (meter_id, relay, command, keep_power, at)
JOIN installation i ON i.meter_id = t.meter_id AND i.to_at IS NULL
WHERE v.point_id = i.point_id AND coalesce(v.relay_observed_at, '-infinity') < t.at

-- lock_open_commands -- all that have not ended, until the transaction ends
SELECT id, point_id, action, state, sends, created_at, expires_at FROM command
WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') ORDER BY id FOR UPDATE

-- last_reconnect -- the one of the site that was sent last
SELECT state, sent_at FROM command WHERE action <> 'trip' AND sent_at IS NOT NULL ORDER BY sent_at DESC LIMIT 1

-- hurry_reconnects -- whoever pays does not wait for the next time, nor uses up the looks that come soon; no state changes, so lines are told here
WITH hurried AS (
    UPDATE command c SET next_at = %(now)s, checks = 0 FROM point_account x
    WHERE x.account_id = ANY(%(accounts)s::int[]) AND x.to_day IS NULL AND c.point_id = x.point_id AND c.action <> 'trip'
      AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') AND c.next_at > %(now)s
    RETURNING c.meter_id
)
SELECT pg_notify('meterd_command', m.line) FROM hurried h JOIN meter m ON m.id = h.meter_id

-- due_at_once -- what waits for a time that was told by a clock which was wrong since
UPDATE command SET next_at = %(now)s
WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') AND next_at > %(now)s

-- expire_trips -- a trip that waited too long for its line is never sent late
WITH expired AS (
    UPDATE command SET state = 'expired', detail = 'waited too long to be sent'
    WHERE state = 'persisted' AND action = 'trip' AND sends = 0 AND expires_at <= %(now)s
    RETURNING point_id
)
UPDATE point_supply v SET supply_state = 'energised' FROM expired WHERE v.point_id = expired.point_id

-- commands_by_state -- for the metrics
SELECT action, state, count(*) FROM command GROUP BY action, state

-- supply -- points with their supply and last command
SELECT p.number AS point_id, a.number AS account_id, p.area, m.address, m.line, u.supply_state, u.relay_observed, u.relay_observed_at,
       u.relay_evidence, coalesce(i.has_relay, false) AS has_relay,
       c.action, c.state AS command_state, c.created_at, c.detail,
       v.decision, v.reasons, v.at AS verdict_at
FROM point p
JOIN point_supply u ON u.point_id = p.id
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
LEFT JOIN account a ON a.id = x.account_id
LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
LEFT JOIN LATERAL (SELECT * FROM command y WHERE y.point_id = p.id ORDER BY y.sequence DESC LIMIT 1) c ON true
LEFT JOIN LATERAL (SELECT * FROM guard_verdict y WHERE y.point_id = p.id ORDER BY y.id DESC LIMIT 1) v ON true
WHERE (%(account)s::text IS NULL OR a.number = %(account)s)
  AND (%(point)s::text IS NULL OR p.number = %(point)s)
ORDER BY p.number

-- command_history -- every transition of a point's commands
SELECT c.id, c.action, c.cause, e.at, e.state, e.detail
FROM command c JOIN command_event e ON e.command_id = c.id
WHERE c.point_id = (SELECT id FROM point WHERE number = %(point)s) ORDER BY e.at, c.sequence

-- verdict_history -- what the guard said about a point, and when: each change of its mind
SELECT v.at, v.decision, v.reasons FROM guard_verdict v
WHERE v.point_id = (SELECT id FROM point WHERE number = %(point)s) ORDER BY v.id DESC LIMIT %(most)s
