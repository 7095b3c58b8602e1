-- The whole schema. Facts have dates, what meters told is never changed, money is append-only.
-- Persons speak of numbers (point.number, account.number, meter.address); rows refer by integer ids.
-- A day is a local date of the site's zone, an instant is timestamptz, a register is an integer in its smallest step.

-- Whose database this is.

CREATE TABLE site (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    name        text NOT NULL,
    zone        text NOT NULL,
    claimed_at  timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION site_today() RETURNS date STABLE LANGUAGE sql AS
    $$ SELECT (now() AT TIME ZONE coalesce((SELECT zone FROM site), 'UTC'))::date $$;

-- As `daemon/control/persons.py` compares names; of capitals beyond ASCII as much as the locale of the database knows.
CREATE FUNCTION is_same_person(one text, other text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT lower(btrim(regexp_replace(normalize(one, NFKC), '\s+', ' ', 'g')))
         = lower(btrim(regexp_replace(normalize(other, NFKC), '\s+', ' ', 'g')))
$$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- Documents: whatever changes a dated fact after readings or money stand behind it.

CREATE TABLE document (
    id          integer PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('exchange', 'restart', 'ratio', 'assignment', 'release', 'date_correction',
                    'address_correction', 'clock_setting', 'crossing', 'revalidation', 'payment_reversal',
                    'household_bonus', 'used_elsewhere', 'account_tariff', 'tariff_version', 'point_pricing')),
    point       text CHECK ((point IS NULL) = (kind IN ('payment_reversal', 'household_bonus', 'used_elsewhere',
                    'account_tariff', 'tariff_version', 'point_pricing'))),
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL CHECK (actor <> ''),
    reason      text NOT NULL CHECK (reason <> ''),
    evidence    text NOT NULL DEFAULT '',
    waits       boolean NOT NULL,
    content     jsonb NOT NULL
);
CREATE INDEX documents_of_point ON document (point);
CREATE INDEX documents_that_waited ON document (id) WHERE waits;
COMMENT ON TABLE document IS 'what somebody said that is or was so, as it was said; what follows from it are dated facts';
COMMENT ON COLUMN document.id IS 'counted without gaps: a trial run uses up none';
COMMENT ON COLUMN document.point IS 'the number of the point that it is about; NULL where it is about money, an account or a tariff';
COMMENT ON COLUMN document.waits IS 'it counts only when a second person has approved it';
CREATE TRIGGER document_is_never_changed BEFORE UPDATE OR DELETE ON document
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE document_review (
    document_id integer PRIMARY KEY REFERENCES document,
    verdict     text NOT NULL CHECK (verdict IN ('approved', 'rejected')),
    actor       text NOT NULL CHECK (actor <> ''),
    reason      text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE document_review IS 'what the second person said of a document that waited for one: neither who made it nor the owner of the file that told it';
-- What checks names the schema: whoever works here may make a temporary table, which is found before one of the same name.
CREATE FUNCTION approver_is_another() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.verdict = 'approved' AND EXISTS (SELECT FROM public.document d WHERE d.id = NEW.document_id
                                            AND (public.is_same_person(NEW.actor, d.actor)
                                                 OR public.is_same_person(NEW.actor, d.content ->> 'owner'))) THEN
        RAISE EXCEPTION 'document % was made by %, who cannot approve it', NEW.document_id, NEW.actor
            USING ERRCODE = 'check_violation', CONSTRAINT = 'approver_is_another';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER approver_is_another BEFORE INSERT ON document_review
    FOR EACH ROW EXECUTE FUNCTION approver_is_another();
CREATE TRIGGER document_review_is_never_changed BEFORE UPDATE OR DELETE ON document_review
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The archive.

CREATE TABLE tariff_version (
    number          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tariff_id       text NOT NULL CHECK (tariff_id <> ''),
    effective_from  date NOT NULL,
    revision        integer NOT NULL,
    form            jsonb NOT NULL CHECK ((form ->> 'effective_from')::date = effective_from),
    state           text NOT NULL DEFAULT 'counts' CHECK (state IN ('counts', 'waits', 'rejected', 'withdrawn')),
    document_id     integer UNIQUE REFERENCES document,
    is_used         boolean NOT NULL DEFAULT false,
    filed_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tariff_id, effective_from, revision)
);
CREATE UNIQUE INDEX one_version_counts ON tariff_version (tariff_id, effective_from) WHERE state = 'counts';
CREATE UNIQUE INDEX one_version_waits ON tariff_version (tariff_id, effective_from) WHERE state = 'waits';
COMMENT ON TABLE tariff_version IS 'prices from 00:00 of a day on; what is charged refers to them by number';
COMMENT ON COLUMN tariff_version.revision IS 'how many were told for this day before';
COMMENT ON COLUMN tariff_version.form IS 'what it charges, in its canonical form: what may stand in a tariffs file';
COMMENT ON COLUMN tariff_version.state IS 'withdrawn: the files said otherwise before anybody was billed by it';
COMMENT ON COLUMN tariff_version.document_id IS 'who told it, and who agreed; NULL: told before anybody was billed by its tariff';
COMMENT ON COLUMN tariff_version.is_used IS 'use is or was billed by it: it stays for ever';
-- Whoever was billed by a tariff is billed otherwise only when two persons say so, and never by another form of the same version.
CREATE FUNCTION tariff_version_is_filed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.is_used OR NOT (CASE NEW.state
           WHEN 'waits' THEN EXISTS (SELECT FROM public.document d WHERE d.id = NEW.document_id AND d.kind = 'tariff_version' AND d.waits)
           WHEN 'counts' THEN NEW.document_id IS NULL
               AND NOT EXISTS (SELECT FROM public.tariff_version v WHERE v.tariff_id = NEW.tariff_id AND v.is_used)
           ELSE false END) THEN
        RAISE EXCEPTION 'use is billed by tariff %: a version from % on waits for a second person', NEW.tariff_id, NEW.effective_from
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'tariff_version_is_filed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tariff_version_is_filed BEFORE INSERT ON tariff_version
    FOR EACH ROW EXECUTE FUNCTION tariff_version_is_filed();
CREATE FUNCTION tariff_version_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.is_used AND NOT OLD.is_used AND OLD.state <> 'counts' THEN
        RAISE EXCEPTION 'version % of tariff % was withdrawn meanwhile', OLD.number, OLD.tariff_id
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF (to_jsonb(OLD) - '{state,is_used}'::text[]) <> (to_jsonb(NEW) - '{state,is_used}'::text[]) OR OLD.is_used AND NOT NEW.is_used
       OR NEW.state <> OLD.state AND NOT (CASE OLD.state
           WHEN 'counts' THEN NEW.state = 'withdrawn' AND NOT OLD.is_used
               AND (NOT EXISTS (SELECT FROM public.tariff_version v WHERE v.tariff_id = OLD.tariff_id AND v.is_used)
                    OR EXISTS (SELECT FROM public.tariff_version v JOIN public.document_review r USING (document_id)
                               WHERE (v.tariff_id, v.effective_from, v.state) = (OLD.tariff_id, OLD.effective_from, 'waits')
                                 AND r.verdict = 'approved'))
           WHEN 'waits' THEN NEW.state <> 'counts'
               OR EXISTS (SELECT FROM public.document_review r WHERE r.document_id = OLD.document_id AND r.verdict = 'approved')
           ELSE false END) THEN
        RAISE EXCEPTION 'version % of tariff %, from % on, stays as it is', OLD.number, OLD.tariff_id, OLD.effective_from
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'tariff_version_stays';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tariff_version_stays BEFORE UPDATE ON tariff_version
    FOR EACH ROW EXECUTE FUNCTION tariff_version_stays();
CREATE TRIGGER tariff_version_is_never_deleted BEFORE DELETE ON tariff_version
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE FUNCTION tariff_version_is_reviewed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.tariff_version o SET state = 'withdrawn'
    FROM public.tariff_version v
    WHERE NEW.verdict = 'approved' AND v.document_id = NEW.document_id AND v.state = 'waits'
      AND (o.tariff_id, o.effective_from) = (v.tariff_id, v.effective_from) AND o.state = 'counts';
    UPDATE public.tariff_version SET state = CASE NEW.verdict WHEN 'approved' THEN 'counts' ELSE 'rejected' END
    WHERE document_id = NEW.document_id AND state = 'waits';
    RETURN NULL;
END $$;
CREATE TRIGGER tariff_version_is_reviewed AFTER INSERT ON document_review
    FOR EACH ROW EXECUTE FUNCTION tariff_version_is_reviewed();

CREATE TABLE account (
    id                  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number              text NOT NULL UNIQUE CHECK (number <> ''),
    name                text NOT NULL DEFAULT '',
    address             text NOT NULL DEFAULT '',
    tariff_id           text NOT NULL,
    state               text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'active', 'closing', 'closed')),
    agreement           text,
    opened_on           date,
    last_day            date,
    warn_fen            bigint NOT NULL,
    trip_fen            bigint NOT NULL,
    reconnect_fen       bigint NOT NULL,
    credit_limit_fen    bigint NOT NULL DEFAULT 0 CHECK (credit_limit_fen >= 0),
    settlement          text NOT NULL DEFAULT 'daily' CHECK (settlement IN ('daily', 'near_real_time', 'month')),
    credit_state        text NOT NULL DEFAULT 'good' CHECK (credit_state IN ('good', 'low', 'emergency', 'exhausted')),
    span_grace_until    timestamptz,
    CHECK (reconnect_fen >= trip_fen),
    CHECK (warn_fen >= trip_fen),
    CHECK (state = 'pending' OR (opened_on IS NOT NULL AND agreement IS NOT NULL)),
    CONSTRAINT account_ends_after_it_began CHECK (last_day IS NULL OR (last_day >= opened_on) IS TRUE)
);
COMMENT ON COLUMN account.tariff_id IS 'with which it began; account_tariff says which one came later';
CREATE INDEX accounts_by_opening ON account (opened_on);
CREATE INDEX accounts_near_real_time ON account (id) WHERE settlement = 'near_real_time';
CREATE INDEX accounts_not_good ON account (id) WHERE credit_state <> 'good';
COMMENT ON COLUMN account.settlement IS 'when its use is posted: with each day, or when the month is over; near_real_time: with each day, and estimated between';
COMMENT ON COLUMN account.last_day IS 'the last day in service, which counts whole; NULL: none yet';
COMMENT ON COLUMN account.opened_on IS 'its points are billed from 00:00 of this day, or from the day they were given to it';

CREATE TABLE account_journal (
    changed_at          timestamptz NOT NULL DEFAULT now(),
    actor               text NOT NULL,
    account_id          integer NOT NULL REFERENCES account,
    name                text NOT NULL,
    tariff_id           text NOT NULL,
    agreement           text,
    opened_on           date,
    last_day            date,
    warn_fen            bigint NOT NULL,
    trip_fen            bigint NOT NULL,
    reconnect_fen       bigint NOT NULL,
    credit_limit_fen    bigint NOT NULL,
    settlement          text NOT NULL
);
CREATE INDEX changes_of_account ON account_journal (account_id, changed_at);
COMMENT ON TABLE account_journal IS 'what an account was told to be before it changed; the actor is the setting meterd.actor of who changed it';
CREATE FUNCTION journal_account() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO account_journal (actor, account_id, name, tariff_id, agreement, opened_on, last_day, warn_fen, trip_fen,
                                 reconnect_fen, credit_limit_fen, settlement)
    VALUES (coalesce(nullif(current_setting('meterd.actor', true), ''), 'system'), OLD.id, OLD.name, OLD.tariff_id,
            OLD.agreement, OLD.opened_on, OLD.last_day, OLD.warn_fen, OLD.trip_fen, OLD.reconnect_fen, OLD.credit_limit_fen,
            OLD.settlement);
    RETURN NULL;
END $$;
CREATE TRIGGER account_changes_are_journalled AFTER UPDATE ON account FOR EACH ROW
    WHEN ((OLD.name, OLD.tariff_id, OLD.agreement, OLD.opened_on, OLD.last_day, OLD.warn_fen, OLD.trip_fen, OLD.reconnect_fen,
           OLD.credit_limit_fen, OLD.settlement)
          IS DISTINCT FROM (NEW.name, NEW.tariff_id, NEW.agreement, NEW.opened_on, NEW.last_day, NEW.warn_fen, NEW.trip_fen,
                            NEW.reconnect_fen, NEW.credit_limit_fen, NEW.settlement))
    EXECUTE FUNCTION journal_account();
CREATE TRIGGER account_journal_is_never_changed BEFORE UPDATE OR DELETE ON account_journal
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE act (
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL CHECK (actor <> ''),
    by_way_of   text NOT NULL CHECK (by_way_of <> ''),
    command     text NOT NULL CHECK (command <> '')
);
CREATE INDEX acts_by_time ON act (at);
COMMENT ON TABLE act IS 'each command that changes something, before it is done: as it was typed, for whom, by which user at which terminal; of a payment by the daemon its key';
CREATE TRIGGER act_is_never_changed BEFORE UPDATE OR DELETE ON act FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What is said of an account besides its use. Of one day or cycle the highest rev counts; a further one is a correction.
CREATE TABLE household_bonus (
    account_id      integer NOT NULL REFERENCES account,
    from_day        date NOT NULL CHECK (from_day BETWEEN '2000-01-01' AND '2099-12-31'),
    rev             integer NOT NULL DEFAULT 0,
    kwh_per_month   numeric NOT NULL CHECK (kwh_per_month BETWEEN 0 AND 1000000 AND scale(kwh_per_month) <= 8),
    actor           text NOT NULL CHECK (actor <> ''),
    document_id     integer REFERENCES document,
    at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, from_day, rev),
    CONSTRAINT bonus_is_corrected_by_a_document CHECK (rev = 0 OR document_id IS NOT NULL)
);
COMMENT ON TABLE household_bonus IS 'so many kWh more at each bound of a ladder, by month, from the first month that begins on from_day or later';
CREATE TABLE used_elsewhere (
    account_id      integer NOT NULL REFERENCES account,
    cycle           text NOT NULL CHECK (cycle ~ '^20[0-9]{2}(-(0[1-9]|1[0-2]))?$'),
    rev             integer NOT NULL DEFAULT 0,
    kwh             numeric NOT NULL CHECK (kwh BETWEEN 0 AND 1000000000 AND scale(kwh) <= 8),
    actor           text NOT NULL CHECK (actor <> ''),
    document_id     integer REFERENCES document,
    at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, cycle, rev),
    CONSTRAINT use_elsewhere_is_corrected_by_a_document CHECK (rev = 0 OR document_id IS NOT NULL)
);
COMMENT ON TABLE used_elsewhere IS 'kWh of a year (2026) or month (2026-07) that others billed before: there a ladder starts';
DO $$
DECLARE
    entries text;
BEGIN
    FOREACH entries IN ARRAY ARRAY['household_bonus', 'used_elsewhere'] LOOP
        EXECUTE format('CREATE TRIGGER %1$I BEFORE UPDATE OR DELETE ON %2$I FOR EACH ROW EXECUTE FUNCTION refuse_change()',
                       entries || '_is_never_changed', entries);
    END LOOP;
END $$;

-- What an account is billed by from a day on that it did not begin with. Of one day the last document counts.
CREATE TABLE account_tariff (
    account_id  integer NOT NULL REFERENCES account,
    from_day    date NOT NULL,
    document_id integer NOT NULL REFERENCES document,
    tariff_id   text NOT NULL,
    PRIMARY KEY (account_id, from_day, document_id)
);
CREATE TRIGGER account_tariff_is_never_changed BEFORE UPDATE OR DELETE ON account_tariff
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE VIEW tariff_change AS
    SELECT DISTINCT ON (account_id, from_day) account_id, from_day, tariff_id FROM account_tariff
    ORDER BY account_id, from_day, document_id DESC;
CREATE VIEW tariff_held AS
    SELECT account_id, tariff_id, from_day, lead(from_day) OVER (PARTITION BY account_id ORDER BY from_day) AS to_day
    FROM (SELECT id AS account_id, tariff_id, date '-infinity' AS from_day FROM account WHERE opened_on IS NOT NULL
          UNION ALL SELECT account_id, tariff_id, from_day FROM tariff_change) x;
COMMENT ON VIEW tariff_held IS 'which tariff an account has from 00:00 of from_day to 00:00 of to_day';
CREATE FUNCTION tariff_on(of_account integer, day date) RETURNS text STABLE LANGUAGE sql AS $$
    SELECT coalesce((SELECT c.tariff_id FROM tariff_change c WHERE c.account_id = of_account AND c.from_day <= day
                     ORDER BY c.from_day DESC LIMIT 1),
                    (SELECT a.tariff_id FROM account a WHERE a.id = of_account))
$$;
-- Of the accounts that changed their tariff: which ones they have on a day or later. All others have that with which they began.
CREATE FUNCTION tariffs_ahead(day date) RETURNS TABLE (account_id integer, tariffs text[]) STABLE LANGUAGE sql AS $$
    SELECT c.account_id, array_agg(c.tariff_id) FILTER (WHERE c.from_day > day) || tariff_on(c.account_id, day)
    FROM tariff_change c GROUP BY c.account_id
$$;

-- By which policy an account is cut, where it is not the site's. The highest rev counts.
CREATE TABLE account_policy (
    account_id  integer NOT NULL REFERENCES account,
    rev         integer NOT NULL DEFAULT 0,
    profile     text CHECK (profile <> ''),
    waits       boolean NOT NULL DEFAULT false,
    actor       text NOT NULL CHECK (actor <> ''),
    reason      text NOT NULL CHECK (reason <> ''),
    second      text CHECK (second <> ''),
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, rev),
    CONSTRAINT second_person_is_another CHECK (NOT is_same_person(second, actor)),
    CHECK (NOT waits OR second IS NULL)
);
COMMENT ON COLUMN account_policy.profile IS 'NULL: the site''s again';
COMMENT ON COLUMN account_policy.waits IS 'it lets be cut who was not: it counts with the next row, in which a second person agreed';
CREATE TRIGGER account_policy_is_never_changed BEFORE UPDATE OR DELETE ON account_policy
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE closed_day (
    day         date PRIMARY KEY,
    closed_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE closed_day IS 'days of the site whose end has come, in order and without a gap: what is charged by the day is charged for them';
CREATE TRIGGER closed_day_is_never_changed BEFORE UPDATE OR DELETE ON closed_day
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE arrears_episode (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  integer NOT NULL REFERENCES account,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz CHECK (ended_at >= started_at)
);
CREATE INDEX episodes_of_account ON arrears_episode (account_id);
CREATE INDEX episodes_by_time ON arrears_episode (started_at);
CREATE UNIQUE INDEX one_open_episode ON arrears_episode (account_id) WHERE ended_at IS NULL;

CREATE FUNCTION are_rates(names text[]) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT cardinality(names) BETWEEN 1 AND 63 AND NOT '' = ANY (names) AND NOT 'total' = ANY (names)
           AND cardinality(names) = (SELECT count(DISTINCT name) FROM unnest(names) AS x (name))
$$;
CREATE TABLE point (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number          text NOT NULL UNIQUE CHECK (number <> ''),
    area            text NOT NULL DEFAULT '',
    reconnect       text NOT NULL DEFAULT 'allow_close' CHECK (reconnect IN ('allow_close', 'close')),
    protected       boolean NOT NULL DEFAULT false,
    life_support    boolean NOT NULL DEFAULT false,
    phases          smallint NOT NULL DEFAULT 1 CHECK (phases IN (1, 3)),
    -- Nearly all have these four: to call the function for each was an eighth of what taking points over costs.
    rates           text[] NOT NULL DEFAULT '{sharp,peak,flat,valley}' CHECK (rates = '{sharp,peak,flat,valley}' OR are_rates(rates)),
    residual_rate   text,
    CONSTRAINT residual_rate_is_a_rate CHECK (residual_rate = ANY (rates))
);
COMMENT ON COLUMN point.rates IS 'names of the meter''s rate registers 1 to n';
COMMENT ON COLUMN point.residual_rate IS 'billed as the total without the other priced rates; NULL: each by its own register';

-- What is observed of a point and commanded at it stands apart from the archive: who settles holds an account's row and
-- then writes here, who takes over files writes the points first.
CREATE TABLE point_supply (
    point_id            integer PRIMARY KEY REFERENCES point,
    supply_state        text NOT NULL DEFAULT 'energised' CHECK (supply_state IN (
                            'energised', 'trip_commanded', 'disconnected', 'reconnect_commanded', 'wait_customer_button')),
    relay_observed      text NOT NULL DEFAULT 'unknown' CHECK (relay_observed IN ('closed', 'open', 'unknown')),
    relay_observed_at   timestamptz,
    relay_evidence      text CHECK (relay_evidence IN ('A', 'B', 'C')),
    command_observed    text NOT NULL DEFAULT 'unknown' CHECK (command_observed IN ('closed', 'open', 'unknown')),
    keep_power_observed boolean NOT NULL DEFAULT false,
    cut_for             text NOT NULL DEFAULT 'arrears' CHECK (cut_for IN ('arrears', 'safety', 'theft', 'customer_request', 'former_customer'))
);
COMMENT ON COLUMN point_supply.cut_for IS 'of its last trip; who was cut for another reason than arrears is restored when that is over, whatever is owed; former_customer: for the arrears of who had it before, or whose meter it was by mistake';
COMMENT ON COLUMN point_supply.relay_evidence IS 'A: relay feedback, and no current flows or no energy was counted; B: relay feedback; C: the command state only';
COMMENT ON COLUMN point_supply.command_observed IS 'where the meter says its relay is ordered to be: ordered open and not open yet is a trip that comes later';
CREATE INDEX points_not_energised ON point_supply (point_id) WHERE supply_state <> 'energised';
CREATE INDEX relays_seen_open ON point_supply (point_id) WHERE relay_observed = 'open';
CREATE FUNCTION add_point_supply() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO point_supply (point_id) SELECT id FROM new_point;
    RETURN NULL;
END $$;
CREATE TRIGGER point_has_a_supply AFTER INSERT ON point REFERENCING NEW TABLE AS new_point
    FOR EACH STATEMENT EXECUTE FUNCTION add_point_supply();

CREATE TABLE point_account (
    point_id    integer NOT NULL REFERENCES point,
    account_id  integer NOT NULL REFERENCES account,
    from_day    date NOT NULL,
    to_day      date CHECK (to_day >= from_day),
    document_id integer REFERENCES document,
    PRIMARY KEY (point_id, from_day, account_id)
);
CREATE INDEX points_of_account ON point_account (account_id);
CREATE INDEX holdings_not_of_the_files ON point_account (point_id) WHERE document_id IS NOT NULL OR to_day IS NOT NULL;
COMMENT ON TABLE point_account IS 'who is billed for a point, from 00:00 of from_day to 00:00 of to_day';
COMMENT ON COLUMN point_account.to_day IS 'the same as from_day: it never was so; the row stays because use may be given back';
CREATE FUNCTION last_holding(point integer) RETURNS SETOF point_account STABLE LANGUAGE sql AS $$
    SELECT * FROM point_account WHERE point_id = point ORDER BY coalesce(to_day, 'infinity') DESC, from_day DESC LIMIT 1
$$;
COMMENT ON COLUMN point_account.document_id IS 'NULL: taken from the files';

CREATE TABLE point_ratio (
    point_id    integer NOT NULL REFERENCES point,
    from_day    date NOT NULL,
    rev         integer NOT NULL DEFAULT 0,
    ratio       numeric NOT NULL CHECK (ratio > 0),
    registers   bigint[],
    from_at     timestamptz,
    document_id integer REFERENCES document,
    PRIMARY KEY (point_id, from_day, rev)
);
COMMENT ON COLUMN point_ratio.from_at IS 'the moment at which a meter came with it, before 00:00 of from_day; NULL: at that midnight';
CREATE INDEX ratios_by_document ON point_ratio (point_id) WHERE document_id IS NOT NULL;
COMMENT ON TABLE point_ratio IS 'CT x PT from a midnight on (R06); of one midnight the highest rev counts';
COMMENT ON COLUMN point_ratio.registers IS 'total and rates at the change, NULL: not read';

CREATE TABLE point_limit (
    point_id    integer NOT NULL REFERENCES point,
    from_day    date NOT NULL,
    rev         integer NOT NULL DEFAULT 0,
    max_daily_kwh numeric NOT NULL CHECK (max_daily_kwh > 0),
    basis       text NOT NULL DEFAULT 'max_daily_kwh',
    PRIMARY KEY (point_id, from_day, rev)
);
COMMENT ON COLUMN point_limit.basis IS 'what it follows from, in the files'' words; no judgement looks at it';
COMMENT ON COLUMN point_limit.max_daily_kwh IS 'most that the register can advance in a day, in register units (before the ratio)';

CREATE FUNCTION ratio_now(point integer) RETURNS SETOF point_ratio STABLE LANGUAGE sql AS
    $$ SELECT * FROM point_ratio WHERE point_id = point ORDER BY from_day DESC, rev DESC LIMIT 1 $$;
CREATE FUNCTION limit_now(point integer) RETURNS SETOF point_limit STABLE LANGUAGE sql AS
    $$ SELECT * FROM point_limit WHERE point_id = point ORDER BY from_day DESC, rev DESC LIMIT 1 $$;

CREATE TABLE meter (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address         text NOT NULL UNIQUE CHECK (address ~ '^([0-9]{12}|.+/[0-9]{1,3})$'),
    line            text NOT NULL,
    protocol        text NOT NULL,
    profile         text,
    registered_serial text,
    serial          text,
    asset_number    text,
    prepayment_mode text CHECK (prepayment_mode IN ('none', 'energy', 'money')),
    identity_read_at timestamptz,
    told_ratio      integer CHECK (told_ratio > 0),
    told_rates      smallint CHECK (told_rates > 0),
    month_end_on    date,
    taken_in_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT modbus_has_a_profile CHECK (protocol NOT LIKE 'modbus%' OR profile IS NOT NULL)
);
CREATE INDEX meters_of_a_line ON meter (line);
CREATE INDEX meters_by_serial ON meter (serial);
CREATE INDEX meters_by_asset_number ON meter (asset_number);
COMMENT ON COLUMN meter.address IS 'a Modbus meter has only a unit on its line: LINE/UNIT names it';
COMMENT ON COLUMN meter.registered_serial IS 'what the files said last of what it tells of itself';
COMMENT ON COLUMN meter.serial IS 'what it must tell: registered, of a document, or what it told at first contact';
COMMENT ON COLUMN meter.asset_number IS 'what it told last; NULL: not read yet, or it has none';
COMMENT ON COLUMN meter.told_ratio IS 'of its transformers, as it is set in the meter; NULL: not read yet, or it tells none (V28)';
COMMENT ON COLUMN meter.told_rates IS 'how many rates it cuts the day into; NULL: not read yet, or it tells none (V28)';
COMMENT ON COLUMN meter.month_end_on IS 'the day of the newest month-end freeze that was read (V26)';
COMMENT ON COLUMN meter.taken_in_at IS 'since when it is read here: what it froze before was never promised to anybody';
COMMENT ON COLUMN meter.prepayment_mode IS 'as the meter told it; NULL: not read yet (R18)';

CREATE TABLE other_serial (
    meter_id    integer NOT NULL REFERENCES meter,
    from_at     timestamptz NOT NULL,
    until_at    timestamptz CHECK (until_at >= from_at),
    serial      text NOT NULL,
    PRIMARY KEY (meter_id, from_at)
);
CREATE UNIQUE INDEX one_other_serial_at_a_time ON other_serial (meter_id) WHERE until_at IS NULL;
COMMENT ON TABLE other_serial IS 'when a meter told another serial than it must: what arrived meanwhile is not of its point (V03)';

CREATE TABLE installation (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    point_id        integer NOT NULL REFERENCES point,
    meter_id        integer NOT NULL REFERENCES meter,
    from_at         timestamptz NOT NULL,
    to_at           timestamptz CHECK (to_at > from_at),
    first_day       date NOT NULL,
    initial         bigint[],
    final           bigint[],
    final_lost      boolean NOT NULL DEFAULT false CHECK (NOT (final_lost AND final IS NOT NULL)),
    modulus         bigint NOT NULL CHECK (modulus > 0),
    decimals        smallint NOT NULL CHECK (decimals BETWEEN 0 AND 4),
    wire_decimals   smallint NOT NULL CHECK (wire_decimals BETWEEN 0 AND 4),
    document_id     integer REFERENCES document,
    has_relay       boolean NOT NULL DEFAULT true,
    relay_type      text CHECK (relay_type IN ('internal', 'external')),
    CONSTRAINT relay_type_is_of_a_relay CHECK (has_relay OR relay_type IS NULL)
);
CREATE INDEX installations_by_document ON installation (point_id) WHERE document_id IS NOT NULL AND to_at IS NULL;
CREATE UNIQUE INDEX installations_of_point ON installation (point_id, from_at);
CREATE UNIQUE INDEX installations_of_meter ON installation (meter_id, from_at);
COMMENT ON TABLE installation IS 'which meter serves a point; a freeze belongs to the one that began at or before its midnight';
COMMENT ON COLUMN installation.first_day IS 'whose 00:00 is the first at or after from_at: the program knows the zone, the database need not';
COMMENT ON COLUMN installation.initial IS 'total and rates when it began, NULL: not known';
COMMENT ON COLUMN installation.modulus IS 'the register rolls over here, in its smallest step (1000000 kWh with 2 decimals = 100000000)';
COMMENT ON COLUMN installation.has_relay IS 'it may be switched from afar; without a relay its point is never cut';
CREATE FUNCTION evidence_of_relay(point integer) RETURNS text STABLE LANGUAGE sql AS $$
    SELECT CASE WHEN relay_type = 'external' THEN 'C' ELSE 'B' END FROM installation WHERE point_id = point AND to_at IS NULL
$$;
COMMENT ON FUNCTION evidence_of_relay IS 'what a meter''s word about its relay is worth: an external one may only mirror the command';
COMMENT ON COLUMN installation.relay_type IS 'allow close leaves an internal one open until the customer holds the button, an external one closes at once; NULL: not known';
COMMENT ON COLUMN installation.wire_decimals IS 'of the registers as the meter sends them (V11)';

CREATE FUNCTION register_on(point integer, of_day date) RETURNS SETOF installation STABLE LANGUAGE sql AS $$
    SELECT i.* FROM installation i
    WHERE i.point_id = point AND i.first_day <= of_day ORDER BY i.from_at DESC LIMIT 1
$$;
COMMENT ON FUNCTION register_on IS 'the meter that serves a point at 00:00 of a day';

-- Periods of one key never overlap; one that ends where it begins never was. What an exclusion constraint says, for a fiftieth of
-- its cost: of the keys that a statement wrote, each period is compared with the one before it. They are an array, which is
-- looked up by index, though without statistics nobody knows that the table is large.
-- Whoever writes holds the lock on the chains from here on (storage/chains.py), and looks after it was free. A transaction that
-- sees only what was there at its beginning would not see what was written meanwhile.
CREATE FUNCTION refuse_overlaps() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    key_column CONSTANT text := TG_ARGV[0];
    overlapping integer;
BEGIN
    IF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION '% is written in READ COMMITTED only', TG_TABLE_NAME USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(1835365478);
    EXECUTE format($look$
        SELECT %1$I FROM (SELECT %1$I, %3$I, lag(%4$I) OVER periods AS ended, lag(%1$I) OVER periods = %1$I AS follows
                          FROM %2$I WHERE %1$I = ANY (ARRAY(SELECT %1$I FROM changed)) AND %4$I IS DISTINCT FROM %3$I
                          WINDOW periods AS (ORDER BY %1$I, %3$I ROWS UNBOUNDED PRECEDING)) period
        WHERE follows AND (ended > %3$I) IS NOT FALSE LIMIT 1
    $look$, key_column, TG_TABLE_NAME, TG_ARGV[1], TG_ARGV[2]) INTO overlapping;
    IF overlapping IS NOT NULL THEN
        RAISE EXCEPTION 'two periods of % % overlap in %', key_column, overlapping, TG_TABLE_NAME
            USING ERRCODE = 'exclusion_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
DO $$
DECLARE
    periods text[];
    event text;
BEGIN
    FOREACH periods SLICE 1 IN ARRAY ARRAY[['point_account', 'point_id', 'from_day', 'to_day'],
            ['installation', 'point_id', 'from_at', 'to_at'], ['installation', 'meter_id', 'from_at', 'to_at']] LOOP
        FOREACH event IN ARRAY ARRAY['INSERT', 'UPDATE'] LOOP
            EXECUTE format('CREATE TRIGGER %I AFTER %s ON %I REFERENCING NEW TABLE AS changed
                            FOR EACH STATEMENT EXECUTE FUNCTION refuse_overlaps(%L, %L, %L)',
                           format('one_at_a_time_by_%s_%s', periods[2], lower(event)), event, periods[1], periods[2], periods[3],
                           periods[4]);
        END LOOP;
    END LOOP;
END $$;

-- What is known of a chain besides its values.

CREATE TABLE clock_setting (
    meter_id    integer NOT NULL REFERENCES meter,
    rev         integer NOT NULL,
    clock       text NOT NULL CHECK (clock IN ('zone', 'standard')),
    document_id integer REFERENCES document,
    PRIMARY KEY (meter_id, rev)
);
CREATE TABLE clock_finding (
    meter_id    integer NOT NULL REFERENCES meter,
    from_day    date NOT NULL,
    to_day      date NOT NULL CHECK (to_day >= from_day),
    rev         integer NOT NULL,
    skew_s      integer NOT NULL,
    found_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (meter_id, from_day, to_day, rev)
);
CREATE TABLE finding (
    point_id    integer NOT NULL REFERENCES point,
    code        text NOT NULL CHECK (code ~ '^V[0-9]{2}$'),
    from_day    date NOT NULL,
    to_day      date,
    rev         integer NOT NULL,
    active      boolean NOT NULL,
    detail      jsonb NOT NULL DEFAULT '{}',
    found_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (point_id, code, from_day, rev)
);

CREATE TABLE decision (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    point_id    integer NOT NULL REFERENCES point,
    day         date NOT NULL,
    action      text NOT NULL CHECK (action IN ('release', 'reject', 'withdraw', 'substitute', 'release_link')),
    total       bigint,
    rates       bigint[] NOT NULL DEFAULT '{}',
    rolled_over boolean NOT NULL DEFAULT false,
    method      text CHECK (method ~ '^S[1-6]$'),
    maker       text NOT NULL CHECK (maker <> ''),
    checker     text CHECK (NOT is_same_person(checker, maker)),
    reason      text NOT NULL,
    evidence    text NOT NULL DEFAULT '',
    made_at     timestamptz NOT NULL DEFAULT now(),
    checked_at  timestamptz,
    rev         integer NOT NULL,
    content     jsonb NOT NULL DEFAULT '{}',
    takes_effect boolean NOT NULL,
    CHECK ((checker IS NULL) = (checked_at IS NULL)),
    CHECK (action <> 'substitute' OR method IS NOT NULL)
);
CREATE INDEX decisions_of_point ON decision (point_id, day);
COMMENT ON COLUMN decision.total IS 'the value decided about, in the register''s smallest step';
COMMENT ON COLUMN decision.takes_effect IS 'it is a fact: nobody else has to agree, or somebody did';
COMMENT ON COLUMN decision.checker IS 'NULL where nobody has agreed yet, or where nobody must';

CREATE TABLE decision_review (
    decision_id bigint NOT NULL REFERENCES decision,
    actor       text NOT NULL CHECK (actor <> ''),
    verdict     text NOT NULL CHECK (verdict IN ('approved', 'refused')),
    reason      text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (decision_id, actor)
);
COMMENT ON TABLE decision_review IS 'what others said of a decision that waits for them; it takes effect when enough approved';
CREATE FUNCTION reviewer_is_another() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.verdict = 'approved' AND EXISTS (SELECT FROM public.decision d WHERE d.id = NEW.decision_id
                                            AND public.is_same_person(d.maker, NEW.actor)) THEN
        RAISE EXCEPTION 'decision % was made by %, who cannot approve it', NEW.decision_id, NEW.actor
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reviewer_is_another';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER reviewer_is_another BEFORE INSERT ON decision_review
    FOR EACH ROW EXECUTE FUNCTION reviewer_is_another();
CREATE TRIGGER decision_review_is_never_changed BEFORE UPDATE OR DELETE ON decision_review
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE closing (
    point_id    integer NOT NULL REFERENCES point,
    through_day date NOT NULL,
    published   jsonb NOT NULL,
    closed_at   timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    PRIMARY KEY (point_id, through_day)
);
COMMENT ON COLUMN closing.published IS 'day -> [total, rates...] of the values that were published in the period';

-- Who told it. A reading names its teller by number; a session that told nothing has no row.

CREATE TABLE teller (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line        text NOT NULL,
    address     text NOT NULL,
    terminal    text NOT NULL,
    certificate text NOT NULL,
    identity    text NOT NULL,
    session_at  timestamptz,
    first_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    proof       smallint NOT NULL CHECK (proof BETWEEN 0 AND 4),
    UNIQUE NULLS NOT DISTINCT (line, address, terminal, certificate, session_at, proof)
);
COMMENT ON TABLE teller IS 'a far end of a line that told readings: one row for each session of a terminal, one for each address that we open';
COMMENT ON COLUMN teller.certificate IS 'SHA-256 of it; empty without one';
COMMENT ON COLUMN teller.identity IS 'the same as long as it is certainly the same far end';
COMMENT ON COLUMN teller.proof IS '0 none, 1 permitted network, 2 vouched for by the site, 3 opened by us, 4 certificate';
COMMENT ON COLUMN teller.first_at IS 'when its first reading was stored';
CREATE INDEX teller_of_line ON teller (line, first_at);

-- What meters told. No foreign keys here: points and meters are never deleted, and a look for each row costs more than the
-- row.

CREATE TABLE reading (
    id              bigint NOT NULL,
    arrived_at      timestamptz NOT NULL,
    stamp           timestamptz,
    total           bigint,
    rate_1          bigint,
    rate_2          bigint,
    rate_3          bigint,
    rate_4          bigint,
    clock_skew_s    bigint,
    day             date NOT NULL,
    meter_id        integer NOT NULL,
    told_by         integer NOT NULL DEFAULT 0,
    host_offset_ms  integer,
    kind            smallint NOT NULL,
    source          smallint NOT NULL,
    decode_version  smallint,
    more_rates      bigint[],
    serial          text
);
COMMENT ON TABLE reading IS 'every read of every value, never changed (R08); columns in the order that packs them';
COMMENT ON COLUMN reading.id IS 'made of kind, source, arrival, stamp and registers: the same read again is the same row';
COMMENT ON COLUMN reading.kind IS '1 a daily freeze, 2 a month-end freeze, 3 the registers of the moment of its stamp, which fill no slot';
COMMENT ON COLUMN reading.day IS 'whose 00:00 it is the freeze of, by its own stamp; of a current value the day that it was read on';
COMMENT ON COLUMN reading.stamp IS 'the meter''s own time stamp; NULL: exactly 00:00 of the day';
COMMENT ON COLUMN reading.decode_version IS 'how its bytes were understood; NULL: by the first version, which takes no room so';
COMMENT ON COLUMN reading.told_by IS 'the teller over whose line it came; 0: not known';
COMMENT ON COLUMN reading.serial IS 'of the meter that told it, where that is another one than the point''s (V03)';
COMMENT ON COLUMN reading.total IS 'register in its smallest step; NULL: a second read that the meter refused';
COMMENT ON COLUMN reading.clock_skew_s IS 'meter clock minus true time; NULL: not known for that day';
COMMENT ON COLUMN reading.host_offset_ms IS 'read by the host so long after 00:00 (negative: before); NULL: frozen by the meter';

-- By what it is judged. The first one is that of a site that says nothing else.
CREATE TABLE rule_set (
    id          smallint PRIMARY KEY,
    program     smallint NOT NULL,
    thresholds  jsonb NOT NULL,
    since       timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL
);
INSERT INTO rule_set (id, program, thresholds, actor) VALUES (1, 1, '{
    "max_daily_kwh": 380, "max_auto_span_days": 7, "stopped_days": 7, "stopped_mean_kwh": 1, "share_days": 3,
    "high_factor": 3, "low_factor": 4, "difference_kwh": 5, "season_factor": 3}', 'daemon');
COMMENT ON TABLE rule_set IS 'by what readings are judged since then; the highest id holds now. No sequence: trials use no numbers up';
COMMENT ON COLUMN rule_set.program IS 'number of the rules of the program';
COMMENT ON COLUMN rule_set.thresholds IS 'what the site said in [quality], by key';

-- What became of it: one row for each owed value that is there; a missing one has no row.

CREATE TYPE slot_state AS ENUM ('published', 'suspect', 'substituted', 'rejected', 'lost');

CREATE TABLE slot (
    reading_id  bigint,
    total       bigint,
    point_id    integer NOT NULL,
    day         date NOT NULL,
    meter_id    integer,
    state       slot_state NOT NULL DEFAULT 'published',
    kind        smallint NOT NULL,
    revision    smallint NOT NULL DEFAULT 0,
    rule_set    smallint NOT NULL,
    link_days   smallint NOT NULL DEFAULT 0
);
COMMENT ON TABLE slot IS 'one owed value; day D holds the freeze of D 00:00, the close of D-1';
COMMENT ON COLUMN slot.reading_id IS 'the reading that was chosen, of meter_id and this day; NULL for a substitute';
COMMENT ON COLUMN slot.rule_set IS 'by which the day came to show this: an id of rule_set, not checked for each row';
COMMENT ON COLUMN slot.link_days IS 'so many days before lies the value that this one is linked to; 0: to none, negative: held, and not released';

-- Readings and slots are laid out by month: as hypertables where TimescaleDB is there, else as partitions.
DO $$
DECLARE
    series text;
BEGIN
    FOREACH series IN ARRAY ARRAY['reading', 'slot'] LOOP
        IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
            PERFORM create_hypertable(series::regclass, by_range('day', interval '1 month'), create_default_indexes => false);
        ELSE
            EXECUTE format('ALTER TABLE %I RENAME TO whole', series);
            EXECUTE format('CREATE TABLE %I (LIKE whole INCLUDING ALL) PARTITION BY RANGE (day)', series);
            DROP TABLE whole;
        END IF;
    END LOOP;
END $$;
ALTER TABLE reading ADD PRIMARY KEY (day, meter_id, id);
ALTER TABLE slot ADD PRIMARY KEY (day, point_id, kind);
-- A published value that is linked to that of the day before says that this one is published too: nearly every row does. Only
-- where that breaks off is there something to look at; a day's values that come as they should cost this index nothing.
CREATE INDEX breaks_of_chains ON slot (day)
    WHERE kind = 1 AND (link_days <> 1 OR state NOT IN ('published', 'substituted'));

CREATE FUNCTION has_readings(meter integer, since date) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM generate_series(since, current_date + 2, interval '1 day') d
                   JOIN reading r ON r.day = d::date AND r.meter_id = meter)
$$;

CREATE TABLE chain (
    point_id    integer NOT NULL REFERENCES point,
    kind        smallint NOT NULL,
    first_day   date NOT NULL,
    PRIMARY KEY (point_id, kind)
);
COMMENT ON TABLE chain IS 'the first day of a point that has a slot: where a search for an earlier one ends';

-- Slots lie by day, because they come by day; those of one point are found by asking for one day after the other: mostly
-- for one, seldom for a week, never for more than a year (a point that was dark for so long begins anew).
CREATE FUNCTION slot_beside(point integer, of_kind smallint, from_day date, step integer, states slot_state[])
    RETURNS SETOF slot STABLE LANGUAGE sql AS $$
    (SELECT * FROM slot s WHERE s.day = from_day AND s.point_id = point AND s.kind = of_kind AND s.state = ANY (states))
    UNION ALL
    (SELECT s.* FROM generate_series(1, 7) n
     JOIN slot s ON s.day = from_day + step * n AND s.point_id = point AND s.kind = of_kind AND s.state = ANY (states)
     ORDER BY n LIMIT 1)
    UNION ALL
    (SELECT s.* FROM chain c
     CROSS JOIN generate_series(8, least(400, CASE WHEN step < 0 THEN from_day - c.first_day ELSE current_date + 2 - from_day END)) n
     JOIN slot s ON s.day = from_day + step * n AND s.point_id = point AND s.kind = of_kind AND s.state = ANY (states)
     WHERE c.point_id = point AND c.kind = of_kind
     ORDER BY n LIMIT 1)
    LIMIT 1
$$;
CREATE FUNCTION newest_slot(point integer, of_kind smallint, states slot_state[]) RETURNS SETOF slot STABLE LANGUAGE sql AS
    $$ SELECT * FROM slot_beside(point, of_kind, current_date + 2, -1, states) $$;

-- Behind it the past is fixed: the last day before `of_day` whose published value a closing named or a person released.
CREATE FUNCTION confirmed_before(point integer, of_day date) RETURNS date STABLE LANGUAGE sql AS $$
    SELECT greatest(
        (SELECT (SELECT max(named::date) FROM jsonb_object_keys(c.published) named)
         FROM closing c WHERE c.point_id = point AND c.through_day < of_day AND c.published <> '{}'
         ORDER BY c.through_day DESC LIMIT 1),
        (SELECT max(d.day) FROM (SELECT DISTINCT ON (x.day, x.total) x.day, x.total, x.action FROM decision x
                                 WHERE x.point_id = point AND x.day < of_day AND x.takes_effect
                                   AND x.action IN ('release', 'reject', 'withdraw')
                                 ORDER BY x.day, x.total, x.rev DESC) d
         JOIN slot s ON (s.day, s.point_id, s.kind, s.state, s.total) = (d.day, point, 1, 'published', d.total)
         WHERE d.action = 'release'))
$$;

CREATE TABLE doubt (
    point_id    integer NOT NULL REFERENCES point,
    day         date NOT NULL,
    kind        smallint NOT NULL,
    codes       text[] NOT NULL,
    next_step   text CHECK (next_step IN ('recollect', 'wait', 'reread', 'person')),
    hold        text,
    since       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (point_id, day, kind)
);
CREATE INDEX doubts_by_day ON doubt (day);
CREATE INDEX doubts_to_read_again ON doubt (day) WHERE next_step IN ('reread', 'recollect') OR codes && '{V33,V36}';
COMMENT ON TABLE doubt IS 'what is to be said of a slot that is not published without a remark: the few exceptions, to be listed';
COMMENT ON COLUMN doubt.hold IS 'why the use that ends here is not billed by itself: span, ratio, spike, final_lost, initial_lost';

CREATE TABLE crossing (
    point_id    integer NOT NULL REFERENCES point,
    day         date NOT NULL,
    kwh         numeric NOT NULL,
    is_agreed   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (point_id, day)
);
COMMENT ON TABLE crossing IS 'use that ends with a slot and that it does not show with the one before: over an exchange or a ratio';
COMMENT ON COLUMN crossing.is_agreed IS 'persons agreed upon it, because no register shows all of it';

-- Which days of so many points are there, as bits: bit n is the day n before `until`, 63 days at the most. A run of days is known
-- by its newest one and by where it breaks off, so what this costs does not grow with the days.
CREATE FUNCTION bits_of_days(until date, first date, last date) RETURNS bigint IMMUTABLE LANGUAGE sql AS
    $$ SELECT CASE WHEN first <= last THEN ~(-1::bigint << (last - first + 1)) << (until - last) ELSE 0 END $$;
CREATE FUNCTION shown_days(since date, until date)
    RETURNS TABLE (point_id integer, published bigint, suspect bigint, other bigint) STABLE LANGUAGE sql AS $$
    WITH break AS MATERIALIZED (
        SELECT s.point_id, s.day, s.link_days, s.state, s.state IN ('published', 'substituted') AS is_published
        FROM slot s
        WHERE s.kind = 1 AND (s.link_days <> 1 OR s.state NOT IN ('published', 'substituted')) AND s.day BETWEEN since AND until
          AND (s.day > since OR s.state NOT IN ('published', 'substituted'))
        UNION ALL
        -- What no two values show may begin with the register of a document, on a day that has no value.
        SELECT x.point_id, x.day, 0, s.state, true
        FROM crossing x
        CROSS JOIN LATERAL (SELECT * FROM slot y WHERE y.day = x.day AND y.point_id = x.point_id AND y.kind = 1
                            AND y.state IN ('published', 'substituted') OFFSET 0) s
        LEFT JOIN LATERAL (SELECT y.day FROM slot y WHERE y.day = s.day - abs(s.link_days) AND y.point_id = s.point_id
                           AND y.kind = 1 AND y.state IN ('published', 'substituted') OFFSET 0) start ON true
        WHERE x.day > since AND x.day <= until AND start.day IS NULL
    ), broken AS MATERIALIZED (
        SELECT b.point_id, max(b.day) FILTER (WHERE b.is_published AND b.link_days = 0) AS begins,
               bit_or(1::bigint << (until - b.day)) FILTER (WHERE b.is_published) AS published,
               bit_or(1::bigint << (until - b.day)) FILTER (WHERE b.state = 'suspect') AS suspect,
               bit_or(1::bigint << (until - b.day)) FILTER (WHERE b.state IN ('rejected', 'lost')) AS other,
               bit_or(bits_of_days(until, greatest(since, b.day - abs(b.link_days) + 1), b.day - 1))
                   FILTER (WHERE b.is_published AND abs(b.link_days) > 1) AS skipped
        FROM break b GROUP BY 1
    ), latest AS MATERIALIZED (
        SELECT s.point_id, max(s.day) AS day FROM slot s
        WHERE s.kind = 1 AND s.state IN ('published', 'substituted') AND s.day BETWEEN greatest(since, until - 1) AND until
        GROUP BY 1
    ), dark AS MATERIALIZED (
        SELECT k.point_id FROM chain k
        WHERE k.kind = 1 AND k.first_day < until - 1 AND NOT EXISTS (SELECT FROM latest l WHERE l.point_id = k.point_id)
    ), lately AS MATERIALIZED (
        -- All points of a day are looked up at once; those of one outage in few days.
        SELECT s.point_id, max(s.day) AS day FROM generate_series(2, least(8, until - since)) n
        CROSS JOIN LATERAL (SELECT x.point_id, x.day FROM slot x WHERE x.day = until - n AND x.kind = 1
                            AND x.point_id = ANY (ARRAY(SELECT d.point_id FROM dark d)) AND x.state IN ('published', 'substituted') OFFSET 0) s
        GROUP BY 1
    ), earlier AS MATERIALIZED (
        TABLE lately
        UNION ALL
        SELECT s.point_id, max(s.day) FROM generate_series(9, until - since) n
        CROSS JOIN LATERAL (SELECT x.point_id, x.day FROM slot x WHERE x.day = until - n AND x.kind = 1
                            AND x.point_id = ANY (ARRAY(SELECT d.point_id FROM dark d EXCEPT SELECT l.point_id FROM lately l))
                            AND x.state IN ('published', 'substituted') OFFSET 0) s
        GROUP BY 1
    ), before AS MATERIALIZED (
        -- What lies before a value that is linked to none is looked up, day by day.
        SELECT c.point_id, bit_or(1::bigint << (until - x.day)) AS days
        FROM (SELECT k.point_id, b.begins, b.begins - greatest(since, k.first_day) AS days FROM broken b
              JOIN chain k ON k.point_id = b.point_id AND k.kind = 1 AND b.begins > greatest(since, k.first_day) OFFSET 0) c
        CROSS JOIN LATERAL generate_series(1, c.days) n
        CROSS JOIN LATERAL (SELECT y.day FROM slot y WHERE y.day = c.begins - n AND y.point_id = c.point_id AND y.kind = 1
                            AND y.state IN ('published', 'substituted') OFFSET 0) x
        GROUP BY 1
    )
    SELECT c.point_id,
           bits_of_days(until, greatest(since, c.first_day, b.begins), coalesce(l.day, e.day))
               & ~(coalesce(b.skipped, 0) | coalesce(b.suspect, 0) | coalesce(b.other, 0))
               | coalesce(b.published, 0) | coalesce(before.days, 0),
           coalesce(b.suspect, 0), coalesce(b.other, 0)
    FROM chain c
    LEFT JOIN broken b ON b.point_id = c.point_id
    LEFT JOIN latest l ON l.point_id = c.point_id
    LEFT JOIN earlier e ON e.point_id = c.point_id
    LEFT JOIN before ON before.point_id = c.point_id
    WHERE c.kind = 1 AND c.first_day <= until
$$;

CREATE TABLE to_judge (
    point_id    integer PRIMARY KEY REFERENCES point,
    from_day    date NOT NULL,
    since       timestamptz NOT NULL DEFAULT now(),
    not_before  timestamptz NOT NULL DEFAULT '-infinity',
    error       text
);
COMMENT ON TABLE to_judge IS 'points in dispute whose readings are kept already: more than one transaction judges';
COMMENT ON COLUMN to_judge.error IS 'why it could not be judged when it was tried last; it is tried again after not_before';

CREATE TABLE slot_journal (
    changed_at  timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    day         date NOT NULL,
    point_id    integer NOT NULL,
    kind        smallint NOT NULL,
    revision    smallint NOT NULL,
    state       slot_state NOT NULL,
    meter_id    integer,
    total       bigint,
    reading_id  bigint,
    rule_set    smallint NOT NULL
);
CREATE INDEX slot_changes ON slot_journal (changed_at);
CREATE INDEX slot_changes_of_point ON slot_journal (point_id, day);
COMMENT ON TABLE slot_journal IS 'what a slot was before it changed; the actor is the setting meterd.actor of who changed it';
CREATE FUNCTION journal_slot() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO slot_journal (actor, day, point_id, kind, revision, state, meter_id, total, reading_id, rule_set)
    VALUES (coalesce(nullif(current_setting('meterd.actor', true), ''), 'system'), OLD.day, OLD.point_id, OLD.kind,
            OLD.revision, OLD.state, OLD.meter_id, OLD.total, OLD.reading_id, OLD.rule_set);
    RETURN NULL;
END $$;

CREATE FUNCTION make_partitions(months date[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    series text;
    month date;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'slot'::regclass) <> 'p' THEN
        RETURN;  -- a hypertable makes its chunks by itself
    END IF;
    FOREACH month IN ARRAY months LOOP
        IF month IS NULL OR month NOT BETWEEN date '1990-01-01' AND date '2199-12-31' OR month <> date_trunc('month', month) THEN
            RAISE EXCEPTION '% is not the first day of a month that a meter can have', coalesce(month::text, 'NULL')
                USING ERRCODE = 'invalid_datetime_format';
        END IF;
        FOREACH series IN ARRAY ARRAY['reading', 'slot'] LOOP
            IF to_regclass(series || to_char(month, '_YYYY_MM')) IS NULL THEN
                -- Made beside and attached: to make it as a partition would wait for whoever reads the whole, and a settlement
                -- that reads it may wait for this transaction.
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                               series || to_char(month, '_YYYY_MM'), series);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               series, series || to_char(month, '_YYYY_MM'), date_trunc('month', month),
                               date_trunc('month', month) + interval '1 month');
            END IF;
        END LOOP;
    END LOOP;
END $$;

-- Whoever remembers what chains are looks here whether they still are so. Every change of a fact that points are judged by names
-- its point or its meter, a new rule set neither; whoever puts slots names the points (writer 0) or itself. All of them hold the lock on the chains
-- (storage/chains.py), so rows come in the order of their numbers.
CREATE TABLE chain_change (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    point_id    integer,
    meter_id    integer,
    writer      integer
);
COMMENT ON COLUMN chain_change.writer IS 'who put slots and knows of which points; NULL: somebody who did not say so';
-- What a batch begins with, in one statement: nobody else judges, there is room for its months, and every look of it is one by
-- an index, whatever statistics say (a first start has none, and those of yesterday know nothing of today). Then the change that
-- was `seen` last, if it is there, and those behind it; of nothing seen the last one. They are looked at when the lock is had.
CREATE FUNCTION begin_batch(lock bigint, months date[], writer text, seen bigint, most integer) RETURNS SETOF chain_change
    VOLATILE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(lock);
    PERFORM make_partitions(months), set_config('enable_seqscan', 'off', true), set_config('enable_nestloop', 'off', true),
            set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
            set_config('meterd.writer', writer, true);
    RETURN QUERY SELECT * FROM public.chain_change c
                 WHERE c.id >= coalesce(seen, (SELECT max(x.id) FROM public.chain_change x)) ORDER BY c.id LIMIT most;
END $$;
CREATE FUNCTION note_slots() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1835365478);
    INSERT INTO chain_change (writer) VALUES (nullif(current_setting('meterd.writer', true), '')::integer);
    RETURN NULL;
END $$;
CREATE TRIGGER slots_are_noted AFTER INSERT OR UPDATE OR DELETE ON slot FOR EACH STATEMENT EXECUTE FUNCTION note_slots();
CREATE FUNCTION note_facts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        PERFORM pg_advisory_xact_lock(1835365478);
        -- So many are no exceptions, and naming them costs a take-over of a large site its part: one row that names none.
        IF (SELECT count(*) FROM (SELECT FROM changed LIMIT 50000) c) = 50000 THEN
            INSERT INTO chain_change DEFAULT VALUES;
        ELSE
            EXECUTE format('INSERT INTO chain_change (%1$I) SELECT DISTINCT %1$I FROM changed', TG_ARGV[0]);
        END IF;
    END IF;
    RETURN NULL;
END $$;
DO $$
DECLARE
    fact text[];
    event text[];
BEGIN
    FOREACH fact SLICE 1 IN ARRAY ARRAY[
        ['installation', 'point_id'], ['point_ratio', 'point_id'], ['point_limit', 'point_id'], ['decision', 'point_id'],
        ['closing', 'point_id'], ['finding', 'point_id'], ['doubt', 'point_id'], ['to_judge', 'point_id'], ['point_account', 'point_id'],
        ['clock_finding', 'meter_id'], ['clock_setting', 'meter_id'], ['other_serial', 'meter_id']] LOOP
        FOREACH event SLICE 1 IN ARRAY ARRAY[['INSERT', 'NEW'], ['UPDATE', 'NEW'], ['UPDATE', 'OLD'], ['DELETE', 'OLD']] LOOP
            EXECUTE format('CREATE TRIGGER %I AFTER %s ON %I REFERENCING %s TABLE AS changed
                            FOR EACH STATEMENT EXECUTE FUNCTION note_facts(%L)',
                           format('noted_%s_%s', lower(event[1]), lower(event[2])), event[1], fact[1], event[2], fact[2]);
        END LOOP;
    END LOOP;
END $$;

CREATE FUNCTION note_rule_set() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1835365478);
    INSERT INTO chain_change DEFAULT VALUES;
    RETURN NULL;
END $$;
CREATE TRIGGER rule_set_is_noted AFTER INSERT ON rule_set FOR EACH STATEMENT EXECUTE FUNCTION note_rule_set();

CREATE TRIGGER reading_is_never_changed BEFORE UPDATE ON reading FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER slot_changes_are_journalled AFTER UPDATE ON slot FOR EACH ROW
    WHEN ((OLD.state, OLD.total, OLD.reading_id) IS DISTINCT FROM (NEW.state, NEW.total, NEW.reading_id))
    EXECUTE FUNCTION journal_slot();
CREATE TRIGGER slots_that_go_are_journalled AFTER DELETE ON slot FOR EACH ROW EXECUTE FUNCTION journal_slot();

CREATE TABLE dead_letter (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    content     jsonb NOT NULL,
    reason      text NOT NULL,
    replayed_at timestamptz,
    dropped_at  timestamptz,
    actor       text,
    drop_reason text,
    CHECK (replayed_at IS NULL OR dropped_at IS NULL),
    CHECK ((dropped_at IS NULL) = (drop_reason IS NULL)),
    CHECK ((replayed_at IS NULL AND dropped_at IS NULL) = (actor IS NULL))
);
CREATE UNIQUE INDEX one_dead_letter_of_a_content ON dead_letter (md5((content - 'arrived_at')::text));
COMMENT ON TABLE dead_letter IS 'readings that could not be stored, each with its reason; nothing is thrown away';

-- Money: a double-entry ledger in integer fen, and what it was charged for.
-- Sign: an amount is positive where it is owed to the account's holder. A customer's prepaid balance is positive
-- when there is money left; revenue and clearing accounts carry the other side.

-- The chart: which accounts there are. A name belongs to the pattern that it fits, `*` is a part without a colon.
-- A customer's balance is kept in its row. What every charge and every payment moves keeps none, so that no row is there for
-- all of them to wait for: it is the sum of its legs, from the last sealed block on (account_balance).
CREATE TABLE chart_of_accounts (
    pattern       text PRIMARY KEY CHECK (pattern ~ '^[a-z_*]+(:[a-z_*]+)*$'),
    class         text NOT NULL,
    normal_side   text NOT NULL CHECK (normal_side IN ('debit', 'credit')),
    keeps_balance boolean NOT NULL,
    purpose       text NOT NULL
);
INSERT INTO chart_of_accounts (pattern, class, normal_side, keeps_balance, purpose) VALUES
    ('customer:*:prepaid', 'prepaid', 'credit', true, 'payments and charges of a customer'),
    ('customer:*:receivable', 'receivable', 'debit', true, 'arrears of a customer, and what a closed account owes'),
    ('clearing:*', 'clearing', 'debit', false, 'money that a channel took in: bank, counter, wallet, card, agent'),
    ('revenue:energy', 'revenue', 'credit', false, 'energy'),
    ('revenue:tier', 'revenue', 'credit', false, 'what higher tiers add'),
    ('revenue:fixed', 'revenue', 'credit', false, 'fixed and standing charges'),
    ('revenue:minimum', 'revenue', 'credit', false, 'what lacks to a minimum charge'),
    ('revenue:compensation', 'revenue', 'credit', false, 'agreed kWh of a meter that was wrong'),
    ('payable:surcharge:*', 'surcharge', 'credit', false, 'a surcharge by its code, owed to others'),
    ('payable:tax', 'tax', 'credit', false, 'tax on top of prices'),
    ('income:penalty', 'penalty', 'credit', false, 'penalties'),
    ('liability:legacy_card', 'legacy_card', 'credit', false, 'what card meters still hold'),
    ('suspense:unidentified', 'suspense', 'credit', false, 'payments without an account'),
    ('refund:payable', 'refund', 'credit', false, 'what closed accounts get back'),
    ('reserve:terminal_purchase', 'reserve', 'credit', false, 'purchases on their way to a terminal'),
    ('writeoff', 'writeoff', 'debit', false, 'what will not be paid, approved');

-- What kinds of transactions there are: the classes that each may debit and credit, and by which kind it is taken back.
CREATE TABLE transaction_kind (
    id          smallint PRIMARY KEY,
    kind        text NOT NULL UNIQUE,
    debits      text[] NOT NULL,
    credits     text[] NOT NULL,
    reversed_by text REFERENCES transaction_kind (kind),
    purpose     text NOT NULL,
    by_persons  boolean NOT NULL DEFAULT true,
    approved    boolean NOT NULL DEFAULT false
);
INSERT INTO transaction_kind (id, kind, debits, credits, reversed_by, purpose) VALUES
    (12, 'payment_reversal', '{prepaid,receivable,suspense}', '{clearing}', NULL, 'a payment that bounced or was a mistake'),
    (4, 'charge_reversal', '{prepaid,receivable,revenue,surcharge,tax}', '{prepaid,receivable,revenue,surcharge,tax}', NULL,
        'a charge taken back whole'),
    (6, 'penalty_waiver', '{penalty}', '{prepaid,receivable}', NULL, 'a penalty that is not asked for'),
    (16, 'terminal_void', '{reserve}', '{prepaid}', NULL, 'a purchase that did not reach its terminal'),
    (19, 'refund_reversal', '{refund}', '{prepaid}', NULL, 'a refund that could not be paid out');
INSERT INTO transaction_kind (id, kind, debits, credits, reversed_by, purpose) VALUES
    (11, 'top_up', '{clearing}', '{prepaid,receivable,suspense}', 'payment_reversal', 'a payment'),
    (1, 'charge', '{prepaid,receivable,revenue,surcharge,tax}', '{prepaid,receivable,revenue,surcharge,tax}', 'charge_reversal',
        'use and fixed charges'),
    (2, 'true_up', '{prepaid,receivable,revenue,surcharge,tax}', '{prepaid,receivable,revenue,surcharge,tax}', NULL,
        'what later readings make of charges'),
    (3, 'adjustment', '{prepaid,receivable,revenue,surcharge,tax}', '{prepaid,receivable,revenue,surcharge,tax}', NULL,
        'what later readings make of a closed month'),
    (5, 'penalty', '{prepaid,receivable}', '{penalty}', 'penalty_waiver', 'late payment'),
    (13, 'debt_recovery', '{prepaid}', '{receivable}', NULL, 'the part of a payment that goes to a debt'),
    (21, 'conversion', '{legacy_card,prepaid}', '{prepaid,legacy_card}', NULL, 'what a card meter held, on its exchange'),
    (14, 'identification', '{suspense}', '{prepaid,receivable}', NULL, 'a payment finds its account'),
    (15, 'terminal_reserve', '{prepaid}', '{reserve}', 'terminal_void', 'a purchase is written to a terminal'),
    (17, 'terminal_purchase', '{reserve}', '{revenue,surcharge,tax}', NULL, 'the terminal read it back'),
    (18, 'refund', '{prepaid}', '{refund}', 'refund_reversal', 'the balance of a closed account is owed back'),
    (20, 'refund_paid', '{refund}', '{clearing}', NULL, 'it was paid out'),
    (22, 'overdrawn_close', '{receivable}', '{prepaid}', NULL, 'a closed account owes its balance'),
    (23, 'write_off', '{writeoff}', '{prepaid,receivable}', NULL, 'a debt that will not be paid');
UPDATE transaction_kind SET by_persons = false WHERE kind IN ('charge', 'true_up');
UPDATE transaction_kind SET approved = true WHERE kind = 'payment_reversal';
COMMENT ON COLUMN transaction_kind.by_persons IS 'a person may post it: what use costs is only what settlement makes of it';
COMMENT ON COLUMN transaction_kind.approved IS 'a document of this kind says what is taken back, and a second person approved it';
COMMENT ON COLUMN transaction_kind.debits IS 'classes of the chart that lose by it; a leg that debits is negative';

-- What is sealed has a place in the journal: transactions, and the names that they refer to. A place is drawn by a database
-- transaction that has its number already: see seal_mark.
CREATE SEQUENCE journal_place AS bigint CACHE 1;
CREATE FUNCTION next_place() RETURNS bigint LANGUAGE sql AS
    $$ SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('public.journal_place') END $$;

-- An account that keeps no balance has a number below zero, so that whoever looks at a transaction sees which ones do.
CREATE TABLE ledger_account (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    class       text NOT NULL,
    balance_fen bigint DEFAULT 0,
    place       bigint NOT NULL UNIQUE DEFAULT next_place(),
    CHECK (id > 0 AND balance_fen IS NOT NULL OR id < 0 AND balance_fen IS NULL)
) WITH (fillfactor = 50);
COMMENT ON COLUMN ledger_account.balance_fen IS 'NULL where none is kept: ask account_balance';

CREATE TABLE posting_stream (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    period      date NOT NULL CHECK (period = date_trunc('month', period)),
    component   text NOT NULL CHECK (component <> ''),
    place       bigint NOT NULL UNIQUE DEFAULT next_place(),
    -- What is posted of a closed month lies in an open one, on a stream of its own: adjustment:YYYY-MM:COMPONENT.
    about_month date NOT NULL GENERATED ALWAYS AS (
        CASE WHEN starts_with(component, 'adjustment:')
             THEN make_date(substr(component, 12, 4)::int, substr(component, 17, 2)::int, 1) ELSE period END) STORED,
    about_component text NOT NULL GENERATED ALWAYS AS (
        CASE WHEN starts_with(component, 'adjustment:') THEN substr(component, 20) ELSE component END) STORED,
    UNIQUE (period, component),
    CHECK (component !~ '^adjustment:' OR component ~ '^adjustment:\d{4}-\d{2}:[^:]+$' AND about_month < period)
);
COMMENT ON COLUMN posting_stream.about_month IS 'the month whose price it is a part of';
COMMENT ON TABLE posting_stream IS 'what a leg of a charge is for: a month and a component of its price';

-- A transaction is one row with all its legs: it is there whole or not at all, and takes no further leg. Most have two legs for one
-- thing: four numbers say them in 20 bytes, three arrays in 95. No foreign keys: a
-- trigger looks at all rows of a statement at once, and to lock the row of a kind, a stream or an account that everybody names
-- would make all of them wait.
CREATE TABLE journal (
    id          bigint PRIMARY KEY DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('journal_place') END,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    fen         bigint,
    value_date  date NOT NULL,
    account     integer NOT NULL,
    other_account integer,
    stream      integer,
    kind        smallint NOT NULL,
    leg_accounts integer[],
    leg_amounts bigint[],
    leg_streams integer[],
    actor       text CHECK (actor ~ '^(person|role|daemon):.'),
    key         text CHECK (key <> ''),
    channel     text CHECK (channel <> ''),
    content     jsonb,
    document    integer,
    reverses    bigint,
    CONSTRAINT only_settlement_has_no_key CHECK (key IS NOT NULL OR actor IS NULL),
    CONSTRAINT legs_are_whole CHECK (
        CASE WHEN leg_accounts IS NULL
             THEN num_nonnulls(other_account, fen) = 2 AND other_account < 0 AND fen <> 0 AND num_nonnulls(leg_amounts, leg_streams) = 0
             ELSE num_nonnulls(other_account, fen, stream) = 0 AND leg_amounts IS NOT NULL AND account = leg_accounts[1]
                  AND array_ndims(leg_accounts) = 1 AND array_lower(leg_accounts, 1) = 1
                  AND cardinality(leg_amounts) = cardinality(leg_accounts)
                  AND (leg_streams IS NULL OR cardinality(leg_streams) = cardinality(leg_accounts))
                  AND array_position(leg_accounts, NULL) IS NULL AND array_position(leg_amounts, NULL) IS NULL
                  AND 0 <> ALL (leg_amounts) END)
);
CREATE UNIQUE INDEX key_is_used_once ON journal (key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX taken_back_once ON journal (reverses) WHERE reverses IS NOT NULL;
CREATE INDEX payments_by_time ON journal (recorded_at) WHERE kind = 11; -- top_up
-- What moves a balance: by the first account, and by any where another one keeps a balance too.
-- Of each account 65,536 places at a time: equal keys are kept once, which takes a third of the room that
-- a key for each transaction took.
CREATE INDEX journal_of_account ON journal (account, ((id >> 16)::integer));
CREATE INDEX journal_of_others ON journal USING gin (leg_accounts) WHERE 0 < ANY (array_remove(leg_accounts, leg_accounts[1]));
COMMENT ON TABLE journal IS 'every transaction of the ledger; ledger_transaction and posting show it by names and leg by leg';
COMMENT ON COLUMN journal.value_date IS 'the local day that it counts for';
COMMENT ON COLUMN journal.account IS 'that of the first leg';
COMMENT ON COLUMN journal.other_account IS 'of the only other leg, where there is no more to say of it; it keeps no balance';
COMMENT ON COLUMN journal.fen IS 'that account gains, positive where its holder does, and other_account loses';
COMMENT ON COLUMN journal.stream IS 'what both legs are for; NULL where it is no charge';
COMMENT ON COLUMN journal.leg_accounts IS 'of all legs, where other_account does not say them';
COMMENT ON COLUMN journal.leg_amounts IS 'fen of each account, positive where its holder gains';
COMMENT ON COLUMN journal.leg_streams IS 'what each leg is for; NULL where it is no charge';
COMMENT ON COLUMN journal.actor IS 'a person, a role, or the part of the daemon that posted it; NULL: daemon:settlement';
COMMENT ON COLUMN journal.key IS 'made by the caller before sending; the same key with other content is refused; NULL: settlement knows by what it keeps of an account what it posted';
COMMENT ON COLUMN journal.channel IS 'by which money came or went; NULL where none did';
COMMENT ON COLUMN journal.document IS 'on whose word';
COMMENT ON COLUMN journal.reverses IS 'what it takes back whole; once';

-- Its legs, however they are kept: of a transaction t these are t.accounts, t.amounts and t.streams.
CREATE FUNCTION accounts(of journal) RETURNS integer[] IMMUTABLE LANGUAGE sql AS
    $$ SELECT coalesce(of.leg_accounts, ARRAY[of.account, of.other_account]) $$;
CREATE FUNCTION amounts(of journal) RETURNS bigint[] IMMUTABLE LANGUAGE sql AS
    $$ SELECT coalesce(of.leg_amounts, ARRAY[of.fen, -of.fen]) $$;
CREATE FUNCTION streams(of journal) RETURNS integer[] IMMUTABLE LANGUAGE sql AS
    $$ SELECT CASE WHEN of.stream IS NULL THEN of.leg_streams ELSE ARRAY[of.stream, of.stream] END $$;

CREATE FUNCTION journal_of(of_account integer) RETURNS SETOF journal STABLE LANGUAGE sql AS $$
    SELECT * FROM journal WHERE account = of_account
    UNION ALL
    SELECT * FROM journal
    WHERE leg_accounts @> ARRAY[of_account] AND 0 < ANY (array_remove(leg_accounts, leg_accounts[1])) AND account <> of_account
$$;
COMMENT ON FUNCTION journal_of IS 'the transactions that moved an account which keeps a balance';

CREATE VIEW ledger_transaction AS
SELECT t.id, coalesce(t.key, k.kind || ':' || t.id) AS key, k.kind, coalesce(t.content, '{}') AS content,
       coalesce(t.actor, 'daemon:settlement') AS actor, t.channel, t.value_date, t.document, t.reverses, t.recorded_at
FROM journal t LEFT JOIN transaction_kind k ON k.id = t.kind;

CREATE VIEW posting AS
SELECT t.id AS transaction_id, (l.leg - 1)::smallint AS leg, l.account AS ledger_account_id, l.fen AS amount_fen, s.period,
       s.component
FROM journal t CROSS JOIN LATERAL unnest(t.accounts, t.amounts, t.streams) WITH ORDINALITY AS l (account, fen, stream, leg)
LEFT JOIN posting_stream s ON s.id = l.stream;

CREATE TRIGGER journal_is_never_changed BEFORE UPDATE OR DELETE ON journal FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER journal_is_never_emptied BEFORE TRUNCATE ON journal FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER posting_stream_is_never_changed BEFORE UPDATE OR DELETE ON posting_stream
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER posting_stream_is_never_emptied BEFORE TRUNCATE ON posting_stream
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A closed month takes nothing that counts for one of its days: what it costs otherwise is adjusted in an open one. Months
-- close in order.
CREATE TABLE closed_month (
    month       date PRIMARY KEY CHECK (month = date_trunc('month', month)),
    actor       text NOT NULL CHECK (actor <> ''),
    reason      text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER closed_month_is_never_changed BEFORE UPDATE OR DELETE ON closed_month
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What a statement adds to the journal is looked at whole: each transaction has two legs or more that sum to zero and a kind
-- that is known, it counts for an open month, and the document that it names is there. Few legs are added up without a
-- function: that is a fifth of the time.
CREATE FUNCTION sum_of(amounts bigint[]) RETURNS numeric IMMUTABLE LANGUAGE sql AS
    $$ SELECT coalesce(sum(fen), 0) FROM unnest(amounts) fen $$;
CREATE FUNCTION is_unbalanced(amounts bigint[]) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE cardinality(amounts)
           WHEN 2 THEN amounts[1]::numeric + amounts[2] <> 0
           WHEN 3 THEN amounts[1]::numeric + amounts[2] + amounts[3] <> 0
           WHEN 4 THEN amounts[1]::numeric + amounts[2] + amounts[3] + amounts[4] <> 0
           WHEN 1 THEN true WHEN 0 THEN true
           ELSE public.sum_of(amounts) <> 0 END
$$;
CREATE FUNCTION check_journal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    open_from date := (SELECT max(month) + interval '1 month' FROM public.closed_month);
    wrong record;
BEGIN
    SELECT coalesce(n.key, 'a transaction') AS key, k.kind, n.value_date, n.document,
           coalesce(cardinality(n.leg_accounts), 2) AS legs, public.sum_of(n.leg_amounts) AS total, k.id IS NULL AS is_unknown,
           n.value_date < open_from AS is_late, n.actor LIKE 'person:%' AND NOT k.by_persons AS is_not_theirs,
           n.reverses IS NULL AS names_none INTO wrong
    FROM new_journal n LEFT JOIN public.transaction_kind k ON k.id = n.kind
    WHERE k.id IS NULL
       OR n.value_date < open_from
       OR n.reverses IS NULL AND k.kind IN (SELECT reversed_by FROM public.transaction_kind)
       OR n.actor LIKE 'person:%' AND NOT k.by_persons
       OR n.document IS NOT NULL AND NOT EXISTS (SELECT FROM public.document d WHERE d.id = n.document)
       OR n.leg_amounts IS NOT NULL AND public.is_unbalanced(n.leg_amounts)
    LIMIT 1;
    IF wrong.is_unknown THEN
        RAISE EXCEPTION '% is of no kind of transaction', wrong.key
            USING ERRCODE = 'check_violation', CONSTRAINT = 'kind_is_known';
    ELSIF wrong.is_late THEN
        RAISE EXCEPTION '% counts for %, and that month is closed', wrong.key, wrong.value_date
            USING ERRCODE = 'check_violation', CONSTRAINT = 'month_is_open';
    ELSIF wrong.legs < 2 OR wrong.total <> 0 THEN
        RAISE EXCEPTION '% has % legs that sum to % fen, not to zero', wrong.key, wrong.legs, wrong.total
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transaction_sums_to_zero';
    ELSIF wrong.document IS NOT NULL AND NOT EXISTS (SELECT FROM public.document d WHERE d.id = wrong.document) THEN
        RAISE EXCEPTION '% names document %, which is not there', wrong.key, wrong.document
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'document_is_there';
    ELSIF wrong.is_not_theirs THEN
        RAISE EXCEPTION '% is a %, which no person may post', wrong.key, wrong.kind
            USING ERRCODE = 'check_violation', CONSTRAINT = 'kind_is_not_for_persons';
    ELSIF wrong.names_none THEN
        RAISE EXCEPTION '% is a %, and must name what it takes back', wrong.key, wrong.kind
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_is_of_its_kind';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER journal_is_right AFTER INSERT ON journal REFERENCING NEW TABLE AS new_journal
    FOR EACH STATEMENT EXECUTE FUNCTION check_journal();

-- What takes a transaction back is of the kind that may, and its legs are the same ones with the other sign.
CREATE FUNCTION check_reversal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    taken_back public.journal;
    kind_of_it public.transaction_kind;
BEGIN
    SELECT * INTO taken_back FROM public.journal WHERE id = NEW.reverses;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is to take back transaction %, which is not there', NEW.key, NEW.reverses
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'taken_back_is_there';
    END IF;
    SELECT * INTO kind_of_it FROM public.transaction_kind WHERE id = taken_back.kind;
    IF NEW.kind IS DISTINCT FROM (SELECT id FROM public.transaction_kind WHERE kind = kind_of_it.reversed_by) THEN
        RAISE EXCEPTION '% cannot take back %, which is a %', NEW.key, taken_back.key, kind_of_it.kind
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_is_of_its_kind';
    END IF;
    IF cardinality(public.accounts(NEW)) <> cardinality(public.accounts(taken_back))
       OR EXISTS (SELECT * FROM unnest(public.accounts(NEW), public.amounts(NEW), public.streams(NEW))
                  EXCEPT ALL
                  SELECT account, -fen, stream
                  FROM unnest(public.accounts(taken_back), public.amounts(taken_back), public.streams(taken_back))
                       AS l (account, fen, stream)) THEN
        RAISE EXCEPTION '% is to take back %, with the same legs of the other sign', NEW.key, taken_back.key
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_is_the_opposite';
    END IF;
    IF (SELECT approved FROM public.transaction_kind WHERE id = NEW.kind) AND NOT EXISTS (
        SELECT FROM public.document d JOIN public.document_review r ON r.document_id = d.id AND r.verdict = 'approved'
        WHERE d.id = NEW.document AND d.kind = (SELECT kind FROM public.transaction_kind WHERE id = NEW.kind)
          AND d.content ->> 'payment' = taken_back.key) THEN
        RAISE EXCEPTION '% is to take back %, and no second person approved that', NEW.key, taken_back.key
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reversal_is_approved';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reversal_is_the_opposite AFTER INSERT ON journal
    FOR EACH ROW WHEN (NEW.reverses IS NOT NULL) EXECUTE FUNCTION check_reversal();

-- A kind moves only its accounts. Balances follow, and cannot be set by hand.
CREATE FUNCTION move_balances() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp
    -- Accounts are looked up by index, however few there were when a connection planned this.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    used record;
    known record;
BEGIN
    SELECT array_agg(kind) AS kinds, array_agg(account) AS accounts, array_agg(fen) AS fens, array_agg(debits) AS debits,
           array_agg(credits) AS credits INTO used
    FROM (SELECT kind, account, sum(fen)::bigint AS fen, bool_or(fen < 0) AS debits, bool_or(fen > 0) AS credits
          FROM (SELECT kind, account, fen FROM new_journal WHERE leg_accounts IS NULL
                UNION ALL SELECT kind, other_account, -fen FROM new_journal WHERE leg_accounts IS NULL
                UNION ALL SELECT kind, unnest(leg_accounts), unnest(leg_amounts) FROM new_journal WHERE leg_accounts IS NOT NULL) leg
          GROUP BY 1, 2 ORDER BY 2) x;
    -- What is known of an account beside its balance never changes: nothing is locked for it.
    SELECT count(*) AS legs,
           coalesce(min(format('a %s must not debit %s', k.kind, a.name)) FILTER (WHERE l.debits AND a.class <> ALL (k.debits)),
                    min(format('a %s must not credit %s', k.kind, a.name)) FILTER (WHERE l.credits AND a.class <> ALL (k.credits))) AS misuse
    INTO known
    FROM unnest(used.kinds, used.accounts, used.debits, used.credits) AS l (number, account, debits, credits)
    JOIN ledger_account a ON a.id = l.account JOIN transaction_kind k ON k.id = l.number;
    IF known.legs < cardinality(used.accounts) THEN
        RAISE EXCEPTION 'there is no ledger account %',
                        (SELECT l FROM unnest(used.accounts) l WHERE NOT EXISTS (SELECT FROM ledger_account a WHERE a.id = l) LIMIT 1)
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'leg_names_an_account';
    ELSIF known.misuse IS NOT NULL THEN
        RAISE EXCEPTION '%', known.misuse
            USING ERRCODE = 'check_violation', CONSTRAINT = 'kind_names_its_accounts';
    ELSIF EXISTS (SELECT FROM (SELECT stream AS id FROM new_journal UNION SELECT unnest(leg_streams) FROM new_journal) n
                  WHERE n.id IS NOT NULL AND NOT EXISTS (SELECT FROM posting_stream s WHERE s.id = n.id)) THEN
        RAISE EXCEPTION 'a leg is for a month and a component that are not there'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'leg_names_a_stream';
    END IF;
    -- Always in order of id, so that two transactions never wait for each other.
    UPDATE ledger_account a SET balance_fen = a.balance_fen + m.fen
    FROM (SELECT account, sum(fen)::bigint AS fen FROM unnest(used.accounts, used.fens) AS l (account, fen)
          WHERE account > 0 GROUP BY 1 ORDER BY 1) m
    WHERE a.id = m.account;
    RETURN NULL;
END $$;
CREATE TRIGGER legs_move_balances AFTER INSERT ON journal REFERENCING NEW TABLE AS new_journal
    FOR EACH STATEMENT EXECUTE FUNCTION move_balances();
CREATE FUNCTION refuse_balance_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the balance of % follows its postings and cannot be set', OLD.name
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'balance_follows_postings';
END $$;
CREATE TRIGGER balance_follows_postings BEFORE UPDATE OR DELETE ON ledger_account
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_balance_by_hand();
CREATE TRIGGER ledger_account_is_never_emptied BEFORE TRUNCATE ON ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE FUNCTION find_in_chart() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    place public.chart_of_accounts;
BEGIN
    IF NEW.balance_fen <> 0 THEN
        RAISE EXCEPTION 'account % starts at zero; post its opening balance', NEW.name
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'balance_follows_postings';
    END IF;
    SELECT * INTO place FROM public.chart_of_accounts c
    WHERE NEW.name ~ ('^' || replace(c.pattern, '*', '[^:]+') || '$');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the chart of accounts has no place for %', NEW.name
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_is_in_the_chart';
    END IF;
    NEW.class := place.class;
    IF NOT place.keeps_balance THEN
        NEW.id := -NEW.id;
        NEW.balance_fen := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER account_is_in_the_chart BEFORE INSERT ON ledger_account
    FOR EACH ROW EXECUTE FUNCTION find_in_chart();

-- Sealed blocks: what was posted is hashed behind the writers, who never wait for it. A block holds every transaction with a
-- place above `after` and up to `through`, and every name and every step of a command that got one; its hash is the root of a Merkle tree (RFC 6962, SHA-256)
-- whose first leaf names the block before, and whose others are these in order. daemon/billing/sealing.py says what is hashed.
CREATE TABLE sealed_block (
    number      bigint PRIMARY KEY CHECK (number > 0),
    after       bigint NOT NULL,
    through     bigint NOT NULL UNIQUE CHECK (through > after),
    places      int8multirange NOT NULL,
    short_leaves bytea NOT NULL,
    previous    bytea NOT NULL,
    history     bytea NOT NULL,
    hash        bytea NOT NULL UNIQUE,
    peak        bytea NOT NULL,
    sealed_at   timestamptz NOT NULL,
    checksum    bigint NOT NULL
);
-- Hashes do not get shorter.
ALTER TABLE sealed_block ALTER COLUMN short_leaves SET STORAGE EXTERNAL;
COMMENT ON COLUMN sealed_block.places IS 'the places that are in it: of the others nothing was committed';
COMMENT ON COLUMN sealed_block.history IS 'the root of a tree over the hashes of all blocks before: so the way from an old block to a new one is short';
COMMENT ON COLUMN sealed_block.peak IS 'the root of the largest part of that tree that is whole with this block';
COMMENT ON COLUMN sealed_block.short_leaves IS 'the first 4 bytes of each of their hashes, so that verifying names the row that differs; what proves them is hash, which is made of whole ones';
COMMENT ON COLUMN sealed_block.checksum IS 'of the block, of all that it sealed and of its balances: no proof, but a twentieth of its cost; the hourly audit compares it';
CREATE TRIGGER sealed_block_is_never_changed BEFORE UPDATE OR DELETE ON sealed_block
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER sealed_block_is_never_emptied BEFORE TRUNCATE ON sealed_block
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE seal_mark (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    through     bigint NOT NULL,
    horizon     xid8 NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON TABLE seal_mark IS 'places up to `through` were drawn by database transactions older than `horizon`: when all of those have ended, they can be sealed';

CREATE TABLE sealed_balance (
    ledger_account_id integer NOT NULL REFERENCES ledger_account,
    block       bigint NOT NULL REFERENCES sealed_block,
    balance_fen bigint NOT NULL,
    PRIMARY KEY (ledger_account_id, block)
);
COMMENT ON TABLE sealed_balance IS 'of accounts that keep no balance, at the end of each block that moved it';
CREATE TRIGGER sealed_balance_is_never_changed BEFORE UPDATE OR DELETE ON sealed_balance
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE VIEW account_balance AS
WITH unsealed AS (
    SELECT l.account, sum(l.fen)::bigint AS fen
    FROM journal t CROSS JOIN LATERAL unnest(t.accounts, t.amounts) AS l (account, fen)
    WHERE t.id > coalesce((SELECT b.through FROM sealed_block b ORDER BY b.number DESC LIMIT 1), 0) AND l.account < 0 GROUP BY 1
)
SELECT a.id, a.name,
       coalesce(a.balance_fen,
                coalesce((SELECT s.balance_fen FROM sealed_balance s WHERE s.ledger_account_id = a.id
                          ORDER BY s.block DESC LIMIT 1), 0) + coalesce(u.fen, 0)) AS balance_fen
FROM ledger_account a LEFT JOIN unsealed u ON u.account = a.id;

-- The use between two published freezes of one point, as it is in force. A late reading puts two in the place of one, and that
-- one goes to past_link. No foreign keys: only settlement writes here, of points that it has locked the accounts of.
CREATE TABLE link (
    billed_by   bigint,
    modulus     bigint NOT NULL,
    end_total   bigint NOT NULL,
    end_rate_1  bigint,
    end_rate_2  bigint,
    end_rate_3  bigint,
    end_rate_4  bigint,
    used_total  integer,
    used_rate_1 integer,
    used_rate_2 integer,
    used_rate_3 integer,
    used_rate_4 integer,
    point_id    integer NOT NULL,
    account_id  integer NOT NULL,
    from_day    date NOT NULL,
    to_day      date NOT NULL CHECK (to_day > from_day),
    meter_id    integer NOT NULL,
    decimals    smallint NOT NULL,
    ratio       numeric NOT NULL,
    more_ends   bigint[],
    told_begins bigint[],
    hold        text,
    pieces      jsonb,
    PRIMARY KEY (point_id, from_day),
    CHECK (num_nonnulls(used_total, told_begins) = 1)
);
CREATE INDEX held_links ON link (account_id) WHERE hold IS NOT NULL;
-- All of them, by that index, though without statistics nobody knows that they are few.
CREATE FUNCTION links_on_hold() RETURNS SETOF link STABLE ROWS 100 LANGUAGE sql SET enable_seqscan = off AS
    $$ SELECT * FROM link l WHERE l.hold IS NOT NULL $$;
-- Links come day by day, so those of the last days lie together: pages that hold none of them are passed by, though without
-- statistics nobody knows how many there are.
CREATE INDEX links_by_day ON link USING brin (from_day) WITH (autosummarize = on);
CREATE FUNCTION linked_lately(since date) RETURNS TABLE (point_id integer, to_day date) STABLE LANGUAGE sql SET enable_seqscan = off AS
    $$ SELECT l.point_id, max(l.to_day) FROM link l WHERE l.from_day >= since GROUP BY 1 $$;
COMMENT ON FUNCTION linked_lately IS 'by point the end of the newest link, of those that begin on a day or later';
COMMENT ON TABLE link IS 'its registers are link.begins and link.ends, which are functions of it; columns in the order that packs them';
COMMENT ON COLUMN link.end_total IS 'at 00:00 of to_day, in the register''s smallest step';
COMMENT ON COLUMN link.used_total IS 'how far the register came since 00:00 of from_day; the link begins so much below its end';
COMMENT ON COLUMN link.more_ends IS 'of the rates from the fifth on';
COMMENT ON COLUMN link.told_begins IS 'total and rates at 00:00 of from_day, where what was used does not say them: it is too much, or of more or other rates';
COMMENT ON COLUMN link.hold IS 'why it is not billed by itself';
COMMENT ON COLUMN link.pieces IS 'where a document lies inside: start, end, meter, begins, ends, modulus, decimals, ratio of each';
COMMENT ON COLUMN link.billed_by IS 'the transaction of the ledger that it was billed with; NULL: it moved no fen, or its month is not over and the account is settled by months';
CREATE TABLE past_link (
    LIKE link INCLUDING COMMENTS,
    left_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX past_links_of_point ON past_link (point_id, from_day);
COMMENT ON TABLE past_link IS 'links that were in force until later readings, documents or decisions put others in their place';
CREATE FUNCTION keep_past_links() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO past_link SELECT * FROM gone;  -- its columns, and the moment
    RETURN NULL;
END $$;
CREATE TRIGGER links_that_go_are_kept AFTER DELETE ON link REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION keep_past_links();
CREATE TRIGGER past_link_is_never_changed BEFORE UPDATE OR DELETE ON past_link
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE FUNCTION pieces_kwh(pieces jsonb) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$
    SELECT sum(((p -> 4 ->> 0)::numeric - (p -> 3 ->> 0)::numeric
                + CASE WHEN (p -> 4 ->> 0)::numeric < (p -> 3 ->> 0)::numeric THEN (p ->> 5)::numeric ELSE 0 END)
               / 10::numeric ^ (p ->> 6)::int * (p ->> 7)::numeric)
    FROM jsonb_array_elements(pieces) p
$$;
-- Without a SELECT of its own it is an expression of the statement that asks: as a call it cost ten times as much.
CREATE FUNCTION ends(of link) RETURNS bigint[] IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE WHEN of.end_rate_4 IS NULL
                THEN array_remove(ARRAY[of.end_total, of.end_rate_1, of.end_rate_2, of.end_rate_3], NULL)
                WHEN of.more_ends IS NULL THEN ARRAY[of.end_total, of.end_rate_1, of.end_rate_2, of.end_rate_3, of.end_rate_4]
                ELSE ARRAY[of.end_total, of.end_rate_1, of.end_rate_2, of.end_rate_3, of.end_rate_4] || of.more_ends END
$$;
COMMENT ON FUNCTION ends IS 'total and rates at 00:00 of to_day, in the register''s smallest step';
CREATE FUNCTION begin_of(ends bigint, used integer, modulus bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS
    $$ SELECT ends - used + CASE WHEN ends < used THEN modulus ELSE 0 END $$;
CREATE FUNCTION begins(of link) RETURNS bigint[] IMMUTABLE LANGUAGE sql AS $$
    SELECT coalesce(of.told_begins, array_remove(ARRAY[
        public.begin_of(of.end_total, of.used_total, of.modulus), public.begin_of(of.end_rate_1, of.used_rate_1, of.modulus),
        public.begin_of(of.end_rate_2, of.used_rate_2, of.modulus), public.begin_of(of.end_rate_3, of.used_rate_3, of.modulus),
        public.begin_of(of.end_rate_4, of.used_rate_4, of.modulus)], NULL))
$$;
COMMENT ON FUNCTION begins IS 'total and rates at 00:00 of from_day, in the register''s smallest step; of a use that was told, 0';
CREATE FUNCTION link_kwh(of link) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$
    SELECT trim_scale(CASE WHEN of.pieces IS NULL
        THEN coalesce(of.used_total, of.end_total - of.told_begins[1]
                      + CASE WHEN of.end_total < of.told_begins[1] THEN of.modulus ELSE 0 END)::numeric
             / 10::numeric ^ of.decimals * of.ratio
        ELSE public.pieces_kwh(of.pieces) END)
$$;

-- What is kept of an account's month: exact use, from which what it costs is derived, and what was posted of that.
CREATE TABLE account_month (
    account_id  integer NOT NULL,
    month       date NOT NULL CHECK (month = date_trunc('month', month)),
    use         bigint[] NOT NULL DEFAULT '{}',
    components  text[] NOT NULL DEFAULT '{}',
    posted_fen  bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (account_id, month),
    CHECK (cardinality(components) = cardinality(posted_fen))
) WITH (fillfactor = 70);
COMMENT ON COLUMN account_month.use IS 'of each tariff version: its number (with 2^32 more for each time that the account came back to it), its links and how many of them are estimated parts, how many registers follow, and of each (the total, then the version''s rates) 10^-8 kWh';
COMMENT ON COLUMN account_month.posted_fen IS 'what the customer was charged of each component: always R(X) of money.md section 7';
-- The use of all its versions: the sum of their totals.
CREATE FUNCTION used_in(use bigint[]) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
    at integer := 1;
    total bigint := 0;
BEGIN
    WHILE at < cardinality(use) LOOP
        total := total + use[at + 4];
        at := at + 4 + use[at + 3];
    END LOOP;
    RETURN total;
END $$;
-- Since it has the point, all links are its own. Without statistics IS NULL is taken for rare, and all links for read.
CREATE FUNCTION charged_lately(of_account integer, since date)
RETURNS TABLE (charged_since date, charged_fen bigint, billed_through date, charged_through date) STABLE LANGUAGE sql AS $$
    SELECT greatest(a.opened_on, since),
           coalesce((SELECT sum(fen) FROM account_month m CROSS JOIN unnest(m.posted_fen) fen
                     WHERE m.account_id = a.id AND m.month >= since), 0)::bigint,
           b.through, CASE WHEN a.settlement = 'month' THEN date_trunc('month', b.through)::date ELSE b.through END
    FROM account a CROSS JOIN LATERAL (
        SELECT CASE WHEN a.state <> 'pending' THEN greatest(a.opened_on,
            (SELECT min(coalesce((SELECT l.to_day FROM link l
                                  WHERE l.point_id = x.point_id AND l.from_day >= x.from_day AND num_nulls(l.hold) > 0
                                  ORDER BY l.from_day DESC LIMIT 1), x.from_day))
             FROM point_account x WHERE x.account_id = a.id AND x.to_day IS NULL)) END AS through
        OFFSET 0  -- or it is looked up wherever it is named
    ) b
    WHERE a.id = of_account
$$;
COMMENT ON FUNCTION charged_lately IS 'what an account was charged of the months since a day, from which day on, to which day all its points are billed, and to which day that is posted';

-- Money that was posted for days long past: it cuts nobody for a day (money.md, amendment 2).
CREATE TABLE old_charge (
    account_id  integer NOT NULL REFERENCES account,
    posted_at   timestamptz NOT NULL,
    first_day   date NOT NULL,
    fen         bigint NOT NULL,
    transaction_id bigint NOT NULL,
    reasons     text[] NOT NULL
);
COMMENT ON COLUMN old_charge.reasons IS 'why days cost more than before: slab reached, minimum, bonus ended';
CREATE INDEX old_charges_of_account ON old_charge (account_id, posted_at);

-- No key: a mark is only written, and whoever settles an account takes all that it has. An index is what is looked up by.
CREATE TABLE to_settle (
    account_id  integer NOT NULL,
    from_day    date NOT NULL,
    to_day      date NOT NULL,
    since       timestamptz NOT NULL DEFAULT now(),
    cause       text NOT NULL DEFAULT 'readings'
);
CREATE INDEX marks_of_account ON to_settle (account_id);
COMMENT ON COLUMN to_settle.from_day IS 'no value before this day changed, nor any after to_day';
COMMENT ON TABLE to_settle IS 'accounts whose readings, facts or thresholds changed since they were settled';
CREATE TABLE not_settled (
    account_id  integer PRIMARY KEY REFERENCES account,
    not_before  timestamptz NOT NULL,
    error       text NOT NULL
);
-- The first of them by their index: who thinks that there are few reads and sorts a hundred thousand for each portion.
CREATE FUNCTION marks_of_readings(after integer, until timestamptz, of_a_day_since date, most bigint) RETURNS SETOF to_settle
STABLE ROWS 1000 LANGUAGE sql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
    SELECT s.* FROM to_settle s
    WHERE s.account_id > after AND s.since <= until AND s.cause = 'readings'
      AND (of_a_day_since IS NULL OR s.from_day = s.to_day AND s.from_day >= of_a_day_since)
      AND NOT EXISTS (SELECT FROM not_settled n WHERE n.account_id = s.account_id)
    ORDER BY s.account_id LIMIT most
$$;
COMMENT ON FUNCTION marks_of_readings IS 'in order of accounts, without those of who could not be settled; of one day each from of_a_day_since on, NULL: of any days';
COMMENT ON TABLE not_settled IS 'why a marked account could not be settled when it was tried last; it is tried again after not_before';

-- What persons say about supply. A row is filled in as things happen: what is said once is neither changed nor unsaid.

-- For so long somebody else may agree to what one person asked for, and what both said lets a supply be cut.
CREATE FUNCTION word_lasts() RETURNS interval IMMUTABLE LANGUAGE sql AS $$ SELECT interval '4 hours' $$;

-- Arguments: what ends a request, when it was asked for, and what else it said. One that came to nothing within that time
-- may be made anew by anybody.
CREATE FUNCTION refuse_unsaying() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb := jsonb_strip_nulls(to_jsonb(OLD));
BEGIN
    IF TG_NARGS > 0 AND NOT said ? TG_ARGV[0] AND (said ->> TG_ARGV[1])::timestamptz <= now() - word_lasts() THEN
        said := said - TG_ARGV;
    END IF;
    IF NOT said <@ to_jsonb(NEW) THEN
        RAISE EXCEPTION '% % says so already, and what is said stays', TG_TABLE_NAME, OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TABLE contact (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      integer NOT NULL REFERENCES account,
    channel         text NOT NULL CHECK (channel <> ''),
    address         text NOT NULL CHECK (address <> ''),
    language        text NOT NULL CHECK (language IN ('zh', 'en')),
    has_consent     boolean NOT NULL,
    rank            smallint NOT NULL,
    is_listed       boolean NOT NULL DEFAULT true,
    bounced_at      timestamptz,
    UNIQUE (account_id, channel, address)
);
COMMENT ON TABLE contact IS 'how customers are reached, as contacts.csv said when it was imported last; the address is of a person and belongs in no log';
COMMENT ON COLUMN contact.is_listed IS 'false: the file names it no more, and notices that went there stay';
COMMENT ON COLUMN contact.bounced_at IS 'when a notice could not be delivered there for good';

CREATE TABLE notice (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      integer NOT NULL REFERENCES account,
    contact_id      integer REFERENCES contact,
    occasion        text NOT NULL DEFAULT '',
    episode_id      bigint REFERENCES arrears_episode,
    kind            text NOT NULL CHECK (kind IN ('written', 'final', 'warning', 'restore')),
    channel         text NOT NULL CHECK (channel <> ''),
    language        text NOT NULL CHECK (language IN ('zh', 'en')),
    text            text NOT NULL CHECK (text <> ''),
    amount_fen      bigint NOT NULL,
    deadline_at     timestamptz,
    planned_at      timestamptz,
    actor           text NOT NULL CHECK (actor <> ''),
    evidence        text,
    made_at         timestamptz NOT NULL DEFAULT now(),
    sent_at         timestamptz,
    delivered_at    timestamptz CHECK (delivered_at >= sent_at),
    failed_at       timestamptz,
    receipt         text,
    receipt_actor   text CHECK (receipt_actor <> ''),
    CONSTRAINT receipt_names_who_has_it CHECK ((delivered_at IS NULL AND failed_at IS NULL) OR receipt_actor IS NOT NULL),
    CONSTRAINT delivered_or_failed CHECK (delivered_at IS NULL OR failed_at IS NULL),
    CONSTRAINT delivered_was_sent CHECK (delivered_at IS NULL OR sent_at IS NOT NULL),
    CONSTRAINT notice_of_a_cut_is_of_an_episode CHECK (kind NOT IN ('written', 'final') OR episode_id IS NOT NULL)
);
CREATE UNIQUE INDEX told_once ON notice (account_id, kind, occasion, contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX notices_of_episode ON notice (episode_id) WHERE kind IN ('written', 'final');
CREATE INDEX notices_of_account ON notice (account_id, made_at);
CREATE INDEX notices_to_send ON notice (id) WHERE sent_at IS NULL AND failed_at IS NULL;
CREATE INDEX notices_without_receipt ON notice (sent_at) WHERE delivered_at IS NULL AND failed_at IS NULL;
COMMENT ON COLUMN notice.occasion IS 'what it is told for: over one contact once; empty where a person told it';
COMMENT ON COLUMN notice.amount_fen IS 'what is missing until the supply is safe or comes back, as the text says';
COMMENT ON COLUMN notice.deadline_at IS 'until when to pay, as the text says';
COMMENT ON COLUMN notice.planned_at IS 'when the cut is announced for: it comes then or within four hours (R82); NULL: no hour is announced';
COMMENT ON COLUMN notice.sent_at IS 'NULL: waits to be sent. Sent is not delivered';
COMMENT ON COLUMN notice.delivered_at IS 'of a positive receipt, which receipt_actor has';
CREATE TRIGGER notice_stays BEFORE UPDATE ON notice FOR EACH ROW EXECUTE FUNCTION refuse_unsaying();
CREATE TRIGGER notice_is_never_deleted BEFORE DELETE ON notice FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE notice_to_send (
    notice_id       bigint PRIMARY KEY REFERENCES notice,
    next_at         timestamptz NOT NULL,
    tries           integer NOT NULL DEFAULT 0,
    error           text NOT NULL DEFAULT ''
);
CREATE INDEX notices_to_send_next ON notice_to_send (next_at);
COMMENT ON TABLE notice_to_send IS 'notices that are made and not sent yet; a row ends when its notice was sent or given up';

-- Somebody asks that an account be cut in an episode at an amount; others approve it, each for a while.
CREATE TABLE cut_request (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      integer NOT NULL REFERENCES account,
    episode_id      bigint NOT NULL REFERENCES arrears_episode,
    debt_fen        bigint NOT NULL CHECK (debt_fen > 0),
    requester       text NOT NULL CHECK (requester <> ''),
    reason          text NOT NULL CHECK (reason <> ''),
    requested_at    timestamptz NOT NULL,
    withdrawn_at    timestamptz CHECK (withdrawn_at >= requested_at),
    withdrawn_by    text CHECK (withdrawn_by <> ''),
    withdrawn_why   text CHECK (withdrawn_why <> ''),
    CHECK (num_nulls(withdrawn_at, withdrawn_by, withdrawn_why) IN (0, 3))
);
CREATE UNIQUE INDEX one_request_of_an_episode ON cut_request (episode_id) WHERE withdrawn_at IS NULL;
CREATE INDEX requests_of_account ON cut_request (account_id);
COMMENT ON COLUMN cut_request.debt_fen IS 'what was missing to the floor: an amount that is another by more than a tenth needs a new request';
CREATE TRIGGER cut_request_stays BEFORE UPDATE ON cut_request FOR EACH ROW EXECUTE FUNCTION refuse_unsaying();
CREATE TRIGGER cut_request_is_never_deleted BEFORE DELETE ON cut_request FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE approval (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id      bigint NOT NULL REFERENCES cut_request,
    approver        text NOT NULL CHECK (approver <> ''),
    approved_at     timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    withdrawn_at    timestamptz CHECK (withdrawn_at >= approved_at),
    withdrawn_by    text CHECK (withdrawn_by <> ''),
    CONSTRAINT approval_lasts_four_hours CHECK (expires_at BETWEEN approved_at AND approved_at + word_lasts()),
    CHECK ((withdrawn_at IS NULL) = (withdrawn_by IS NULL))
);
CREATE INDEX approvals_of_request ON approval (request_id);
CREATE FUNCTION requester_is_no_approver() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM public.cut_request r WHERE r.id = NEW.request_id AND public.is_same_person(r.requester, NEW.approver)) THEN
        RAISE EXCEPTION 'request % was made by %, who cannot approve it', NEW.request_id, NEW.approver
            USING ERRCODE = 'check_violation', CONSTRAINT = 'requester_is_no_approver';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER requester_is_no_approver BEFORE INSERT ON approval
    FOR EACH ROW EXECUTE FUNCTION requester_is_no_approver();
CREATE TRIGGER approval_stays BEFORE UPDATE ON approval FOR EACH ROW EXECUTE FUNCTION refuse_unsaying();
CREATE TRIGGER approval_is_never_deleted BEFORE DELETE ON approval FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Why somebody is not to be cut: of the whole site, or of an area, a line, an account or a point.
CREATE TABLE supply_mark (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('protected', 'life_support', 'keep_power', 'dispute', 'hold', 'amnesty',
                        'payment_in_flight', 'weather', 'planned_outage', 'wrongful_cut', 'keep_off')),
    area            text CHECK (area <> ''),
    line            text CHECK (line <> ''),
    account_id      integer REFERENCES account,
    point_id        integer REFERENCES point,
    from_at         timestamptz NOT NULL,
    to_at           timestamptz CHECK (to_at > from_at),
    actor           text NOT NULL CHECK (actor <> ''),
    reason          text NOT NULL CHECK (reason <> ''),
    evidence        text,
    kw_per_minute   integer CHECK (kw_per_minute >= kw_per_point),
    kw_per_point    integer CHECK (kw_per_point > 0),
    made_at         timestamptz NOT NULL DEFAULT now(),
    lift_actor      text CHECK (lift_actor <> ''),
    lift_reason     text CHECK (lift_reason <> ''),
    lift_asked_at   timestamptz,
    lift_second     text CHECK (lift_second <> ''),
    lifted_at       timestamptz,
    CONSTRAINT only_an_amnesty_has_a_ramp CHECK (num_nonnulls(kw_per_minute, kw_per_point) = CASE kind WHEN 'amnesty' THEN 2 ELSE 0 END),
    CONSTRAINT mark_is_of_one_thing CHECK (num_nonnulls(area, line, account_id, point_id) <= 1),
    CONSTRAINT mark_does_not_end_by_itself CHECK (to_at IS NULL OR kind NOT IN ('protected', 'life_support', 'keep_power')),
    CHECK (num_nulls(lift_actor, lift_reason, lift_asked_at) IN (0, 3)),
    CONSTRAINT lifted_was_asked_for CHECK (lifted_at IS NULL OR lift_asked_at IS NOT NULL),
    CONSTRAINT second_person_is_another CHECK (NOT is_same_person(lift_second, lift_actor)),
    CONSTRAINT lift_was_asked_for_lately CHECK (lifted_at <= lift_asked_at + word_lasts()),
    CONSTRAINT two_persons_lift_it CHECK (lifted_at IS NULL OR lift_second IS NOT NULL
        OR kind NOT IN ('protected', 'life_support', 'keep_power'))
);
CREATE INDEX marks_that_hold ON supply_mark (kind) WHERE lifted_at IS NULL;
CREATE INDEX supply_marks_of_account ON supply_mark (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX supply_marks_of_parts ON supply_mark (kind) WHERE lifted_at IS NULL AND account_id IS NULL AND point_id IS NULL;
CREATE INDEX work_at_parts ON supply_mark (kind) WHERE kind = 'keep_off' AND account_id IS NULL AND point_id IS NULL;
CREATE INDEX supply_marks_of_point ON supply_mark (point_id) WHERE point_id IS NOT NULL;
COMMENT ON TABLE supply_mark IS 'holds from from_at, to to_at if it has one, until it is lifted; of no area, line, account or point: of the whole site';
COMMENT ON COLUMN supply_mark.kw_per_minute IS 'of an amnesty: whoever is cut is restored, with so much load within a minute, of kw_per_point each';
COMMENT ON COLUMN supply_mark.lift_asked_at IS 'somebody wants it lifted; what protects is lifted when a second person agrees';
CREATE TRIGGER supply_mark_stays BEFORE UPDATE ON supply_mark FOR EACH ROW
    EXECUTE FUNCTION refuse_unsaying('lifted_at', 'lift_asked_at', 'lift_actor', 'lift_reason');
CREATE TRIGGER supply_mark_is_never_deleted BEFORE DELETE ON supply_mark FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The points of which a mark of one of these kinds holds now.
CREATE FUNCTION marked_points(kinds text[]) RETURNS TABLE (point_id integer) STABLE LANGUAGE sql AS $$
    WITH holding AS (
        SELECT * FROM supply_mark
        WHERE kind = ANY (kinds) AND lifted_at IS NULL AND from_at <= now() AND coalesce(to_at, 'infinity') > now()
    )
    SELECT h.point_id FROM holding h WHERE h.point_id IS NOT NULL
    UNION
    SELECT x.point_id FROM holding h JOIN point_account x ON x.account_id = h.account_id AND x.to_day IS NULL
    UNION
    SELECT p.id FROM holding h JOIN point p ON p.area = h.area
    UNION
    SELECT i.point_id FROM holding h JOIN meter m ON m.line = h.line JOIN installation i ON i.meter_id = m.id AND i.to_at IS NULL
    UNION
    SELECT p.id FROM holding h JOIN point p ON num_nonnulls(h.area, h.line, h.account_id, h.point_id) = 0
$$;
-- Whether a point is protected, or somebody there depends on supply, by the files or by a mark.
-- Each mark is looked up by its index: there are thousands of them, and few orders. None of them ends by itself.
CREATE FUNCTION must_be_on(of_point integer) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT p.protected OR p.life_support
        OR EXISTS (SELECT FROM supply_mark k WHERE k.point_id = p.id
                   AND k.kind IN ('protected', 'life_support') AND k.lifted_at IS NULL AND k.from_at <= now())
        OR EXISTS (SELECT FROM point_account x JOIN supply_mark k ON k.account_id = x.account_id
                   WHERE x.point_id = p.id AND x.to_day IS NULL
                   AND k.kind IN ('protected', 'life_support') AND k.lifted_at IS NULL AND k.from_at <= now())
        OR EXISTS (SELECT FROM supply_mark k WHERE k.account_id IS NULL AND k.point_id IS NULL
                   AND k.kind IN ('protected', 'life_support') AND k.lifted_at IS NULL AND k.from_at <= now()
                   AND (num_nonnulls(k.area, k.line) = 0 OR k.area = p.area
                        OR k.line IN (SELECT m.line FROM installation i JOIN meter m ON m.id = i.meter_id
                                      WHERE i.point_id = p.id AND i.to_at IS NULL)))
    FROM point p WHERE p.id = of_point
$$;

-- A supply is to be off for another reason than money: one person says so and another agrees. Then it is cut, and stays off
-- until somebody ends that.
CREATE TABLE cut_order (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    point_id        integer NOT NULL REFERENCES point,
    cause           text NOT NULL CHECK (cause IN ('safety', 'theft', 'customer_request')),
    actor           text NOT NULL CHECK (actor <> ''),
    reason          text NOT NULL CHECK (reason <> ''),
    evidence        text,
    asked_at        timestamptz NOT NULL DEFAULT now(),
    second          text CHECK (second <> ''),
    agreed_at       timestamptz CHECK (agreed_at >= asked_at),
    ended_at        timestamptz,
    ended_by        text CHECK (ended_by <> ''),
    ended_why       text CHECK (ended_why <> ''),
    CONSTRAINT second_person_is_another CHECK (NOT is_same_person(second, actor)),
    CONSTRAINT order_was_asked_for_lately CHECK (agreed_at <= asked_at + word_lasts()),
    CHECK ((second IS NULL) = (agreed_at IS NULL)),
    CHECK (num_nulls(ended_at, ended_by, ended_why) IN (0, 3))
);
CREATE UNIQUE INDEX one_order_of_a_point ON cut_order (point_id) WHERE ended_at IS NULL;
CREATE INDEX orders_of_a_point ON cut_order (point_id);
COMMENT ON TABLE cut_order IS 'agreed to from agreed_at to ended_at; whether it is in force meanwhile says order_in_force';
-- Whoever must not be cut is dark by no order but one for safety.
CREATE VIEW order_in_force AS
SELECT o.id, o.point_id, o.cause, o.actor, o.reason, o.second, o.agreed_at, o.agreed_at + word_lasts() AS cut_until
FROM cut_order o
WHERE o.agreed_at IS NOT NULL AND o.ended_at IS NULL AND (o.cause = 'safety' OR NOT must_be_on(o.point_id));
COMMENT ON VIEW order_in_force IS 'supplies that are off by order, whatever is paid; until cut_until they may be cut for it';
CREATE FUNCTION kept_off_points() RETURNS TABLE (point_id integer) STABLE LANGUAGE sql AS $$
    SELECT o.point_id FROM order_in_force o UNION SELECT k.point_id FROM marked_points('{keep_off}') k
$$;
COMMENT ON FUNCTION kept_off_points IS 'no reconnect of these leaves: they are off by order, or somebody works there';
CREATE VIEW order_not_done AS
SELECT o.id, o.point_id, o.cause, o.reason, o.agreed_at, o.cut_until
FROM order_in_force o JOIN point_supply v ON v.point_id = o.point_id
WHERE v.supply_state = 'energised' AND v.relay_observed <> 'open' OR v.supply_state = 'wait_customer_button';
COMMENT ON VIEW order_not_done IS 'what was ordered off and is on; its customer may switch on again what waits for the button';
CREATE TRIGGER cut_order_stays BEFORE UPDATE ON cut_order FOR EACH ROW EXECUTE FUNCTION refuse_unsaying();
CREATE TRIGGER cut_order_is_never_deleted BEFORE DELETE ON cut_order FOR EACH ROW EXECUTE FUNCTION refuse_change();
-- What is not for safety is about a customer, and ends when the point is no longer his, and whoever has it next is restored,
-- whenever that can be. Looked at when all is written: an
-- assignment from another day on ends a holding and begins one of the same account.
CREATE FUNCTION end_orders_of_former_customer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM point_account x WHERE (x.point_id, x.account_id) = (OLD.point_id, OLD.account_id) AND x.to_day IS NULL) THEN
        RETURN NULL;
    END IF;
    UPDATE cut_order o SET ended_at = greatest(now(), o.asked_at), ended_by = 'daemon',
        ended_why = 'the point is no longer of account ' || (SELECT a.number FROM account a WHERE a.id = OLD.account_id)
    WHERE o.point_id = OLD.point_id AND o.cause <> 'safety' AND o.ended_at IS NULL;
    UPDATE point_supply v SET cut_for = 'former_customer'
    WHERE v.point_id = OLD.point_id AND v.supply_state <> 'energised' AND v.cut_for = 'arrears';
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER orders_end_with_their_customer AFTER UPDATE OF to_day, account_id ON point_account
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.to_day IS NULL AND (NEW.to_day IS NOT NULL OR NEW.account_id <> OLD.account_id))
    EXECUTE FUNCTION end_orders_of_former_customer();

-- Supply: commands are rows first and frames afterwards; every verdict of the guard is kept.

CREATE TABLE command (
    id              uuid PRIMARY KEY,
    sequence        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    point_id        integer NOT NULL REFERENCES point,
    meter_id        integer NOT NULL REFERENCES meter,
    address         text NOT NULL,
    line            text NOT NULL,
    action          text NOT NULL CHECK (action IN ('trip', 'allow_close', 'close')),
    cause           text NOT NULL,
    state           text NOT NULL CHECK (state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying', 'verified',
                        'refused', 'expired', 'superseded', 'cancelled', 'failed')),
    guard           jsonb,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    next_at         timestamptz NOT NULL,
    sends           integer NOT NULL DEFAULT 0,
    checks          integer NOT NULL DEFAULT 0,
    sent_at         timestamptz,
    detail          text NOT NULL DEFAULT '',
    fence           bigint,
    CHECK (action <> 'trip' OR guard IS NOT NULL),
    CHECK ((sends = 0) = (sent_at IS NULL))
);
COMMENT ON COLUMN command.address IS 'the meter''s address at the time of the command; so is the line, which may change';
COMMENT ON COLUMN command.guard IS 'all inputs and the verdict of the last evaluation; for a trip the one that released it';
COMMENT ON COLUMN command.fence IS 'the token of who had the site when it was released last; it never repeats';
COMMENT ON COLUMN command.next_at IS 'when the line has to send it or to look at the relay again';
CREATE UNIQUE INDEX one_open_command_of_a_point ON command (point_id)
    WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying');
CREATE INDEX open_commands ON command (meter_id, next_at)
    WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying');
CREATE INDEX commands_of_a_point ON command (point_id, sequence);
CREATE INDEX trips_by_time ON command (created_at) WHERE action = 'trip';
CREATE INDEX commands_that_ended ON command (sequence) WHERE state IN ('verified', 'refused', 'failed');
CREATE INDEX relays_moved ON command (sent_at, point_id) WHERE sent_at IS NOT NULL;
-- When something ended that kept this point off: somebody's work there, or an order. NULL: nothing did. (Who must be on, whatever is
-- ordered, has waited long enough.)
CREATE FUNCTION freed_at(of_point integer) RETURNS timestamptz STABLE LANGUAGE sql AS $$
    WITH place AS (
        SELECT p.id, p.area, x.account_id, m.line
        FROM point p
        LEFT JOIN point_account x ON x.point_id = p.id AND x.to_day IS NULL
        LEFT JOIN installation i ON i.point_id = p.id AND i.to_at IS NULL LEFT JOIN meter m ON m.id = i.meter_id
        WHERE p.id = of_point
    ), work AS (
        SELECT k.* FROM place h JOIN supply_mark k ON k.point_id = h.id
        UNION ALL
        SELECT k.* FROM place h JOIN supply_mark k ON k.account_id = h.account_id
        UNION ALL
        SELECT k.* FROM place h JOIN supply_mark k ON k.kind = 'keep_off' AND k.account_id IS NULL AND k.point_id IS NULL
            AND (num_nonnulls(k.area, k.line) = 0 OR k.area = h.area OR k.line = h.line)
    )
    SELECT greatest(
        (SELECT max(least(lifted_at, to_at)) FROM work
         WHERE kind = 'keep_off' AND least(lifted_at, to_at) > from_at AND least(lifted_at, to_at) <= now()),
        (SELECT max(ended_at) FROM cut_order WHERE point_id = of_point AND agreed_at IS NOT NULL))
$$;
CREATE VIEW reconnect_to_do AS
SELECT c.id, c.point_id, v.supply_state, greatest(c.created_at, freed_at(c.point_id)) AS since
FROM command c JOIN point_supply v ON v.point_id = c.point_id
WHERE c.action <> 'trip' AND c.state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying')
  AND NOT EXISTS (SELECT FROM kept_off_points() k WHERE k.point_id = c.point_id);
COMMENT ON VIEW reconnect_to_do IS 'reconnects that may leave: since they were asked for, or since nothing keeps their point off any more';

CREATE TABLE command_event (
    command_id  uuid NOT NULL REFERENCES command,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    state       text NOT NULL,
    detail      text NOT NULL,
    guard       jsonb,
    place       bigint NOT NULL UNIQUE DEFAULT next_place()
);
COMMENT ON COLUMN command_event.place IS 'among all that is sealed: who was cut when and why is proved as money is';
CREATE INDEX events_of_a_command ON command_event (command_id, at);
CREATE INDEX frames_by_time ON command_event (at) WHERE state = 'sent';
CREATE FUNCTION journal_command() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.state <> OLD.state OR NEW.sends <> OLD.sends THEN
        INSERT INTO command_event (command_id, state, detail, guard) VALUES (NEW.id, NEW.state, NEW.detail, NEW.guard);
        PERFORM pg_notify('meterd_command', m.line) FROM meter m WHERE m.id = NEW.meter_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER command_transitions_are_journalled AFTER INSERT OR UPDATE ON command
    FOR EACH ROW EXECUTE FUNCTION journal_command();
CREATE TRIGGER command_event_is_never_changed BEFORE UPDATE OR DELETE ON command_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What is set in a meter beside its relay: whether it keeps power, or warns its customer. No command, of which a point has one open: a
-- reconnect never waits for these. One row of a meter and a thing; what became of it when is in its events.
CREATE TABLE meter_order (
    meter_id    integer NOT NULL REFERENCES meter,
    what        text NOT NULL CHECK (what IN ('keep_power', 'alarm')),
    is_on       boolean NOT NULL,
    cause       text NOT NULL,
    state       text NOT NULL CHECK (state IN ('persisted', 'sent', 'unknown', 'acked', 'verified', 'refused', 'failed', 'cancelled')),
    may_be_on   boolean NOT NULL DEFAULT false,
    made_at     timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL,
    next_at     timestamptz,
    sends       integer NOT NULL DEFAULT 0,
    checks      integer NOT NULL DEFAULT 0,
    detail      text NOT NULL DEFAULT '',
    fence       bigint,
    PRIMARY KEY (meter_id, what),
    CONSTRAINT open_order_is_looked_at CHECK (next_at IS NOT NULL OR state NOT IN ('persisted', 'sent', 'unknown'))
);
COMMENT ON COLUMN meter_order.may_be_on IS 'a frame of ours that switches it on left, and none that switches it off was seen to have come: what others set is theirs';
COMMENT ON COLUMN meter_order.next_at IS 'when the line has to send it or to look at the meter again; NULL: it has ended';
CREATE INDEX open_meter_orders ON meter_order (meter_id, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX meter_orders_on ON meter_order (what, meter_id) WHERE may_be_on;
CREATE TABLE meter_order_event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id    integer NOT NULL REFERENCES meter,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    what        text NOT NULL,
    is_on       boolean NOT NULL,
    state       text NOT NULL,
    cause       text NOT NULL,
    detail      text NOT NULL
);
CREATE INDEX events_of_meter_orders ON meter_order_event (meter_id, id);
CREATE FUNCTION journal_meter_order() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' OR (NEW.state, NEW.sends, NEW.is_on) IS DISTINCT FROM (OLD.state, OLD.sends, OLD.is_on) THEN
        INSERT INTO meter_order_event (meter_id, what, is_on, state, cause, detail)
        VALUES (NEW.meter_id, NEW.what, NEW.is_on, NEW.state, NEW.cause, NEW.detail);
    END IF;
    IF NEW.state = 'persisted' THEN
        PERFORM pg_notify('meterd_command', m.line) FROM meter m WHERE m.id = NEW.meter_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER meter_orders_are_journalled AFTER INSERT OR UPDATE ON meter_order
    FOR EACH ROW EXECUTE FUNCTION journal_meter_order();
CREATE TRIGGER meter_order_event_is_never_changed BEFORE UPDATE OR DELETE ON meter_order_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- 64 bits of what has a place above one and up to another, as PostgreSQL hashes arrays and records: quick, in any order.
-- Of the journal: how much was moved, and which version of its row says so. Nobody changes any of a row's columns but by another
-- version, of a later database transaction; `sealer` is the age of the one that sealed these, and the distance stays. Only a
-- column that is dropped and comes again with a default leaves each row as it was: it has another number then.
CREATE FUNCTION checksum_of_places(above bigint, up_to bigint, sealer bigint) RETURNS bigint STABLE LANGUAGE sql AS $$
    SELECT coalesce((SELECT bit_xor(hash_array_extended(public.amounts(t), hashint8extended(t.id, age(t.xmin) - sealer)))
                     FROM public.journal t WHERE t.id > above AND t.id <= up_to), 0)
         # coalesce((SELECT bit_xor(hash_record_extended(ROW(a.place, a.id, a.name), 0)) FROM public.ledger_account a
                     WHERE a.place > above AND a.place <= up_to), 0)
         # coalesce((SELECT bit_xor(hash_record_extended(ROW(s.place, s.id, s.period, s.component), 0))
                     FROM public.posting_stream s WHERE s.place > above AND s.place <= up_to), 0)
         # coalesce((SELECT bit_xor(hash_record_extended(ROW(e.place, e.command_id, e.at, e.state, e.detail, e.guard::text), 0))
                     FROM public.command_event e WHERE e.place > above AND e.place <= up_to), 0)
         # (SELECT bit_xor(hash_record_extended(ROW(k.id, k.kind), 0)) FROM public.transaction_kind k)
         # (SELECT bit_xor(hash_record_extended(ROW(c.attnum, c.attname::text), 0)) FROM pg_catalog.pg_attribute c
            WHERE c.attrelid = 'public.journal'::regclass AND c.attnum > 0 AND NOT c.attisdropped)
$$;

CREATE TABLE guard_verdict (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    point_id    integer NOT NULL REFERENCES point,
    at          timestamptz NOT NULL,
    decision    text NOT NULL CHECK (decision IN ('allow', 'deny', 'needs_approval')),
    reasons     text[] NOT NULL,
    facts       jsonb NOT NULL
);
COMMENT ON TABLE guard_verdict IS 'each change of the guard''s mind about a point, with every failing reason';
CREATE INDEX verdicts_of_a_point ON guard_verdict (point_id, id DESC);
CREATE INDEX verdicts_by_time ON guard_verdict (at);

CREATE TABLE field_job (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('restore', 'trip', 'foreign_open', 'foreign_closed', 'notice', 'visit')),
    account_id      integer REFERENCES account,
    point_id        integer REFERENCES point,
    command_id      uuid REFERENCES command,
    notice_id       bigint REFERENCES notice,
    address         text,
    route           text NOT NULL DEFAULT '',
    cause           text NOT NULL CHECK (cause <> ''),
    opened_at       timestamptz NOT NULL,
    due_at          timestamptz NOT NULL CHECK (due_at >= opened_at),
    closed_at       timestamptz CHECK (closed_at >= opened_at),
    closed_by       text CHECK (closed_by <> ''),
    result          text CHECK (result <> ''),
    CHECK (num_nulls(closed_at, closed_by, result) IN (0, 3)),
    CONSTRAINT visit_brings_a_notice CHECK ((kind = 'visit') = (notice_id IS NOT NULL))
);
CREATE UNIQUE INDEX one_open_job_of_a_point ON field_job (point_id, kind) WHERE closed_at IS NULL AND point_id IS NOT NULL AND kind <> 'visit';
CREATE UNIQUE INDEX one_open_job_of_an_account ON field_job (account_id, kind) WHERE closed_at IS NULL AND point_id IS NULL;
CREATE INDEX open_jobs ON field_job (due_at) WHERE closed_at IS NULL;
CREATE UNIQUE INDEX one_open_visit_of_an_account ON field_job (account_id) WHERE closed_at IS NULL AND kind = 'visit';
CREATE UNIQUE INDEX one_visit_of_a_notice ON field_job (notice_id) WHERE notice_id IS NOT NULL;
CREATE INDEX jobs_of_accounts ON field_job (account_id, kind, opened_at);
COMMENT ON TABLE field_job IS 'somebody has to go there, or to ring up: what cannot be done from afar';
COMMENT ON COLUMN field_job.notice_id IS 'what somebody has to deliver there in person, with a receipt';
COMMENT ON COLUMN field_job.address IS 'the meter''s; route: over which line it was tried';
CREATE TRIGGER field_job_stays BEFORE UPDATE ON field_job FOR EACH ROW EXECUTE FUNCTION refuse_unsaying();
CREATE TRIGGER field_job_is_never_deleted BEFORE DELETE ON field_job FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE field_job_owner (
    job_id          bigint NOT NULL REFERENCES field_job,
    owner           text NOT NULL CHECK (owner <> ''),
    actor           text NOT NULL CHECK (actor <> ''),
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, at)
);
COMMENT ON TABLE field_job_owner IS 'who has a job; of one job the last counts';
CREATE TRIGGER field_job_owner_is_never_changed BEFORE UPDATE OR DELETE ON field_job_owner
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What the staff has to take in hand, each thing by itself: one that comes while others are had asks anew (R78).
CREATE TABLE staff_alarm (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL CHECK (kind <> ''),
    about           text NOT NULL CHECK (about <> ''),
    area            text NOT NULL,
    since           timestamptz NOT NULL,
    opened_at       timestamptz NOT NULL,
    over_at         timestamptz,
    level           smallint NOT NULL DEFAULT 0 CHECK (level >= 0),
    told_at         timestamptz,
    has_failed      boolean NOT NULL DEFAULT false,
    acknowledged_at timestamptz,
    acknowledged_by text CHECK (acknowledged_by <> ''),
    CHECK ((level = 0) = (told_at IS NULL)),
    CHECK (num_nulls(acknowledged_at, acknowledged_by) IN (0, 2))
);
CREATE UNIQUE INDEX one_open_staff_alarm ON staff_alarm (kind, about) WHERE over_at IS NULL;
CREATE INDEX staff_alarms_that_are_over ON staff_alarm (over_at, kind, about) WHERE over_at IS NOT NULL;
COMMENT ON TABLE staff_alarm IS 'one thing that is wrong, until it is over; a job in the field (kind job_...) is over when somebody has it';
COMMENT ON COLUMN staff_alarm.level IS 'that was told last, at told_at; 0: none yet. has_failed: somebody of it could not be reached';
CREATE TRIGGER staff_alarm_stays_acknowledged BEFORE UPDATE OF acknowledged_at, acknowledged_by ON staff_alarm FOR EACH ROW
    WHEN (OLD.acknowledged_at IS NOT NULL) EXECUTE FUNCTION refuse_change();

CREATE TABLE staff_call (
    id              bigint PRIMARY KEY,
    alarms          bigint[] NOT NULL CHECK (cardinality(alarms) > 0),
    kind            text NOT NULL CHECK (kind <> ''),
    area            text NOT NULL,
    level           smallint NOT NULL CHECK (level > 0),
    name            text NOT NULL CHECK (name <> ''),
    channel         text NOT NULL CHECK (channel <> ''),
    address         text NOT NULL CHECK (address <> ''),
    language        text NOT NULL CHECK (language IN ('zh', 'en')),
    text            text NOT NULL CHECK (text <> ''),
    made_at         timestamptz NOT NULL,
    next_at         timestamptz NOT NULL,
    tries           integer NOT NULL DEFAULT 0,
    error           text NOT NULL DEFAULT '',
    sent_at         timestamptz,
    failed_at       timestamptz,
    CHECK (sent_at IS NULL OR failed_at IS NULL)
);
CREATE INDEX staff_calls_by_time ON staff_call (made_at);
CREATE INDEX staff_calls_to_send ON staff_call (next_at) WHERE sent_at IS NULL AND failed_at IS NULL;
COMMENT ON TABLE staff_call IS 'what one person of the staff was told, of all alarms of one kind in one area whose time had come; the address belongs in no log';
COMMENT ON COLUMN staff_call.id IS 'what is acknowledged by: it stands in the text. No sequence';
CREATE TRIGGER staff_call_that_ended_stays BEFORE UPDATE ON staff_call FOR EACH ROW
    WHEN (OLD.sent_at IS NOT NULL OR OLD.failed_at IS NOT NULL) EXECUTE FUNCTION refuse_change();

CREATE TABLE breaker (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope           text NOT NULL CHECK (scope IN ('site', 'area', 'line', 'tariff')),
    name            text NOT NULL DEFAULT '',
    cause           text NOT NULL CHECK (cause <> ''),
    found           double precision NOT NULL,
    allowed         double precision NOT NULL,
    opened_at       timestamptz NOT NULL,
    reset_actor     text CHECK (reset_actor <> ''),
    reset_reason    text CHECK (reset_reason <> ''),
    reset_asked_at  timestamptz,
    reset_second    text CHECK (reset_second <> ''),
    reset_at        timestamptz,
    CONSTRAINT only_the_site_has_no_name CHECK ((scope = 'site') = (name = '')),
    CHECK (num_nulls(reset_actor, reset_reason, reset_asked_at) IN (0, 3)),
    CONSTRAINT two_persons_reset_it CHECK (num_nulls(reset_second, reset_at) = 2
        OR (num_nulls(reset_second, reset_at, reset_actor) = 0 AND NOT is_same_person(reset_second, reset_actor))),
    CONSTRAINT reset_was_asked_for_lately CHECK (reset_at <= reset_asked_at + word_lasts())
);
CREATE UNIQUE INDEX one_open_breaker ON breaker (scope, name) WHERE reset_at IS NULL;
CREATE INDEX breakers_that_were_reset ON breaker (scope, name, reset_at) WHERE reset_at IS NOT NULL;
COMMENT ON TABLE breaker IS 'too much happens at once: nobody of the group is cut until two persons reset it';
COMMENT ON COLUMN breaker.found IS 'what was more than allowed, by the cause';
CREATE TRIGGER breaker_stays BEFORE UPDATE ON breaker FOR EACH ROW
    EXECUTE FUNCTION refuse_unsaying('reset_at', 'reset_asked_at', 'reset_actor', 'reset_reason');
CREATE TRIGGER breaker_is_never_deleted BEFORE DELETE ON breaker FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Why slots are missing. No foreign keys: it is written often and looked at seldom.

CREATE TABLE attempt (
    day         date NOT NULL,
    meter_id    integer NOT NULL,
    tries       integer NOT NULL CHECK (tries > 0),
    cause       text NOT NULL,
    last_at     timestamptz NOT NULL,
    next_at     timestamptz NOT NULL,
    PRIMARY KEY (day, meter_id)
);
COMMENT ON TABLE attempt IS 'slots that were asked for in vain: how often, and what became of the last time';

CREATE TABLE outage (
    line        text PRIMARY KEY,
    since       timestamptz NOT NULL,
    tries       integer NOT NULL CHECK (tries >= 0),
    reason      text NOT NULL,
    next_at     timestamptz
);
COMMENT ON TABLE outage IS 'lines that are down, as the daemon saw them last';
COMMENT ON COLUMN outage.next_at IS 'NULL: it waits for a call';

-- How long rows are kept (R103). The daemon may not delete what is listed here; it asks, and these functions, which run as
-- the owner, delete no row before its time, whatever time the daemon says it is.

CREATE TABLE retention (
    table_name  text PRIMARY KEY,
    keep        interval CHECK (keep > interval '0'),
    reason      text NOT NULL,
    CHECK (keep IS NULL OR table_name IN ('reading', 'slot', 'slot_journal', 'guard_verdict', 'dead_letter', 'attempt', 'chain_change',
                                             'staff_alarm', 'staff_call')),
    CHECK (keep >= interval '3 years' OR table_name NOT IN ('reading', 'slot', 'slot_journal'))
);
COMMENT ON COLUMN retention.keep IS 'at least so long; NULL: for ever';
INSERT INTO retention (table_name, keep, reason) VALUES
    ('reading', '6 years', 'five years and the year under way; whole months, together with their slots'),
    ('slot', '6 years', 'as long as the readings; a month that money or a decision refers to stays for ever'),
    ('slot_journal', '6 years', 'goes after the slots that it tells of'),
    ('guard_verdict', '6 years', 'a complaint about a cut; the last one of each point stays'),
    ('dead_letter', '1 year', 'from the day it was replayed or dropped; one that waits for somebody stays'),
    ('attempt', '400 days', 'why a day was missing explains the bill of a year'),
    ('chain_change', '3 days', 'whoever remembers chains looks more often, or forgets them'),
    ('staff_alarm', '1 year', 'from the day it was over: who had it, and how fast'),
    ('staff_call', '1 year', 'who was told; the last one stays, for its number'),
    ('outage', NULL, 'a row ends with its outage'),
    ('contact', NULL, 'who was told'),
    ('notice_to_send', NULL, 'a row ends when its notice was sent'),
    ('document', NULL, 'facts rest on it'),
    ('document_review', NULL, 'facts rest on it'),
    ('decision', NULL, 'values rest on it'),
    ('decision_review', NULL, 'values rest on it'),
    ('closing', NULL, 'what a closed period published'),
    ('journal', NULL, 'books are kept'),
    ('sealed_block', NULL, 'books are proved by it'),
    ('sealed_balance', NULL, 'books are proved by it'),
    ('closed_month', NULL, 'books are kept'),
    ('teller', NULL, 'who told what was charged for'),
    ('link', NULL, 'what was charged for'),
    ('past_link', NULL, 'what was charged for'),
    ('account_month', NULL, 'what was charged for'),
    ('old_charge', NULL, 'why somebody was not cut'),
    ('account_journal', NULL, 'why somebody was warned, cut or billed so'),
    ('household_bonus', NULL, 'why somebody was billed so'),
    ('used_elsewhere', NULL, 'why somebody was billed so'),
    ('tariff_version', NULL, 'why somebody was billed so'),
    ('account_tariff', NULL, 'why somebody was billed so'),
    ('closed_day', NULL, 'what was charged by the day'),
    ('arrears_episode', NULL, 'why somebody was cut'),
    ('account_policy', NULL, 'why somebody was cut'),
    ('notice', NULL, 'why somebody was cut'),
    ('cut_request', NULL, 'why somebody was cut'),
    ('approval', NULL, 'why somebody was cut'),
    ('supply_mark', NULL, 'why somebody was not cut'),
    ('field_job', NULL, 'who was cut and restored'),
    ('field_job_owner', NULL, 'who was cut and restored'),
    ('breaker', NULL, 'why nobody was cut'),
    ('command', NULL, 'who was cut and restored'),
    ('command_event', NULL, 'who was cut and restored'),
    ('meter_order', NULL, 'what we set in a meter'),
    ('meter_order_event', NULL, 'what we set in a meter');

-- Rows from before this moment may go; NULL: none. A clock that runs ahead is not believed further than the meters' own days.
CREATE FUNCTION retention_cut(of_table text, asked timestamptz) RETURNS timestamptz STABLE LANGUAGE sql AS $$
    SELECT least(asked, now(), (SELECT max(day) + interval '62 days' FROM slot)) - keep FROM retention WHERE table_name = of_table
$$;

-- The months that readings and slots lie in: partitions, or chunks of a hypertable, with their days.
CREATE FUNCTION months_of(series text) RETURNS TABLE (part regclass, first_day date, end_day date)
    STABLE LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = series::regclass) = 'p' THEN
        RETURN QUERY
            SELECT c.oid::regclass, m.month, (m.month + interval '1 month')::date
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
                 to_date(substring(c.relname FROM '_(\d{4}_\d{2})$'), 'YYYY_MM') AS m (month)
            WHERE i.inhparent = series::regclass AND m.month IS NOT NULL;
    ELSE
        RETURN QUERY EXECUTE $chunks$
            SELECT format('%I.%I', chunk_schema, chunk_name)::regclass, (range_start AT TIME ZONE 'UTC')::date,
                   (range_end AT TIME ZONE 'UTC')::date
            FROM timescaledb_information.chunks WHERE hypertable_schema = 'public' AND hypertable_name = $1$chunks$ USING series;
    END IF;
END $$;

-- Why the values of some days stay although their time is over; NULL: nothing refers to them. An account is billed for every
-- day since it was opened.
CREATE FUNCTION still_needed(first_day date, end_day date) RETURNS text STABLE LANGUAGE sql AS $$
    SELECT CASE
        WHEN EXISTS (SELECT FROM account a WHERE a.opened_on < end_day)
             OR EXISTS (SELECT FROM point p WHERE EXISTS (SELECT FROM link l WHERE l.point_id = p.id AND l.from_day < end_day
                                                          AND l.to_day >= first_day)) THEN 'money'
        WHEN EXISTS (SELECT FROM decision d WHERE d.day >= first_day AND d.day < end_day)
             OR EXISTS (SELECT FROM closing c WHERE c.through_day >= first_day) THEN 'a decision'
    END
$$;

-- Months whose time is over, the oldest first. A reading goes with its slot, after the longer of both times.
CREATE FUNCTION months_to_forget(asked timestamptz) RETURNS TABLE (first_day date, end_day date) STABLE LANGUAGE sql AS $$
    SELECT m.first_day, m.end_day
    FROM (SELECT * FROM months_of('reading') UNION ALL SELECT * FROM months_of('slot')) m
    WHERE m.end_day <= retention_cut('reading', asked) AND m.end_day <= retention_cut('slot', asked)
    GROUP BY 1, 2 ORDER BY 1
$$;

-- Drop the oldest month that may go. Nobody waits for this: it takes its locks all at once when they are free, or fails.
CREATE FUNCTION forget_month(asked timestamptz) RETURNS TABLE (table_name text, deleted bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    month record;
    found record;
    parts text[] := '{}';
    locked text[] := '{}';
    tries integer := 0;
BEGIN
    SELECT * INTO month FROM months_to_forget(asked) m WHERE still_needed(m.first_day, m.end_day) IS NULL LIMIT 1;
    IF month IS NULL THEN
        RETURN;
    END IF;
    FOR found IN SELECT s.series, m.part::text AS part, c.relispartition
                 FROM (VALUES ('slot'), ('reading')) s (series), months_of(s.series) m JOIN pg_class c ON c.oid = m.part
                 WHERE (m.first_day, m.end_day) = (month.first_day, month.end_day) LOOP
        table_name := found.series;
        EXECUTE format('SELECT count(*) FROM %s', found.part) INTO deleted;
        RETURN NEXT;
        parts := parts || found.part;
        -- To drop a partition PostgreSQL locks the whole table too.
        locked := locked || CASE WHEN found.relispartition THEN 'ONLY ' || found.series END || found.part;
    END LOOP;
    DELETE FROM doubt d WHERE d.day >= month.first_day AND d.day < month.end_day;
    DELETE FROM crossing c WHERE c.day >= month.first_day AND c.day < month.end_day;
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', array_to_string(locked, ', '));
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            tries := tries + 1;
            IF tries = 100 THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.05);
        END;
    END LOOP;
    EXECUTE format('DROP TABLE %s', array_to_string(parts, ', '));
END $$;

-- Delete the oldest rows that may go of a table that is no series, at most so many.
CREATE FUNCTION forget_rows(of_table text, asked timestamptz, most integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    cut timestamptz := retention_cut(of_table, asked);
    deleted bigint;
BEGIN
    CASE of_table
        WHEN 'attempt' THEN
            DELETE FROM attempt WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM attempt WHERE day < cut ORDER BY day LIMIT most));
        WHEN 'chain_change' THEN
            -- None goes before those in front of it, and the last one stays: whoever saw one that is there knows by it that
            -- nothing behind it is gone. A transaction that waited has a number behind later moments.
            DELETE FROM chain_change WHERE id = ANY (ARRAY(
                SELECT id FROM chain_change
                WHERE id < coalesce((SELECT min(id) FROM chain_change WHERE at >= cut), (SELECT max(id) FROM chain_change))
                ORDER BY id LIMIT most));
        WHEN 'slot_journal' THEN
            DELETE FROM slot_journal WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM slot_journal WHERE changed_at < cut AND day < (SELECT min(day) FROM slot)
                ORDER BY changed_at LIMIT most));
        WHEN 'guard_verdict' THEN
            DELETE FROM guard_verdict WHERE ctid = ANY (ARRAY(
                SELECT v.ctid FROM guard_verdict v
                WHERE v.at < cut AND EXISTS (SELECT FROM guard_verdict x WHERE x.point_id = v.point_id AND x.id > v.id)
                ORDER BY v.at LIMIT most));
        WHEN 'dead_letter' THEN
            DELETE FROM dead_letter WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM dead_letter WHERE coalesce(replayed_at, dropped_at) < cut LIMIT most FOR UPDATE SKIP LOCKED));
        WHEN 'staff_alarm' THEN
            DELETE FROM staff_alarm WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM staff_alarm WHERE over_at < cut ORDER BY over_at LIMIT most));
        WHEN 'staff_call' THEN
            DELETE FROM staff_call WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM staff_call WHERE made_at < cut AND id < (SELECT max(id) FROM staff_call)
                ORDER BY made_at LIMIT most));
        ELSE
            RAISE EXCEPTION 'no row of % is deleted one by one', of_table USING ERRCODE = 'invalid_parameter_value';
    END CASE;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;

-- Who may do what. The tables belong to the role that migrates. The daemon and the commands have another one: whatever is
-- not said here is refused to it, by its own mistake as by anybody else's who got hold of its connection. What rows are
-- written by triggers alone (the journals, balances) is theirs, which run as the owner.
CREATE TABLE daemon_privilege (
    table_name  text PRIMARY KEY,
    privileges  text NOT NULL
);
COMMENT ON TABLE daemon_privilege IS 'what the daemon''s role may do to a table besides reading it; a migration that makes a table adds a row';
INSERT INTO daemon_privilege (table_name, privileges) VALUES
    ('site', 'INSERT'),
    ('schema_version', ''),
    ('daemon_privilege', ''),
    ('retention', ''),
    ('document', 'INSERT'),
    ('document_review', 'INSERT'),
    ('tariff_version', 'INSERT (tariff_id, effective_from, revision, form, state, document_id), UPDATE (state, is_used)'),
    ('account', 'INSERT, UPDATE'),
    ('account_journal', ''),
    ('act', 'INSERT (actor, by_way_of, command)'),
    ('household_bonus', 'INSERT (account_id, from_day, rev, kwh_per_month, actor, document_id)'),
    ('used_elsewhere', 'INSERT (account_id, cycle, rev, kwh, actor, document_id)'),
    ('account_tariff', 'INSERT'),
    ('tariff_change', ''),
    ('tariff_held', ''),
    ('closed_day', 'INSERT (day)'),
    ('arrears_episode', 'INSERT, UPDATE (ended_at)'),
    ('point', 'INSERT, UPDATE, DELETE'),
    ('point_supply', 'INSERT, UPDATE, DELETE'),
    ('point_account', 'INSERT, UPDATE, DELETE'),
    ('point_ratio', 'INSERT, UPDATE, DELETE'),
    ('point_limit', 'INSERT, UPDATE, DELETE'),
    ('meter', 'INSERT, UPDATE, DELETE'),
    ('other_serial', 'INSERT, UPDATE (until_at)'),
    ('installation', 'INSERT, UPDATE, DELETE'),
    ('clock_setting', 'INSERT'),
    ('clock_finding', 'INSERT'),
    ('finding', 'INSERT'),
    ('decision', 'INSERT, UPDATE (takes_effect, checker, checked_at, rev)'),
    ('decision_review', 'INSERT'),
    ('closing', 'INSERT'),
    ('reading', 'INSERT'),
    ('teller', 'INSERT'),
    ('rule_set', 'INSERT (id, program, thresholds, actor)'),
    ('slot', 'INSERT, UPDATE, DELETE'),
    ('slot_journal', ''),
    ('chain_change', 'INSERT'),
    ('to_judge', 'INSERT, UPDATE, DELETE'),
    ('chain', 'INSERT, UPDATE'),
    ('doubt', 'INSERT, UPDATE, DELETE'),
    ('crossing', 'INSERT, UPDATE, DELETE'),
    ('dead_letter', 'INSERT, UPDATE (reason, replayed_at, dropped_at, actor, drop_reason)'),
    ('chart_of_accounts', ''),
    ('transaction_kind', ''),
    ('ledger_account', 'INSERT (name)'),
    ('posting_stream', 'INSERT (period, component)'),
    ('journal', 'INSERT (value_date, kind, account, other_account, fen, stream, leg_accounts, leg_amounts, leg_streams, actor, key, channel, content, document, reverses)'),
    ('ledger_transaction', ''),
    ('posting', ''),
    ('account_balance', ''),
    ('closed_month', 'INSERT (month, actor, reason)'),
    ('sealed_block', 'INSERT'),
    ('sealed_balance', 'INSERT'),
    ('seal_mark', 'INSERT, UPDATE'),
    ('link', 'INSERT, DELETE, UPDATE (billed_by)'),
    ('past_link', ''),
    ('account_month', 'INSERT, UPDATE'),
    ('old_charge', 'INSERT'),
    ('to_settle', 'INSERT, DELETE'),
    ('not_settled', 'INSERT, UPDATE, DELETE'),
    ('account_policy', 'INSERT (account_id, rev, profile, waits, actor, reason, second)'),
    ('contact', 'INSERT, UPDATE (language, has_consent, rank, is_listed, bounced_at)'),
    ('notice_to_send', 'INSERT, UPDATE, DELETE'),
    ('notice', 'INSERT, UPDATE (sent_at, delivered_at, failed_at, receipt, receipt_actor)'),
    ('cut_request', 'INSERT, UPDATE (withdrawn_at, withdrawn_by, withdrawn_why)'),
    ('approval', 'INSERT, UPDATE (withdrawn_at, withdrawn_by)'),
    ('order_in_force', ''),
    ('order_not_done', ''),
    ('reconnect_to_do', ''),
    ('cut_order', 'INSERT, UPDATE (second, agreed_at, ended_at, ended_by, ended_why)'),
    ('supply_mark', 'INSERT, UPDATE (lift_actor, lift_reason, lift_asked_at, lift_second, lifted_at)'),
    ('field_job', 'INSERT, UPDATE (closed_at, closed_by, result)'),
    ('field_job_owner', 'INSERT'),
    ('staff_alarm', 'INSERT, UPDATE (over_at, level, told_at, has_failed, acknowledged_at, acknowledged_by)'),
    ('staff_call', 'INSERT, UPDATE (next_at, tries, error, sent_at, failed_at)'),
    ('breaker', 'INSERT, UPDATE (reset_actor, reset_reason, reset_asked_at, reset_second, reset_at)'),
    ('command', 'INSERT, UPDATE'),
    ('command_event', ''),
    ('meter_order', 'INSERT, UPDATE'),
    ('meter_order_event', ''),
    ('guard_verdict', 'INSERT'),
    ('attempt', 'INSERT, UPDATE'),
    ('outage', 'INSERT, UPDATE, DELETE');

-- What a table's list says and the role may not. A privilege on columns counts when it has it on any.
CREATE FUNCTION lacking_privileges(daemon name) RETURNS TABLE (table_name text, privilege text) STABLE LANGUAGE sql AS $$
    SELECT d.table_name, p.privilege
    FROM daemon_privilege d
    CROSS JOIN regexp_split_to_table('SELECT, ' || regexp_replace(d.privileges, '\s*\([^)]*\)', '', 'g'), ',\s*') p (privilege)
    WHERE p.privilege <> ''
      AND NOT CASE WHEN p.privilege = 'DELETE' THEN has_table_privilege(daemon, d.table_name, 'DELETE')
                   ELSE has_any_column_privilege(daemon, d.table_name, p.privilege) END
$$;

-- Called by whoever migrates: the name of the daemon's role is the site's.
CREATE FUNCTION grant_to_daemon(daemon name) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    listed daemon_privilege;
    definer regprocedure;
BEGIN
    -- What makes months runs as this role, in a copy of the database too that another one was made the owner of.
    EXECUTE format('GRANT CREATE ON SCHEMA public TO %I', current_user);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', daemon);
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), daemon);
    FOR listed IN SELECT * FROM daemon_privilege LOOP
        EXECUTE format('REVOKE ALL ON %I FROM %I', listed.table_name, daemon);
        EXECUTE format('GRANT %s ON %I TO %I', concat_ws(', ', 'SELECT', nullif(listed.privileges, '')), listed.table_name, daemon);
    END LOOP;
    -- It draws places, and reads how far they were drawn; it sets none.
    EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE journal_place TO %I', daemon);
    -- A function of a trigger that runs as this role does so for any table it is put on: the daemon puts it on none.
    FOR definer IN SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace
                   AND proowner = current_user::regrole LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', definer);
        IF (SELECT prorettype <> 'trigger'::regtype FROM pg_proc WHERE oid = definer) THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', definer, daemon);
        END IF;
    END LOOP;
END $$;
