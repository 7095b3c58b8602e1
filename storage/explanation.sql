-- accounts -- where accounts stand: what they were charged lately and to which day all their points are billed
WITH chosen AS MATERIALIZED (
    SELECT * FROM account
    WHERE (%(state)s::text IS NULL OR state = %(state)s) AND (%(credit)s::text IS NULL OR credit_state = %(credit)s)
    ORDER BY number LIMIT %(most)s
)
SELECT a.number, a.name, a.state, a.credit_state, coalesce(l.balance_fen, 0) AS balance_fen, a.trip_fen, a.opened_on,
       e.started_at, c.billed_through, c.charged_since, c.charged_fen, c.charged_through
FROM chosen a
-- For each account by its indexes, whatever statistics say.
LEFT JOIN LATERAL (SELECT balance_fen FROM ledger_account WHERE name = 'customer:' || a.number || ':prepaid' OFFSET 0) l ON true
LEFT JOIN LATERAL (SELECT started_at FROM arrears_episode WHERE account_id = a.id AND ended_at IS NULL OFFSET 0) e ON true
CROSS JOIN LATERAL charged_lately(a.id, %(since)s) c
ORDER BY a.number

-- movements -- what moved a customer's balance, leg by leg, in order of the days that they count for
SELECT j.id AS transaction, k.kind, j.recorded_at, j.value_date AS day, j.channel, s.about_month, s.about_component, l.fen,
       coalesce(o.reasons, '{}') AS reasons
FROM ledger_account a
CROSS JOIN LATERAL journal_of(a.id) j
JOIN transaction_kind k ON k.id = j.kind
CROSS JOIN LATERAL unnest(j.accounts, j.amounts, j.streams) WITH ORDINALITY AS l (account, fen, stream, leg)
LEFT JOIN posting_stream s ON s.id = l.stream
LEFT JOIN (SELECT transaction_id, array_agg(DISTINCT reason) AS reasons
           FROM old_charge o JOIN account c ON c.id = o.account_id CROSS JOIN unnest(o.reasons) reason
           WHERE c.number = %(account)s GROUP BY 1) o ON o.transaction_id = j.id
WHERE a.name = 'customer:' || %(account)s || ':prepaid' AND l.account = a.id
ORDER BY day, j.id, l.leg

-- transaction -- one of the ledger, and what took it back
SELECT t.id, t.key, t.kind, t.recorded_at, t.value_date, t.actor, t.channel, t.document, t.reverses,
       (SELECT r.id FROM journal r WHERE r.reverses = t.id) AS reversed_by,
       ARRAY(SELECT DISTINCT unnest(o.reasons)
             FROM journal j JOIN ledger_account l ON l.id = j.account JOIN account a ON l.name = 'customer:' || a.number || ':prepaid'
             JOIN old_charge o ON o.account_id = a.id AND o.transaction_id = j.id
             WHERE j.id = t.id ORDER BY 1) AS reasons
FROM ledger_transaction t WHERE t.id = %(transaction)s

-- billed_with -- the links that a transaction billed, in force or replaced since. One settlement posts each month by itself, so
-- those of all that was posted with it count; they lie in the cycles of the months that it is about
WITH asked AS MATERIALIZED (
    SELECT j.recorded_at, j.accounts, date_trunc('year', min(s.about_month))::date AS since,
           (date_trunc('year', max(s.about_month)) + interval '1 year')::date AS until
    FROM journal j JOIN posting_stream s ON s.id = ANY (j.streams) WHERE j.id = %(transaction)s GROUP BY j.id
), its_points AS (
    SELECT DISTINCT x.account_id, x.point_id
    FROM asked q JOIN ledger_account l ON l.id = ANY (q.accounts)
    JOIN account a ON l.name = 'customer:' || a.number || ':prepaid'
    JOIN point_account x ON x.account_id = a.id
), billed AS (
    SELECT l AS link, NULL::timestamptz AS left_at
    FROM asked q CROSS JOIN its_points x JOIN link l
        ON l.point_id = x.point_id AND l.account_id = x.account_id AND l.from_day < q.until AND l.to_day > q.since
    UNION ALL
    SELECT jsonb_populate_record(NULL::link, to_jsonb(p)), p.left_at
    FROM asked q CROSS JOIN its_points x JOIN past_link p
        ON p.point_id = x.point_id AND p.account_id = x.account_id AND p.from_day < q.until AND p.to_day > q.since
)
SELECT p.number AS point, (b.link).from_day, (b.link).to_day, link_kwh(b.link) AS kwh, (b.link).hold, b.left_at
FROM asked q CROSS JOIN billed b
JOIN journal j ON j.id = (b.link).billed_by AND j.recorded_at = q.recorded_at
JOIN point p ON p.id = (b.link).point_id
ORDER BY p.number, 2, b.left_at

-- past_links -- those that were in force for a day of an account, with what they were billed with
SELECT p.number AS point, l.from_day, l.to_day, l.billed_by, l.left_at
FROM (SELECT DISTINCT point_id FROM point_account WHERE account_id = %(account_id)s) x
JOIN past_link l ON l.point_id = x.point_id AND l.account_id = %(account_id)s AND l.from_day <= %(day)s AND l.to_day > %(day)s
JOIN point p ON p.id = x.point_id
ORDER BY p.number, l.left_at

-- points -- the points that an account has or had: number, names of the rate registers
SELECT p.id, p.number, p.rates FROM point p
WHERE p.id IN (SELECT point_id FROM point_account WHERE account_id = %(account_id)s) ORDER BY p.number

-- addresses -- of meters
SELECT id, address FROM meter WHERE id = ANY(%(meters)s)
