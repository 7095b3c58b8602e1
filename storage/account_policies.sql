-- newest_policies -- of an account the row that counts and the newest one, which may wait: for four hours, as an approval lives
SELECT a.id,
       (SELECT y.profile FROM account_policy y WHERE y.account_id = a.id AND NOT y.waits ORDER BY y.rev DESC LIMIT 1) AS profile,
       n.rev, n.profile AS newest, coalesce(n.waits AND n.at > now() - word_lasts(), false) AS waits, n.actor, n.reason
FROM account a
LEFT JOIN LATERAL (SELECT * FROM account_policy y WHERE y.account_id = a.id ORDER BY y.rev DESC LIMIT 1) n ON true
WHERE a.number = %(account)s FOR NO KEY UPDATE OF a

-- add_policy -- by which policy an account is cut from now on, or when a second person has agreed
INSERT INTO account_policy (account_id, rev, profile, waits, actor, reason, second)
VALUES (%(account_id)s, %(rev)s, %(profile)s, %(waits)s, %(actor)s, %(reason)s, %(second)s)

-- account_policies -- who said by which policy an account is cut, the newest last; only that one may wait still
SELECT y.profile, y.waits AND y.rev = max(y.rev) OVER () AND y.at > now() - word_lasts() AS waits, y.actor, y.reason, y.second, y.at
FROM account_policy y JOIN account a ON a.id = y.account_id
WHERE a.number = %(account)s ORDER BY y.rev
