-- add_dead_letter -- a reading that could not be stored; it is read again now and then, and kept once
INSERT INTO dead_letter (content, reason) VALUES (%(content)s, %(reason)s)
ON CONFLICT (md5((content - 'arrived_at')::text)) DO NOTHING

-- dead_letters -- those that nobody has settled, or all
SELECT id, at, content, reason, replayed_at, dropped_at, actor, drop_reason
FROM dead_letter WHERE actor IS NULL OR %(settled)s ORDER BY id

-- lock_dead_letter -- one of them, until the transaction ends
SELECT id, at, content, reason, replayed_at, dropped_at, actor, drop_reason
FROM dead_letter WHERE id = %(id)s FOR UPDATE

-- set_reason -- it was tried again, and why it still cannot be stored
UPDATE dead_letter SET reason = %(reason)s WHERE id = %(id)s

-- set_replayed -- it is stored
UPDATE dead_letter SET replayed_at = now(), actor = %(actor)s WHERE id = %(id)s

-- set_dropped -- somebody decided that it is not wanted; it stays here as the record of that
UPDATE dead_letter SET dropped_at = now(), actor = %(actor)s, drop_reason = %(reason)s WHERE id = %(id)s
