-- breaker_figures -- what the breaker looks at; what was before a reset does not count again, but for trips that were sent
WITH reset AS (
    SELECT scope, name, max(reset_at) AS at FROM breaker WHERE reset_at IS NOT NULL GROUP BY 1, 2
), site AS (
    SELECT coalesce((SELECT at FROM reset WHERE scope = 'site'), '-infinity') AS since
), trip AS (
    -- A trip is sent within ten minutes, or never.
    SELECT p.area, m.line, tariff_on(x.account_id, site_today()) AS tariff, c.created_at,
           c.sent_at IS NOT NULL AS is_sent, greatest(c.created_at, c.sent_at) AS at
    FROM command c JOIN point p ON p.id = c.point_id JOIN meter m ON m.id = c.meter_id
    LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
    WHERE c.action = 'trip' AND c.created_at > %(now)s::timestamptz - interval '1450 minutes'
), of_group AS (
    SELECT g.scope, g.name, t.created_at, t.is_sent, t.at
    FROM trip t CROSS JOIN LATERAL (VALUES ('site', ''), ('area', t.area), ('line', t.line), ('tariff', t.tariff)) g (scope, name)
    WHERE g.scope = 'site' OR g.name <> ''
), counted AS (
    SELECT g.scope, g.name, count(*) FILTER (WHERE g.at > %(now)s::timestamptz - interval '1 hour') AS last_hour, count(*) AS last_day
    FROM of_group g LEFT JOIN reset r ON (r.scope, r.name) = (g.scope, g.name)
    WHERE g.at > %(now)s::timestamptz - interval '1 day' AND (g.is_sent OR g.created_at > coalesce(r.at, '-infinity'))
    GROUP BY 1, 2
), exhausted AS (
    SELECT (e.started_at AT TIME ZONE %(zone)s)::date AS day, count(DISTINCT e.account_id) AS accounts
    FROM arrears_episode e, site
    WHERE e.started_at > %(now)s::timestamptz - %(days)s * interval '1 day' AND e.started_at <= %(now)s::timestamptz
      AND (e.started_at > site.since OR (e.started_at AT TIME ZONE %(zone)s)::date < %(today)s)
    GROUP BY 1
), ended AS (
    SELECT c.state, c.created_at FROM command c
    WHERE c.state IN ('verified', 'refused', 'failed') ORDER BY c.sequence DESC LIMIT %(commands)s
), stuck AS (
    SELECT c.created_at FROM command c JOIN point_supply v ON v.point_id = c.point_id
    WHERE c.state = 'verifying' AND c.sent_at < %(now)s::timestamptz - interval '15 minutes'
      AND v.supply_state <> 'wait_customer_button'
)
SELECT coalesce((SELECT jsonb_agg(jsonb_build_array(scope, name, last_hour, last_day)) FROM counted), '[]') AS trips,
       coalesce((SELECT accounts FROM exhausted WHERE day = %(today)s), 0) AS exhausted_today,
       ARRAY(SELECT accounts FROM exhausted WHERE day < %(today)s) AS exhausted_before,
       -- An hour is looked at and not each payment: it costs the same however many there are.
       ARRAY(SELECT ago FROM generate_series(0, %(days)s * 24 - 1) ago WHERE EXISTS (
           SELECT FROM journal j WHERE j.kind = 11 AND j.recorded_at <= %(now)s::timestamptz - ago * interval '1 hour'
             AND j.recorded_at > %(now)s::timestamptz - (ago + 1) * interval '1 hour')) AS paid_hours,
       extract(epoch FROM %(now)s::timestamptz - greatest((
           SELECT j.recorded_at FROM journal j WHERE j.kind = 11 AND j.recorded_at <= %(now)s::timestamptz
           ORDER BY j.recorded_at DESC LIMIT 1), nullif(site.since, '-infinity')))::float8 / 3600 AS silent_hours,
       (SELECT count(*) FROM (SELECT created_at FROM ended WHERE state <> 'verified'
                              UNION ALL TABLE stuck) f WHERE f.created_at > site.since) AS failed_commands,
       (SELECT count(*) FROM supply_mark k WHERE k.kind = 'wrongful_cut' AND k.made_at > site.since
          AND k.made_at > %(now)s::timestamptz - interval '1 day') AS wrongful_trips
FROM site

-- group_sizes -- points with an account, of each of these groups
SELECT g.scope, g.name, count(x.point_id)
FROM unnest(%(scopes)s::text[], %(names)s::text[]) g (scope, name)
LEFT JOIN LATERAL (
    SELECT x.point_id FROM point_account x JOIN account a ON a.id = x.account_id AND a.state = 'active'
    WHERE x.to_day IS NULL AND CASE g.scope
        WHEN 'site' THEN true
        WHEN 'area' THEN x.point_id IN (SELECT id FROM point WHERE area = g.name)
        WHEN 'line' THEN x.point_id IN (SELECT i.point_id FROM installation i JOIN meter m ON m.id = i.meter_id
                                        WHERE i.to_at IS NULL AND m.line = g.name)
        ELSE tariff_on(a.id, site_today()) = g.name END
) x ON true
GROUP BY 1, 2

-- open_breaker -- too much happens at once; whether it was closed before
INSERT INTO breaker (scope, name, cause, found, allowed, opened_at)
VALUES (%(scope)s, %(name)s, %(cause)s, %(found)s, %(allowed)s, %(now)s)
ON CONFLICT DO NOTHING RETURNING id

-- is_open -- the breaker of the site, for this cause
SELECT EXISTS (SELECT FROM breaker WHERE scope = 'site' AND cause = %(cause)s AND reset_at IS NULL)

-- cancel_waiting_trips -- nobody of a group whose breaker is open is cut; one that is being released at this moment hears the guard again
WITH waiting AS (
    SELECT c.id FROM command c JOIN point p ON p.id = c.point_id JOIN meter m ON m.id = c.meter_id
    LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
    WHERE c.action = 'trip' AND c.state = 'persisted' AND EXISTS (
        SELECT FROM breaker b WHERE b.reset_at IS NULL
          AND CASE b.scope WHEN 'site' THEN true WHEN 'area' THEN p.area = b.name WHEN 'line' THEN m.line = b.name
                           ELSE tariff_on(x.account_id, site_today()) = b.name END)
    ORDER BY c.sequence FOR UPDATE OF c SKIP LOCKED
), ended AS (
    -- What was sent once may still be executed: its relay is watched until it is past its expiry.
    UPDATE command c SET state = CASE WHEN c.sends = 0 THEN 'cancelled' ELSE 'verifying' END, detail = 'BREAKER_OPEN',
        next_at = %(now)s
    FROM waiting w WHERE c.id = w.id RETURNING c.point_id, c.sends
), never_cut AS (
    UPDATE point_supply v SET supply_state = 'energised' FROM ended e WHERE v.point_id = e.point_id AND e.sends = 0
    RETURNING v.point_id
)
SELECT count(*) FROM ended

-- breakers -- those that are open, or all
SELECT b.id AS number, b.scope, b.name, b.cause, b.found, b.allowed, b.opened_at, b.reset_actor, b.reset_reason,
       b.reset_asked_at, b.reset_second, b.reset_at
FROM breaker b WHERE %(all)s OR b.reset_at IS NULL ORDER BY b.id

-- lock_breaker -- one breaker, so that nobody else resets it meanwhile; who asked to reset it lives four hours, as an approval
SELECT CASE WHEN reset_asked_at > now() - word_lasts() THEN reset_actor END, reset_at IS NOT NULL FROM breaker WHERE id = %(number)s FOR UPDATE

-- ask_to_reset -- a first person; it is open until a second one agrees
UPDATE breaker SET reset_actor = %(actor)s, reset_reason = %(reason)s, reset_asked_at = now() WHERE id = %(number)s

-- agree_to_reset -- the second person
UPDATE breaker SET reset_second = %(actor)s, reset_at = now() WHERE id = %(number)s
