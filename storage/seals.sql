-- drawn -- up to which id was drawn; asked before the transaction that marks it has a number
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM ledger_transaction_id

-- mark -- where the seal stands; of a mark that came from another cluster the numbers say nothing
SELECT through, horizon <= pg_snapshot_xmin(pg_current_snapshot()) AS is_reached,
       horizon > pg_current_xact_id() AS is_foreign
FROM seal_mark FOR UPDATE

-- put_mark -- whoever drew one of these ids has a number below this transaction's
INSERT INTO seal_mark (through, horizon) VALUES (%(through)s, pg_current_xact_id())
ON CONFLICT (only_one) DO UPDATE SET through = excluded.through, horizon = excluded.horizon

-- last_block -- the newest one
SELECT number, after, through, transactions, leaves, previous, hash, sealed_at FROM sealed_block ORDER BY number DESC LIMIT 1

-- blocks -- a range of them in order
SELECT number, after, through, transactions, leaves, previous, hash, sealed_at FROM sealed_block
WHERE number BETWEEN %(first)s AND %(last)s ORDER BY number

-- first_since -- the first block that was sealed since
SELECT min(number) FROM sealed_block WHERE sealed_at >= %(since)s

-- leaves -- of transactions in order of their ids; a leg without a transaction has a leaf without one
SELECT coalesce(t.id, p.transaction_id) AS id,
       sha256('\x00'::bytea || convert_to(
           left(json_build_array('transaction', t.id, t.key, t.kind, t.content, t.actor, t.channel, t.value_date, t.document,
                                  t.reverses, (extract(epoch FROM t.recorded_at) * 1000000)::bigint,
                                  t.database_transaction::text::bigint)::text, -1)
           || ', [' || coalesce(p.legs, '') || ']]', 'UTF8')) AS leaf,
       t.key
FROM (SELECT * FROM ledger_transaction WHERE id > %(after)s AND id <= %(through)s) t
FULL JOIN (SELECT l.transaction_id,
                  -- Text in place of jsonb: a third of the time.
                  string_agg('[' || l.leg || ', ' || coalesce(to_json(a.name)::text, 'null') || ', ' || l.amount_fen || ', '
                             || coalesce(to_json(l.period)::text, 'null') || ', '
                             || coalesce(to_json(l.component)::text, 'null') || ']', ', ' ORDER BY l.leg) AS legs
           FROM posting l LEFT JOIN ledger_account a ON a.id = l.ledger_account_id
           WHERE l.transaction_id > %(after)s AND l.transaction_id <= %(through)s
           GROUP BY 1) p ON p.transaction_id = t.id
ORDER BY 1

-- reach -- the last id of so many transactions behind an id; NULL: there are fewer up to the bound
SELECT id FROM ledger_transaction WHERE id > %(after)s AND id <= %(through)s ORDER BY id OFFSET %(most)s - 1 LIMIT 1

-- add_block -- sealed
INSERT INTO sealed_block (number, after, through, transactions, leaves, previous, hash, sealed_at)
VALUES (%(number)s, %(after)s, %(through)s, %(transactions)s::int8multirange, %(leaves)s, %(previous)s, %(hash)s, %(sealed_at)s)

-- add_balances -- of the accounts that keep none, as far as the block moved them
INSERT INTO sealed_balance (ledger_account_id, block, balance_fen)
SELECT n.ledger_account_id, %(number)s,
       n.moved_fen + coalesce((SELECT s.balance_fen FROM sealed_balance s WHERE s.ledger_account_id = n.ledger_account_id
                               ORDER BY s.block DESC LIMIT 1), 0)
FROM (SELECT p.ledger_account_id, sum(p.amount_fen)::bigint AS moved_fen
      FROM posting p JOIN ledger_account a ON a.id = p.ledger_account_id AND a.balance_fen IS NULL
      WHERE p.transaction_id > %(after)s AND p.transaction_id <= %(through)s GROUP BY 1) n

-- wrong_totals -- accounts whose balance at a block is not that of the block before with what the block moved
SELECT a.name
FROM (SELECT p.ledger_account_id, sum(p.amount_fen) AS moved_fen
      FROM posting p JOIN ledger_account a ON a.id = p.ledger_account_id AND a.balance_fen IS NULL
      WHERE p.transaction_id > %(after)s AND p.transaction_id <= %(through)s GROUP BY 1) n
FULL JOIN (SELECT * FROM sealed_balance WHERE block = %(number)s) s USING (ledger_account_id)
LEFT JOIN ledger_account a ON a.id = ledger_account_id
WHERE s.balance_fen IS DISTINCT FROM
      n.moved_fen + coalesce((SELECT b.balance_fen FROM sealed_balance b
                              WHERE b.ledger_account_id = n.ledger_account_id AND b.block < %(number)s
                              ORDER BY b.block DESC LIMIT 1), 0)
ORDER BY 1

-- unbalanced -- the first transaction of a range whose legs do not sum to zero
SELECT transaction_id FROM posting WHERE transaction_id > %(after)s AND transaction_id <= %(through)s
GROUP BY 1 HAVING sum(amount_fen) <> 0 ORDER BY 1 LIMIT 1

-- wrong_balance -- the first account whose row keeps another balance than its postings make
SELECT a.name FROM ledger_account a
WHERE a.balance_fen <> (SELECT coalesce(sum(p.amount_fen), 0) FROM posting p WHERE p.ledger_account_id = a.id)
ORDER BY a.id LIMIT 1

-- unsealed -- how many transactions are in no block yet
SELECT count(*) FROM ledger_transaction
WHERE id > coalesce((SELECT through FROM sealed_block ORDER BY number DESC LIMIT 1), 0)
