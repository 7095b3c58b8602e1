-- billed_points -- the points of these accounts, each with the days on which it is theirs and where its links end
SELECT x.account_id, x.point_id, p.number AS point,
       greatest(x.from_day, a.opened_on, i.first_day) AS opens_on,
       least(x.to_day, a.last_day + 1) AS to_day,
       opening.day IS NOT NULL AS is_open,
       opening.day IS NULL AND EXISTS (SELECT FROM link l
                                       WHERE l.point_id = x.point_id AND l.account_id = x.account_id
                                         AND l.from_day >= x.from_day) AS was_open,
       -- Mostly it ends within the week before: what lies further back is not read for that.
       coalesce((SELECT l.to_day FROM link l
                 WHERE l.point_id = x.point_id AND l.account_id = x.account_id AND l.hold IS DISTINCT FROM 'rates'
                   AND l.from_day BETWEEN greatest(x.from_day, c.from_day - 8) AND c.from_day - 1 AND l.to_day < c.from_day
                 ORDER BY l.from_day DESC LIMIT 1),
                (SELECT l.to_day FROM link l
                 WHERE l.point_id = x.point_id AND l.account_id = x.account_id AND l.hold IS DISTINCT FROM 'rates'
                   -- The account may have had the point before: those links are of that time.
                   AND l.from_day >= x.from_day AND l.to_day < c.from_day
                 ORDER BY l.from_day DESC LIMIT 1)) AS linked_to
FROM unnest(%(accounts)s::int[], %(from_days)s::date[]) AS c (account_id, from_day)
JOIN account a ON a.id = c.account_id
JOIN point_account x ON x.account_id = a.id
JOIN point p ON p.id = x.point_id
LEFT JOIN LATERAL (SELECT first_day FROM installation y WHERE y.point_id = x.point_id ORDER BY from_at LIMIT 1) i ON true
LEFT JOIN LATERAL (SELECT y.day FROM slot y
                   WHERE y.day = greatest(x.from_day, a.opened_on, i.first_day) AND y.point_id = x.point_id AND y.kind = 1
                     AND y.state IN ('published', 'substituted') OFFSET 0) opening ON true
WHERE a.opened_on IS NOT NULL AND a.agreement IS NOT NULL
  -- What never was so stays for what is to be given back; where the account has those days all the same, nothing is.
  AND (x.to_day IS DISTINCT FROM x.from_day
       OR NOT EXISTS (SELECT FROM point_account w
                      WHERE w.point_id = x.point_id AND w.account_id = x.account_id
                        AND w.from_day < x.from_day AND coalesce(w.to_day, 'infinity') > x.from_day))
ORDER BY x.point_id, x.from_day

-- ratios -- every ratio of these points in order of days; of one midnight the last revision counts
SELECT DISTINCT ON (point_id, from_day) point_id, from_day, from_at, ratio, registers FROM point_ratio
WHERE point_id = ANY(%(points)s)
ORDER BY point_id, from_day, rev DESC

-- meters -- every meter of these points, in order of time
SELECT i.point_id, i.meter_id, i.from_at, i.initial, i.final, i.modulus, i.decimals FROM installation i
WHERE i.point_id = ANY(%(points)s)
ORDER BY i.point_id, i.from_at

-- in_force -- links that overlap these spans
SELECT l.point_id, l.account_id, l.from_day, l.to_day, l.meter_id, l.begins, l.ends, l.modulus, l.decimals, l.ratio, l.hold,
       l.pieces, l.billed_by
FROM unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[]) AS s (point_id, first_day, last_day)
JOIN link l ON l.point_id = s.point_id AND l.from_day < s.last_day AND l.to_day > s.first_day
ORDER BY l.point_id, l.from_day

-- of_accounts -- the links of these accounts that end behind a day
SELECT l.point_id, l.account_id, l.from_day, l.to_day, l.meter_id, l.begins, l.ends, l.modulus, l.decimals, l.ratio, l.hold,
       l.pieces, l.billed_by
FROM unnest(%(accounts)s::int[], %(sinces)s::date[]) AS a (id, since)
JOIN (SELECT DISTINCT account_id, point_id FROM point_account WHERE account_id = ANY(%(accounts)s::int[])) x ON x.account_id = a.id
JOIN link l ON l.point_id = x.point_id AND l.account_id = a.id AND l.to_day > a.since
ORDER BY l.account_id, l.from_day, l.point_id

-- put_out -- links that are out of force; what they were stays
DELETE FROM link l USING unnest(%(points)s::int[], %(froms)s::date[]) AS n (point_id, from_day)
WHERE (l.point_id, l.from_day) = (n.point_id, n.from_day)

-- put_in -- links that come into force
COPY link (point_id, account_id, from_day, to_day, meter_id, modulus, decimals, ratio, hold, pieces, billed_by, end_total, end_rate_1,
           end_rate_2, end_rate_3, end_rate_4, more_ends, used_total, used_rate_1, used_rate_2, used_rate_3, used_rate_4, told_begins)
FROM STDIN

-- bill_months -- the links of these months of accounts were billed with these transactions, those that are not yet
UPDATE link l SET billed_by = n.transaction
FROM unnest(%(accounts)s::int[], %(months)s::date[], %(transactions)s::bigint[]) AS n (account_id, month, transaction)
JOIN point_account x ON x.account_id = n.account_id
WHERE l.point_id = x.point_id AND l.account_id = n.account_id AND l.billed_by IS NULL AND l.hold IS NULL
  AND l.to_day > n.month AND l.to_day <= n.month + interval '1 month'

-- held_spans -- spans that are not billed by themselves, with the reason
SELECT p.number AS point_id, l.from_day, l.to_day, (l.end_total - (l.begins)[1] + l.modulus) %% greatest(l.modulus, 1) AS delta, l.hold
FROM link l JOIN point p ON p.id = l.point_id
WHERE l.account_id = (SELECT id FROM account WHERE number = %(account)s) AND l.hold IS NOT NULL
ORDER BY p.number, l.from_day

-- uses -- the use of points by link, in order of days
SELECT l.point_id, a.number AS account, l.from_day, l.to_day, round(used.kwh, greatest(scale(used.kwh), l.decimals)) AS kwh, l.hold
FROM link l JOIN account a ON a.id = l.account_id CROSS JOIN link_kwh(l) AS used (kwh)
WHERE l.point_id = ANY(%(points)s) ORDER BY l.point_id, l.from_day
