-- by_index -- until the transaction ends: what is compared is little, however many points there are, and whatever statistics say
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)

-- order_keep_power -- what the marks say and the meters do not: set in those that are seen to be on, ended only where we set it
WITH marked AS (
    SELECT point_id FROM supply_mark
    WHERE kind = 'keep_power' AND lifted_at IS NULL AND from_at <= now() AND point_id IS NOT NULL
    UNION
    SELECT x.point_id FROM supply_mark k JOIN point_account x ON x.account_id = k.account_id AND x.to_day IS NULL
    WHERE k.kind = 'keep_power' AND k.lifted_at IS NULL AND k.from_at <= now()
), wanted AS (
    SELECT i.meter_id, true AS is_on, 'keep power is said' AS cause
    FROM marked k
    CROSS JOIN LATERAL (
        SELECT i.meter_id FROM installation i
        JOIN meter m ON m.id = i.meter_id AND m.protocol = 'dlt645-2007'
        JOIN point_supply v ON v.point_id = i.point_id AND v.supply_state = 'energised'
            AND v.relay_observed = 'closed' AND v.command_observed = 'closed' AND NOT v.keep_power_observed
        WHERE i.point_id = k.point_id AND i.to_at IS NULL AND i.has_relay OFFSET 0) i
    LEFT JOIN LATERAL (SELECT * FROM meter_order o WHERE o.meter_id = i.meter_id AND o.what = 'keep_power' OFFSET 0) o ON true
    WHERE NOT EXISTS (SELECT FROM command c WHERE c.point_id = k.point_id
                      AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying'))
      AND (o.meter_id IS NULL OR o.state = 'cancelled' OR NOT o.is_on AND o.state IN ('persisted', 'verified')
           OR o.next_at IS NULL AND o.changed_at <= %(now)s::timestamptz - interval '1 day')
    UNION ALL
    SELECT o.meter_id, false, 'keep power is lifted'
    FROM meter_order o
    CROSS JOIN LATERAL (SELECT i.point_id FROM installation i WHERE i.meter_id = o.meter_id AND i.to_at IS NULL OFFSET 0) i
    WHERE o.may_be_on AND o.what = 'keep_power'
      AND (o.is_on OR o.state = 'cancelled' OR o.next_at IS NULL AND o.changed_at <= %(now)s::timestamptz - interval '1 day')
      AND i.point_id NOT IN (SELECT point_id FROM marked)
)
INSERT INTO meter_order (meter_id, what, is_on, cause, state, made_at, changed_at, next_at)
SELECT meter_id, 'keep_power', is_on, cause, 'persisted', %(now)s, %(now)s, %(now)s FROM wanted
ON CONFLICT (meter_id, what) DO UPDATE SET is_on = excluded.is_on, cause = excluded.cause, state = excluded.state,
    made_at = excluded.made_at, changed_at = excluded.changed_at, next_at = excluded.next_at, sends = 0, checks = 0, detail = ''

-- order_alarms -- the next accounts whose money is low: their meters warn; returns the last one, or NULL where none is behind it
WITH low AS (
    SELECT a.id, a.state FROM account a WHERE a.credit_state <> 'good' AND a.id > %(after)s ORDER BY a.id LIMIT %(most)s
), ordered AS (
    INSERT INTO meter_order (meter_id, what, is_on, cause, state, made_at, changed_at, next_at)
    SELECT i.meter_id, 'alarm', true, 'money is low', 'persisted', %(now)s, %(now)s, %(now)s
    FROM low
    CROSS JOIN LATERAL (
        SELECT i.meter_id FROM point_account x
        JOIN installation i ON i.point_id = x.point_id AND i.to_at IS NULL AND i.has_relay
        JOIN meter m ON m.id = i.meter_id AND m.protocol = 'dlt645-2007'
        JOIN point_supply v ON v.point_id = i.point_id AND v.supply_state = 'energised'
        WHERE x.account_id = low.id AND x.to_day IS NULL OFFSET 0) i
    LEFT JOIN LATERAL (SELECT * FROM meter_order o WHERE o.meter_id = i.meter_id AND o.what = 'alarm' OFFSET 0) o ON true
    WHERE low.state = 'active'
      AND (o.meter_id IS NULL OR o.state = 'cancelled' OR NOT o.is_on AND (o.state IN ('persisted', 'acked', 'verified'))
           OR o.state IN ('refused', 'failed') AND o.changed_at <= %(now)s::timestamptz - interval '1 day')
    ON CONFLICT (meter_id, what) DO UPDATE SET is_on = excluded.is_on, cause = excluded.cause, state = excluded.state,
        made_at = excluded.made_at, changed_at = excluded.changed_at, next_at = excluded.next_at, sends = 0, checks = 0, detail = ''
)
SELECT max(id) FROM low HAVING count(*) = %(most)s

-- end_alarms -- of the next meters that may warn those that have to no more; returns the last one, or NULL where none is behind it
WITH warning AS (
    SELECT o.meter_id FROM meter_order o
    WHERE o.may_be_on AND o.what = 'alarm' AND o.meter_id > %(after)s ORDER BY o.meter_id LIMIT %(most)s
), ordered AS (
    UPDATE meter_order o SET is_on = false, cause = 'money is low no more', state = 'persisted', made_at = %(now)s,
        changed_at = %(now)s, next_at = %(now)s, sends = 0, checks = 0, detail = ''
    FROM warning w
    CROSS JOIN LATERAL (SELECT i.point_id FROM installation i WHERE i.meter_id = w.meter_id AND i.to_at IS NULL OFFSET 0) i
    WHERE o.meter_id = w.meter_id AND o.what = 'alarm'
      AND (o.is_on OR o.state = 'cancelled' OR o.next_at IS NULL AND o.changed_at <= %(now)s::timestamptz - interval '1 day')
      AND NOT (%(alarms)s AND EXISTS (
          SELECT FROM point_account x JOIN account a ON a.id = x.account_id
          WHERE x.point_id = i.point_id AND x.to_day IS NULL AND a.state = 'active' AND a.credit_state <> 'good' OFFSET 0))
)
SELECT max(meter_id) FROM warning HAVING count(*) = %(most)s

-- give_up -- what no line has done for so long: it is down, disabled, or has the meter no more
UPDATE meter_order o SET state = 'failed', detail = 'no line has done it', next_at = NULL, changed_at = %(now)s
FROM meter m
WHERE m.id = o.meter_id AND o.next_at IS NOT NULL AND o.made_at <= %(before)s
RETURNING m.address, m.line, o.what

-- due_order -- what the line has to do next, of meters that no supply command is open for
SELECT o.meter_id, o.what FROM meter m JOIN meter_order o ON o.meter_id = m.id
WHERE m.line = %(line)s AND o.next_at <= %(now)s AND (%(sending)s OR o.state <> 'persisted')
  AND NOT EXISTS (SELECT FROM command c WHERE c.meter_id = m.id AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying'))
ORDER BY o.next_at LIMIT 1

-- next_due -- when the line has to look again; the end of a command wakes it
SELECT min(o.next_at) FROM meter m JOIN meter_order o ON o.meter_id = m.id
WHERE m.line = %(line)s AND o.next_at IS NOT NULL AND (%(sending)s OR o.state <> 'persisted')
  AND NOT EXISTS (SELECT FROM command c WHERE c.meter_id = m.id AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying'))

-- lines_with_orders -- the lines that have to look
SELECT DISTINCT m.line FROM meter_order o JOIN meter m ON m.id = o.meter_id WHERE o.next_at IS NOT NULL

-- order -- one that is open, with all that says whether it may be sent
SELECT o.meter_id, o.what, o.is_on, o.state, o.may_be_on, o.sends, o.checks, o.made_at, m.address, m.line,
       i.point_id, p.number AS point, coalesce(v.supply_state = 'energised', false) AS is_energised,
       EXISTS (SELECT FROM command c WHERE (c.meter_id = m.id OR c.point_id = i.point_id)
               AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')) AS has_command,
       coalesce(a.state = 'active' AND a.credit_state <> 'good', false) AS is_low
FROM meter_order o JOIN meter m ON m.id = o.meter_id
LEFT JOIN installation i ON i.meter_id = m.id AND i.to_at IS NULL
LEFT JOIN point p ON p.id = i.point_id
LEFT JOIN point_supply v ON v.point_id = p.id
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
LEFT JOIN account a ON a.id = x.account_id
WHERE o.meter_id = %(meter)s AND o.what = %(what)s AND o.next_at IS NOT NULL

-- move_order -- its next state, unless it is another one by now
UPDATE meter_order SET state = %(state)s, detail = %(detail)s, next_at = %(next_at)s, sends = sends + %(sent)s,
    checks = CASE WHEN %(state)s = 'sent' THEN 0 ELSE checks + 1 END, may_be_on = %(may_be_on)s, changed_at = %(now)s,
    fence = coalesce(%(fence)s, fence)
WHERE meter_id = %(meter)s AND what = %(what)s AND is_on = %(is_on)s AND state = %(was)s AND sends = %(sends)s
  AND made_at = %(made_at)s RETURNING meter_id

-- order_history -- what became of a point's orders
SELECT e.at, e.what, CASE WHEN e.is_on THEN 'on' ELSE 'off' END AS to_be, e.state, e.cause, e.detail
FROM installation i JOIN meter_order_event e ON e.meter_id = i.meter_id AND e.at >= i.from_at AND e.at < coalesce(i.to_at, 'infinity')
WHERE i.point_id = (SELECT id FROM point WHERE number = %(point)s) ORDER BY e.id
