-- add_mark -- somebody, or something, is not to be cut; no row for what would be over already
INSERT INTO supply_mark (kind, area, line, account_id, point_id, from_at, to_at, actor, reason, evidence,
                         kw_per_minute, kw_per_point)
SELECT %(kind)s, %(area)s, %(line)s, %(account_id)s, %(point_id)s, coalesce(%(from_at)s::timestamptz, now()),
       %(to_at)s::timestamptz, %(actor)s, %(reason)s, %(evidence)s, %(kw_per_minute)s, %(kw_per_point)s
WHERE coalesce(%(to_at)s::timestamptz, 'infinity') > now()
RETURNING id

-- is_known -- whether there is an area or a line of this name
SELECT EXISTS (SELECT FROM point WHERE area = %(area)s) OR EXISTS (SELECT FROM meter WHERE line = %(line)s)

-- marks -- of these kinds; all, or those that are not over
SELECT k.id AS number, k.kind, k.area, k.line, a.number AS account, p.number AS point, k.from_at, k.to_at, k.actor, k.reason,
       k.evidence, k.kw_per_minute, k.kw_per_point, k.lift_actor, k.lift_reason, k.lift_second, k.lifted_at
FROM supply_mark k LEFT JOIN account a ON a.id = k.account_id LEFT JOIN point p ON p.id = k.point_id
WHERE k.kind = ANY(%(kinds)s) AND (%(all)s OR k.lifted_at IS NULL AND coalesce(k.to_at, 'infinity') > now())
ORDER BY k.id

-- lock_mark -- one mark, so that nobody else lifts it meanwhile; who asked to lift it lives four hours, as an approval
SELECT kind, CASE WHEN lift_asked_at > now() - word_lasts() THEN lift_actor END, lifted_at IS NOT NULL FROM supply_mark WHERE id = %(number)s FOR UPDATE

-- ask_to_lift -- it ends now, or when a second person agrees
UPDATE supply_mark SET lift_actor = %(actor)s, lift_reason = %(reason)s, lift_asked_at = now(),
    lifted_at = CASE WHEN %(at_once)s THEN now() END
WHERE id = %(number)s

-- agree_to_lift -- the second person
UPDATE supply_mark SET lift_second = %(actor)s, lifted_at = now() WHERE id = %(number)s
