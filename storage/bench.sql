-- work_left -- what the daemon has still to do now, by the database's own clock, and how many statements it is at
SELECT (SELECT count(*) FROM to_settle)
     + (SELECT count(*) FROM to_judge WHERE not_before <= now())
     + (SELECT count(*) FROM notice_to_send WHERE next_at <= now())
     + (SELECT count(*) FROM command WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying') AND next_at <= now()) AS waiting,
       (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND state <> 'idle' AND pid <> pg_backend_pid()) AS running

-- clock -- what the database takes for the time
SELECT clock_timestamp()

-- outcomes -- what became of each account: its balance, up to 00:00 of which day all its points are billed, days withheld
SELECT a.number AS account, coalesce(l.balance_fen, 0) AS balance_fen,
       (SELECT min(newest.to_day) FROM point_account h
        CROSS JOIN LATERAL (SELECT max(k.to_day) AS to_day FROM link k WHERE k.point_id = h.point_id AND k.hold IS NULL) newest
        WHERE h.account_id = a.id) AS billed_to,
       (SELECT count(*) FROM slot s JOIN point_account h ON h.point_id = s.point_id
        WHERE h.account_id = a.id AND s.state = 'suspect') AS days_withheld
FROM account a LEFT JOIN ledger_account l ON l.name = 'customer:' || a.number || ':prepaid'
ORDER BY a.number
