-- months -- what is kept of these accounts, each from a month on
SELECT m.account_id, m.month, m.use, m.components, m.posted_fen
FROM unnest(%(accounts)s::int[], %(sinces)s::date[]) AS a (id, since)
JOIN account_month m ON m.account_id = a.id AND m.month >= a.since

-- put -- what is kept of them from now on
INSERT INTO account_month (account_id, month, use, components, posted_fen)
SELECT n.account_id, n.month, n.use::bigint[], n.components::text[], n.posted::bigint[]
FROM unnest(%(accounts)s::int[], %(months)s::date[], %(uses)s::text[], %(components)s::text[],
            %(posted)s::text[]) AS n (account_id, month, use, components, posted)
ON CONFLICT (account_id, month)
DO UPDATE SET use = excluded.use, components = excluded.components, posted_fen = excluded.posted_fen

-- usual_days -- what these accounts were charged of the present and the last month, and from which day on they were
SELECT a.id, coalesce(sum((SELECT sum(fen) FROM unnest(m.posted_fen) fen)), 0)::bigint AS fen,
       greatest(a.opened_on, %(since)s) AS first_day
FROM account a LEFT JOIN account_month m ON m.account_id = a.id AND m.month >= %(since)s
WHERE a.id = ANY(%(accounts)s) GROUP BY a.id

-- add_old_charges -- money posted for days long past
INSERT INTO old_charge (account_id, posted_at, first_day, fen, transaction_id, reasons)
SELECT account_id, posted_at, first_day, fen, transaction_id, reasons::text[]
FROM unnest(%(accounts)s::int[], %(at)s::timestamptz[], %(firsts)s::date[], %(fen)s::bigint[], %(transactions)s::bigint[],
            %(reasons)s::text[]) AS n (account_id, posted_at, first_day, fen, transaction_id, reasons)

-- old_charges -- of these accounts, since then
SELECT account_id, posted_at, first_day, fen, transaction_id, reasons FROM old_charge
WHERE account_id = ANY(%(accounts)s) AND posted_at > %(since)s

-- put_grace -- until when no trip happens by itself
UPDATE account a SET span_grace_until = greatest(a.span_grace_until, n.until)
FROM unnest(%(accounts)s::int[], %(untils)s::timestamptz[]) AS n (id, until) WHERE a.id = n.id
