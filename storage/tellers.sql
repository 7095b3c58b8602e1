-- number -- the numbers of tellers, in their order; those that are not known are added
WITH asked AS (
    SELECT * FROM unnest(%(lines)s::text[], %(addresses)s::text[], %(terminals)s::text[], %(certificates)s::text[],
                         %(identities)s::text[], %(sessions)s::timestamptz[], %(proofs)s::smallint[]) WITH ORDINALITY
        AS a (line, address, terminal, certificate, identity, session_at, proof, place)
), added AS (
    INSERT INTO teller (line, address, terminal, certificate, identity, session_at, proof)
    SELECT line, address, terminal, certificate, identity, session_at, proof FROM asked a
    WHERE NOT EXISTS (SELECT FROM teller t
                      WHERE (t.line, t.address, t.terminal, t.certificate, t.proof) = (a.line, a.address, a.terminal, a.certificate, a.proof)
                        AND t.session_at IS NOT DISTINCT FROM a.session_at)
    ON CONFLICT DO NOTHING
    RETURNING *
)
SELECT t.id
FROM asked a
JOIN (SELECT * FROM teller UNION ALL SELECT * FROM added) t
  ON (t.line, t.address, t.terminal, t.certificate, t.proof) = (a.line, a.address, a.terminal, a.certificate, a.proof)
 AND t.session_at IS NOT DISTINCT FROM a.session_at
ORDER BY a.place
