-- Meters without memory: the host reads them at midnight. How far from it, and what that can mean in energy.

ALTER TABLE reading
    ADD COLUMN host_offset_s numeric,
    ADD COLUMN error_bound bigint CHECK (error_bound >= 0),
    ADD CONSTRAINT host_freeze_has_an_error_bound CHECK ((host_offset_s IS NULL) = (error_bound IS NULL));
COMMENT ON COLUMN reading.host_offset_s IS 'read by the host so many seconds after frozen_at (negative: before); NULL: frozen by the meter itself';
COMMENT ON COLUMN reading.error_bound IS 'the most that the register can have moved in that time, in its smallest step';
