-- lock_point -- the account that a point has, its row locked
SELECT a.id FROM point p JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
JOIN account a ON a.id = x.account_id
WHERE p.number = %(point)s FOR NO KEY UPDATE OF a

-- ordered_point -- a point, the account it has, its order, which waits or is agreed to, and whether it must be on
SELECT p.id, x.account_id, o.id, o.actor, o.cause, o.agreed_at IS NOT NULL, o.asked_at > now() - word_lasts(),
       must_be_on(p.id)
FROM point p JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
LEFT JOIN cut_order o ON o.point_id = p.id AND o.ended_at IS NULL
WHERE p.number = %(point)s

-- point_of -- of which point an order is
SELECT p.number FROM cut_order o JOIN point p ON p.id = o.point_id WHERE o.id = %(number)s

-- add_order -- somebody wants a supply off
INSERT INTO cut_order (point_id, cause, actor, reason, evidence)
VALUES (%(point_id)s, %(cause)s, %(actor)s, %(reason)s, %(evidence)s) RETURNING id

-- agree -- another person does, too
UPDATE cut_order SET second = %(actor)s, agreed_at = now() WHERE id = %(number)s

-- end_order -- the supply may come back
UPDATE cut_order SET ended_at = now(), ended_by = %(actor)s, ended_why = %(reason)s
WHERE id = %(number)s AND ended_at IS NULL RETURNING id

-- orders -- of all points; all, or those that have not ended
SELECT o.id AS number, p.number AS point, a.number AS account, o.cause, o.actor, o.reason, o.evidence, o.asked_at, o.second, o.agreed_at,
       o.ended_at, o.ended_by, o.ended_why, v.supply_state, o.id IN (SELECT f.id FROM order_in_force f) AS is_in_force
FROM cut_order o JOIN point p ON p.id = o.point_id JOIN point_supply v ON v.point_id = p.id
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL LEFT JOIN account a ON a.id = x.account_id
WHERE %(all)s OR o.ended_at IS NULL ORDER BY o.id

-- end_former_orders -- orders about customers who left end now, not only at the commit
SET CONSTRAINTS orders_end_with_their_customer IMMEDIATE

-- end_later_ones_at_commit -- as before
SET CONSTRAINTS orders_end_with_their_customer DEFERRED
