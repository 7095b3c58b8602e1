-- ensure_accounts -- ledger accounts come into being when they are first named
INSERT INTO ledger_account (name) SELECT n.name FROM unnest(%(names)s::text[]) AS n (name)
ORDER BY 1 ON CONFLICT (name) DO NOTHING

-- account_ids -- numbers of ledger accounts
SELECT name, id FROM ledger_account WHERE name = ANY(%(names)s)

-- ensure_streams -- months and components come into being when a leg is first for them
INSERT INTO posting_stream (period, component)
SELECT n.period, n.component FROM unnest(%(periods)s::date[], %(components)s::text[]) AS n (period, component)
WHERE NOT EXISTS (SELECT FROM posting_stream s WHERE (s.period, s.component) = (n.period, n.component))
ORDER BY 1, 2 ON CONFLICT (period, component) DO NOTHING

-- stream_ids -- numbers of months and components
SELECT s.period, s.component, s.id
FROM posting_stream s JOIN unnest(%(periods)s::date[], %(components)s::text[]) AS n (period, component) USING (period, component)

-- add_transactions -- new keys only, in their order, so that two who post the same wait one way; what comes back was new
INSERT INTO journal (value_date, kind, account, other_account, fen, stream, leg_accounts, leg_amounts, leg_streams, actor, key,
                     channel, content, document, reverses)
SELECT coalesce(n.value_date,
                greatest((now() AT TIME ZONE coalesce((SELECT zone FROM site), 'UTC'))::date,
                         (SELECT max(month) + interval '1 month' FROM closed_month)::date)),
       coalesce(k.id, 0), coalesce(l.accounts[1], 0), CASE WHEN are_two THEN l.accounts[2] END, CASE WHEN are_two THEN l.amounts[1] END,
       CASE WHEN are_two THEN l.streams[1] END, CASE WHEN NOT are_two THEN l.accounts END, CASE WHEN NOT are_two THEN l.amounts END,
       CASE WHEN NOT are_two THEN l.streams END, nullif(n.actor, 'daemon:settlement'), n.key,
       n.channel, nullif(n.content, '{}'), n.document, n.reverses
FROM unnest(%(keys)s::text[], %(kinds)s::text[], %(accounts)s::text[], %(amounts)s::text[], %(streams)s::text[],
            %(contents)s::jsonb[], %(actors)s::text[], %(channels)s::text[], %(value_dates)s::date[], %(documents)s::int[],
            %(reversed)s::bigint[])
     AS n (key, kind, accounts, amounts, streams, content, actor, channel, value_date, document, reverses)
CROSS JOIN LATERAL (SELECT n.accounts::int[] AS accounts, n.amounts::bigint[] AS amounts, n.streams::int[] AS streams) l
CROSS JOIN LATERAL (SELECT cardinality(l.accounts) = 2 AND l.accounts[2] < 0 AND 0 <> ALL (l.amounts)
                           AND l.amounts[1]::numeric + l.amounts[2] = 0 AND l.streams[1] IS NOT DISTINCT FROM l.streams[2] AS are_two) x
LEFT JOIN transaction_kind k USING (kind)
ORDER BY n.key
ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING
RETURNING key

-- known_contents -- what earlier transactions with these keys said
SELECT t.key, k.kind, coalesce(t.content, '{}') FROM journal t JOIN transaction_kind k ON k.id = t.kind
WHERE t.key = ANY(%(keys)s)

-- posted -- a transaction by its key, and the key of what took it back
SELECT t.id, t.key, k.kind, coalesce(t.content, '{}') AS content, t.channel, t.value_date, r.key AS reversed_by
FROM journal t JOIN transaction_kind k ON k.id = t.kind LEFT JOIN journal r ON r.reverses = t.id
WHERE t.key = %(key)s

-- legs_of -- of a transaction, in order
SELECT a.name, p.amount_fen, p.period, p.component
FROM posting p JOIN ledger_account a ON a.id = p.ledger_account_id
WHERE p.transaction_id = %(transaction)s ORDER BY p.leg

-- open_from -- the first day that no closed month holds
SELECT (max(month) + interval '1 month')::date FROM closed_month

-- close_month -- nothing but adjustments counts for its days from now on
INSERT INTO closed_month (month, actor, reason) VALUES (%(month)s, %(actor)s, %(reason)s)

-- drawn_now -- a number above those of all that write now; who draws one later sees what was committed before
SELECT pg_current_xact_id()::text

-- have_ended -- whether nothing writes any more whose number is not above
SELECT pg_snapshot_xmin(pg_current_snapshot()) > %(through)s::xid8 FROM pg_sleep(0.1)  -- it is asked until it is so

-- balances -- of customers' prepaid accounts
SELECT a.id, coalesce(l.balance_fen, 0)
FROM account a LEFT JOIN ledger_account l ON l.name = 'customer:' || a.number || ':prepaid'
WHERE a.id = ANY(%(accounts)s)

-- lock_accounts -- money of an account moves by one transaction at a time; always locked in order of id
SELECT id FROM account WHERE id = ANY(%(accounts)s) ORDER BY id FOR NO KEY UPDATE

-- lock_accounts_by_number -- the same of what persons call them
SELECT id FROM account WHERE number = ANY(%(numbers)s) ORDER BY id FOR NO KEY UPDATE

-- accounts -- what they are; who moves money has locked them
SELECT a.id, a.number, a.tariff_id, a.state, a.opened_on, a.agreement, a.warn_fen, a.trip_fen, a.reconnect_fen,
       a.credit_limit_fen, a.credit_state, e.started_at AS episode_started_at
FROM account a LEFT JOIN arrears_episode e ON e.account_id = a.id AND e.ended_at IS NULL
WHERE a.id = ANY(%(accounts)s)
ORDER BY a.id

-- put_credit -- credit states that changed
UPDATE account a SET credit_state = n.credit_state
FROM unnest(%(accounts)s::int[], %(states)s::text[]) AS n (id, credit_state)
WHERE a.id = n.id

-- begin_episodes -- an arrears episode starts when the credit is exhausted
INSERT INTO arrears_episode (account_id, started_at)
SELECT * FROM unnest(%(accounts)s::int[], %(starts)s::timestamptz[])

-- end_episodes -- it ends when the balance is back at the reconnect threshold
UPDATE arrears_episode SET ended_at = greatest(%(now)s, started_at)
WHERE account_id = ANY(%(accounts)s) AND ended_at IS NULL

-- activate -- accounts that now have everything
UPDATE account SET state = 'active' WHERE id = ANY(%(accounts)s)

-- statement -- what happened on a customer's account, newest first
SELECT t.recorded_at, t.key, t.kind,
       (SELECT sum(p.amount_fen)::bigint FROM posting p WHERE p.transaction_id = t.id AND p.ledger_account_id = a.id) AS amount_fen
FROM ledger_account a
CROSS JOIN LATERAL (
    (SELECT j.id FROM journal j WHERE j.account = a.id ORDER BY (j.id >> 16)::integer DESC, j.id DESC LIMIT %(most)s)
    UNION ALL
    (SELECT j.id FROM journal j
     WHERE j.leg_accounts @> ARRAY[a.id] AND 0 < ANY (array_remove(j.leg_accounts, j.leg_accounts[1])) AND j.account <> a.id
     ORDER BY j.id DESC LIMIT %(most)s)
) moved
JOIN ledger_transaction t ON t.id = moved.id
WHERE a.name = 'customer:' || %(account)s || ':prepaid'
ORDER BY t.id DESC LIMIT %(most)s

-- sum_of_balances -- of the whole ledger
SELECT coalesce(sum(balance_fen), 0)::bigint FROM account_balance

-- integrity -- what must be true of the whole ledger, as counts of what is not
WITH leg AS MATERIALIZED (
    SELECT l.account, l.stream, sum(l.fen) AS fen
    FROM journal t CROSS JOIN LATERAL unnest(t.accounts, t.amounts, t.streams) AS l (account, fen, stream) GROUP BY 1, 2
), streamed AS (
    SELECT c.id AS account_id, s.about_month AS period, s.about_component AS component, -sum(l.fen) AS fen
    FROM leg l JOIN posting_stream s ON s.id = l.stream JOIN ledger_account a ON a.id = l.account
    JOIN account c ON a.name = 'customer:' || c.number || ':prepaid' GROUP BY 1, 2, 3
)
SELECT (SELECT coalesce(sum(balance_fen), 0) FROM account_balance)::bigint AS sum_of_balances_fen,
       (SELECT count(*) FROM journal t
         WHERE cardinality(t.accounts) < 2 OR (SELECT sum(fen) FROM unnest(t.amounts) fen) <> 0) AS unbalanced_transactions,
       (SELECT count(*) FROM account_balance b
         FULL JOIN (SELECT account, sum(fen) AS fen FROM leg GROUP BY 1) l ON l.account = b.id
         WHERE coalesce(b.balance_fen, 0) <> coalesce(l.fen, 0) OR b.id IS NULL) AS wrong_balances,
       (SELECT count(*)
         FROM (SELECT m.account_id, m.month AS period, k.component, k.fen
               FROM account_month m CROSS JOIN unnest(m.components, m.posted_fen) AS k (component, fen) WHERE k.fen <> 0) kept
         FULL JOIN (SELECT * FROM streamed WHERE fen <> 0) l USING (account_id, period, component)
         WHERE kept.fen IS DISTINCT FROM l.fen)
           AS wrong_months,
       (SELECT count(*) FROM journal t
         WHERE t.reverses IS NULL AND EXISTS (SELECT FROM posting_stream s
                                              WHERE s.id = ANY(t.streams) AND s.period <> date_trunc('month', t.value_date)))
           AS misdated_charges,
       (SELECT count(*) FROM journal) AS transactions,
       (SELECT coalesce(sum(coalesce(cardinality(leg_accounts), 2)), 0) FROM journal)::bigint AS postings

