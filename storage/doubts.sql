-- doubts -- what is withheld, disputed or held, by point and day, with what its task has to name
SELECT p.number AS point, a.number AS account, m.address AS meter, m.line, d.day, s.state::text AS state, s.total, i.decimals,
       d.codes, d.next_step, d.hold, d.day - abs(s.link_days) AS held_from, d.since,
       before.day AS before_day, before.total AS before, before.state = 'substituted' AS before_is_substitute,
       behind.day AS behind_day, behind.total AS behind, behind.state = 'substituted' AS behind_is_substitute,
       waits.id AS waiting, waits.maker AS waiting_maker, waits.action AS waiting_action, waits.total AS waiting_total,
       r.clock_skew_s AS skew_s, said.day AS said_day, said.total AS said_total, found.command AS found,
       n.basis AS limit_basis, told.document_id AS document
FROM doubt d
JOIN slot s ON (s.day, s.point_id, s.kind) = (d.day, d.point_id, d.kind)
JOIN point p ON p.id = d.point_id
LEFT JOIN point_account x ON x.point_id = d.point_id AND x.from_day <= d.day AND coalesce(x.to_day, 'infinity') > d.day
LEFT JOIN account a ON a.id = x.account_id
LEFT JOIN LATERAL register_on(d.point_id, d.day) i ON true
LEFT JOIN meter m ON m.id = i.meter_id
LEFT JOIN LATERAL (
    SELECT day, total, state FROM slot_beside(d.point_id, d.kind, d.day - 1, -1, '{published,substituted}')
    UNION ALL
    -- The only value of a chain stands, though nothing confirms it yet.
    (SELECT t.day, t.total, t.state FROM doubt x JOIN slot t ON (t.day, t.point_id, t.kind) = (x.day, x.point_id, x.kind)
     WHERE x.point_id = d.point_id AND x.kind = d.kind AND x.day < d.day AND x.next_step = 'wait' ORDER BY x.day DESC LIMIT 1)
    ORDER BY day DESC LIMIT 1) before
    ON d.hold IS NOT NULL AND before.day = d.day - abs(s.link_days) OR d.next_step = 'person' AND before.day >= i.first_day
LEFT JOIN LATERAL slot_beside(d.point_id, d.kind, d.day + 1, 1, '{published,substituted}') behind
    ON d.next_step = 'person' AND behind.day < coalesce(i.to_at, 'infinity')
LEFT JOIN LATERAL (SELECT y.id, y.maker, y.action, y.total FROM decision y
                   WHERE y.point_id = d.point_id AND NOT y.takes_effect
                     AND (y.day = d.day AND (d.hold IS NULL OR (y.content ->> 'from')::date = d.day - abs(s.link_days))
                          -- A value in between splits the span.
                          OR d.hold IS NOT NULL AND y.action = 'substitute' AND y.day > d.day - abs(s.link_days) AND y.day < d.day)
                     AND NOT EXISTS (SELECT FROM decision_review v WHERE v.decision_id = y.id AND v.verdict = 'refused')
                   ORDER BY y.id LIMIT 1) waits ON true
LEFT JOIN reading r ON d.next_step = 'person' AND r.day = s.day AND r.meter_id = s.meter_id AND r.id = s.reading_id
LEFT JOIN LATERAL (SELECT y.day, y.total FROM decision y
                   WHERE d.next_step = 'person' AND y.point_id = d.point_id AND y.action = 'release' AND y.takes_effect
                   ORDER BY abs(y.day - d.day), y.rev DESC LIMIT 1) said ON true
LEFT JOIN LATERAL (SELECT f.active, f.detail ->> 'command' AS command FROM finding f
                   WHERE d.codes && '{V03}' AND f.point_id = d.point_id AND f.code = 'V03'
                   ORDER BY f.found_at DESC, f.rev DESC LIMIT 1) found ON found.active
LEFT JOIN LATERAL limit_now(d.point_id) n ON d.codes && '{V08}'
LEFT JOIN LATERAL (SELECT y.document_id FROM (SELECT document_id, first_day AS day FROM installation WHERE point_id = d.point_id
                                              UNION ALL
                                              SELECT document_id, from_day FROM point_ratio WHERE point_id = d.point_id) y
                   WHERE y.day > d.day - abs(s.link_days) AND y.day <= d.day AND y.document_id IS NOT NULL
                   ORDER BY y.document_id DESC LIMIT 1) told ON d.hold = 'spike'
WHERE d.kind = 1
  AND (s.state IN ('suspect', 'rejected') OR d.hold IS NOT NULL
       -- What was used before the account began is on no bill.
       AND coalesce(d.day > greatest(x.from_day, a.opened_on), true) OR 'V33' = ANY (d.codes))
  AND (%(points)s::text[] IS NULL OR p.number = ANY (%(points)s))
  AND (%(account)s::text IS NULL OR a.number = %(account)s)
  AND (%(state)s::text IS NULL OR s.state = %(state)s::slot_state)
  AND (%(code)s::text IS NULL OR %(code)s = ANY (d.codes) OR d.hold = %(code)s)
  AND d.day <= %(until)s
ORDER BY p.number, d.day
