-- stage_accounts -- where the accounts of the configuration are copied to
CREATE TEMP TABLE staged_account ON COMMIT DROP AS
    SELECT id, name, tariff_id, agreement, open_from, warn_fen, trip_fen, reconnect_fen, credit_limit_fen
    FROM account WITH NO DATA

-- merge_accounts -- take over what is configured; an account that is open keeps its opening day and agreement
INSERT INTO account AS a (id, name, tariff_id, agreement, open_from, warn_fen, trip_fen, reconnect_fen, credit_limit_fen)
SELECT * FROM staged_account
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name,
    tariff_id = CASE WHEN a.state = 'pending' THEN excluded.tariff_id ELSE a.tariff_id END,
    agreement = CASE WHEN a.state = 'pending' THEN coalesce(excluded.agreement, a.agreement) ELSE a.agreement END,
    open_from = CASE WHEN a.state = 'pending' THEN coalesce(excluded.open_from, a.open_from) ELSE a.open_from END,
    warn_fen = excluded.warn_fen,
    trip_fen = excluded.trip_fen,
    reconnect_fen = excluded.reconnect_fen,
    credit_limit_fen = excluded.credit_limit_fen

-- moved_accounts -- open or billed accounts whose configured tariff or opening day differs from what they are billed by
SELECT a.id, a.tariff_id, s.tariff_id, a.open_from, s.open_from
FROM account a JOIN staged_account s USING (id)
WHERE (a.state <> 'pending' OR EXISTS (SELECT FROM link l WHERE l.account_id = a.id))
  AND (a.tariff_id <> s.tariff_id OR a.open_from <> s.open_from)

-- stage_points -- where the points of the configuration are copied to
CREATE TEMP TABLE staged_point ON COMMIT DROP AS
    SELECT id, account_id, area, ratio, max_daily_kwh, reconnect, protected, life_support FROM point WITH NO DATA

-- changed_points -- points with links whose ratio or account is configured differently now: that needs a document
SELECT p.id, p.ratio, s.ratio, p.account_id, s.account_id
FROM point p JOIN staged_point s USING (id)
WHERE (p.ratio <> s.ratio OR (s.account_id IS NOT NULL AND p.account_id <> s.account_id))
  AND EXISTS (SELECT FROM link l WHERE l.point_id = p.id)

-- merge_points -- take over what is configured; a point without a configured account keeps the one it was opened with
INSERT INTO point AS p (id, account_id, area, ratio, max_daily_kwh, reconnect, protected, life_support)
SELECT * FROM staged_point
ON CONFLICT (id) DO UPDATE SET
    account_id = coalesce(excluded.account_id, p.account_id),
    area = excluded.area,
    ratio = excluded.ratio,
    max_daily_kwh = excluded.max_daily_kwh,
    reconnect = excluded.reconnect,
    protected = excluded.protected,
    life_support = excluded.life_support

-- stage_meters -- where the meters of the configuration are copied to
CREATE TEMP TABLE staged_meter (
    address text, line text, protocol text, modulus bigint, decimals smallint, point_id text, installed_on date,
    profile text
) ON COMMIT DROP

-- exchanged_meters -- points or meters that are linked otherwise in the database: an exchange needs a document
SELECT m.address, i.point_id, s.address, s.point_id
FROM installation i
JOIN meter m ON m.id = i.meter_id
JOIN staged_meter s ON (s.point_id = i.point_id) <> (s.address = m.address)
WHERE i.removed_on IS NULL

-- changed_meters -- meters whose register is configured differently now although it was billed or read in other steps
SELECT m.address, format('%s with %s decimals', m.modulus, m.decimals), format('%s with %s decimals', s.modulus, s.decimals)
FROM meter m JOIN staged_meter s USING (address)
WHERE m.modulus <> s.modulus
        AND EXISTS (SELECT FROM installation i JOIN link l USING (point_id) WHERE i.meter_id = m.id)
   OR m.decimals <> s.decimals AND EXISTS (SELECT FROM reading r WHERE r.meter_id = m.id)

-- merge_meters -- a meter may move to another line; its register may change until its use is billed
INSERT INTO meter AS m (address, line, protocol, profile, modulus, decimals)
SELECT address, line, protocol, profile, modulus, decimals FROM staged_meter
ON CONFLICT (address) DO UPDATE SET
    line = excluded.line,
    protocol = excluded.protocol,
    profile = excluded.profile,
    modulus = excluded.modulus,
    decimals = excluded.decimals
WHERE (m.line, m.protocol, m.profile, m.modulus, m.decimals)
    IS DISTINCT FROM (excluded.line, excluded.protocol, excluded.profile, excluded.modulus, excluded.decimals)

-- install_meters -- link each meter to its point from its first day there
INSERT INTO installation (point_id, meter_id, installed_on)
SELECT s.point_id, m.id, s.installed_on
FROM staged_meter s JOIN meter m USING (address)
WHERE NOT EXISTS (SELECT FROM installation i WHERE i.meter_id = m.id AND i.removed_on IS NULL)

-- move_installations -- the first day of a meter at its point, as it is configured now
UPDATE installation i SET installed_on = s.installed_on
FROM staged_meter s JOIN meter m USING (address)
WHERE i.meter_id = m.id AND i.removed_on IS NULL AND i.installed_on <> s.installed_on

-- stage_tariffs -- where the tariff versions of the configuration are copied to
CREATE TEMP TABLE staged_tariff ON COMMIT DROP AS
    SELECT tariff_id, effective_from, price FROM tariff_version WITH NO DATA

-- changed_tariffs -- versions that came, changed or went although use after their start is billed
SELECT tariff_id, effective_from
FROM staged_tariff s
FULL JOIN tariff_version v USING (tariff_id, effective_from)
WHERE v.price IS DISTINCT FROM s.price
  AND tariff_id IN (SELECT x.tariff_id FROM staged_tariff x)
  AND EXISTS (SELECT FROM link l JOIN account a ON a.id = l.account_id
              WHERE a.tariff_id = coalesce(s.tariff_id, v.tariff_id) AND l.state = 'billed'
                AND l.to_day > coalesce(s.effective_from, v.effective_from))
ORDER BY tariff_id, effective_from

-- merge_tariffs -- a version may change until a charge refers to it
INSERT INTO tariff_version (tariff_id, effective_from, price)
SELECT tariff_id, effective_from, price FROM staged_tariff
ON CONFLICT (tariff_id, effective_from) DO UPDATE SET price = excluded.price
WHERE tariff_version.price <> excluded.price

-- drop_tariffs -- versions that are configured no more, of tariffs that are
DELETE FROM tariff_version v
WHERE EXISTS (SELECT FROM staged_tariff s WHERE s.tariff_id = v.tariff_id)
  AND NOT EXISTS (SELECT FROM staged_tariff s
                  WHERE (s.tariff_id, s.effective_from) = (v.tariff_id, v.effective_from))

-- unpriced_accounts -- accounts that open before the first version of their tariff
SELECT a.id, a.open_from, a.tariff_id FROM account a
WHERE a.open_from IS NOT NULL
  AND NOT EXISTS (SELECT FROM tariff_version v WHERE v.tariff_id = a.tariff_id AND v.effective_from <= a.open_from)
ORDER BY a.id

-- site_meters -- every meter that serves a point, with all that collection and settlement must know of it
SELECT m.id AS meter_id, m.address, m.line, m.protocol, m.profile, m.modulus, m.decimals, i.installed_on,
       p.id AS point_id, p.ratio, p.max_daily_kwh
FROM meter m
JOIN installation i ON i.meter_id = m.id AND i.removed_on IS NULL
JOIN point p ON p.id = i.point_id
WHERE %(lines)s::text[] IS NULL OR m.line = ANY(%(lines)s::text[])
ORDER BY m.line, m.address

-- open_account -- set what an account needs before it can be active
UPDATE account a SET open_from = %(open_from)s, agreement = %(agreement)s
WHERE id = %(account)s AND state = 'pending' AND NOT EXISTS (SELECT FROM link l WHERE l.account_id = a.id)
RETURNING id

-- give_point -- a point without an account gets this one
UPDATE point SET account_id = %(account)s
WHERE id = %(point)s AND (account_id IS NULL OR account_id = %(account)s)
RETURNING id

-- account -- one account with its balance
SELECT a.*, coalesce(l.balance_fen, 0) AS balance_fen
FROM account a LEFT JOIN ledger_account l ON l.name = 'customer:' || a.id || ':prepaid'
WHERE a.id = %(account)s

-- first_version -- since when the tariff of an account has a price
SELECT v.tariff_id AS id, v.effective_from AS starts_on
FROM account a JOIN tariff_version v ON v.tariff_id = a.tariff_id
WHERE a.id = %(account)s
ORDER BY v.effective_from LIMIT 1

-- points_of_account -- its points with their meters and supply
SELECT p.*, m.address, m.line,
       (SELECT max(s.day) FROM slot s WHERE s.point_id = p.id AND s.kind = 'daily_freeze' AND s.state = 'published') AS last_day
FROM point p
LEFT JOIN installation i ON i.point_id = p.id AND i.removed_on IS NULL
LEFT JOIN meter m ON m.id = i.meter_id
WHERE p.account_id = %(account)s
ORDER BY p.id
