-- mark_accounts -- they are settled anew
INSERT INTO to_settle (account_id, from_day, to_day, cause)
SELECT account_id, %(from_day)s, %(to_day)s, %(cause)s FROM unnest(%(accounts)s::int[]) AS x (account_id) ORDER BY 1
ON CONFLICT (account_id) DO UPDATE SET
    from_day = least(to_settle.from_day, excluded.from_day),
    to_day = greatest(to_settle.to_day, excluded.to_day)

-- mark_points -- whoever is billed for these points on these days or later
INSERT INTO to_settle (account_id, from_day, to_day, cause)
SELECT x.account_id, min(c.first_day), max(c.last_day), %(cause)s
FROM unnest(%(points)s::int[], %(firsts)s::date[], %(lasts)s::date[]) AS c (point_id, first_day, last_day)
JOIN (SELECT * FROM point_account WHERE point_id = ANY(%(points)s::int[])) x
    ON x.point_id = c.point_id AND coalesce(x.to_day, 'infinity') >= c.first_day
GROUP BY 1 ORDER BY 1
ON CONFLICT (account_id) DO UPDATE SET
    from_day = least(to_settle.from_day, excluded.from_day),
    to_day = greatest(to_settle.to_day, excluded.to_day)
WHERE excluded.from_day < to_settle.from_day OR excluded.to_day > to_settle.to_day

-- now -- when what is marked now was marked at the latest
SELECT now()

-- take_marks -- the first ones that nobody is adding to; accounts are locked before their marks, as everybody does
DELETE FROM to_settle WHERE account_id = ANY(ARRAY(
    SELECT account_id FROM to_settle WHERE account_id = ANY(ARRAY(
        SELECT id FROM account WHERE id = ANY(ARRAY(
            SELECT account_id FROM to_settle WHERE not_before <= %(now)s AND since <= %(until)s ORDER BY account_id LIMIT %(most)s))
        ORDER BY id FOR NO KEY UPDATE))
    AND not_before <= %(now)s AND since <= %(until)s FOR UPDATE SKIP LOCKED))
RETURNING account_id, from_day, to_day

-- put_off -- an account that cannot be settled keeps its mark, with the reason
UPDATE to_settle SET not_before = %(not_before)s, error = %(error)s WHERE account_id = %(account)s
