-- stage_contacts -- where contacts of the file are copied to
CREATE TEMP TABLE staged_contact (
    account text, channel text, address text, language text, has_consent boolean, rank smallint
) ON COMMIT DROP

-- update_contacts -- those that are known, as the file says now
UPDATE contact c SET language = s.language, has_consent = s.has_consent, rank = s.rank, is_listed = true
FROM staged_contact s JOIN account a ON a.number = s.account
WHERE (c.account_id, c.channel, c.address) = (a.id, s.channel, s.address)
  AND (c.language, c.has_consent, c.rank, c.is_listed) <> (s.language, s.has_consent, s.rank, true)

-- add_contacts -- those that are new
INSERT INTO contact (account_id, channel, address, language, has_consent, rank)
SELECT a.id, s.channel, s.address, s.language, s.has_consent, s.rank
FROM staged_contact s JOIN account a ON a.number = s.account
ON CONFLICT (account_id, channel, address) DO NOTHING

-- forget_contacts -- those that the file names no more
UPDATE contact c SET is_listed = false
WHERE is_listed AND NOT EXISTS (
    SELECT FROM staged_contact s JOIN account a ON a.number = s.account
    WHERE (c.account_id, c.channel, c.address) = (a.id, s.channel, s.address))

-- listed_contacts -- contacts with what became of what was sent there
SELECT a.number AS account, c.channel, c.address, c.language, c.has_consent AS consent, c.rank AS "order", c.bounced_at,
       max(n.delivered_at) AS delivered_at, count(n.sent_at) AS sent,
       count(n.sent_at) FILTER (WHERE n.delivered_at IS NULL) AS without_receipt
FROM contact c JOIN account a ON a.id = c.account_id LEFT JOIN notice n ON n.contact_id = c.id
WHERE c.is_listed AND (%(account)s::text IS NULL OR a.number = %(account)s)
GROUP BY a.number, c.id ORDER BY a.number, c.rank, c.id

-- accounts_to_look_at -- those that are short of money, cut, or wait for the button
SELECT id FROM account WHERE credit_state <> 'good' AND state = 'active'
UNION
SELECT x.account_id FROM point_supply v JOIN point_account x ON x.point_id = v.point_id AND x.to_day IS NULL
WHERE v.supply_state <> 'energised' AND v.supply_state IN ('disconnected', 'wait_customer_button')
UNION
SELECT account_id FROM field_job WHERE kind = 'visit' AND closed_at IS NULL
ORDER BY 1

-- accounts_visited -- those to whom somebody has to go with a written notice
SELECT account_id FROM field_job WHERE kind = 'visit' AND closed_at IS NULL ORDER BY 1

-- accounts_that_are_good -- whose balance may last only a few days all the same
SELECT id FROM account WHERE credit_state = 'good' AND state = 'active' ORDER BY 1

-- accounts_to_tell -- all that decides what these accounts are told
WITH holding AS MATERIALIZED (
    SELECT * FROM supply_mark
    WHERE kind IN ('planned_outage', 'payment_in_flight') AND lifted_at IS NULL
      AND from_at <= %(now)s AND coalesce(to_at, 'infinity') > %(now)s
), kept_off AS MATERIALIZED (
    SELECT point_id FROM kept_off_points()
)
SELECT a.id AS account_id, a.number AS account, a.state, coalesce(b.balance_fen, 0) AS balance_fen, a.warn_fen, a.trip_fen,
       a.reconnect_fen, a.credit_state, e.id AS episode_id, e.started_at AS episode_started_at, paid.at AS last_payment_at,
       (SELECT y.profile FROM account_policy y WHERE y.account_id = a.id AND NOT y.waits ORDER BY y.rev DESC LIMIT 1) AS profile,
       supply.state AS supply, supply.since AS supply_since, supply.reconnect, supply.reasons,
       'payment_in_flight' = ANY (marks.kinds) AS is_paying, 'planned_outage' = ANY (marks.kinds) AS is_muted,
       charged.charged_through, charged.charged_since, charged.charged_fen
FROM account a
LEFT JOIN LATERAL (SELECT id, balance_fen FROM ledger_account WHERE name = 'customer:' || a.number || ':prepaid' OFFSET 0) b ON true
LEFT JOIN LATERAL (SELECT id, started_at FROM arrears_episode WHERE account_id = a.id AND ended_at IS NULL OFFSET 0) e ON true
LEFT JOIN LATERAL (SELECT j.recorded_at AS at FROM journal j
                   WHERE j.account = b.id AND j.kind = (SELECT k.id FROM transaction_kind k WHERE k.kind = 'top_up')
                   ORDER BY (j.id >> 16)::integer DESC, j.id DESC LIMIT 1) paid ON true
CROSS JOIN LATERAL (
    -- Of what is kept off neither paying nor the button is to be told: it would stay off, or come on over somebody's work.
    SELECT CASE WHEN bool_or(v.supply_state = 'disconnected' AND v.cut_for = 'arrears' AND NOT off.is_kept) THEN 'cut'
                WHEN bool_or(v.supply_state <> 'energised' AND (off.is_kept OR v.supply_state <> 'wait_customer_button')) THEN 'moving'
                WHEN bool_or(v.supply_state = 'wait_customer_button') THEN 'button'
                ELSE 'on' END AS state,
           max(c.created_at) FILTER (WHERE v.supply_state <> 'energised') AS since,
           coalesce(min(p.reconnect) FILTER (WHERE v.supply_state <> 'energised'), min(p.reconnect)) AS reconnect,
           coalesce(jsonb_agg(g.reasons) FILTER (WHERE v.supply_state = 'energised' AND g.reasons IS NOT NULL), '[]') AS reasons
    FROM point_account x JOIN point p ON p.id = x.point_id JOIN point_supply v ON v.point_id = p.id
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM kept_off k WHERE k.point_id = p.id) AS is_kept) off
    LEFT JOIN LATERAL (SELECT y.created_at FROM command y WHERE y.point_id = p.id ORDER BY y.sequence DESC LIMIT 1) c ON true
    LEFT JOIN LATERAL (SELECT y.reasons FROM guard_verdict y WHERE y.point_id = p.id ORDER BY y.id DESC LIMIT 1) g ON true
    WHERE x.account_id = a.id AND x.to_day IS NULL
) supply
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(DISTINCT h.kind), '{}') AS kinds
    FROM point_account x JOIN point p ON p.id = x.point_id
    LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL LEFT JOIN meter m ON m.id = i.meter_id
    JOIN holding h ON coalesce(h.area = p.area, true) AND coalesce(h.line = m.line, true)
        AND coalesce(h.account_id = a.id, true) AND coalesce(h.point_id = p.id, true)
    WHERE x.account_id = a.id AND x.to_day IS NULL
) marks
CROSS JOIN LATERAL charged_lately(a.id, %(charged_since)s) charged
WHERE a.id = ANY(%(accounts)s)
ORDER BY a.id

-- contacts_of -- the ways to reach these accounts, in the order in which they are tried
SELECT account_id, id, channel, language, has_consent, bounced_at FROM contact
WHERE account_id = ANY(%(accounts)s) AND is_listed ORDER BY account_id, rank, id

-- told -- what these accounts were told in their episode or since they paid last, and of the ends of cycles, once for each
SELECT n.account_id, n.id, n.kind, n.occasion, n.contact_id, n.made_at, n.sent_at, n.delivered_at, n.failed_at, n.planned_at
FROM notice n JOIN unnest(%(accounts)s::int[], %(since)s::timestamptz[]) AS asked (account_id, since) USING (account_id)
WHERE n.made_at >= asked.since OR n.occasion LIKE 'cycle %%'
ORDER BY n.account_id, n.id

-- persons_asked -- the last task of each account for a person to tell it something, and the last to go there with a notice
SELECT a.id, k.kind, j.opened_at, j.closed_at IS NULL AS is_open, coalesce(j.closed_by = 'daemon', false) AS is_called_back
FROM unnest(%(accounts)s::int[]) a (id) CROSS JOIN (VALUES ('notice'), ('visit')) k (kind)
CROSS JOIN LATERAL (SELECT * FROM field_job y WHERE y.account_id = a.id AND y.kind = k.kind ORDER BY y.opened_at DESC LIMIT 1) j

-- add_notice -- it is made: whoever makes it again makes nothing
INSERT INTO notice (account_id, contact_id, episode_id, kind, occasion, channel, language, text, amount_fen, deadline_at, planned_at, actor, made_at)
VALUES (%(account_id)s, %(contact_id)s, %(episode_id)s, %(kind)s, %(occasion)s, %(channel)s, %(language)s, %(text)s, %(amount_fen)s,
        %(deadline_at)s, %(planned_at)s, %(actor)s, %(now)s)
ON CONFLICT DO NOTHING RETURNING id

-- send_notice -- it waits to be sent
INSERT INTO notice_to_send (notice_id, next_at) VALUES (%(notice_id)s, %(now)s)

-- ask_person -- nobody could be reached
INSERT INTO field_job (kind, account_id, cause, opened_at, due_at)
VALUES ('notice', %(account_id)s, %(cause)s, %(now)s, %(due_at)s)
ON CONFLICT DO NOTHING

-- open_visits -- somebody goes there with a written notice, to the first point of the account; who had the job before has it again
WITH paper AS (
    INSERT INTO notice (account_id, episode_id, kind, occasion, channel, language, text, amount_fen, deadline_at, actor, made_at)
    SELECT w.*, 'daemon', %(now)s
    FROM unnest(%(account_id)s::int[], %(episode_id)s::bigint[], %(kind)s::text[], %(occasion)s::text[], %(channel)s::text[],
                %(language)s::text[], %(text)s::text[], %(amount_fen)s::bigint[], %(deadline_at)s::timestamptz[]) w
    RETURNING id, account_id, amount_fen
), job AS (
    INSERT INTO field_job (kind, account_id, point_id, notice_id, address, route, cause, opened_at, due_at)
    SELECT 'visit', w.account_id, p.point_id, w.id, p.address, coalesce(p.line, ''),
           'notice ' || w.id || ' to be delivered in person: ' || to_char(w.amount_fen / 100.0, 'FM999999999990.00') || ' yuan in arrears',
           %(now)s, %(due_at)s
    FROM paper w
    LEFT JOIN LATERAL (
        SELECT x.point_id, m.address, m.line FROM point_account x JOIN point y ON y.id = x.point_id
        LEFT JOIN installation i ON i.point_id = x.point_id AND i.to_at IS NULL LEFT JOIN meter m ON m.id = i.meter_id
        WHERE x.account_id = w.account_id AND x.to_day IS NULL ORDER BY y.number LIMIT 1) p ON true
    RETURNING id, account_id
), owner AS (
    INSERT INTO field_job_owner (job_id, owner, actor)
    SELECT j.id, o.owner, 'daemon'
    FROM job j
    CROSS JOIN LATERAL (SELECT y.id FROM field_job y WHERE y.account_id = j.account_id AND y.kind = 'visit' AND y.id <> j.id
                        ORDER BY y.opened_at DESC LIMIT 1) last
    CROSS JOIN LATERAL (SELECT y.owner FROM field_job_owner y WHERE y.job_id = last.id ORDER BY y.at DESC LIMIT 1) o
)
SELECT id, account_id FROM job

-- lock_papers -- notices that somebody is on his way with to these accounts
SELECT n.id FROM field_job j JOIN notice n ON n.id = j.notice_id
WHERE j.account_id = ANY(%(accounts)s) AND j.kind = 'visit' AND j.closed_at IS NULL ORDER BY n.id FOR UPDATE OF n

-- withdraw_papers -- they are not delivered
UPDATE notice n SET failed_at = %(now)s, receipt = w.why, receipt_actor = 'daemon'
FROM unnest(%(accounts)s::int[], %(why)s::text[]) w (account_id, why)
JOIN field_job j ON j.account_id = w.account_id AND j.kind = 'visit' AND j.closed_at IS NULL
WHERE n.id = j.notice_id AND n.failed_at IS NULL AND n.delivered_at IS NULL

-- call_back -- nobody has to go there any more
UPDATE field_job j SET closed_at = greatest(%(now)s, opened_at), closed_by = 'daemon', result = w.why
FROM unnest(%(accounts)s::int[], %(why)s::text[]) w (account_id, why)
WHERE j.account_id = w.account_id AND j.kind = 'visit' AND j.closed_at IS NULL
RETURNING j.id

-- due_to_send -- notices whose time to be sent has come, with their accounts
SELECT s.notice_id, n.account_id FROM notice_to_send s JOIN notice n ON n.id = s.notice_id
WHERE s.next_at <= %(now)s ORDER BY s.next_at LIMIT %(most)s

-- lock_to_send -- a notice that is still to be sent, with where it goes
SELECT s.notice_id, s.tries, n.account_id, n.contact_id, a.number AS account, n.kind, n.occasion, n.channel, n.language, n.text,
       n.amount_fen, n.deadline_at, n.planned_at, n.made_at, c.address
FROM notice_to_send s JOIN notice n ON n.id = s.notice_id JOIN account a ON a.id = n.account_id JOIN contact c ON c.id = n.contact_id
WHERE s.notice_id = %(notice_id)s AND s.next_at <= %(now)s FOR UPDATE OF s

-- put_off -- it is tried again later
UPDATE notice_to_send SET next_at = %(next_at)s, tries = tries + %(tried)s WHERE notice_id = %(notice_id)s

-- note_error -- why it could not be sent
UPDATE notice_to_send SET error = %(error)s WHERE notice_id = %(notice_id)s

-- end_sending -- it was sent, or is not to be sent any more
DELETE FROM notice_to_send WHERE notice_id = %(notice_id)s

-- mark_sent -- a channel took it
UPDATE notice SET sent_at = coalesce(sent_at, %(at)s) WHERE id = %(notice_id)s

-- mark_failed -- it will not reach anybody
UPDATE notice SET failed_at = %(at)s, receipt = %(receipt)s, receipt_actor = %(actor)s
WHERE id = %(notice_id)s AND failed_at IS NULL AND delivered_at IS NULL

-- mark_delivered -- a positive receipt; whoever was faster than our own word was sent it then
UPDATE notice SET sent_at = coalesce(sent_at, greatest(%(at)s, made_at)), delivered_at = greatest(%(at)s, sent_at, made_at), receipt = %(receipt)s, receipt_actor = %(actor)s
WHERE id = %(notice_id)s AND delivered_at IS NULL AND failed_at IS NULL

-- channel_of -- over which channel a notice goes; no row where a person tells it
SELECT channel FROM notice WHERE id = %(notice_id)s AND contact_id IS NOT NULL

-- mark_bounced -- nothing can be delivered where this notice went
UPDATE contact SET bounced_at = %(at)s WHERE id = (SELECT contact_id FROM notice WHERE id = %(notice_id)s)

-- waiting -- by channel how many notices wait to be sent, and since when the oldest does
SELECT n.channel, count(*), min(n.made_at) FROM notice_to_send s JOIN notice n ON n.id = s.notice_id GROUP BY 1
