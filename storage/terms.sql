-- terms_of -- what is known of accounts besides their use; of the entries of a day or cycle the last one counts
SELECT a.id, coalesce((SELECT max(p.phases) FROM point_account x JOIN point p ON p.id = x.point_id
                       WHERE x.account_id = a.id AND x.to_day IS DISTINCT FROM x.from_day), 1),
       CASE WHEN a.agreement IS NOT NULL THEN a.opened_on END, a.last_day, b.days, b.kwh, e.cycles, e.kwh,
       a.settlement = 'month'
FROM account a
-- For each account by its index: most have no entry, and no statistics say so.
CROSS JOIN LATERAL (
    SELECT array_agg(from_day ORDER BY from_day) AS days, array_agg(kwh_per_month ORDER BY from_day) AS kwh
    FROM (SELECT DISTINCT ON (from_day) * FROM household_bonus h WHERE h.account_id = a.id ORDER BY from_day, rev DESC) entry
) b
CROSS JOIN LATERAL (
    SELECT array_agg(cycle ORDER BY cycle) AS cycles, array_agg(kwh ORDER BY cycle) AS kwh
    FROM (SELECT DISTINCT ON (cycle) * FROM used_elsewhere u WHERE u.account_id = a.id ORDER BY cycle, rev DESC) entry
) e
WHERE a.id = ANY(%(accounts)s::int[])

-- registers_of -- what the rate registers of points are
SELECT id, rates, residual_rate FROM point WHERE id = ANY(%(points)s::int[])

-- closed_days -- days of the site whose end has come, both ends included
SELECT day FROM closed_day WHERE day BETWEEN %(since)s AND %(until)s ORDER BY day

-- known_days -- the first day of any account, the first and the last closed day; each by an index
SELECT (SELECT min(opened_on) FROM account), (SELECT min(day) FROM closed_day), (SELECT max(day) FROM closed_day)

-- close_days -- days whose end has come; whoever is in service on one of them and has or had a tariff with fees is settled, and
-- whoever is settled by months and has a month, or the last day, behind him
WITH closing AS (
    INSERT INTO closed_day (day) SELECT unnest(%(days)s::date[]) RETURNING day
), with_fees AS (
    SELECT v.tariff_id FROM tariff_version v WHERE v.state = 'counts' AND v.form ?| '{fixed,minimum}'
)
INSERT INTO to_settle (account_id, from_day, to_day, cause)
SELECT a.id, greatest(a.opened_on, CASE WHEN a.settlement = 'month' THEN date_trunc('month', c.first)::date ELSE c.first END),
       least(a.last_day, c.last), 'day_close'
FROM (SELECT min(day) AS first, max(day) AS last FROM closing) c
JOIN account a ON a.opened_on <= c.last AND coalesce(a.last_day, 'infinity') >= c.first AND a.agreement IS NOT NULL
WHERE a.tariff_id IN (SELECT tariff_id FROM with_fees)
   OR a.id IN (SELECT t.account_id FROM account_tariff t WHERE t.tariff_id IN (SELECT tariff_id FROM with_fees))
   OR a.settlement = 'month' AND (date_trunc('month', c.last + 1) > c.first OR a.last_day <= c.last)

-- add_bonus -- what counts of a day from now on
INSERT INTO household_bonus (account_id, from_day, rev, kwh_per_month, actor, document_id)
SELECT %(account_id)s, %(from_day)s, coalesce(max(rev) + 1, 0), %(kwh)s, %(actor)s, %(document_id)s
FROM household_bonus WHERE account_id = %(account_id)s AND from_day = %(from_day)s

-- add_used_elsewhere -- what counts of a cycle from now on
INSERT INTO used_elsewhere (account_id, cycle, rev, kwh, actor, document_id)
SELECT %(account_id)s, %(cycle)s, coalesce(max(rev) + 1, 0), %(kwh)s, %(actor)s, %(document_id)s
FROM used_elsewhere WHERE account_id = %(account_id)s AND cycle = %(cycle)s
