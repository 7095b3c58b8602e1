-- stage -- where the tariff versions of the files are copied to
CREATE TEMP TABLE staged_tariff ON COMMIT DROP AS
    SELECT tariff_id, effective_from, form FROM tariff_version WITH NO DATA

-- differing -- versions of the staged tariffs of which the files say something else than what counts, or that wait
WITH known AS (
    SELECT * FROM tariff_version WHERE tariff_id IN (SELECT x.tariff_id FROM staged_tariff x)
), newest AS (
    SELECT DISTINCT ON (tariff_id, effective_from) tariff_id, effective_from, form, state FROM known
    ORDER BY tariff_id, effective_from, revision DESC
), billed AS (
    SELECT tariff_id, bool_or(is_used) AS is_billed FROM known WHERE state = 'counts' GROUP BY 1
)
SELECT tariff_id, effective_from, s.form IS NOT NULL AS is_told, c.number AS counting, coalesce(c.is_used, false) AS is_used,
       coalesce(c.form = s.form, false) AS is_counting, w.number AS waiting, w.document_id AS document,
       coalesce(w.form = s.form, false) AS is_waiting, coalesce(n.state = 'rejected' AND n.form = s.form, false) AS is_rejected,
       b.tariff_id IS NOT NULL AS is_known, coalesce(b.is_billed, false) AS is_billed
FROM staged_tariff s
FULL JOIN (SELECT * FROM known WHERE state = 'counts') c USING (tariff_id, effective_from)
FULL JOIN (SELECT * FROM known WHERE state = 'waits') w USING (tariff_id, effective_from)
LEFT JOIN newest n USING (tariff_id, effective_from)
LEFT JOIN billed b USING (tariff_id)
WHERE c.form IS DISTINCT FROM s.form OR w.number IS NOT NULL
ORDER BY tariff_id, effective_from

-- withdraw -- versions that the files say otherwise or no more
WITH withdrawn AS MATERIALIZED (
    SELECT number FROM tariff_version WHERE number = ANY(%(numbers)s) ORDER BY number FOR UPDATE
)
UPDATE tariff_version SET state = 'withdrawn' WHERE number IN (SELECT number FROM withdrawn)

-- add -- a version that the files say; with a document it waits
INSERT INTO tariff_version (tariff_id, effective_from, revision, form, state, document_id)
SELECT tariff_id, effective_from,
       (SELECT count(*) FROM tariff_version o WHERE (o.tariff_id, o.effective_from) = (s.tariff_id, s.effective_from)),
       form, CASE WHEN %(document)s::int IS NULL THEN 'counts' ELSE 'waits' END, %(document)s::int
FROM staged_tariff s WHERE (tariff_id, effective_from) = (%(tariff)s, %(start)s)

-- versions -- what was told of tariffs, with who told it and who agreed; of one number, or those that count or wait
SELECT v.number, v.tariff_id AS tariff, v.effective_from, v.state, v.is_used, v.form::text, v.document_id AS document,
       coalesce(d.at, v.filed_at) AS at, d.actor, d.content ->> 'owner' AS owner, r.actor AS reviewer
FROM tariff_version v
LEFT JOIN document d ON d.id = v.document_id
LEFT JOIN document_review r ON r.document_id = d.id
WHERE (%(tariff)s::text IS NULL OR v.tariff_id = %(tariff)s) AND v.state = ANY(%(states)s)
ORDER BY v.tariff_id, v.effective_from, v.revision

-- priced_anew -- how many billed days of which accounts a version of a tariff prices from a day on
WITH ends AS (
    SELECT min(effective_from) AS day FROM tariff_version
    WHERE tariff_id = %(tariff)s AND state = 'counts' AND effective_from > %(start)s
), held AS (
    SELECT h.account_id, greatest(h.from_day, %(start)s) AS from_day,
           least(coalesce(h.to_day, 'infinity'), coalesce((SELECT day FROM ends), 'infinity')) AS to_day
    FROM tariff_held h WHERE h.tariff_id = %(tariff)s
), billed AS (
    SELECT h.account_id, count(DISTINCT d.day) AS days, min(d.day)::date AS first_day, max(d.day)::date AS last_day
    FROM held h
    JOIN point_account x ON x.account_id = h.account_id
    JOIN link l ON l.point_id = x.point_id AND l.account_id = h.account_id AND l.hold IS NULL
        AND l.to_day > h.from_day AND l.from_day < h.to_day
    CROSS JOIN LATERAL generate_series(greatest(l.from_day, h.from_day), least(l.to_day, h.to_day) - 1, interval '1 day') d (day)
    GROUP BY 1
)
SELECT count(*)::int AS accounts, coalesce(sum(b.days), 0)::int AS days, min(b.first_day) AS first_day, max(b.last_day) AS last_day,
       coalesce((array_agg(a.number ORDER BY a.number))[1:%(most)s], '{}') AS numbers
FROM billed b JOIN account a ON a.id = b.account_id

-- holders -- accounts that have a tariff on a day or later
SELECT DISTINCT account_id FROM tariff_held WHERE tariff_id = %(tariff)s AND coalesce(to_day, 'infinity') > %(start)s
ORDER BY 1
