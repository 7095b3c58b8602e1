-- lock_point -- whoever changes the dated facts of a point comes one after the other
SELECT id FROM point WHERE number = %(point)s FOR NO KEY UPDATE

-- like_points -- numbers that a person may have meant
SELECT number FROM point WHERE lower(number) = lower(%(point)s) OR number LIKE %(part)s ORDER BY number LIMIT 3

-- meter -- what stands behind a meter
SELECT m.id, m.address, m.line, m.protocol, m.profile,
       EXISTS (SELECT FROM installation i
               WHERE i.meter_id = m.id AND has_readings(m.id, i.first_day - 1)) AS is_read
FROM meter m WHERE m.id = %(meter_id)s

-- serving -- a meter by its address, and the point that it serves at a moment or later
SELECT m.id, m.line, m.protocol, m.profile, p.number AS point, i.from_at
FROM meter m
LEFT JOIN installation i ON i.meter_id = m.id AND coalesce(i.to_at, 'infinity') > %(at)s
LEFT JOIN point p ON p.id = i.point_id
WHERE m.address = %(address)s
ORDER BY i.from_at LIMIT 1

-- add_meter_like -- another meter on the line of this one
INSERT INTO meter (address, line, protocol, profile)
SELECT %(address)s, line, protocol, profile FROM meter WHERE id = %(meter_id)s RETURNING id

-- readdress -- a meter of which nothing was ever read
UPDATE meter SET address = %(address)s WHERE id = %(meter_id)s

-- replace_unread -- by another meter that is known already
UPDATE installation SET meter_id = %(meter_id)s, document_id = %(document_id)s WHERE id = %(installation_id)s

-- drop_unused_meters -- meters that serve nowhere, and that nothing refers to
DELETE FROM meter m
WHERE m.id = ANY(%(meters)s)
  AND NOT EXISTS (SELECT FROM installation i WHERE i.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM command c WHERE c.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM meter_order o WHERE o.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM other_serial o WHERE o.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM clock_setting c WHERE c.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM clock_finding f WHERE f.meter_id = m.id)

-- own_installation -- the files say no more of it
UPDATE installation SET document_id = %(document_id)s WHERE id = %(installation_id)s

-- end_installation -- with its last registers
UPDATE installation SET to_at = %(at)s, final = %(final)s, final_lost = %(final_lost)s WHERE id = %(installation_id)s

-- correct_begin -- an installation began with other registers
UPDATE installation SET initial = %(initial)s, modulus = %(modulus)s, document_id = %(document_id)s
WHERE id = %(installation_id)s

-- add_installation -- a meter begins to serve a point, with a relay where the one before had one: the files say when it has none
INSERT INTO installation (point_id, meter_id, from_at, first_day, initial, modulus, decimals, wire_decimals, document_id, has_relay)
VALUES (%(point_id)s, %(meter_id)s, %(at)s, %(first_day)s, %(initial)s, %(modulus)s, %(decimals)s, %(wire_decimals)s, %(document_id)s,
        coalesce((SELECT i.has_relay FROM installation i WHERE i.point_id = %(point_id)s ORDER BY i.from_at DESC LIMIT 1), true))

-- forget_end -- so that it does not overlap while its end moves
UPDATE installation SET to_at = from_at + interval '1 microsecond' WHERE id = %(installation_id)s

-- move_start -- an installation began at another moment
UPDATE installation SET from_at = %(at)s, first_day = %(first_day)s, document_id = %(document_id)s WHERE id = %(installation_id)s

-- move_end -- an installation ended at another moment
UPDATE installation SET to_at = %(at)s WHERE id = %(installation_id)s

-- set_clock -- which time a meter keeps
INSERT INTO clock_setting (meter_id, rev, clock, document_id)
VALUES (%(meter_id)s, (SELECT coalesce(max(rev) + 1, 0) FROM clock_setting WHERE meter_id = %(meter_id)s), %(clock)s,
        %(document_id)s)

-- add_ratio -- from a midnight, or from a moment before it
INSERT INTO point_ratio (point_id, from_day, from_at, rev, ratio, registers, document_id)
VALUES (%(point_id)s, %(from_day)s, %(from_at)s,
        (SELECT coalesce(max(r.rev) + 1, 0) FROM point_ratio r
         WHERE r.point_id = %(point_id)s AND r.from_day = %(from_day)s),
        %(ratio)s, %(registers)s, %(document_id)s)

-- zone -- of the site
SELECT zone FROM site

-- of_point -- the meters of a point, in order of time
SELECT i.id, i.meter_id, m.address, i.from_at, i.modulus, i.decimals, i.wire_decimals, i.document_id
FROM installation i JOIN meter m ON m.id = i.meter_id WHERE i.point_id = %(point_id)s ORDER BY i.from_at

-- set_aside -- for a moment it lies before all others, so that it overlaps with none
UPDATE installation SET from_at = '0001-01-01Z', to_at = '0001-01-02Z' WHERE id = %(installation_id)s

-- serve_other -- a meter serves another point than was written down
UPDATE installation SET point_id = %(point_id)s, document_id = %(document_id)s, from_at = coalesce(%(at)s, from_at), to_at = NULL
WHERE id = %(installation_id)s

-- swap_supply -- what was seen of a relay and commanded to it was another customer's, who is cut for arrears that are not his
UPDATE point_supply a SET supply_state = b.supply_state, relay_observed = b.relay_observed, relay_observed_at = b.relay_observed_at,
    relay_evidence = b.relay_evidence, command_observed = b.command_observed, keep_power_observed = b.keep_power_observed,
    cut_for = CASE WHEN b.supply_state <> 'energised' AND b.cut_for = 'arrears' AND %(are_others)s THEN 'former_customer' ELSE b.cut_for END
FROM point_supply b WHERE (a.point_id, b.point_id) IN ((%(one)s, %(other)s), (%(other)s, %(one)s))

-- end_held_reconnects -- those that never left, because their points are kept off
WITH held AS (
    UPDATE command SET state = 'superseded', detail = %(detail)s
    WHERE point_id = ANY(%(points)s) AND action <> 'trip' AND state = 'persisted' AND sends = 0
      AND point_id IN (SELECT k.point_id FROM kept_off_points() k)
    RETURNING point_id
)
UPDATE point_supply v SET supply_state = 'disconnected' FROM held WHERE v.point_id = held.point_id

-- open_command -- whether anything is on its way to a relay of these points
SELECT EXISTS (SELECT FROM command WHERE point_id = ANY(%(points)s)
               AND state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying'))
