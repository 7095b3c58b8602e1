-- told_about -- an account with its present episode, and what is missing to the reconnect threshold
SELECT a.id, e.id, a.reconnect_fen - coalesce(b.balance_fen, 0)
FROM account a
LEFT JOIN arrears_episode e ON e.account_id = a.id AND e.ended_at IS NULL
LEFT JOIN ledger_account b ON b.name = 'customer:' || a.number || ':prepaid'
WHERE a.number = %(account)s

-- record -- what somebody told a customer by hand; no row for what has not happened yet
INSERT INTO notice (account_id, episode_id, kind, channel, language, text, amount_fen, deadline_at, planned_at, actor, evidence,
                    sent_at, delivered_at, receipt_actor)
SELECT %(account_id)s, %(episode_id)s, %(kind)s, %(channel)s, %(language)s, %(text)s, %(amount_fen)s, %(deadline_at)s::timestamptz,
       %(planned_at)s::timestamptz, %(actor)s, %(evidence)s, coalesce(%(sent_at)s::timestamptz, now()), %(delivered_at)s::timestamptz,
       CASE WHEN %(delivered_at)s::timestamptz IS NOT NULL THEN %(actor)s END
WHERE greatest(%(sent_at)s::timestamptz, %(delivered_at)s::timestamptz, '-infinity') <= now()
RETURNING id

-- notices -- the newest, of one account or of all
SELECT n.id AS number, a.number AS account, n.kind, n.channel, n.language, n.amount_fen, n.sent_at, n.delivered_at, n.failed_at,
       n.planned_at, n.actor, n.evidence, n.receipt, n.text, n.episode_id IS NOT NULL AND e.ended_at IS NULL AS is_of_present_episode
FROM notice n JOIN account a ON a.id = n.account_id LEFT JOIN arrears_episode e ON e.id = n.episode_id
WHERE %(account)s::text IS NULL OR a.number = %(account)s
ORDER BY n.id DESC LIMIT %(most)s
