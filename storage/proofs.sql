-- numbered -- accounts by what persons call them
SELECT id, number, tariff_id FROM account WHERE number = ANY(%(numbers)s) ORDER BY number

-- in_service -- the accounts that had a day in service in a month
SELECT id, number, tariff_id FROM account
WHERE opened_on < %(month)s::date + interval '1 month' AND (last_day IS NULL OR last_day >= %(month)s) ORDER BY number

-- unsettled -- the first of these accounts of which something of a month, or before it, is yet to be settled
SELECT min(a.number) FROM to_settle s JOIN account a ON a.id = s.account_id
WHERE s.account_id = ANY(%(accounts)s::int[]) AND s.from_day < %(month)s::date + interval '1 month'

-- counted -- fen by account, the month that they count for and, of charges, the month that they are about: a charge counts for
-- the month of its stream, which of an adjustment is the one in which it was made, all else for that of its value date
SELECT c.account_id, m.month, m.about, sum(m.charged_fen)::bigint AS charged_fen, sum(m.other_fen)::bigint AS other_fen
FROM unnest(%(accounts)s::int[], %(names)s::text[]) AS c (account_id, name)
JOIN ledger_account a ON a.name = c.name
CROSS JOIN LATERAL journal_of(a.id) j
CROSS JOIN LATERAL (
    SELECT s.period AS month, s.about_month AS about, l.fen AS charged_fen, 0 AS other_fen
    FROM unnest(j.accounts, j.amounts, j.streams) AS l (account, fen, stream) JOIN posting_stream s ON s.id = l.stream
    WHERE l.account < 0
    UNION ALL
    SELECT date_trunc('month', j.value_date)::date, NULL, 0, l.fen
    FROM unnest(j.accounts, j.amounts) AS l (account, fen)
    WHERE l.account = a.id AND j.streams IS NULL
) m
WHERE m.month <= %(month)s
GROUP BY 1, 2, 3

-- transactions -- of each customer: charges that are about some months, and all else of one month
SELECT c.account_id, j.id, j.recorded_at, j.value_date, k.kind, j.accounts, j.amounts, j.streams, j.actor, j.key, j.channel,
       j.content::text, j.document, j.reverses
FROM unnest(%(accounts)s::int[], %(names)s::text[], %(rated)s::text[]) AS c (account_id, name, rated)
JOIN ledger_account a ON a.name = c.name
CROSS JOIN LATERAL journal_of(a.id) j
JOIN transaction_kind k ON k.id = j.kind
WHERE CASE WHEN j.streams IS NULL THEN date_trunc('month', j.value_date) = %(month)s
           ELSE EXISTS (SELECT FROM posting_stream s WHERE s.id = ANY(j.streams) AND s.about_month = ANY(c.rated::date[])) END
ORDER BY c.account_id, j.id

-- account_names -- of accounts of the ledger, with the place at which each was sealed
SELECT id, place, name FROM ledger_account WHERE id = ANY(%(ids)s)

-- stream_names -- of months and components, with the place at which each was sealed
SELECT id, place, period, component FROM posting_stream WHERE id = ANY(%(ids)s)

-- shown -- the values that stand at the ends of links, as the meters told them or as somebody put them
SELECT s.point_id, s.day, s.state::text, r.source, r.stamp, r.arrived_at, coalesce(r.total, s.total) AS total,
       coalesce(r.rate_1, told.rates[1]), coalesce(r.rate_2, told.rates[2]), coalesce(r.rate_3, told.rates[3]),
       coalesce(r.rate_4, told.rates[4]), coalesce(r.more_rates, told.rates[5:])
FROM unnest(%(points)s::int[], %(days)s::date[]) AS n (point_id, day)
JOIN slot s ON s.day = n.day AND s.point_id = n.point_id AND s.kind = 1
LEFT JOIN reading r ON (r.day, r.meter_id, r.id) = (s.day, s.meter_id, s.reading_id)
LEFT JOIN LATERAL (
    -- A substitute has the rates that were said with it.
    SELECT y.rates FROM decision y
    WHERE s.state = 'substituted' AND y.point_id = s.point_id AND y.day = s.day AND y.action = 'substitute' AND y.takes_effect
      AND y.total = s.total
    ORDER BY y.rev DESC LIMIT 1) told ON true
WHERE s.state IN ('published', 'substituted')

-- documents -- what says which registers meters of these points had when they came, went or got another ratio
SELECT point_id, from_at, document_id FROM installation WHERE point_id = ANY(%(points)s) AND document_id IS NOT NULL
UNION
SELECT point_id, from_at, document_id FROM point_ratio
WHERE point_id = ANY(%(points)s) AND document_id IS NOT NULL AND from_at IS NOT NULL

-- point_numbers -- what persons call points
SELECT id, number FROM point WHERE id = ANY(%(ids)s)

-- addresses -- of meters
SELECT id, address FROM meter WHERE id = ANY(%(ids)s)

-- sealed_in -- the block that holds each place; NULL: none yet
SELECT p.place, (SELECT b.number FROM sealed_block b WHERE b.through >= p.place ORDER BY b.through LIMIT 1)
FROM unnest(%(places)s::bigint[]) AS p (place)

-- hashes -- what the tree over all blocks is made of
SELECT number, hash, peak FROM sealed_block WHERE number = ANY(%(numbers)s)
