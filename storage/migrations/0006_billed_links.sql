-- The facts of a control decision look at what an account was billed for lately, and the audit at all of it. Without this
-- index each look read the whole table, and settlement became slower with every day that was collected.
CREATE INDEX billed_links ON link (account_id, made_at) WHERE state = 'billed';
