-- standing -- points that are not billed to 00:00 of %(due)s, each with the first reason that applies, and a point of each account that cannot be settled
WITH held AS (
    SELECT DISTINCT ON (point_id) l.point_id, l.from_day, l.to_day, l.hold, released.day IS NOT NULL AS is_released
    FROM links_on_hold() l
    -- What is held no more is settled again.
    LEFT JOIN LATERAL (SELECT y.day FROM slot y
                       WHERE y.day = l.to_day AND y.point_id = l.point_id AND y.kind = 1 AND y.link_days > 0 OFFSET 0) released
        ON l.hold <> 'rates'
    ORDER BY l.point_id, is_released, l.from_day
), priced AS (
    SELECT tariff_id, min(effective_from) AS starts_on FROM tariff_version WHERE state = 'counts' GROUP BY 1
), served AS (
    SELECT i.point_id, min(i.first_day) AS from_day, max(i.meter_id) FILTER (WHERE i.to_at IS NULL) AS meter_id
    FROM installation i GROUP BY 1
), dark AS (
    -- The newest day to which any of some points, from all over the site, is billed: the one before a whole site went dark.
    SELECT max(l.to_day) AS since
    FROM (SELECT id FROM point WHERE id %% greatest((SELECT max(id) FROM point) / 64, 1) = 0) p
    CROSS JOIN LATERAL (SELECT l.to_day FROM link l WHERE l.point_id = p.id ORDER BY l.from_day DESC LIMIT 1) l
), late AS MATERIALIZED (
    -- Most points end here: of what is billed lately all is told at once, and few are asked one by one.
    SELECT * FROM (
        SELECT p.id, p.number, coalesce(
            recent.to_day,
            (SELECT l.to_day FROM link l WHERE l.point_id = p.id ORDER BY l.from_day DESC LIMIT 1)
        ) AS linked_to
        FROM point p LEFT JOIN linked_lately(least((SELECT since FROM dark), %(due)s::date) - 3) recent ON recent.point_id = p.id OFFSET 0
    ) p
    WHERE coalesce(p.linked_to < %(due)s, true) OR p.id IN (SELECT h.point_id FROM held h)
), behind AS MATERIALIZED (
    SELECT p.id AS point_id, p.number AS point, x.account_id, a.number AS account, a.state AS account_state, a.opened_on,
           a.agreement IS NOT NULL AS is_agreed, a.tariff_id, greatest(x.from_day, a.opened_on, served.from_day) AS opens_on,
           served.from_day AS serves_from, served.meter_id, p.linked_to, h.from_day AS held_from, h.to_day AS held_to, h.hold, h.is_released
    FROM late p
    LEFT JOIN point_account x ON x.point_id = p.id AND x.from_day < %(due)s AND coalesce(x.to_day, 'infinity') >= %(due)s
    LEFT JOIN account a ON a.id = x.account_id
    LEFT JOIN served ON served.point_id = p.id
    LEFT JOIN held h ON h.point_id = p.id
    -- What begins today owes nothing of yesterday.
    WHERE coalesce(served.from_day < %(due)s, true)
      AND coalesce(a.opened_on < %(due)s, true)
      AND (x.point_id IS NOT NULL OR p.id NOT IN (SELECT y.point_id FROM point_account y WHERE y.from_day >= %(due)s))
), opening AS (
    SELECT b.point_id FROM behind b
    CROSS JOIN LATERAL (SELECT FROM slot x WHERE x.day = b.opens_on AND x.point_id = b.point_id AND x.kind = 1
                        AND x.state IN ('published', 'substituted') OFFSET 0) x
    WHERE b.linked_to IS NULL
), doubted AS (
    -- Of few points anything is withheld or waits for a second person, however many are behind: not each is asked for.
    SELECT DISTINCT ON (b.point_id) b.point_id, d.day, d.codes, d.next_step
    FROM behind b
    JOIN doubt d ON d.point_id = b.point_id AND d.kind = 1
        AND d.day BETWEEN coalesce(b.linked_to, b.opens_on, b.serves_from) AND %(due)s
    CROSS JOIN LATERAL (SELECT FROM slot x WHERE x.day = d.day AND x.point_id = d.point_id AND x.kind = 1
                        AND x.state IN ('suspect', 'rejected') OFFSET 0) x
    ORDER BY b.point_id, d.day
), undecided AS (
    SELECT DISTINCT ON (b.point_id) b.point_id, y.id
    FROM behind b
    JOIN decision y ON y.point_id = b.point_id AND y.day >= coalesce(b.held_from, b.linked_to, b.opens_on)
    WHERE NOT y.takes_effect AND y.action IN ('substitute', 'release_link')
      AND NOT EXISTS (SELECT FROM decision_review v WHERE v.decision_id = y.id AND v.verdict = 'refused')
    ORDER BY b.point_id, y.day, y.id
), noted AS MATERIALIZED (
    -- Few points have any of these: joined with each other, so that the many are asked once.
    SELECT * FROM (SELECT point_id, true AS is_open FROM opening) o
    FULL JOIN (SELECT point_id, day AS doubt_day, codes, next_step FROM doubted) d USING (point_id)
    FULL JOIN (SELECT point_id, id AS waiting FROM undecided) u USING (point_id)
    FULL JOIN (SELECT point_id, error AS not_judged FROM to_judge) j USING (point_id)
), stopped AS (
    SELECT b.*, coalesce(b.held_from, b.linked_to, b.opens_on, b.serves_from) AS since, m.address, m.line, v.starts_on,
           coalesce(is_open, false) AS is_open, newest.day IS NOT NULL AS is_there, doubt_day, codes, next_step, waiting, not_judged,
           coalesce(b.linked_to + 1, b.opens_on) AS lacks,
           newest.day IS NULL AND coalesce(b.linked_to + 1, b.opens_on) + kept.days <= %(due)s AS is_lost, s.error
    FROM behind b
    LEFT JOIN priced v ON v.tariff_id = b.tariff_id
    LEFT JOIN meter m ON m.id = b.meter_id
    LEFT JOIN not_settled s ON s.account_id = b.account_id
    LEFT JOIN slot newest ON newest.day = %(due)s AND newest.point_id = b.point_id AND newest.kind = 1
        AND newest.state IN ('published', 'substituted')
    LEFT JOIN noted ON noted.point_id = b.point_id
    LEFT JOIN unnest(%(protocols)s::text[], %(kept_days)s::int[]) AS kept (protocol, days) ON kept.protocol = m.protocol
), named AS (
    SELECT s.*, CASE
        WHEN address IS NULL THEN 'no_meter'
        WHEN account IS NULL OR account_state = 'closed' THEN 'no_account'
        WHEN opened_on IS NULL OR NOT is_agreed THEN 'account_pending'
        WHEN coalesce(starts_on > opened_on, true) THEN 'no_tariff'
        WHEN not_judged IS NOT NULL THEN 'not_judged'
        WHEN error IS NOT NULL THEN 'not_settled'
        WHEN is_released THEN 'settling'
        WHEN hold = 'rates' THEN 'no_rates'
        WHEN held_from IS NOT NULL THEN 'held'
        WHEN doubt_day IS NOT NULL AND (linked_to IS NOT NULL OR is_open OR doubt_day = opens_on) THEN 'withheld'
        WHEN is_lost THEN 'lost'
        WHEN linked_to IS NULL AND NOT is_open THEN 'no_opening_freeze'
        WHEN is_there THEN 'settling'
        WHEN line <> ALL(%(lines)s::text[]) THEN 'line_disabled'
        ELSE 'missing' END AS reason
    FROM stopped s
)
SELECT point, account, address AS meter, line, reason, since, %(due)s::date - since AS age_days, held_from, held_to, hold,
       doubt_day, coalesce(codes, '{}') AS codes, next_step, coalesce(not_judged, error) AS error, waiting, lacks
FROM named
UNION ALL
-- Whose points are billed as far as that, or are another's by now: what was said of earlier days waits.
SELECT held.point, a.number, NULL, NULL, 'not_settled', told.day, greatest(%(due)s::date - told.day, 0), NULL, NULL, NULL,
       NULL, '{}', NULL, n.error, NULL, NULL
FROM not_settled n
JOIN account a ON a.id = n.account_id
CROSS JOIN LATERAL (SELECT p.number AS point FROM point_account x JOIN point p ON p.id = x.point_id WHERE x.account_id = a.id
                    ORDER BY coalesce(x.to_day, 'infinity') DESC, p.number LIMIT 1) held
CROSS JOIN LATERAL (SELECT min(since)::date AS day FROM to_settle t WHERE t.account_id = a.id) told
WHERE a.id NOT IN (SELECT account_id FROM behind WHERE account_id IS NOT NULL)
ORDER BY since, point
