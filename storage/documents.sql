-- add_document -- what somebody said; one at a time, because whoever adds one holds the lock of the chains
INSERT INTO document (id, kind, point, actor, reason, evidence, waits, content)
SELECT coalesce(max(id), 0) + 1, %(kind)s, %(point)s, %(actor)s, %(reason)s, %(evidence)s, %(waits)s, %(content)s FROM document
RETURNING id

-- review -- what the second person said
INSERT INTO document_review (document_id, verdict, actor, reason)
VALUES (%(number)s, %(verdict)s, %(actor)s, %(reason)s)

-- documents -- with what became of them; of one number, one point, or those that wait
SELECT d.id AS number, d.kind, d.point, d.at, d.actor, d.reason, d.evidence, d.content,
       CASE WHEN NOT d.waits THEN 'counts' ELSE coalesce(r.verdict, 'waits') END AS state,
       r.actor AS reviewer, r.reason AS review, r.at AS reviewed_at
FROM document d LEFT JOIN document_review r ON r.document_id = d.id
WHERE (%(number)s::int IS NULL OR d.id = %(number)s)
  AND (%(point)s::text IS NULL OR %(point)s IN (d.point, d.content ->> 'other'))
  AND (NOT %(waiting)s OR d.waits AND r.document_id IS NULL)
ORDER BY d.id

-- tell -- whoever listens hears of a document when it is committed
NOTIFY meterd_document
