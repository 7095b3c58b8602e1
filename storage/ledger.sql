-- ensure_accounts -- ledger accounts come into being when they are first named
INSERT INTO ledger_account (name) SELECT unnest(%(names)s::text[]) ORDER BY 1 ON CONFLICT (name) DO NOTHING

-- account_ids -- numbers of ledger accounts
SELECT name, id FROM ledger_account WHERE name = ANY(%(names)s)

-- add_transactions -- new keys only; what comes back was new
INSERT INTO ledger_transaction (key, kind, content)
SELECT * FROM unnest(%(keys)s::text[], %(kinds)s::text[], %(contents)s::jsonb[])
ON CONFLICT (key) DO NOTHING
RETURNING key, id

-- known_contents -- what earlier transactions with these keys said
SELECT key, content FROM ledger_transaction WHERE key = ANY(%(keys)s)

-- add_postings -- the legs of new transactions
INSERT INTO posting (transaction_id, leg, ledger_account_id, amount_fen, period, component)
SELECT * FROM unnest(%(transactions)s::bigint[], %(legs)s::smallint[], %(accounts)s::int[], %(amounts)s::bigint[],
                     %(periods)s::date[], %(components)s::text[])

-- balances -- of customers' prepaid accounts
SELECT a.id, coalesce(l.balance_fen, 0)
FROM account a LEFT JOIN ledger_account l ON l.name = 'customer:' || a.id || ':prepaid'
WHERE a.id = ANY(%(accounts)s)

-- lock_accounts -- money of an account moves by one transaction at a time; always locked in order of id
SELECT id, tariff_id, state, open_from, agreement, warn_fen, trip_fen, reconnect_fen, credit_limit_fen, credit_state,
       episode_started_at
FROM account WHERE id = ANY(%(accounts)s) ORDER BY id FOR UPDATE

-- account_of_points -- whose points these are
SELECT id, account_id FROM point WHERE id = ANY(%(points)s) AND account_id IS NOT NULL

-- opened_points -- points whose opening freeze is published, each with the end of its links before the day given
SELECT o.point_id, o.opens_on,
       (SELECT max(l.to_day) FROM link l
        WHERE l.point_id = o.point_id AND l.state <> 'replaced' AND l.to_day <= greatest(s.day, o.opens_on))
FROM unnest(%(points)s::text[], %(days)s::date[]) AS s (point_id, day)
JOIN point_opening o ON o.point_id = s.point_id
WHERE o.has_opening_freeze

-- points_to_open -- points of pending accounts whose opening freeze is there already
SELECT o.point_id, o.opens_on FROM point_opening o JOIN account a ON a.id = o.account_id
WHERE a.state = 'pending' AND o.has_opening_freeze

-- tariff_versions -- all versions of the tariffs
SELECT tariff_id, effective_from, price FROM tariff_version WHERE tariff_id = ANY(%(tariffs)s)
ORDER BY tariff_id, effective_from

-- streams -- the cumulative-rounding state of accounts
SELECT account_id, period, component, exact_yuan, posted_fen FROM charge_stream
WHERE account_id = ANY(%(accounts)s) AND period = ANY(%(periods)s)

-- put_streams -- their new state
INSERT INTO charge_stream (account_id, period, component, exact_yuan, posted_fen)
SELECT * FROM unnest(%(accounts)s::text[], %(periods)s::date[], %(components)s::text[], %(exacts)s::numeric[],
                     %(posted)s::bigint[])
ON CONFLICT (account_id, period, component)
DO UPDATE SET exact_yuan = excluded.exact_yuan, posted_fen = excluded.posted_fen

-- live_links -- links of each span that are in force, with how often their span was linked before
SELECT l.id, l.point_id, l.from_day, l.to_day, l.revision, l.delta, l.rolled_over
FROM link l
JOIN unnest(%(points)s::text[], %(firsts)s::date[], %(lasts)s::date[]) AS s (point_id, first_day, last_day)
  ON l.point_id = s.point_id AND l.from_day < s.last_day AND l.to_day > s.first_day
WHERE l.state <> 'replaced'
ORDER BY l.point_id, l.from_day

-- charges_of_links -- what links cost when they were billed
SELECT link_id, part, period, component, kwh, price AS price_yuan_per_kwh, exact_yuan, tariff_id, tariff_from,
       is_estimated_split
FROM charge WHERE link_id = ANY(%(links)s) ORDER BY link_id, part

-- replace_links -- they are out of force
UPDATE link SET state = 'replaced' WHERE id = ANY(%(links)s)

-- add_links -- new links in force; the revision counts how often this very span was linked
INSERT INTO link (point_id, account_id, from_day, to_day, revision, delta, rolled_over, state)
SELECT n.point_id, n.account_id, n.from_day, n.to_day,
       (SELECT count(*) FROM link l WHERE (l.point_id, l.from_day, l.to_day) = (n.point_id, n.from_day, n.to_day)),
       n.delta, n.rolled_over, n.state
FROM unnest(%(points)s::text[], %(accounts)s::text[], %(froms)s::date[], %(tos)s::date[], %(deltas)s::bigint[],
            %(rolled)s::boolean[], %(states)s::text[])
     AS n (point_id, account_id, from_day, to_day, delta, rolled_over, state)
RETURNING id, point_id, from_day, to_day, revision

-- add_charges -- the priced parts of links
INSERT INTO charge (link_id, part, period, component, kwh, price, exact_yuan, tariff_id, tariff_from, is_estimated_split)
SELECT * FROM unnest(%(links)s::bigint[], %(parts)s::smallint[], %(periods)s::date[], %(components)s::text[],
                     %(kwhs)s::numeric[], %(prices)s::numeric[], %(exacts)s::numeric[], %(tariffs)s::text[],
                     %(tariff_froms)s::date[], %(estimated)s::boolean[])

-- put_credit -- credit states that changed; the episode starts when the state becomes exhausted
UPDATE account a SET credit_state = n.credit_state, episode_started_at = n.episode_started_at
FROM unnest(%(accounts)s::text[], %(states)s::text[], %(episodes)s::timestamptz[])
     AS n (id, credit_state, episode_started_at)
WHERE a.id = n.id

-- activate -- accounts that now have everything: agreement, opening day, and the opening freeze of every point
UPDATE account a SET state = 'active'
WHERE a.id = ANY(%(accounts)s) AND a.state = 'pending'
  AND EXISTS (SELECT FROM point_opening o WHERE o.account_id = a.id)
  AND NOT EXISTS (SELECT FROM point p LEFT JOIN point_opening o ON o.point_id = p.id
                  WHERE p.account_id = a.id AND o.has_opening_freeze IS NOT TRUE)
RETURNING a.id

-- statement -- what happened on a customer's account, newest first
SELECT t.recorded_at, t.key, t.kind, sum(p.amount_fen)::bigint AS amount_fen
FROM ledger_account l JOIN posting p ON p.ledger_account_id = l.id JOIN ledger_transaction t ON t.id = p.transaction_id
WHERE l.name = 'customer:' || %(account)s || ':prepaid'
GROUP BY t.id ORDER BY t.id DESC LIMIT %(most)s

-- held_spans -- spans that are not billed because they are too long
SELECT point_id, from_day, to_day, delta FROM link WHERE account_id = %(account)s AND state = 'held'
ORDER BY point_id, from_day

-- sum_of_balances -- of the whole ledger
SELECT coalesce(sum(balance_fen), 0)::bigint FROM ledger_account

-- integrity -- what must be true of the whole ledger, as counts of what is not
SELECT (SELECT coalesce(sum(balance_fen), 0) FROM ledger_account)::bigint AS sum_of_balances_fen,
       (SELECT count(*) FROM (SELECT transaction_id FROM posting GROUP BY 1 HAVING sum(amount_fen) <> 0) x)
           AS unbalanced_transactions,
       (SELECT count(*) FROM ledger_account a
         WHERE a.balance_fen <> (SELECT coalesce(sum(amount_fen), 0) FROM posting p WHERE p.ledger_account_id = a.id))
           AS wrong_balances,
       (SELECT count(*) FROM charge_stream s
         WHERE s.posted_fen <> round(s.exact_yuan, 2) * 100
            OR s.posted_fen <> (SELECT coalesce(-sum(p.amount_fen), 0)
                                FROM posting p JOIN ledger_account l ON l.id = p.ledger_account_id
                                WHERE l.name = 'customer:' || s.account_id || ':prepaid'
                                  AND p.period = s.period AND p.component = s.component)
            OR s.exact_yuan <> (SELECT coalesce(sum(c.exact_yuan), 0)
                                FROM charge c JOIN link k ON k.id = c.link_id
                                WHERE k.account_id = s.account_id AND k.state = 'billed'
                                  AND c.period = s.period AND c.component = s.component))
           AS wrong_streams,
       (SELECT count(*) FROM ledger_transaction) AS transactions,
       (SELECT count(*) FROM posting) AS postings
