-- Meters that speak something else than DL/T 645-2007.

-- Without memory they are read by the host at midnight: how far from it, and what that can mean in energy.
ALTER TABLE reading
    ADD COLUMN host_offset_s numeric,
    ADD COLUMN error_bound bigint CHECK (error_bound >= 0),
    ADD CONSTRAINT host_freeze_has_an_error_bound CHECK ((host_offset_s IS NULL) = (error_bound IS NULL));
COMMENT ON COLUMN reading.host_offset_s IS 'read by the host so many seconds after frozen_at (negative: before); NULL: frozen by the meter itself';
COMMENT ON COLUMN reading.error_bound IS 'the most that the register can have moved in that time, in its smallest step';

-- A Modbus meter has no address of its own, only a unit on its line: LINE/UNIT names it. Its registers are in a profile.
ALTER TABLE meter
    ADD COLUMN profile text,
    DROP CONSTRAINT meter_address_check,
    ADD CONSTRAINT meter_address_check CHECK (address ~ '^([0-9]{12}|.+/[0-9]{1,3})$'),
    ADD CONSTRAINT modbus_has_a_profile CHECK (protocol NOT LIKE 'modbus%' OR profile IS NOT NULL);
