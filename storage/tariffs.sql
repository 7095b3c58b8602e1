-- stage_tariffs -- where the tariff versions of the files are copied to
CREATE TEMP TABLE staged_tariff ON COMMIT DROP AS
    SELECT tariff_id, effective_from, form FROM tariff_version WITH NO DATA

-- differing -- versions of the staged tariffs that come, change or go
SELECT tariff_id, effective_from
FROM staged_tariff s
FULL JOIN (SELECT * FROM tariff_version WHERE state = 'counts') v USING (tariff_id, effective_from)
WHERE v.form IS DISTINCT FROM s.form AND tariff_id IN (SELECT x.tariff_id FROM staged_tariff x)
ORDER BY tariff_id, effective_from

-- billed -- those of them after whose start use is billed
SELECT d.tariff_id, d.effective_from
FROM unnest(%(tariffs)s::text[], %(starts)s::date[]) AS d (tariff_id, effective_from)
WHERE EXISTS (SELECT FROM tariff_version v
              WHERE (v.tariff_id, v.effective_from) = (d.tariff_id, d.effective_from) AND v.is_used)
   OR EXISTS (SELECT FROM link l JOIN account a ON a.id = l.account_id
              WHERE a.tariff_id = d.tariff_id AND l.state = 'billed' AND l.to_day > d.effective_from)
ORDER BY d.tariff_id, d.effective_from

-- withdraw -- versions that the files of their tariff say otherwise or no more
WITH withdrawn AS MATERIALIZED (
    SELECT v.number FROM tariff_version v
    WHERE v.state = 'counts' AND v.tariff_id IN (SELECT x.tariff_id FROM staged_tariff x)
      AND NOT EXISTS (SELECT FROM staged_tariff s
                      WHERE (s.tariff_id, s.effective_from, s.form) = (v.tariff_id, v.effective_from, v.form))
    ORDER BY v.number FOR UPDATE
)
UPDATE tariff_version SET state = 'withdrawn' WHERE number IN (SELECT number FROM withdrawn)

-- add -- versions that the files say and that do not count yet
INSERT INTO tariff_version (tariff_id, effective_from, revision, form)
SELECT s.tariff_id, s.effective_from,
       (SELECT count(*) FROM tariff_version o WHERE (o.tariff_id, o.effective_from) = (s.tariff_id, s.effective_from)), s.form
FROM staged_tariff s
LEFT JOIN tariff_version v ON (v.tariff_id, v.effective_from) = (s.tariff_id, s.effective_from) AND v.state = 'counts'
WHERE v.number IS NULL
ORDER BY s.tariff_id, s.effective_from

-- counting -- the versions of tariffs that count, in order of their start
SELECT tariff_id, number, form::text FROM tariff_version
WHERE tariff_id = ANY(%(tariffs)s) AND state = 'counts'
ORDER BY tariff_id, effective_from

-- mark_used -- use is billed by them: they stay as they are
WITH first_used AS MATERIALIZED (
    SELECT number FROM tariff_version WHERE number = ANY(%(numbers)s) AND NOT is_used ORDER BY number FOR UPDATE
)
UPDATE tariff_version SET is_used = true WHERE number IN (SELECT number FROM first_used)
