-- counting -- the versions of tariffs that count, in order of their start
SELECT tariff_id, number, form::text, is_used FROM tariff_version
WHERE tariff_id = ANY(%(tariffs)s) AND state = 'counts'
ORDER BY tariff_id, effective_from

-- changes -- which tariffs accounts have from which day on, that they did not begin with
SELECT account_id, from_day, tariff_id FROM tariff_change WHERE account_id = ANY(%(accounts)s)
ORDER BY account_id, from_day

-- mark_used -- use is billed by them: they stay as they are
WITH first_used AS MATERIALIZED (
    SELECT number FROM tariff_version WHERE number = ANY(%(numbers)s) AND NOT is_used ORDER BY number FOR UPDATE
)
UPDATE tariff_version SET is_used = true WHERE number IN (SELECT number FROM first_used)

-- account -- whose tariff is to change on a day: what it has then, until when, and since when that has a price
SELECT a.id AS account_id, a.state, a.opened_on, tariff_on(a.id, %(day)s) AS tariff,
       (SELECT min(c.from_day) FROM tariff_change c WHERE c.account_id = a.id AND c.from_day > %(day)s) AS until_day
FROM account a WHERE a.number = %(account)s

-- first_days -- since when tariffs have a price
SELECT tariff_id, min(effective_from) FROM tariff_version WHERE state = 'counts' GROUP BY 1 ORDER BY 1

-- billed_days -- how many days of an account are billed, from 00:00 of a day to 00:00 of another one
SELECT count(DISTINCT day)
FROM (SELECT DISTINCT point_id FROM point_account WHERE account_id = %(account_id)s) p  -- links are found by their points
JOIN link l USING (point_id)
CROSS JOIN LATERAL generate_series(greatest(l.from_day, %(from_day)s), least(l.to_day, %(to_day)s) - 1, interval '1 day') AS x (day)
WHERE l.account_id = %(account_id)s AND l.hold IS NULL AND l.to_day > %(from_day)s AND l.from_day < %(to_day)s

-- change_tariff -- from a day on an account has another tariff
INSERT INTO account_tariff (account_id, from_day, document_id, tariff_id)
VALUES (%(account_id)s, %(from_day)s, %(document_id)s, %(tariff)s)

-- points -- what points have that are billed to an account on a day or later: registers and phases
SELECT p.rates, p.residual_rate, p.phases
FROM point_account x JOIN point p ON p.id = x.point_id
WHERE x.account_id = %(account_id)s AND coalesce(x.to_day, 'infinity') > %(from_day)s
