-- sent_trips -- every time a trip was sent, in order, behind a place: what the guard had before it then
SELECT e.place, p.number AS point, c.address, c.id AS command, e.at, e.guard,
       EXISTS (SELECT FROM command_event o WHERE o.command_id = e.command_id AND o.place < e.place
               AND o.guard #> '{facts,now}' = e.guard #> '{facts,now}') AS is_heard_before
FROM command_event e JOIN command c ON c.id = e.command_id JOIN point p ON p.id = c.point_id
WHERE e.place > %(behind)s AND e.state = 'sent' AND c.action = 'trip'
ORDER BY e.place LIMIT %(most)s

-- unjournalled -- trips of which more or fewer frames were counted than the journal tells of
SELECT p.number AS point, c.id AS command, c.sends, count(e.place) AS told
FROM command c JOIN point p ON p.id = c.point_id
LEFT JOIN command_event e ON e.command_id = c.id AND e.state = 'sent'
WHERE c.action = 'trip' GROUP BY p.number, c.id, c.sends
HAVING c.sends <> count(e.place) ORDER BY 1, 2
