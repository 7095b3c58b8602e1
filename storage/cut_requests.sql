-- owing -- what an account owes in its present episode, and who asked that it be cut; with its row locked
SELECT a.id AS account_id, a.number AS account, e.id AS episode_id,
       a.trip_fen - a.credit_limit_fen - coalesce(b.balance_fen, 0) AS debt_fen, r.id AS request
FROM account a
LEFT JOIN arrears_episode e ON e.account_id = a.id AND e.ended_at IS NULL
LEFT JOIN cut_request r ON r.episode_id = e.id AND r.withdrawn_at IS NULL
LEFT JOIN ledger_account b ON b.name = 'customer:' || a.number || ':prepaid'
WHERE a.number = %(account)s FOR NO KEY UPDATE OF a

-- account_of -- whose cut a request asks for
SELECT a.number FROM cut_request r JOIN account a ON a.id = r.account_id WHERE r.id = %(number)s

-- add_request -- somebody asks for a cut
INSERT INTO cut_request (account_id, episode_id, debt_fen, requester, reason, requested_at)
VALUES (%(account_id)s, %(episode_id)s, %(debt_fen)s, %(actor)s, %(reason)s, now()) RETURNING id

-- withdraw_request -- nobody is cut by it any more
UPDATE cut_request SET withdrawn_at = now(), withdrawn_by = %(actor)s, withdrawn_why = %(reason)s
WHERE id = %(number)s AND withdrawn_at IS NULL RETURNING id

-- request -- one of them
SELECT requester, debt_fen, episode_id, withdrawn_at IS NULL FROM cut_request WHERE id = %(number)s

-- approve -- for four hours
INSERT INTO approval (request_id, approver, approved_at, expires_at)
VALUES (%(number)s, %(actor)s, now(), now() + word_lasts()) RETURNING expires_at

-- requests -- with who approved them; all, or those that count still
SELECT r.id AS number, a.number AS account, r.debt_fen, r.requester, r.reason, r.requested_at, r.withdrawn_at, r.withdrawn_by,
       coalesce(jsonb_object_agg(v.approver, v.expires_at) FILTER (WHERE v.expires_at > now() AND v.withdrawn_at IS NULL), '{}')
           AS approved_until,
       r.withdrawn_at IS NULL AND e.ended_at IS NULL AS is_open
FROM cut_request r JOIN account a ON a.id = r.account_id JOIN arrears_episode e ON e.id = r.episode_id
LEFT JOIN approval v ON v.request_id = r.id
WHERE %(all)s OR r.withdrawn_at IS NULL AND e.ended_at IS NULL
GROUP BY r.id, a.number, e.ended_at ORDER BY r.id
