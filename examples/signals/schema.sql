-- A platform on which agents publish signals: buy or sell this pair now, with so much confidence.

CREATE TABLE symbols (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text    NOT NULL UNIQUE
);

CREATE TABLE agents (
    id         integer     PRIMARY KEY,
    name       text        NOT NULL UNIQUE,
    strategy   text        NOT NULL,
    is_active  boolean     NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL
);

-- One round of the worker.
CREATE TABLE pipeline_runs (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at      timestamptz,
    signals_written  integer     NOT NULL DEFAULT 0,
    outcomes_written integer     NOT NULL DEFAULT 0
);

CREATE TABLE signals (
    id          bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id      bigint,
    agent_id    integer        NOT NULL,
    symbol_id   integer        NOT NULL,
    timeframe   text           NOT NULL CHECK (timeframe IN ('15m', '1h', '4h', '1d')),
    direction   text           NOT NULL CHECK (direction IN ('long', 'short')),
    confidence  numeric(4, 3)  NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    entry_price numeric(20, 8) NOT NULL CHECK (entry_price > 0),
    created_at  timestamptz    NOT NULL DEFAULT now()
);

-- What became of a signal; those without one are open.
CREATE TABLE outcomes (
    signal_id  bigint         NOT NULL,
    closed_at  timestamptz    NOT NULL DEFAULT now(),
    exit_price numeric(20, 8) NOT NULL,
    return_pct numeric(9, 4)  NOT NULL,
    pnl        numeric(14, 4) NOT NULL
);

-- How long a signal is followed before it is closed.
CREATE FUNCTION life(timeframe text) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE timeframe WHEN '15m' THEN interval '30 minutes' WHEN '1h' THEN interval '2 hours'
                          WHEN '4h' THEN interval '8 hours' ELSE interval '36 hours' END
$$;
