-- What meters told (never changed) and what became of it (slots; every change is journalled).

CREATE TABLE reading (
    frozen_at       timestamptz NOT NULL,
    meter_id        integer NOT NULL REFERENCES meter,
    kind            text NOT NULL CHECK (kind IN ('daily_freeze')),
    total           bigint NOT NULL,
    rates           bigint[] NOT NULL DEFAULT '{}',
    arrived_at      timestamptz NOT NULL,
    clock_skew_s    bigint,
    PRIMARY KEY (frozen_at, meter_id, kind, total)
);
COMMENT ON COLUMN reading.frozen_at IS 'the time stamp the meter gave with the freeze, its wall clock read in the site''s zone';
COMMENT ON COLUMN reading.total IS 'register in its smallest step (meter.decimals)';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER reading_is_never_changed BEFORE UPDATE ON reading FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE slot (
    day         date NOT NULL,
    point_id    text NOT NULL REFERENCES point,
    kind        text NOT NULL CHECK (kind IN ('daily_freeze')),
    state       text NOT NULL CHECK (state IN ('published', 'suspect')),
    reasons     text[] NOT NULL DEFAULT '{}',
    meter_id    integer NOT NULL REFERENCES meter,
    total       bigint NOT NULL,
    decided_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (point_id, kind, day),
    CHECK ((state = 'suspect') = (cardinality(reasons) > 0))
);
COMMENT ON TABLE slot IS 'one owed value; a missing one has no row. day D holds the freeze of D 00:00, the close of D-1';
CREATE INDEX slot_by_day ON slot (day, kind);

CREATE TABLE slot_journal (
    changed_at  timestamptz NOT NULL DEFAULT now(),
    was         jsonb NOT NULL
);
CREATE FUNCTION journal_slot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO slot_journal (was) VALUES (to_jsonb(OLD));
    RETURN NULL;
END $$;
CREATE TRIGGER slot_changes_are_journalled AFTER UPDATE OR DELETE ON slot FOR EACH ROW EXECUTE FUNCTION journal_slot();

CREATE TABLE dead_letter (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    content     jsonb NOT NULL,
    reason      text NOT NULL
);
COMMENT ON TABLE dead_letter IS 'readings that could not be stored, each with its reason; nothing is thrown away';
