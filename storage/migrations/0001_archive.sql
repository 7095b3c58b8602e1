-- What the site is: accounts, metering points and the meters that serve them for a time.

CREATE TABLE account (
    id                  text PRIMARY KEY CHECK (id <> ''),
    name                text NOT NULL DEFAULT '',
    tariff_id           text NOT NULL,
    state               text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'active', 'closing', 'closed')),
    agreement           text,
    open_from           date,
    warn_fen            bigint NOT NULL,
    trip_fen            bigint NOT NULL,
    reconnect_fen       bigint NOT NULL,
    credit_limit_fen    bigint NOT NULL DEFAULT 0 CHECK (credit_limit_fen >= 0),
    credit_state        text NOT NULL DEFAULT 'good' CHECK (credit_state IN ('good', 'low', 'emergency', 'exhausted')),
    episode_started_at  timestamptz,
    CHECK (reconnect_fen >= trip_fen),
    CHECK (warn_fen >= trip_fen),
    CHECK (state = 'pending' OR (open_from IS NOT NULL AND agreement IS NOT NULL)),
    CHECK ((credit_state = 'exhausted') <= (episode_started_at IS NOT NULL))
);

CREATE TABLE point (
    id              text PRIMARY KEY CHECK (id <> ''),
    account_id      text REFERENCES account,
    area            text NOT NULL DEFAULT '',
    ratio           numeric NOT NULL CHECK (ratio > 0),
    max_daily_kwh   numeric NOT NULL CHECK (max_daily_kwh > 0),
    reconnect       text NOT NULL DEFAULT 'allow_close' CHECK (reconnect IN ('allow_close', 'close')),
    protected       boolean NOT NULL DEFAULT false,
    life_support    boolean NOT NULL DEFAULT false,
    supply_state    text NOT NULL DEFAULT 'energised' CHECK (supply_state IN (
                        'energised', 'trip_commanded', 'disconnected', 'reconnect_commanded', 'wait_customer_button')),
    relay_observed  text NOT NULL DEFAULT 'unknown' CHECK (relay_observed IN ('closed', 'open', 'unknown')),
    relay_observed_at timestamptz,
    keep_power_observed boolean NOT NULL DEFAULT false
);
CREATE INDEX point_of_account ON point (account_id);
COMMENT ON COLUMN point.max_daily_kwh IS 'most that the register can advance in a day, in register units (before the ratio)';

CREATE TABLE meter (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address     text NOT NULL UNIQUE CHECK (address ~ '^[0-9]{12}$'),
    line        text NOT NULL,
    protocol    text NOT NULL,
    modulus     bigint NOT NULL CHECK (modulus > 0),
    decimals    smallint NOT NULL CHECK (decimals BETWEEN 0 AND 4)
);
COMMENT ON COLUMN meter.modulus IS 'the register rolls over here, in its smallest step (1000000 kWh with 2 decimals = 100000000)';

CREATE TABLE installation (
    point_id        text NOT NULL REFERENCES point,
    meter_id        integer NOT NULL REFERENCES meter,
    installed_on    date NOT NULL,
    removed_on      date CHECK (removed_on >= installed_on),
    PRIMARY KEY (point_id, installed_on)
);
CREATE UNIQUE INDEX one_meter_at_a_point ON installation (point_id) WHERE removed_on IS NULL;
CREATE UNIQUE INDEX one_point_of_a_meter ON installation (meter_id) WHERE removed_on IS NULL;

CREATE TABLE tariff_version (
    tariff_id       text NOT NULL,
    effective_from  date NOT NULL,
    price           numeric NOT NULL CHECK (price >= 0 AND scale(price) <= 8),
    PRIMARY KEY (tariff_id, effective_from)
);
COMMENT ON COLUMN tariff_version.price IS 'yuan per kWh, all day; immutable from the day a charge refers to it';
