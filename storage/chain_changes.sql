-- look -- the change that was seen last, if it is there, and what came behind it; of nothing seen the last one
SELECT id, writer, point_id, meter_id FROM chain_change
WHERE id >= coalesce(%(seen)s::bigint, (SELECT max(id) FROM chain_change)) ORDER BY id LIMIT %(most)s
