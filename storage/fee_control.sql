-- record -- what was done to a customer's supply, what he was told and what he paid, in order of time (R40)
WITH asked AS (
    SELECT id, number FROM account WHERE number = %(account)s
), held AS MATERIALIZED (
    SELECT x.point_id, p.number AS point, p.area, x.from_day::timestamp AT TIME ZONE %(zone)s AS from_at,
           coalesce(x.to_day::timestamp AT TIME ZONE %(zone)s, 'infinity') AS to_at
    FROM asked a JOIN point_account x ON x.account_id = a.id JOIN point p ON p.id = x.point_id
    WHERE x.to_day IS DISTINCT FROM x.from_day
), marked AS MATERIALIZED (
    -- Of the customer, of his points, and of what they are part of.
    SELECT m.*, NULL AS point, '-infinity'::timestamptz AS seen_from, 'infinity'::timestamptz AS seen_to
    FROM asked a JOIN supply_mark m ON m.account_id = a.id
    UNION
    -- Why it was set before his time, and lifted behind it, is somebody else's matter.
    SELECT m.*, h.point, h.from_at, h.to_at FROM supply_mark m JOIN held h ON m.point_id = h.point_id
    UNION
    SELECT m.*, NULL, '-infinity', h.to_at FROM supply_mark m JOIN held h ON m.area = h.area
        OR m.line IN (SELECT y.line FROM installation i JOIN meter y ON y.id = i.meter_id
                      WHERE i.point_id = h.point_id AND i.from_at < h.to_at AND coalesce(i.to_at, 'infinity') > h.from_at)
        OR num_nonnulls(m.area, m.line, m.account_id, m.point_id) = 0
    WHERE m.from_at < h.to_at AND coalesce(m.lifted_at, m.to_at, 'infinity') > h.from_at
), told (at, event, point, actor, facts) AS (
    SELECT e.started_at, 'credit exhausted', NULL, NULL, jsonb_build_object()
    FROM asked a JOIN arrears_episode e ON e.account_id = a.id
    UNION ALL
    SELECT e.ended_at, 'credit restored', NULL, NULL, jsonb_build_object() FROM asked a JOIN arrears_episode e ON e.account_id = a.id
    UNION ALL
    SELECT j.recorded_at, CASE k.kind WHEN 'payment_reversal' THEN 'payment taken back' ELSE 'paid' END, NULL, j.actor,
           jsonb_build_object('fen', (SELECT sum(fen) FROM unnest(j.accounts, j.amounts) AS l (account, fen) WHERE l.account = c.id),
                              'channel', j.channel, 'transaction', j.id)
    FROM asked a JOIN ledger_account c ON c.name = 'customer:' || a.number || ':prepaid' CROSS JOIN LATERAL journal_of(c.id) j
    JOIN transaction_kind k ON k.id = j.kind AND k.kind IN ('top_up', 'payment_reversal', 'identification')
    UNION ALL
    SELECT v.at, v.event, NULL, v.actor,
           jsonb_build_object('notice', n.id, 'kind', n.kind, 'channel', n.channel) || v.facts
    FROM asked a JOIN notice n ON n.account_id = a.id CROSS JOIN LATERAL (VALUES
        (n.made_at, 'notice made', n.actor, jsonb_build_object('fen', n.amount_fen, 'until', n.deadline_at, 'planned', n.planned_at)),
        (n.sent_at, 'notice sent', NULL, jsonb_build_object()),
        (n.delivered_at, 'notice delivered', n.receipt_actor, jsonb_build_object('receipt', n.receipt)),
        (n.failed_at, 'notice failed', n.receipt_actor, jsonb_build_object('receipt', n.receipt))
    ) AS v (at, event, actor, facts)
    UNION ALL
    SELECT v.at, v.event, NULL, v.actor, jsonb_build_object('request', r.id) || v.facts
    FROM asked a JOIN cut_request r ON r.account_id = a.id CROSS JOIN LATERAL (VALUES
        (r.requested_at, 'cut asked for', r.requester, jsonb_build_object('fen', r.debt_fen, 'reason', r.reason)),
        (r.withdrawn_at, 'cut no longer asked for', r.withdrawn_by, jsonb_build_object('reason', r.withdrawn_why))
    ) AS v (at, event, actor, facts)
    UNION ALL
    SELECT v.at, v.event, NULL, v.actor, jsonb_build_object('request', r.id) || v.facts
    FROM asked a JOIN cut_request r ON r.account_id = a.id JOIN approval p ON p.request_id = r.id CROSS JOIN LATERAL (VALUES
        (p.approved_at, 'cut approved', p.approver, jsonb_build_object('until', p.expires_at)),
        (p.withdrawn_at, 'approval withdrawn', p.withdrawn_by, jsonb_build_object())
    ) AS v (at, event, actor, facts)
    UNION ALL
    SELECT o.at, 'policy', NULL, coalesce(o.second, o.actor),
           jsonb_build_object('kind', coalesce(o.profile, 'site'), 'reason', o.reason, 'state', CASE WHEN o.waits THEN 'waits' END)
    FROM asked a JOIN account_policy o ON o.account_id = a.id
    UNION ALL
    SELECT v.at, v.event, m.point, v.actor, jsonb_build_object('mark', m.id, 'kind', m.kind, 'area', m.area, 'line', m.line) || v.facts
    FROM marked m CROSS JOIN LATERAL (VALUES
        (m.from_at, 'mark set', m.actor, jsonb_build_object('reason', m.reason, 'until', m.to_at)),
        (m.lifted_at, 'mark lifted', coalesce(m.lift_second, m.lift_actor), jsonb_build_object('reason', m.lift_reason))
    ) AS v (at, event, actor, facts)
    WHERE v.at >= m.seen_from AND v.at < m.seen_to
    UNION ALL
    SELECT v.at, v.event, h.point, v.actor, jsonb_build_object('order', o.id, 'kind', o.cause) || v.facts
    FROM held h JOIN cut_order o ON o.point_id = h.point_id
    CROSS JOIN LATERAL (VALUES
        (o.asked_at, 'order asked for', o.actor, jsonb_build_object('reason', o.reason)),
        (o.agreed_at, 'order agreed', o.second, jsonb_build_object()),
        (o.ended_at, 'order ended', o.ended_by, jsonb_build_object('reason', o.ended_why))
    ) AS v (at, event, actor, facts)
    WHERE v.at >= h.from_at AND v.at < h.to_at
    UNION ALL
    SELECT v.at, 'guard', h.point, NULL, jsonb_build_object('decision', v.decision, 'reasons', v.reasons)
    FROM held h JOIN guard_verdict v ON v.point_id = h.point_id AND v.at >= h.from_at AND v.at < h.to_at
    UNION ALL
    SELECT e.at, c.action, h.point, NULL,
           jsonb_build_object('command', c.id, 'kind', c.cause, 'state', e.state, 'detail', nullif(e.detail, ''))
    FROM held h JOIN command c ON c.point_id = h.point_id JOIN command_event e ON e.command_id = c.id AND e.at >= h.from_at AND e.at < h.to_at
    UNION ALL
    SELECT v.at, v.event, v.point, v.actor, jsonb_build_object('job', j.id, 'kind', j.kind) || v.facts
    FROM (SELECT j.*, h.point, h.from_at, h.to_at FROM field_job j JOIN held h ON h.point_id = j.point_id
          UNION
          SELECT j.*, NULL, '-infinity', 'infinity' FROM field_job j JOIN asked a ON a.id = j.account_id WHERE j.point_id IS NULL) j
    CROSS JOIN LATERAL (
        SELECT j.opened_at AS at, 'job opened' AS event, j.point, NULL AS actor, jsonb_build_object('reason', j.cause, 'until', j.due_at) AS facts
        UNION ALL
        SELECT o.at, 'job assigned', j.point, o.actor, jsonb_build_object('owner', o.owner) FROM field_job_owner o WHERE o.job_id = j.id
        UNION ALL
        SELECT j.closed_at, 'job closed', j.point, j.closed_by, jsonb_build_object('reason', j.result)
    ) v
    WHERE v.at >= j.from_at AND v.at < j.to_at
)
SELECT at, event, point, actor, jsonb_strip_nulls(facts) FROM told
WHERE at >= coalesce(%(since)s::timestamptz, '-infinity') AND at < coalesce(%(until)s::timestamptz, 'infinity')
ORDER BY at, event, point

-- trips -- cuts by what their id begins with, at most two: whose they were, and what was kept when each was sent last
SELECT c.id, p.number AS point, p.area, a.number AS account, c.address, c.line, c.cause, c.state, c.created_at, c.sends,
       coalesce(sent.guard, c.guard) AS guard, sent.at AS sent_at,
       EXISTS (SELECT FROM command_event o WHERE o.command_id = c.id AND o.place < sent.place
               AND o.guard #> '{facts,now}' = sent.guard #> '{facts,now}') AS is_heard_before,
       e.started_at AS since
FROM command c JOIN point p ON p.id = c.point_id
LEFT JOIN LATERAL (SELECT v.at, v.guard, v.place FROM command_event v WHERE v.command_id = c.id AND v.state = 'sent'
                   ORDER BY v.place DESC LIMIT 1) sent ON true
LEFT JOIN LATERAL (SELECT x.account_id FROM point_account x
                   WHERE x.point_id = c.point_id AND x.from_day::timestamp AT TIME ZONE %(zone)s <= c.created_at
                     AND coalesce(x.to_day::timestamp AT TIME ZONE %(zone)s, 'infinity') > c.created_at LIMIT 1) h ON true
LEFT JOIN account a ON a.id = h.account_id
LEFT JOIN LATERAL (SELECT y.started_at FROM arrears_episode y WHERE y.account_id = a.id AND y.started_at <= c.created_at
                     AND coalesce(y.ended_at, 'infinity') > c.created_at
                   ORDER BY y.started_at DESC LIMIT 1) e ON true
WHERE c.action = 'trip' AND starts_with(c.id::text, %(begins)s)
ORDER BY c.id LIMIT 2
