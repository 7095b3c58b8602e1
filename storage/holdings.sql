-- holdings -- who is billed for a point, in order of days
SELECT a.id AS account_id, a.number AS account, x.from_day, x.to_day, a.state, a.opened_on, a.agreement,
       (SELECT min(v.effective_from) FROM tariff_version v WHERE v.tariff_id = a.tariff_id AND v.state = 'counts') AS priced_from
FROM point_account x JOIN account a ON a.id = x.account_id
WHERE x.point_id = %(point_id)s ORDER BY x.from_day

-- account -- who may be billed
SELECT a.id AS account_id, a.number AS account, a.state, a.opened_on, a.agreement,
       (SELECT min(v.effective_from) FROM tariff_version v WHERE v.tariff_id = a.tariff_id AND v.state = 'counts') AS priced_from
FROM account a WHERE a.number = %(account)s

-- end_holdings -- of nobody from a day on; what began later never was
UPDATE point_account SET to_day = greatest(from_day, %(day)s)
WHERE point_id = %(point_id)s AND coalesce(to_day, 'infinity') > %(day)s
RETURNING account_id

-- move_holding -- what began with the point's first meter begins with it still
UPDATE point_account SET from_day = %(day)s
WHERE point_id = %(point_id)s AND from_day = %(was)s AND coalesce(to_day, 'infinity') > greatest(from_day, %(day)s)
RETURNING account_id

-- add_holding -- a point is given to an account
INSERT INTO point_account (point_id, account_id, from_day, document_id)
VALUES (%(point_id)s, %(account_id)s, %(day)s, %(document_id)s)
ON CONFLICT (point_id, from_day, account_id) DO UPDATE SET to_day = NULL, document_id = excluded.document_id

-- billed_spans -- the spans of a point that are billed
SELECT from_day, to_day FROM link WHERE point_id = %(point_id)s AND hold IS NULL

-- accounts_of -- everybody who is or was billed for these points, and for others that changed hands among them: who is settled
-- before the one that a point was taken from finds that one's links in its way
WITH RECURSIVE of (account_id) AS (
    SELECT account_id FROM point_account WHERE point_id = ANY(%(points)s)
    UNION
    SELECT y.account_id FROM of JOIN point_account x USING (account_id) JOIN point_account y ON y.point_id = x.point_id
)
SELECT account_id FROM of ORDER BY 1
