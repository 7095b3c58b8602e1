-- begin -- one state of the database, in which nothing can be written
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY

-- holders -- accounts that have one of these tariffs on a day or later, with the tariff that they began with
SELECT a.id, a.number, a.tariff_id FROM account a
WHERE a.id IN (SELECT h.account_id FROM tariff_held h
               WHERE h.tariff_id = ANY(%(tariffs)s) AND coalesce(h.to_day, 'infinity') > %(since)s)
ORDER BY a.id

-- customers -- points of active accounts, with what decides about a cut all the time
SELECT a.id AS account_id, x.point_id, p.number AS point, a.number AS account, a.trip_fen, a.credit_limit_fen,
       a.agreement IS NOT NULL AS has_agreement, p.protected, p.life_support
FROM account a
JOIN point_account x ON x.account_id = a.id AND x.to_day IS NULL
JOIN point p ON p.id = x.point_id
WHERE a.state = 'active'
ORDER BY a.id, x.point_id

-- mornings -- of points at these moments: the balance then, and where it is below the floor the newest freeze published by now
WITH of_account AS (
    SELECT a.id, a.opened_on, a.trip_fen - a.credit_limit_fen AS floor_fen, b.id AS customer
    FROM account a LEFT JOIN ledger_account b ON b.name = 'customer:' || a.number || ':prepaid'
    WHERE a.id = ANY(%(accounts)s)
), moved AS (
    SELECT a.id, width_bucket(j.recorded_at, %(moments)s::timestamptz[]) + 1 AS number, sum(l.fen) AS fen
    FROM of_account a
    CROSS JOIN LATERAL (
        SELECT j.recorded_at, j.accounts, j.amounts FROM journal j WHERE j.account = a.customer
        UNION ALL
        SELECT j.recorded_at, j.accounts, j.amounts FROM journal j
        WHERE j.leg_accounts @> ARRAY[a.customer] AND 0 < ANY (array_remove(j.leg_accounts, j.leg_accounts[1])) AND j.account <> a.customer
    ) j
    CROSS JOIN LATERAL unnest(j.accounts, j.amounts) AS l (account, fen)
    WHERE l.account = a.customer GROUP BY 1, 2
), balance AS (
    SELECT a.*, n.at, (sum(coalesce(m.fen, 0)) OVER (PARTITION BY a.id ORDER BY n.number))::bigint AS fen
    FROM of_account a
    CROSS JOIN unnest(%(moments)s::timestamptz[]) WITH ORDINALITY AS n (at, number)
    LEFT JOIN moved m ON (m.id, m.number) = (a.id, n.number)
)
SELECT x.point_id, b.at, b.fen, s.day
FROM balance b
JOIN point_account x ON x.account_id = b.id AND x.to_day IS NULL AND x.from_day <= (b.at AT TIME ZONE %(zone)s)::date
LEFT JOIN LATERAL (SELECT y.day FROM slot_beside(x.point_id, 1::smallint, (b.at AT TIME ZONE %(zone)s)::date, -1, '{published}') y
                   WHERE b.fen < b.floor_fen) s ON true
WHERE b.opened_on <= (b.at AT TIME ZONE %(zone)s)::date
ORDER BY x.point_id, b.at
