-- stage_accounts -- where accounts of the files are copied to
CREATE TEMP TABLE staged_account ON COMMIT DROP AS
    SELECT number, name, tariff_id, agreement, opened_on, warn_fen, trip_fen, reconnect_fen, credit_limit_fen, address, settlement
    FROM account WITH NO DATA

-- stage_points -- where points of the files are copied to
CREATE TEMP TABLE staged_point (
    number text, account text, area text, ratio numeric, max_daily_kwh numeric, limit_basis text, reconnect text, protected boolean,
    life_support boolean, phases smallint, rates text, residual_rate text, known_id integer, id integer, is_billed boolean
) ON COMMIT DROP

-- stage_meters -- where meters of the files are copied to
CREATE TEMP TABLE staged_meter (
    address text, line text, protocol text, modulus bigint, decimals smallint, wire_decimals smallint, point text,
    installed_on date, from_at timestamptz, profile text, serial text, has_relay boolean, relay_type text, id integer,
    point_id integer
) ON COMMIT DROP

-- analyze_roughly -- how many rows there are, and that most are different, shows in three thousand of them
SELECT set_config('default_statistics_target', '10', true), set_config('work_mem', '64MB', true)

-- analyze_staged -- a temporary table is not known to be large
ANALYZE staged_account, staged_point, staged_meter

-- find_points -- which of the staged points are known
UPDATE staged_point s SET known_id = p.id, id = p.id FROM point p WHERE p.number = s.number

-- find_meters -- the rows of the staged meters and of their points
UPDATE staged_meter s SET id = f.meter_id, point_id = f.point_id
FROM (SELECT x.address, m.id AS meter_id, p.id AS point_id
      FROM staged_meter x LEFT JOIN meter m USING (address) LEFT JOIN point p ON p.number = x.point) f
WHERE f.address = s.address

-- changed_ratios -- points with links whose ratio is configured differently now: that needs a document
WITH differing AS MATERIALIZED (
    SELECT s.number, s.known_id, r.ratio AS was, s.ratio FROM staged_point s CROSS JOIN LATERAL ratio_now(s.known_id) r
    WHERE r.ratio <> s.ratio AND r.document_id IS NULL
)
SELECT d.number, d.was, d.ratio, %(today)s, i.first_day
FROM differing d
CROSS JOIN LATERAL (SELECT FROM link l WHERE l.point_id = d.known_id LIMIT 1) billed
CROSS JOIN LATERAL (SELECT first_day FROM installation y WHERE y.point_id = d.known_id ORDER BY from_at LIMIT 1) i
ORDER BY d.number

-- moved_points -- points with links of another account than the one that is configured: that needs a document
WITH differing AS MATERIALIZED (
    SELECT s.number, s.known_id, a.number AS was, s.account
    FROM staged_point s
    JOIN point_account x ON x.point_id = s.known_id AND x.to_day IS NULL AND x.document_id IS NULL
    JOIN account a ON a.id = x.account_id
    WHERE s.account <> a.number
)
SELECT d.number, d.was, d.account, %(today)s
FROM differing d CROSS JOIN LATERAL (SELECT FROM link l WHERE l.point_id = d.known_id LIMIT 1) billed
ORDER BY d.number

-- find_misplaced -- installations taken from the files at whose point the files name another meter now, or the other way round
CREATE TEMP TABLE misplaced ON COMMIT DROP AS
    SELECT i.id, i.meter_id, i.point_id, i.first_day, s.address, s.point
    FROM installation i JOIN staged_meter s ON s.point_id = i.point_id
    WHERE i.to_at IS NULL AND i.document_id IS NULL AND i.meter_id IS DISTINCT FROM s.id
    UNION
    SELECT i.id, i.meter_id, i.point_id, i.first_day, s.address, s.point
    FROM installation i JOIN staged_meter s ON s.id = i.meter_id
    WHERE i.to_at IS NULL AND i.document_id IS NULL AND i.point_id IS DISTINCT FROM s.point_id

-- exchanged_meters -- those of them with readings: an exchange needs a document
SELECT m.address, p.number, x.address, x.point, %(moment)s
FROM misplaced x JOIN meter m ON m.id = x.meter_id JOIN point p ON p.id = x.point_id
WHERE has_readings(x.meter_id, x.first_day - 1)
ORDER BY m.address, x.address

-- changed_registers -- meters with readings whose register is configured differently now
WITH differing AS MATERIALIZED (  -- the few of which readings are looked for
    SELECT s.*, i.meter_id, i.first_day, i.modulus AS read_modulus, i.decimals AS read_decimals
    FROM staged_meter s JOIN installation i ON i.meter_id = s.id AND i.point_id = s.point_id AND i.to_at IS NULL
    WHERE (i.modulus, i.decimals) <> (s.modulus, s.decimals)
)
SELECT address, format('%%s with %%s decimals', read_modulus, read_decimals), format('%%s with %%s decimals', modulus, decimals),
       point, %(moment)s, trim_scale(modulus / 10 ^ decimals::numeric), decimals
FROM differing WHERE has_readings(meter_id, first_day - 1)
ORDER BY address

-- changed_starts -- meters whose first day is configured after days that are billed
SELECT s.address, i.first_day, s.installed_on, s.point
FROM staged_meter s JOIN installation i ON i.meter_id = s.id AND i.point_id = s.point_id AND i.to_at IS NULL
CROSS JOIN LATERAL (SELECT FROM link l WHERE l.point_id = i.point_id AND l.from_day < s.installed_on LIMIT 1) billed
WHERE i.document_id IS NULL AND s.from_at <> i.from_at
ORDER BY s.address

-- lock_points -- points whose rows will be written, in order of id
SELECT p.id FROM staged_point s JOIN point p ON p.id = s.known_id
WHERE (p.area, p.reconnect, p.protected, p.life_support, p.phases, p.rates, p.residual_rate)
      IS DISTINCT FROM (s.area, s.reconnect, s.protected, s.life_support, s.phases, string_to_array(s.rates, ' '), s.residual_rate)
ORDER BY p.id FOR NO KEY UPDATE OF p

-- update_points -- what the files say of points now; how the registers of billed ones are priced needs a second person
UPDATE point p SET
    area = s.area,
    reconnect = s.reconnect,
    protected = s.protected,
    life_support = s.life_support,
    phases = CASE WHEN s.is_billed THEN p.phases ELSE s.phases END,
    rates = CASE WHEN s.is_billed THEN p.rates ELSE string_to_array(s.rates, ' ') END,
    residual_rate = CASE WHEN s.is_billed THEN p.residual_rate ELSE s.residual_rate END
FROM staged_point s
WHERE p.id = s.known_id
  AND (p.area, p.reconnect, p.protected, p.life_support, p.phases, p.rates, p.residual_rate)
      IS DISTINCT FROM (s.area, s.reconnect, s.protected, s.life_support, s.phases, string_to_array(s.rates, ' '), s.residual_rate)

-- add_points -- points that are new
INSERT INTO point (number, area, reconnect, protected, life_support, phases, rates, residual_rate)
SELECT number, area, reconnect, protected, life_support, phases, string_to_array(rates, ' '), residual_rate
FROM staged_point WHERE known_id IS NULL ORDER BY number

-- number_points -- the rows of the new ones
UPDATE staged_point s SET id = p.id FROM point p WHERE s.known_id IS NULL AND p.number = s.number

-- number_meters -- the rows of new meters and of new points
UPDATE staged_meter s SET id = (SELECT m.id FROM meter m WHERE m.address = s.address),
    point_id = (SELECT p.id FROM point p WHERE p.number = s.point)
WHERE s.id IS NULL OR s.point_id IS NULL

-- add_ratios -- of new points, from the beginning
INSERT INTO point_ratio (point_id, from_day, ratio)
SELECT id, %(beginning)s, ratio FROM staged_point WHERE known_id IS NULL

-- edit_ratios -- nothing is billed with it: it is simply edited
UPDATE point_ratio r SET ratio = s.ratio
FROM staged_point s CROSS JOIN LATERAL ratio_now(s.known_id) n
WHERE n.ratio <> s.ratio AND n.document_id IS NULL
  AND (r.point_id, r.from_day, r.rev) = (n.point_id, n.from_day, n.rev)

-- add_limits -- of new points, from the beginning
INSERT INTO point_limit (point_id, from_day, max_daily_kwh, basis)
SELECT id, %(beginning)s, max_daily_kwh, limit_basis FROM staged_point WHERE known_id IS NULL

-- retell_limits -- the same limit, which follows from something else now: nothing is judged otherwise
UPDATE point_limit l SET basis = s.limit_basis
FROM staged_point s CROSS JOIN LATERAL limit_now(s.known_id) n
WHERE n.max_daily_kwh = s.max_daily_kwh AND n.basis <> s.limit_basis
  AND (l.point_id, l.from_day, l.rev) = (n.point_id, n.from_day, n.rev)

-- raise_limits -- a limit that was too small was wrong from the beginning
INSERT INTO point_limit (point_id, from_day, rev, max_daily_kwh, basis)
SELECT l.point_id, l.from_day, l.rev + 1, s.max_daily_kwh, s.limit_basis
FROM staged_point s
JOIN LATERAL limit_now(s.known_id) n ON n.max_daily_kwh < s.max_daily_kwh
JOIN LATERAL (SELECT DISTINCT ON (x.from_day) * FROM point_limit x WHERE x.point_id = n.point_id
              ORDER BY x.from_day, x.rev DESC) l ON l.max_daily_kwh < s.max_daily_kwh
RETURNING point_id

-- lower_limits -- a smaller limit holds from today on
INSERT INTO point_limit (point_id, from_day, rev, max_daily_kwh, basis)
SELECT n.point_id, %(today)s, (SELECT coalesce(max(l.rev) + 1, 0) FROM point_limit l
                               WHERE l.point_id = n.point_id AND l.from_day = %(today)s), s.max_daily_kwh, s.limit_basis
FROM staged_point s JOIN LATERAL limit_now(s.known_id) n ON n.max_daily_kwh > s.max_daily_kwh
RETURNING point_id

-- update_meters -- a meter may move to another line
UPDATE meter m SET line = s.line, protocol = s.protocol, profile = s.profile
FROM staged_meter s
WHERE m.id = s.id AND (m.line, m.protocol, m.profile) IS DISTINCT FROM (s.line, s.protocol, s.profile)

-- register_serials -- a serial that the files say anew; one that a document or the meter said since is not overwritten
UPDATE meter m SET registered_serial = s.serial, serial = coalesce(s.serial, m.serial)
FROM staged_meter s
WHERE m.id = s.id AND m.registered_serial IS DISTINCT FROM s.serial

-- add_meters -- meters that are new; not where a document says which one is there
INSERT INTO meter (address, line, protocol, profile, registered_serial, serial)
SELECT s.address, s.line, s.protocol, s.profile, s.serial, s.serial
FROM staged_meter s
LEFT JOIN installation i ON i.point_id = s.point_id AND i.to_at IS NULL AND i.document_id IS NOT NULL
WHERE s.id IS NULL AND i.id IS NULL ORDER BY s.address

-- remove_misplaced -- nothing was read there: they are simply edited
DELETE FROM installation i USING misplaced x WHERE x.id = i.id

-- find_forgotten -- points that the files name no more, and of which nothing is known but what the files said
CREATE TEMP TABLE forgotten ON COMMIT DROP AS
    SELECT p.id, i.meter_id
    FROM point p
    LEFT JOIN staged_point s ON s.id = p.id
    LEFT JOIN installation i ON i.point_id = p.id
    WHERE s.number IS NULL
      AND (%(left_out)s::text[] IS NULL OR p.number = ANY(%(left_out)s::text[]))
      AND NOT EXISTS (SELECT FROM chain c WHERE c.point_id = p.id)
      AND NOT EXISTS (SELECT FROM document d WHERE d.point = p.number)
      AND NOT EXISTS (SELECT FROM command c WHERE c.point_id = p.id)
      AND NOT EXISTS (SELECT FROM guard_verdict v WHERE v.point_id = p.id)
      AND NOT EXISTS (SELECT FROM decision d WHERE d.point_id = p.id)
      AND NOT EXISTS (SELECT FROM finding f WHERE f.point_id = p.id)
      AND (i.id IS NULL OR NOT has_readings(i.meter_id, i.first_day - 1))

-- forget_installations -- of points that are forgotten
DELETE FROM installation i USING forgotten f WHERE i.point_id = f.id

-- forget_ratios -- of points that are forgotten
DELETE FROM point_ratio r USING forgotten f WHERE r.point_id = f.id

-- forget_limits -- of points that are forgotten
DELETE FROM point_limit l USING forgotten f WHERE l.point_id = f.id

-- forget_assignments -- of points that are forgotten
DELETE FROM point_account x USING forgotten f WHERE x.point_id = f.id

-- forget_supply -- of points that are forgotten
DELETE FROM point_supply v USING forgotten f WHERE v.point_id = f.id

-- forget_points -- nobody is billed for them, or kept from being cut by them
DELETE FROM point p USING forgotten f WHERE p.id = f.id

-- forget_meters -- that served nowhere else, and that the files name no more
DELETE FROM meter m
USING (SELECT meter_id FROM misplaced UNION SELECT meter_id FROM forgotten) x
WHERE m.id = x.meter_id
  AND NOT EXISTS (SELECT FROM staged_meter s WHERE s.id = m.id)
  AND NOT EXISTS (SELECT FROM installation i WHERE i.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM command c WHERE c.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM meter_order o WHERE o.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM other_serial o WHERE o.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM clock_setting c WHERE c.meter_id = m.id)
  AND NOT EXISTS (SELECT FROM clock_finding f WHERE f.meter_id = m.id)

-- edit_installations -- first day and register of meters as they are configured now
UPDATE installation i
SET from_at = s.from_at, first_day = s.installed_on, modulus = s.modulus, decimals = s.decimals,
    wire_decimals = s.wire_decimals
FROM staged_meter s
WHERE i.meter_id = s.id AND i.point_id = s.point_id AND i.to_at IS NULL AND i.document_id IS NULL
  AND (i.from_at, i.modulus, i.decimals, i.wire_decimals)
      <> (s.from_at, s.modulus, s.decimals, s.wire_decimals)

-- edit_relays -- what the files say of a relay is so at once, whoever put its meter there
UPDATE installation i SET has_relay = s.has_relay, relay_type = s.relay_type
FROM staged_meter s
WHERE i.meter_id = s.id AND i.to_at IS NULL AND (i.has_relay, i.relay_type) IS DISTINCT FROM (s.has_relay, s.relay_type)

-- install_meters -- put each meter at its point, where neither is taken
INSERT INTO installation (point_id, meter_id, from_at, first_day, modulus, decimals, wire_decimals, has_relay, relay_type)
SELECT s.point_id, s.id, s.from_at, s.installed_on, s.modulus, s.decimals, s.wire_decimals, s.has_relay, s.relay_type
FROM staged_meter s
LEFT JOIN installation at_point ON at_point.point_id = s.point_id AND coalesce(at_point.to_at, 'infinity') > s.from_at
LEFT JOIN installation of_meter ON of_meter.meter_id = s.id AND coalesce(of_meter.to_at, 'infinity') > s.from_at
WHERE at_point.id IS NULL AND of_meter.id IS NULL

-- add_accounts -- accounts that are new
INSERT INTO account (number, name, tariff_id, agreement, opened_on, warn_fen, trip_fen, reconnect_fen, credit_limit_fen,
                     address, settlement)
SELECT s.* FROM staged_account s LEFT JOIN account a USING (number) WHERE a.id IS NULL ORDER BY s.number

-- lock_accounts -- accounts that were never opened and follow the files, in order of id
SELECT a.id FROM staged_account s JOIN account a USING (number)
WHERE a.state = 'pending' AND a.opened_on IS NULL
  AND (a.name, a.address, a.tariff_id, a.agreement, a.opened_on, a.warn_fen, a.trip_fen, a.reconnect_fen, a.credit_limit_fen, a.settlement)
      IS DISTINCT FROM
      (s.name, s.address, s.tariff_id, coalesce(s.agreement, a.agreement), s.opened_on, s.warn_fen, s.trip_fen, s.reconnect_fen,
       s.credit_limit_fen, s.settlement)
ORDER BY a.id FOR NO KEY UPDATE OF a

-- follow_accounts -- what the files say of them now
UPDATE account a SET
    name = s.name,
    address = s.address,
    tariff_id = s.tariff_id,
    agreement = coalesce(s.agreement, a.agreement),
    opened_on = s.opened_on,
    warn_fen = s.warn_fen,
    trip_fen = s.trip_fen,
    reconnect_fen = s.reconnect_fen,
    credit_limit_fen = s.credit_limit_fen,
    settlement = s.settlement
FROM staged_account s
WHERE a.id = ANY(%(accounts)s) AND a.number = s.number

-- differing_accounts -- accounts that the database knows otherwise than the files: these are imported, not overwritten
SELECT a.number FROM staged_account s JOIN account a USING (number)
LEFT JOIN tariffs_ahead(site_today()) t ON t.account_id = a.id
WHERE (a.name, a.address, a.warn_fen, a.trip_fen, a.reconnect_fen, a.credit_limit_fen, a.settlement)
      IS DISTINCT FROM (s.name, s.address, s.warn_fen, s.trip_fen, s.reconnect_fen, s.credit_limit_fen, s.settlement)
   OR s.tariff_id <> ALL(coalesce(t.tariffs, ARRAY[a.tariff_id]))
   OR s.opened_on <> a.opened_on OR s.agreement <> a.agreement
ORDER BY a.number

-- lock_imported -- the accounts of an import that differ, in order of id, and whether they are to be settled otherwise
SELECT a.id, a.settlement <> s.settlement FROM staged_account s JOIN account a USING (number)
LEFT JOIN tariffs_ahead(site_today()) t ON t.account_id = a.id
WHERE (a.name, a.address, a.agreement, a.opened_on, a.warn_fen, a.trip_fen, a.reconnect_fen, a.credit_limit_fen, a.settlement)
      IS DISTINCT FROM
      (s.name, s.address, coalesce(s.agreement, a.agreement), coalesce(s.opened_on, a.opened_on), s.warn_fen, s.trip_fen,
       s.reconnect_fen, s.credit_limit_fen, s.settlement)
   OR s.tariff_id <> ALL(coalesce(t.tariffs, ARRAY[a.tariff_id]))
ORDER BY a.id FOR NO KEY UPDATE OF a

-- moved_accounts -- accounts of an import with money behind them whose tariff or opening day would change
SELECT a.number, tariff_on(a.id, site_today()), a.opened_on, s.tariff_id, s.opened_on,
       s.tariff_id <> ALL(coalesce(t.tariffs, ARRAY[a.tariff_id])) AS is_tariff
FROM account a JOIN staged_account s USING (number)
LEFT JOIN tariffs_ahead(site_today()) t ON t.account_id = a.id
WHERE a.id = ANY(%(accounts)s)
  AND (a.state <> 'pending' OR t.account_id IS NOT NULL OR EXISTS (SELECT FROM point_account x JOIN link l ON l.point_id = x.point_id AND l.account_id = a.id
                  WHERE x.account_id = a.id))
  AND (s.tariff_id <> ALL(coalesce(t.tariffs, ARRAY[a.tariff_id])) OR a.opened_on <> s.opened_on)
ORDER BY a.number

-- import_accounts -- the files' values, as somebody asked for
UPDATE account a SET
    name = s.name,
    address = s.address,
    -- Who has changed its tariff began with another one than the files may say.
    tariff_id = CASE WHEN EXISTS (SELECT FROM account_tariff t WHERE t.account_id = a.id) THEN a.tariff_id ELSE s.tariff_id END,
    agreement = coalesce(s.agreement, a.agreement),
    opened_on = coalesce(s.opened_on, a.opened_on),
    warn_fen = s.warn_fen,
    trip_fen = s.trip_fen,
    reconnect_fen = s.reconnect_fen,
    credit_limit_fen = s.credit_limit_fen,
    settlement = s.settlement
FROM staged_account s
WHERE a.id = ANY(%(accounts)s) AND a.number = s.number
RETURNING a.id, a.number, a.state

-- unpriced_accounts -- accounts that begin with a tariff, or change to one, before its first version
WITH starting AS (
    SELECT tariff_id, min(effective_from) AS starts_on FROM tariff_version WHERE state = 'counts' GROUP BY 1
)
SELECT a.number, 'opens', a.opened_on, a.tariff_id
FROM account a LEFT JOIN starting v USING (tariff_id)
WHERE a.opened_on < coalesce(v.starts_on, 'infinity')
UNION ALL
SELECT a.number, 'changes its tariff', c.from_day, c.tariff_id
FROM tariff_change c JOIN account a ON a.id = c.account_id LEFT JOIN starting v ON v.tariff_id = c.tariff_id
WHERE c.from_day < coalesce(v.starts_on, 'infinity')
ORDER BY 1, 3

-- edit_assignments -- points without links that were put down to the wrong account
UPDATE point_account x
SET account_id = a.id, from_day = CASE WHEN a.state = 'pending' THEN x.from_day ELSE greatest(x.from_day, %(today)s) END
FROM staged_point s JOIN account a ON a.number = s.account
WHERE x.point_id = s.known_id AND x.to_day IS NULL AND x.document_id IS NULL AND x.account_id <> a.id
RETURNING a.id

-- stale -- what the files say otherwise than a document that counts: table, point, column, right, written, document
SELECT 'points.csv', s.number, 'account', CASE WHEN x.to_day IS NULL THEN a.number ELSE '' END, s.account, x.document_id
FROM (SELECT DISTINCT point_id FROM point_account WHERE document_id IS NOT NULL OR to_day IS NOT NULL) h
JOIN staged_point s ON s.known_id = h.point_id
CROSS JOIN LATERAL last_holding(h.point_id) x
JOIN account a ON a.id = x.account_id
WHERE x.to_day IS NULL AND x.document_id IS NOT NULL AND a.number IS DISTINCT FROM s.account
   OR x.to_day IS NOT NULL AND a.number = s.account
UNION ALL
SELECT 'points.csv', s.number, 'ratio', trim_scale(n.ratio)::text, trim_scale(s.ratio)::text, n.document_id
FROM (SELECT DISTINCT point_id FROM point_ratio WHERE document_id IS NOT NULL) r
JOIN staged_point s ON s.known_id = r.point_id
CROSS JOIN LATERAL ratio_now(r.point_id) n
WHERE n.document_id IS NOT NULL AND n.ratio <> s.ratio
UNION ALL
SELECT 'meters.csv', s.point, 'address', m.address, s.address, i.document_id
FROM installation i JOIN staged_meter s ON s.point_id = i.point_id JOIN meter m ON m.id = i.meter_id
WHERE i.document_id IS NOT NULL AND i.to_at IS NULL AND m.address <> s.address
UNION ALL
SELECT 'meters.csv', s.point, 'installed_on', i.first_day::text, s.installed_on::text, i.document_id
FROM installation i JOIN staged_meter s ON s.point_id = i.point_id AND s.id = i.meter_id
WHERE i.document_id IS NOT NULL AND i.to_at IS NULL AND i.first_day <> s.installed_on
  AND NOT EXISTS (SELECT FROM installation y WHERE y.point_id = i.point_id AND y.id <> i.id)
ORDER BY 1, 2, 3

-- documented_points -- of which the files may say otherwise than a document
SELECT p.number
FROM (SELECT point_id FROM point_account WHERE document_id IS NOT NULL OR to_day IS NOT NULL
      UNION SELECT point_id FROM point_ratio WHERE document_id IS NOT NULL
      UNION SELECT point_id FROM installation WHERE document_id IS NOT NULL AND to_at IS NULL) told
JOIN point p ON p.id = told.point_id

-- assign_points -- points that stand empty are billed from today on, new ones and those of new accounts from their meter on
INSERT INTO point_account (point_id, account_id, from_day)
SELECT s.id, a.id,
       greatest(last.to_day, CASE WHEN s.known_id IS NULL OR a.state = 'pending'
                                  THEN coalesce(i.first_day, %(today)s) ELSE %(today)s END)
FROM (SELECT * FROM staged_point p  -- the few that are looked at closely
      WHERE NOT EXISTS (SELECT FROM point_account y WHERE y.point_id = p.known_id AND y.to_day IS NULL) OFFSET 0) s
JOIN account a ON a.number = s.account
LEFT JOIN LATERAL (SELECT y.account_id, coalesce(y.to_day, 'infinity') AS to_day FROM last_holding(s.known_id) y)
    last ON true
LEFT JOIN LATERAL (SELECT first_day FROM installation y WHERE y.point_id = s.id ORDER BY from_at LIMIT 1) i ON true
WHERE last.account_id IS NULL OR last.to_day < 'infinity' AND last.account_id <> a.id
RETURNING account_id

-- move_assignments -- points that were put down from another first day of their meter, and without links
UPDATE point_account x SET from_day = f.from_day
FROM (SELECT i.point_id, i.first_day AS was, s.installed_on AS from_day
      FROM staged_meter s JOIN installation i ON i.meter_id = s.id AND i.point_id = s.point_id AND i.to_at IS NULL
      WHERE i.document_id IS NULL AND s.from_at <> i.from_at) f
WHERE x.point_id = f.point_id AND x.from_day = f.was AND x.document_id IS NULL
  AND NOT EXISTS (SELECT FROM link l WHERE l.point_id = x.point_id)
RETURNING x.account_id

-- site_meters -- every meter that serves a point, with all that collection must know of it
SELECT m.id AS meter_id, m.address, m.line, m.protocol, m.profile, i.modulus, i.decimals,
       i.first_day AS installed_on, p.id AS point_id, p.number AS point, l.max_daily_kwh,
       (m.identity_read_at AT TIME ZONE 'UTC')::date AS identity_read_on,
       (m.taken_in_at AT TIME ZONE 'UTC')::date AS taken_in_on,
       coalesce((SELECT c.clock = 'standard' FROM clock_setting c WHERE c.meter_id = m.id ORDER BY c.rev DESC LIMIT 1), false)
           AS keeps_standard_time, (v.relay_observed_at AT TIME ZONE 'UTC')::date AS relay_seen_on
FROM meter m
JOIN installation i ON i.meter_id = m.id AND i.to_at IS NULL
JOIN point p ON p.id = i.point_id
JOIN point_supply v ON v.point_id = p.id
CROSS JOIN LATERAL limit_now(p.id) l
WHERE (%(lines)s::text[] IS NULL OR m.line = ANY(%(lines)s::text[]))
  AND (%(addresses)s::text[] IS NULL OR m.address = ANY(%(addresses)s::text[]))
ORDER BY m.line, m.address

-- put_by_documents -- meters that serve where a document put them
SELECT m.line, m.address, i.point_id
FROM installation i JOIN meter m ON m.id = i.meter_id
WHERE i.document_id IS NOT NULL AND i.to_at IS NULL

-- point_id -- the row of a point
SELECT id FROM point WHERE number = %(point)s

-- account_id -- the row of a customer number
SELECT id FROM account WHERE number = %(account)s

-- to_be_opened_from -- from which day a pending account is to be billed, by its agreement
SELECT opened_on, agreement FROM account WHERE number = %(account)s AND state = 'pending'

-- open_account -- set what an account needs before it can be active
UPDATE account a SET opened_on = %(opened_on)s, agreement = %(agreement)s
WHERE number = %(account)s AND state = 'pending' AND NOT EXISTS (SELECT FROM point_account x JOIN link l ON l.point_id = x.point_id AND l.account_id = a.id
                  WHERE x.account_id = a.id)
RETURNING id

-- free_point -- a point, and whether it can be given to an account
SELECT p.id, x.account_id, x.to_day
FROM point p
LEFT JOIN LATERAL last_holding(p.id) x ON true
WHERE p.number = %(point)s

-- give_point -- a point that stands empty, from a day on
INSERT INTO point_account (point_id, account_id, from_day) VALUES (%(point_id)s, %(account_id)s, %(from_day)s)

-- account -- one account with its balance
SELECT a.number AS id, a.name, a.address, tariff_on(a.id, site_today()) AS tariff_id, a.state, a.agreement, a.opened_on AS open_from, a.warn_fen, a.trip_fen,
       a.reconnect_fen, a.credit_limit_fen, a.settlement, a.credit_state,
       (SELECT started_at FROM arrears_episode e WHERE e.account_id = a.id AND e.ended_at IS NULL) AS episode_started_at,
       coalesce(l.balance_fen, 0) AS balance_fen
FROM account a LEFT JOIN ledger_account l ON l.name = 'customer:' || a.number || ':prepaid'
WHERE a.number = %(account)s

-- first_version -- since when the tariff of an account has a price
SELECT v.tariff_id AS id, v.effective_from AS starts_on
FROM account a JOIN tariff_version v ON v.tariff_id = a.tariff_id
WHERE a.number = %(account)s AND v.state = 'counts'
ORDER BY v.effective_from LIMIT 1

-- points_of_account -- its points with their meters and supply
SELECT p.number AS id, a.number AS account_id, p.area, r.ratio, n.max_daily_kwh, p.reconnect, p.protected, p.life_support,
       v.supply_state, v.relay_observed, v.relay_observed_at, v.keep_power_observed, m.address, m.line, x.from_day,
       last.day AS last_day
FROM account a
JOIN point_account x ON x.account_id = a.id AND x.to_day IS NULL
JOIN point p ON p.id = x.point_id
JOIN point_supply v ON v.point_id = p.id
CROSS JOIN LATERAL ratio_now(p.id) r
CROSS JOIN LATERAL limit_now(p.id) n
LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
LEFT JOIN LATERAL newest_slot(p.id, 1::smallint, '{published}') last ON true
WHERE a.number = %(account)s
ORDER BY p.number

-- has_freeze -- whether a point of an account, or one that it is to have, has a value of a day
SELECT EXISTS (
    SELECT FROM slot
    WHERE day = %(day)s AND state = 'published' AND point_id IN (
        SELECT x.point_id FROM account a JOIN point_account x ON x.account_id = a.id
        WHERE a.number = %(account)s AND x.to_day IS NULL
        UNION SELECT id FROM point WHERE number = ANY(%(points)s)
    )
)

-- payees -- who paid, and the points that the money is for: each looked up by index, whatever statistics say of those that are held now
SELECT a.id AS account_id, a.name, a.address AS lives_at, held.point, held.area, held.meter
FROM account a
LEFT JOIN LATERAL (
    SELECT p.number AS point, p.area, m.address AS meter
    FROM point_account x
    JOIN point p ON p.id = x.point_id
    LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
    LEFT JOIN meter m ON m.id = i.meter_id
    WHERE x.account_id = a.id AND x.to_day IS NULL
    OFFSET 0
) held ON true
WHERE a.id = ANY(%(accounts)s)
ORDER BY held.point

-- pages -- what is true of points, to compare it with what will be
SELECT p.number AS point, m.address, i.first_day AS installed_on, r.ratio, n.max_daily_kwh, n.basis AS limit_basis,
       a.number AS account, greatest(x.from_day, a.opened_on) AS billed_from, a.state AS account_state,
       trim_scale(o.total / 10 ^ i.decimals::numeric)::text AS opening_kwh,
       ARRAY(SELECT d.day FROM doubt d JOIN slot s ON (s.day, s.point_id, s.kind) = (d.day, d.point_id, d.kind)
             WHERE d.point_id = p.id AND d.kind = 1 AND s.state = 'suspect' ORDER BY d.day) AS withheld,
       p.phases, p.rates, p.residual_rate
FROM unnest(%(points)s::text[]) AS asked (number)
JOIN point p USING (number)
LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
CROSS JOIN LATERAL ratio_now(p.id) r
CROSS JOIN LATERAL limit_now(p.id) n
LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
LEFT JOIN account a ON a.id = x.account_id
LEFT JOIN slot o ON o.day = greatest(x.from_day, a.opened_on) AND o.point_id = p.id AND o.kind = 1
    AND o.state IN ('published', 'substituted')
ORDER BY p.number
