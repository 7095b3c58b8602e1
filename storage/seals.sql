-- drawn -- up to which place was drawn; asked before the transaction that marks it has a number
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM journal_place

-- mark -- where the seal stands; of a mark that came from another cluster the numbers say nothing
SELECT through, horizon <= pg_snapshot_xmin(pg_current_snapshot()) AS is_reached,
       horizon > pg_current_xact_id() AS is_foreign
FROM seal_mark FOR UPDATE

-- put_mark -- whoever drew one of these places has a number below this transaction's
INSERT INTO seal_mark (through, horizon) VALUES (%(through)s, pg_current_xact_id())
ON CONFLICT (only_one) DO UPDATE SET through = excluded.through, horizon = excluded.horizon

-- last_block -- the newest one
SELECT number, after, through, places, short_leaves, previous, history, hash, peak, sealed_at FROM sealed_block ORDER BY number DESC LIMIT 1

-- blocks -- a range of them in order
SELECT number, after, through, places, short_leaves, previous, history, hash, peak, sealed_at FROM sealed_block
WHERE number BETWEEN %(first)s AND %(last)s ORDER BY number

-- some_blocks -- by their numbers
SELECT number, after, through, places, short_leaves, previous, history, hash, peak, sealed_at FROM sealed_block
WHERE number = ANY(%(numbers)s)

-- peaks -- what blocks add to the tree over all of them
SELECT number, peak FROM sealed_block WHERE number = ANY(%(numbers)s)

-- first_since -- the first block that was sealed since
SELECT min(number) FROM sealed_block WHERE sealed_at >= %(since)s

-- sealed_now -- ranges of places, each behind one and up to another, as they are now: each place and its leaf, in order, eight
-- and 32 bytes at a time. What is hashed does not depend on the encoding that the client asked for.
SELECT coalesce(string_agg(int8send(place), '' ORDER BY place), '') AS places,
       coalesce(string_agg(leaf, '' ORDER BY place), '') AS leaves
FROM unnest(%(afters)s::bigint[], %(throughs)s::bigint[]) WITH ORDINALITY AS part (after, through, number)
LEFT JOIN LATERAL (
    SELECT t.id AS place, sha256('\x00'::bytea || record_send(ROW(
               t.id, t.recorded_at, t.value_date, convert_to(k.kind, 'UTF8'), t.accounts, t.amounts, t.streams,
               convert_to(t.actor, 'UTF8'), convert_to(t.key, 'UTF8'), convert_to(t.channel, 'UTF8'),
               convert_to(t.content::text, 'UTF8'), t.document, t.reverses))) AS leaf
    FROM journal t LEFT JOIN transaction_kind k ON k.id = t.kind
    WHERE t.id > after AND t.id <= through
    UNION ALL
    SELECT a.place, sha256('\x00'::bytea || record_send(ROW(a.place, a.id, convert_to(a.name, 'UTF8'))))
    FROM ledger_account a WHERE a.place > after AND a.place <= through
    UNION ALL
    SELECT s.place, sha256('\x00'::bytea || record_send(ROW(s.place, s.id, s.period, convert_to(s.component, 'UTF8'))))
    FROM posting_stream s WHERE s.place > after AND s.place <= through
    UNION ALL
    SELECT e.place, sha256('\x00'::bytea || record_send(ROW(
               e.place, e.command_id, e.at, convert_to(e.state, 'UTF8'), convert_to(e.detail, 'UTF8'),
               convert_to(e.guard::text, 'UTF8'))))
    FROM command_event e WHERE e.place > after AND e.place <= through
) sealed ON true
GROUP BY number ORDER BY number

-- called -- what is at a place, in words
SELECT 'transaction ' || id || ' (' || key || ')' FROM ledger_transaction WHERE id = %(place)s
UNION ALL SELECT 'account ' || name FROM ledger_account WHERE place = %(place)s
UNION ALL SELECT 'stream ' || to_char(period, 'YYYY-MM') || ' ' || component FROM posting_stream WHERE place = %(place)s
UNION ALL SELECT 'step "' || state || '" of command ' || command_id FROM command_event WHERE place = %(place)s

-- first_place -- the first behind one that something has; NULL: there is none up to the bound
SELECT min(place)
FROM (SELECT min(id) AS place FROM journal WHERE id > %(after)s
      UNION ALL SELECT min(place) FROM ledger_account WHERE place > %(after)s
      UNION ALL SELECT min(place) FROM posting_stream WHERE place > %(after)s
      UNION ALL SELECT min(place) FROM command_event WHERE place > %(after)s) next
WHERE place <= %(through)s

-- add_block -- sealed, with the balances of the accounts that keep none, as far as the block moved them
WITH told (number, after, through, places, short_leaves, previous, history, hash, peak, sealed_at) AS (
    VALUES (%(number)s::bigint, %(after)s::bigint, %(through)s::bigint, %(places)s::int8multirange, %(short_leaves)b::bytea,
            %(previous)b::bytea, %(history)b::bytea, %(hash)b::bytea, %(peak)b::bytea, %(sealed_at)s::timestamptz)
), balance AS (
    INSERT INTO sealed_balance (ledger_account_id, block, balance_fen)
    SELECT n.account, %(number)s,
           n.fen + coalesce((SELECT s.balance_fen FROM sealed_balance s WHERE s.ledger_account_id = n.account
                             ORDER BY s.block DESC LIMIT 1), 0)
    FROM unnest(%(accounts)s::int[], %(fens)s::bigint[]) AS n (account, fen)
    RETURNING ledger_account_id, block, balance_fen
)
INSERT INTO sealed_block (number, after, through, places, short_leaves, previous, history, hash, peak, sealed_at, checksum)
SELECT told.*, hash_record_extended(told, 0)
               # checksum_of_places(CASE WHEN number > 1 THEN after ELSE %(before_all)s END, through,
                                    age(pg_current_xact_id()::xid))
               # coalesce((SELECT bit_xor(hash_record_extended(b, 0)) FROM balance b), 0)
FROM told

-- first_suspect -- the first block of a range that is not there, does not follow the one before it, or is not what it
-- was when it was sealed
SELECT n.number
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n (number)
LEFT JOIN sealed_block b USING (number)
LEFT JOIN sealed_block before ON before.number = n.number - 1
WHERE b.number IS NULL
   OR n.number > 1 AND (before.number IS NULL OR (before.hash, before.through) <> (b.previous, b.after))
   OR b.checksum <> hash_record_extended(ROW(b.number, b.after, b.through, b.places, b.short_leaves, b.previous, b.history, b.hash,
                                             b.peak, b.sealed_at), 0)
                    # checksum_of_places(CASE WHEN b.number > 1 THEN b.after ELSE %(before_all)s END, b.through, age(b.xmin))
                    # coalesce((SELECT bit_xor(hash_record_extended(ROW(s.ledger_account_id, s.block, s.balance_fen), 0))
                                FROM ledger_account a JOIN sealed_balance s ON s.ledger_account_id = a.id AND s.block = b.number
                                WHERE a.id < 0), 0)
ORDER BY n.number LIMIT 1

-- places_of -- how much a range of blocks sealed
SELECT coalesce(sum(upper(part) - lower(part)), 0)::bigint
FROM sealed_block CROSS JOIN unnest(places) AS part
WHERE number BETWEEN %(first)s AND %(last)s

-- moved -- by account that keeps no balance what a block moved
SELECT account, sum(fen)::bigint
FROM (SELECT unnest(t.accounts) AS account, unnest(t.amounts) AS fen FROM journal t WHERE id > %(after)s AND id <= %(through)s) leg
WHERE account < 0 GROUP BY 1 ORDER BY 1

-- wrong_total -- an account whose balance at a block is not that of the block before with what the block moved
SELECT a.name
FROM unnest(%(accounts)s::int[], %(fens)s::bigint[]) AS n (account, fen)
FULL JOIN (SELECT * FROM sealed_balance WHERE block = %(number)s) s ON s.ledger_account_id = n.account
LEFT JOIN ledger_account a ON a.id = coalesce(s.ledger_account_id, n.account)
WHERE s.balance_fen IS DISTINCT FROM
      n.fen + coalesce((SELECT b.balance_fen FROM sealed_balance b
                        WHERE b.ledger_account_id = n.account AND b.block < %(number)s
                        ORDER BY b.block DESC LIMIT 1), 0)
ORDER BY 1 LIMIT 1

-- unbalanced -- the first transaction of a range whose legs do not sum to zero
SELECT id FROM journal t
WHERE id > %(after)s AND id <= %(through)s AND is_unbalanced(t.amounts) ORDER BY id LIMIT 1

-- wrong_balance -- the first account whose row keeps another balance than its legs make
SELECT a.name FROM ledger_account a
LEFT JOIN (SELECT l.account, sum(l.fen) AS fen FROM journal t CROSS JOIN LATERAL unnest(t.accounts, t.amounts) AS l (account, fen)
           GROUP BY 1) l ON l.account = a.id
WHERE a.balance_fen <> coalesce(l.fen, 0) ORDER BY a.id LIMIT 1

-- newest_balance -- the newest block that a sealed balance is of
SELECT max(newest.block)
FROM ledger_account a
CROSS JOIN LATERAL (SELECT s.block FROM sealed_balance s WHERE s.ledger_account_id = a.id ORDER BY s.block DESC LIMIT 1) newest
WHERE a.id < 0

-- unsealed -- how many transactions are in no block yet
SELECT count(*) FROM journal
WHERE id > coalesce((SELECT through FROM sealed_block ORDER BY number DESC LIMIT 1), 0)
