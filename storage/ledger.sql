-- ensure_accounts -- ledger accounts come into being when they are first named
INSERT INTO ledger_account (name)
SELECT n.name FROM unnest(%(names)s::text[]) AS n (name)
WHERE NOT EXISTS (SELECT FROM ledger_account a WHERE a.name = n.name)  -- else each time uses up a number
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
INSERT INTO journal (value_date, kind, accounts, amounts, streams, actor, key, channel, content, document, reverses)
SELECT coalesce(n.value_date,
                greatest((now() AT TIME ZONE coalesce((SELECT zone FROM site), 'UTC'))::date,
                         (SELECT max(month) + interval '1 month' FROM closed_month)::date)),
       coalesce(k.id, 0), n.accounts::int[], n.amounts::bigint[], n.streams::int[], nullif(n.actor, 'daemon:settlement'), n.key,
       n.channel, nullif(n.content, '{}'), n.document, n.reverses
FROM unnest(%(keys)s::text[], %(kinds)s::text[], %(accounts)s::text[], %(amounts)s::text[], %(streams)s::text[],
            %(contents)s::jsonb[], %(actors)s::text[], %(channels)s::text[], %(value_dates)s::date[], %(documents)s::int[],
            %(reversed)s::bigint[])
     AS n (key, kind, accounts, amounts, streams, content, actor, channel, value_date, document, reverses)
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

-- accounts -- what they are, once they are locked
SELECT a.id, a.number, a.tariff_id, a.state, a.opened_on, a.agreement, a.warn_fen, a.trip_fen, a.reconnect_fen,
       a.credit_limit_fen, a.credit_state, e.started_at AS episode_started_at
FROM account a LEFT JOIN arrears_episode e ON e.account_id = a.id AND e.ended_at IS NULL
WHERE a.id = ANY(%(accounts)s)
ORDER BY a.id

-- billed_points -- the points of these accounts, each with the days on which it is theirs and where its links end
SELECT x.account_id, x.point_id, p.number AS point,
       greatest(x.from_day, a.opened_on, i.first_day) AS opens_on, x.to_day,
       opening.day IS NOT NULL AS is_open,
       opening.day IS NULL AND EXISTS (SELECT FROM link l
                                       WHERE l.point_id = x.point_id AND l.account_id = x.account_id AND l.state <> 'replaced'
                                         AND l.from_day >= x.from_day) AS was_open,
       (SELECT max(l.to_day) FROM link l
        WHERE l.point_id = x.point_id AND l.account_id = x.account_id AND l.state <> 'replaced'
          -- The account may have had the point before: those links are of that time.
          AND l.from_day >= x.from_day AND l.to_day < c.from_day) AS linked_to
FROM unnest(%(accounts)s::int[], %(from_days)s::date[]) AS c (account_id, from_day)
JOIN account a ON a.id = c.account_id
JOIN point_account x ON x.account_id = a.id
JOIN point p ON p.id = x.point_id
LEFT JOIN LATERAL (SELECT first_day FROM installation y WHERE y.point_id = x.point_id ORDER BY from_at LIMIT 1) i ON true
LEFT JOIN slot opening ON opening.day = greatest(x.from_day, a.opened_on, i.first_day)
    AND opening.point_id = x.point_id AND opening.kind = 1
    AND opening.state IN ('published', 'substituted')
WHERE a.opened_on IS NOT NULL AND a.agreement IS NOT NULL
ORDER BY x.point_id, x.from_day

-- ratios_of_points -- every ratio of these points in order of days; of one midnight the last revision counts
SELECT DISTINCT ON (point_id, from_day) point_id, from_day, ratio FROM point_ratio
WHERE point_id = ANY(%(points)s)
ORDER BY point_id, from_day, rev DESC

-- registers_of_points -- every meter of these points, from the first midnight that is its own
SELECT i.point_id, i.meter_id, i.first_day AS from_day, i.modulus, i.decimals
FROM installation i
WHERE i.point_id = ANY(%(points)s)
ORDER BY i.point_id, i.from_at

-- streams -- the cumulative-rounding state of accounts
SELECT account_id, period, component, exact_yuan, posted_fen FROM charge_stream
WHERE account_id = ANY(%(accounts)s) AND period = ANY(%(periods)s)

-- put_streams -- their new state
INSERT INTO charge_stream (account_id, period, component, exact_yuan, posted_fen)
SELECT * FROM unnest(%(accounts)s::int[], %(periods)s::date[], %(components)s::text[], %(exacts)s::numeric[],
                     %(posted)s::bigint[])
ON CONFLICT (account_id, period, component)
DO UPDATE SET exact_yuan = excluded.exact_yuan, posted_fen = excluded.posted_fen

-- live_links -- links of each span that are in force, with how often their span was linked before
SELECT l.id, l.point_id, l.account_id, l.from_day, l.to_day, l.revision, l.meter_id, l.begins, l.ends, l.modulus,
       l.decimals, l.ratio, l.state, l.hold
FROM link l
JOIN unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[]) AS s (point_id, first_day, last_day)
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
INSERT INTO link (point_id, account_id, from_day, to_day, revision, meter_id, begins, ends, modulus, decimals, ratio, state,
                  hold)
SELECT n.point_id, n.account_id, n.from_day, n.to_day,
       (SELECT count(*) FROM link l WHERE (l.point_id, l.from_day, l.to_day) = (n.point_id, n.from_day, n.to_day)),
       n.meter_id, ARRAY[n.begins], ARRAY[n.ends], n.modulus, n.decimals, n.ratio, n.state, n.hold
FROM unnest(%(points)s::int[], %(accounts)s::int[], %(froms)s::date[], %(tos)s::date[], %(meters)s::int[],
            %(begins)s::bigint[], %(ends)s::bigint[], %(moduli)s::bigint[], %(decimals)s::smallint[],
            %(ratios)s::numeric[], %(states)s::text[], %(holds)s::text[])
     AS n (point_id, account_id, from_day, to_day, meter_id, begins, ends, modulus, decimals, ratio, state, hold)
RETURNING id, point_id, from_day, to_day, revision

-- add_charges -- the priced parts of links
INSERT INTO charge (link_id, part, period, component, kwh, price, exact_yuan, tariff_id, tariff_from, is_estimated_split)
SELECT * FROM unnest(%(links)s::bigint[], %(parts)s::smallint[], %(periods)s::date[], %(components)s::text[],
                     %(kwhs)s::numeric[], %(prices)s::numeric[], %(exacts)s::numeric[], %(tariffs)s::text[],
                     %(tariff_froms)s::date[], %(estimated)s::boolean[])

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
UPDATE account a SET state = 'active' WHERE a.id = ANY(%(accounts)s) AND a.state = 'pending'
RETURNING a.id

-- statement -- what happened on a customer's account, newest first
SELECT t.recorded_at, t.key, t.kind,
       (SELECT sum(p.amount_fen)::bigint FROM posting p WHERE p.transaction_id = t.id AND p.ledger_account_id = a.id) AS amount_fen
FROM ledger_account a
CROSS JOIN LATERAL (
    (SELECT j.id FROM journal j WHERE j.accounts[1] = a.id ORDER BY j.id DESC LIMIT %(most)s)
    UNION ALL
    (SELECT j.id FROM journal j
     WHERE j.accounts @> ARRAY[a.id] AND 0 < ANY (array_remove(j.accounts, j.accounts[1])) AND j.accounts[1] <> a.id
     ORDER BY j.id DESC LIMIT %(most)s)
) moved
JOIN ledger_transaction t ON t.id = moved.id
WHERE a.name = 'customer:' || %(account)s || ':prepaid'
ORDER BY t.id DESC LIMIT %(most)s

-- held_spans -- spans that are not billed by themselves, with the reason
SELECT p.number AS point_id, l.from_day, l.to_day, (l.ends[1] - l.begins[1] + l.modulus) %% l.modulus AS delta, l.hold
FROM link l JOIN point p ON p.id = l.point_id
WHERE l.account_id = (SELECT id FROM account WHERE number = %(account)s) AND l.state = 'held'
ORDER BY p.number, l.from_day

-- sum_of_balances -- of the whole ledger
SELECT coalesce(sum(balance_fen), 0)::bigint FROM account_balance

-- integrity -- what must be true of the whole ledger, as counts of what is not
WITH leg AS MATERIALIZED (
    SELECT l.account, l.stream, sum(l.fen) AS fen
    FROM journal t CROSS JOIN LATERAL unnest(t.accounts, t.amounts, t.streams) AS l (account, fen, stream) GROUP BY 1, 2
), streamed AS (
    SELECT c.id AS account_id, s.period, s.component, -sum(l.fen) AS fen
    FROM leg l JOIN posting_stream s ON s.id = l.stream JOIN ledger_account a ON a.id = l.account
    JOIN account c ON a.name = 'customer:' || c.number || ':prepaid' GROUP BY 1, 2, 3
)
SELECT (SELECT coalesce(sum(balance_fen), 0) FROM account_balance)::bigint AS sum_of_balances_fen,
       (SELECT count(*) FROM journal t
         WHERE cardinality(t.accounts) < 2 OR (SELECT sum(fen) FROM unnest(t.amounts) fen) <> 0) AS unbalanced_transactions,
       (SELECT count(*) FROM account_balance b
         FULL JOIN (SELECT account, sum(fen) AS fen FROM leg GROUP BY 1) l ON l.account = b.id
         WHERE coalesce(b.balance_fen, 0) <> coalesce(l.fen, 0) OR b.id IS NULL) AS wrong_balances,
       (SELECT count(*) FROM charge_stream s LEFT JOIN streamed l USING (account_id, period, component)
         WHERE s.posted_fen <> round(s.exact_yuan, 2) * 100
            OR s.posted_fen <> coalesce(l.fen, 0)
            OR s.exact_yuan <> (SELECT coalesce(sum(x.exact_yuan), 0)
                                FROM charge x JOIN link k ON k.id = x.link_id
                                WHERE k.account_id = s.account_id AND k.state = 'billed'
                                  AND x.period = s.period AND x.component = s.component))
           AS wrong_streams,
       (SELECT count(*) FROM journal) AS transactions,
       (SELECT coalesce(sum(cardinality(accounts)), 0) FROM journal)::bigint AS postings

-- linked_uses -- the live links of points, in order of days
SELECT l.point_id, a.number AS account, l.from_day, l.to_day, l.begins[1] AS begins, l.ends[1] AS ends, l.modulus, l.decimals,
       l.ratio, l.hold
FROM link l JOIN account a ON a.id = l.account_id
WHERE l.point_id = ANY(%(points)s) AND l.state <> 'replaced' ORDER BY l.point_id, l.from_day
