-- accounts -- accounts in use by their credit, for the metrics
SELECT credit_state, count(*)::int FROM account WHERE state IN ('active', 'closing') GROUP BY 1

-- balances -- what customers have left, and what they owe
SELECT coalesce(sum(balance_fen) FILTER (WHERE balance_fen > 0), 0)::bigint AS credit,
       coalesce(-sum(balance_fen) FILTER (WHERE balance_fen < 0), 0)::bigint AS debt
FROM ledger_account WHERE class = 'prepaid'

-- supplies -- points by how we hold their supply
SELECT supply_state, count(*)::int FROM point_supply GROUP BY 1

-- reconnects -- when reconnects were asked for that are not done, the refused and failed of customers who are dark included
SELECT c.created_at
FROM point_supply v
CROSS JOIN LATERAL (SELECT * FROM command y WHERE y.point_id = v.point_id ORDER BY y.sequence DESC LIMIT 1) c
WHERE v.supply_state <> 'energised' AND v.supply_state <> 'wait_customer_button' AND c.action <> 'trip' AND c.state <> 'verified'

-- open_commands -- commands that are not over
SELECT action, state, count(*)::int FROM command
WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') GROUP BY 1, 2

-- marks -- what keeps supplies from being cut now
SELECT kind, count(*)::int FROM supply_mark
WHERE lifted_at IS NULL AND from_at <= %(now)s AND coalesce(to_at, 'infinity') > %(now)s GROUP BY 1

-- breakers -- those that are open
SELECT scope, count(*)::int FROM breaker WHERE reset_at IS NULL GROUP BY 1

-- jobs -- what somebody has to go there for
SELECT kind, count(*)::int FROM field_job WHERE closed_at IS NULL GROUP BY 1

-- to_settle -- accounts that wait to be settled, and since when
SELECT count(DISTINCT account_id)::int, min(since) FROM to_settle

-- points -- points that a meter serves
SELECT count(*)::int FROM installation WHERE to_at IS NULL

-- unpublished -- days of the last weeks that have a value which counts for nothing
SELECT state::text, count(*)::int FROM slot
WHERE kind = 1 AND state NOT IN ('published', 'substituted') AND day BETWEEN %(since)s AND %(until)s GROUP BY 1

-- last_place -- up to where nothing can be added any more
SELECT coalesce((SELECT through FROM sealed_block ORDER BY number DESC LIMIT 1), 0)

-- steps -- steps of commands between two places; of reconnects that were verified how long they took
SELECT c.action, e.state, count(*)::int,
       coalesce(array_agg(extract(epoch FROM e.at - c.created_at)::float8) FILTER (WHERE c.action <> 'trip' AND e.state = 'verified'), '{}')
FROM command_event e JOIN command c ON c.id = e.command_id
WHERE e.place > %(above)s AND e.place <= %(up_to)s GROUP BY 1, 2

-- posted -- transactions between two places by kind, and what they moved on customers' accounts
SELECT k.kind, count(*)::int, coalesce(sum(abs((t.amounts)[1])), 0)::bigint
FROM journal t JOIN transaction_kind k ON k.id = t.kind
WHERE t.id > %(above)s AND t.id <= %(up_to)s GROUP BY 1

-- kinds -- every kind of transaction
SELECT kind FROM transaction_kind ORDER BY 1
