-- Supply: commands are rows first and frames afterwards; every verdict of the guard is kept.

CREATE TABLE command (
    id              uuid PRIMARY KEY,
    sequence        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    point_id        text NOT NULL REFERENCES point,
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
    CHECK (action <> 'trip' OR guard IS NOT NULL),
    CHECK ((sends = 0) = (sent_at IS NULL))
);
COMMENT ON COLUMN command.address IS 'the meter''s address at the time of the command; so is the line, which may change';
COMMENT ON COLUMN command.guard IS 'all inputs and the verdict of the last evaluation; for a trip the one that released it';
COMMENT ON COLUMN command.next_at IS 'when the line has to send it or to look at the relay again';
CREATE UNIQUE INDEX one_open_command_of_a_point ON command (point_id)
    WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying');
CREATE INDEX open_commands ON command (meter_id, next_at)
    WHERE state IN ('persisted', 'sent', 'acked', 'unknown', 'verifying');
CREATE INDEX commands_of_a_point ON command (point_id, sequence);

CREATE TABLE command_event (
    command_id  uuid NOT NULL REFERENCES command,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    state       text NOT NULL,
    detail      text NOT NULL,
    guard       jsonb
);
CREATE INDEX events_of_a_command ON command_event (command_id, at);
CREATE FUNCTION journal_command() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TABLE guard_verdict (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    point_id    text NOT NULL REFERENCES point,
    at          timestamptz NOT NULL,
    decision    text NOT NULL CHECK (decision IN ('allow', 'deny', 'needs_approval')),
    reasons     text[] NOT NULL,
    facts       jsonb NOT NULL
);
COMMENT ON TABLE guard_verdict IS 'each change of the guard''s mind about a point, with every failing reason';
CREATE INDEX verdicts_of_a_point ON guard_verdict (point_id, id DESC);
