-- differing -- points of which the files price the registers otherwise than the database, or of which another pricing waits
SELECT p.id, p.number AS point, s.phases, s.rates, coalesce(s.residual_rate, '') AS residual_rate,
       (p.phases, p.rates, p.residual_rate) IS NOT DISTINCT FROM (s.phases, string_to_array(s.rates, ' '), s.residual_rate) AS is_same,
       coalesce(s.is_billed, false) AS is_billed, d.id AS document, d.content,
       CASE WHEN r.reason = %(withdrawn)s THEN 'withdrawn' ELSE coalesce(r.verdict, 'waits') END AS verdict
FROM staged_point s JOIN point p ON p.id = s.known_id
LEFT JOIN (SELECT DISTINCT ON (content ->> 'point') * FROM document WHERE kind = 'point_pricing'
           ORDER BY content ->> 'point', id DESC) d ON d.content ->> 'point' = p.number
LEFT JOIN document_review r ON r.document_id = d.id
WHERE (p.phases, p.rates, p.residual_rate) IS DISTINCT FROM (s.phases, string_to_array(s.rates, ' '), s.residual_rate)
   OR d.id IS NOT NULL AND r.document_id IS NULL
ORDER BY p.number

-- find_billed -- points with billed use, of which the files price the registers otherwise
UPDATE staged_point s SET is_billed = true
FROM point p
WHERE p.id = s.known_id
  AND (p.phases, p.rates, p.residual_rate) IS DISTINCT FROM (s.phases, string_to_array(s.rates, ' '), s.residual_rate)
  AND EXISTS (SELECT FROM link l WHERE l.point_id = p.id AND l.hold IS NULL)

-- waiting -- other pricings that wait for a second person, beside what counts
SELECT d.id AS document, d.actor, d.content, p.phases, array_to_string(p.rates, ' ') AS rates,
       coalesce(p.residual_rate, '') AS residual_rate, p.id AS point_id
FROM document d JOIN point p ON p.number = d.content ->> 'point'
WHERE d.kind = 'point_pricing' AND d.waits AND NOT EXISTS (SELECT FROM document_review r WHERE r.document_id = d.id)
  AND (%(number)s::int IS NULL OR d.id = %(number)s)
ORDER BY d.id

-- write -- how the registers of a point are priced, always
UPDATE point SET phases = %(phases)s, rates = string_to_array(%(rates)s, ' '), residual_rate = nullif(%(residual_rate)s, '')
WHERE id = %(point_id)s
