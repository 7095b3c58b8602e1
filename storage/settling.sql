-- mark_accounts -- they are settled anew
INSERT INTO to_settle (account_id, from_day, to_day, cause)
SELECT account_id, %(from_day)s, %(to_day)s, %(cause)s FROM unnest(%(accounts)s::int[]) AS x (account_id)

-- mark_points -- whoever is billed for these points on these days or later
INSERT INTO to_settle (account_id, from_day, to_day, cause)
SELECT x.account_id, min(c.first_day), max(c.last_day), %(cause)s
FROM unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[]) AS c (point_id, first_day, last_day)
JOIN (SELECT * FROM point_account WHERE point_id = ANY(%(points)s::int[])) x
    ON x.point_id = c.point_id AND coalesce(x.to_day, 'infinity') >= c.first_day
GROUP BY 1
UNION ALL
SELECT account_id, date '2000-01-01' + day, date '2000-01-01' + day, %(cause)s
FROM unnest(%(accounts)s::int[], %(days)s::int[]) AS known (account_id, day)

-- copy_marks -- accounts that are known
COPY to_settle (account_id, from_day, to_day) FROM STDIN (FORMAT BINARY)

-- put_back -- marks of readings that were taken off by whoever could not settle them
INSERT INTO to_settle (account_id, from_day, to_day, since)
SELECT *, %(since)s FROM unnest(%(accounts)s::int[], %(firsts)s::date[], %(lasts)s::date[]) AS x (account_id, from_day, to_day)

-- now -- when what is marked now was marked at the latest
SELECT now()

-- marked -- an account that was marked until a moment
SELECT account_id FROM to_settle WHERE since <= %(until)s ORDER BY account_id LIMIT 1

-- take_marks -- all marks of the first accounts, and of those whose links are in the way of a point that they were given;
-- accounts are locked before their marks, as everybody does
WITH RECURSIVE first AS (
    SELECT account_id FROM to_settle s
    WHERE since <= %(until)s
      AND NOT EXISTS (SELECT FROM not_settled n WHERE n.account_id = s.account_id AND n.not_before > %(now)s)
    ORDER BY account_id LIMIT 8 * %(most)s::int
), together (account_id) AS (
    (SELECT DISTINCT account_id FROM first ORDER BY 1 LIMIT %(most)s)
    UNION
    SELECT y.account_id FROM together t JOIN to_settle s ON s.account_id = t.account_id AND s.cause = 'assignment'
    JOIN point_account x ON x.account_id = t.account_id JOIN point_account y ON y.point_id = x.point_id
    WHERE EXISTS (SELECT FROM to_settle m WHERE m.account_id = y.account_id AND m.since <= %(until)s)
), chosen AS MATERIALIZED (
    SELECT id FROM account WHERE id = ANY(ARRAY(SELECT account_id FROM together))
    ORDER BY id FOR NO KEY UPDATE
), tried AS (
    DELETE FROM not_settled WHERE account_id = ANY(ARRAY(SELECT id FROM chosen))
)
DELETE FROM to_settle WHERE account_id = ANY(ARRAY(SELECT id FROM chosen)) AND since <= %(until)s
RETURNING account_id, from_day, to_day, cause

-- put_off -- an account that cannot be settled keeps its marks, with the reason
INSERT INTO not_settled (account_id, not_before, error) VALUES (%(account)s, %(not_before)s, %(error)s)
ON CONFLICT (account_id) DO UPDATE SET not_before = excluded.not_before, error = excluded.error
