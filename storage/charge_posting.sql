-- add_charges -- transactions of settlement
COPY journal (value_date, kind, account, other_account, fen, stream, leg_accounts, leg_amounts, leg_streams) FROM STDIN (FORMAT BINARY)

-- added -- the ids of the last statement that added to the journal, eight bytes each: they have the mark of one statement
WITH last AS MATERIALIZED (
    SELECT id, xmin FROM journal WHERE id = (SELECT currval('journal_place'))  -- asked once, so that it is found by its index
)
SELECT coalesce(string_agg(int8send(id), '' ORDER BY id), '')
FROM (SELECT id FROM journal WHERE id <= (SELECT id FROM last) AND xmin = (SELECT xmin FROM last)
      ORDER BY id DESC LIMIT %(count)s) x
