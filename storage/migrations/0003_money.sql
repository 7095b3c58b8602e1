-- Money: a double-entry ledger in integer fen, and what it was charged for.
-- Sign: an amount is positive where it is owed to the account's holder. A customer's prepaid balance is positive
-- when there is money left; revenue and clearing accounts carry the other side.

CREATE TABLE ledger_account (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    balance_fen bigint NOT NULL DEFAULT 0
);

CREATE TABLE ledger_transaction (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text NOT NULL UNIQUE CHECK (key <> ''),
    kind        text NOT NULL CHECK (kind IN ('top_up', 'charge', 'true_up')),
    content     jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    database_transaction xid8 NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON COLUMN ledger_transaction.key IS 'made by the caller before sending; the same key with other content is refused';

CREATE TABLE posting (
    transaction_id      bigint NOT NULL REFERENCES ledger_transaction,
    leg                 smallint NOT NULL CHECK (leg >= 0),
    ledger_account_id   integer NOT NULL REFERENCES ledger_account,
    amount_fen          bigint NOT NULL CHECK (amount_fen <> 0),
    period              date CHECK (period = date_trunc('month', period)),
    component           text,
    PRIMARY KEY (transaction_id, leg),
    CHECK ((period IS NULL) = (component IS NULL))
);
CREATE INDEX posting_of_account ON posting (ledger_account_id, transaction_id);

CREATE TRIGGER ledger_transaction_is_never_changed BEFORE UPDATE OR DELETE ON ledger_transaction
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_transaction_is_never_emptied BEFORE TRUNCATE ON ledger_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER posting_is_never_changed BEFORE UPDATE OR DELETE ON posting
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER posting_is_never_emptied BEFORE TRUNCATE ON posting
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every transaction has at least two legs and sums to zero, checked when the database transaction commits; and no leg
-- can be added to one that was committed before.
CREATE FUNCTION check_transaction_sums_to_zero() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    total numeric;
    legs integer;
BEGIN
    SELECT coalesce(sum(amount_fen), 0), count(*) INTO total, legs FROM posting WHERE transaction_id = NEW.id;
    IF legs < 2 OR total <> 0 THEN
        RAISE EXCEPTION 'transaction % has % legs that sum to % fen, not to zero', NEW.key, legs, total
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transaction_sums_to_zero';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transaction_sums_to_zero AFTER INSERT ON ledger_transaction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_transaction_sums_to_zero();

-- The balance follows the postings and cannot be set by hand.
CREATE FUNCTION apply_postings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM new_posting JOIN ledger_transaction t ON t.id = transaction_id
               WHERE t.database_transaction <> pg_current_xact_id()) THEN
        RAISE EXCEPTION 'a committed transaction takes no further leg'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'transaction_is_closed';
    END IF;
    PERFORM FROM ledger_account WHERE id IN (SELECT ledger_account_id FROM new_posting)
    ORDER BY id FOR NO KEY UPDATE;  -- always in order of id, so that two transactions never wait for each other
    UPDATE ledger_account a SET balance_fen = a.balance_fen + n.amount_fen
    FROM (SELECT ledger_account_id, sum(amount_fen)::bigint AS amount_fen FROM new_posting GROUP BY 1) n
    WHERE a.id = n.ledger_account_id;
    RETURN NULL;
END $$;
CREATE TRIGGER postings_move_balances AFTER INSERT ON posting REFERENCING NEW TABLE AS new_posting
    FOR EACH STATEMENT EXECUTE FUNCTION apply_postings();
CREATE FUNCTION refuse_balance_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'the balance of % follows its postings and cannot be set', OLD.name
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'balance_follows_postings';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER balance_follows_postings BEFORE UPDATE OR DELETE ON ledger_account
    FOR EACH ROW EXECUTE FUNCTION refuse_balance_by_hand();
CREATE FUNCTION refuse_opening_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.balance_fen <> 0 THEN
        RAISE EXCEPTION 'account % starts at zero; post its opening balance', NEW.name
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'balance_follows_postings';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER balance_starts_at_zero BEFORE INSERT ON ledger_account
    FOR EACH ROW EXECUTE FUNCTION refuse_opening_balance();

-- The use between two published freezes of one point. Live links are contiguous; a late reading replaces one by two.
CREATE TABLE link (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    point_id    text NOT NULL REFERENCES point,
    account_id  text NOT NULL REFERENCES account,
    from_day    date NOT NULL,
    to_day      date NOT NULL CHECK (to_day > from_day),
    revision    integer NOT NULL,
    delta       bigint NOT NULL CHECK (delta >= 0),
    rolled_over boolean NOT NULL,
    state       text NOT NULL CHECK (state IN ('billed', 'held', 'replaced')),
    made_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (point_id, from_day, to_day, revision)
);
CREATE UNIQUE INDEX one_live_link_from ON link (point_id, from_day) WHERE state <> 'replaced';
CREATE UNIQUE INDEX one_live_link_to ON link (point_id, to_day) WHERE state <> 'replaced';
CREATE INDEX held_links ON link (account_id) WHERE state = 'held';

CREATE TABLE charge (
    link_id         bigint NOT NULL REFERENCES link,
    part            smallint NOT NULL,
    period          date NOT NULL,
    component       text NOT NULL,
    kwh             numeric NOT NULL,
    price           numeric NOT NULL,
    exact_yuan      numeric NOT NULL,
    tariff_id       text NOT NULL,
    tariff_from     date NOT NULL,
    is_estimated_split boolean NOT NULL,
    PRIMARY KEY (link_id, part),
    FOREIGN KEY (tariff_id, tariff_from) REFERENCES tariff_version
);
COMMENT ON TABLE charge IS 'why a link cost what it cost; the posted fen are in posting, by stream';

CREATE TABLE charge_stream (
    account_id  text NOT NULL REFERENCES account,
    period      date NOT NULL,
    component   text NOT NULL,
    exact_yuan  numeric NOT NULL,
    posted_fen  bigint NOT NULL,
    PRIMARY KEY (account_id, period, component)
);
COMMENT ON TABLE charge_stream IS 'cumulative-difference rounding: posted_fen is always exact_yuan rounded to the fen, ties away from zero';

-- From when on a point is billed: its account's opening day, or the first day of its meter if that came later.
CREATE VIEW point_opening AS
SELECT p.id AS point_id, a.id AS account_id, day.opens_on,
       EXISTS (SELECT FROM slot s WHERE s.point_id = p.id AND s.kind = 'daily_freeze' AND s.day = day.opens_on
               AND s.state = 'published') AS has_opening_freeze
FROM point p
JOIN account a ON a.id = p.account_id
CROSS JOIN LATERAL (
    SELECT greatest(a.open_from, (SELECT min(i.installed_on) FROM installation i WHERE i.point_id = p.id)) AS opens_on
) day
WHERE a.open_from IS NOT NULL AND a.agreement IS NOT NULL;
