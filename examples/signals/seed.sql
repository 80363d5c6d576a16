-- Ninety days of signals up to this hour, the same ones at every run:
--
--     psql -v signals=500000 -v agents=50 -v pairs=BTCUSDT=64000.10,ETHUSDT=3100.25 -f seed.sql

-- A number from 0 to 1 that belongs to a row and a purpose.
CREATE FUNCTION pg_temp.chance(of_row bigint, purpose integer) RETURNS double precision
LANGUAGE sql IMMUTABLE AS
$$ SELECT (hashint8extended(of_row, purpose) & 9007199254740991) / 9007199254740992.0::double precision $$;

CREATE TEMP TABLE pairs AS
SELECT split_part(pair, '=', 1) AS symbol, split_part(pair, '=', 2)::double precision AS price
FROM unnest(string_to_array(:'pairs', ',')) AS pair;
INSERT INTO symbols (symbol) SELECT symbol FROM pairs;
CREATE TEMP TABLE listed AS SELECT id, price FROM symbols JOIN pairs USING (symbol);
SELECT count(*) AS symbols FROM listed \gset

INSERT INTO agents (id, name, strategy, created_at)
SELECT n, strategy || '-' || lpad(n::text, 2, '0'), strategy, date_trunc('hour', now()) - interval '1 year'
FROM generate_series(1, :agents) AS n
CROSS JOIN LATERAL (SELECT (ARRAY[
    'momentum', 'reversal', 'breakout', 'carry', 'orderflow', 'sentiment', 'pairs', 'trend'])[1 + n % 8] AS strategy
) AS named;

INSERT INTO signals (agent_id, symbol_id, timeframe, direction, confidence, entry_price, created_at)
SELECT
    1 + floor(:agents * pg_temp.chance(n, 1))::integer,
    listed.id,
    (ARRAY['15m', '15m', '15m', '1h', '1h', '1h', '4h', '1d'])[1 + floor(8 * pg_temp.chance(n, 3))::integer],
    CASE WHEN pg_temp.chance(n, 4) < 0.56 THEN 'long' ELSE 'short' END,
    0.35 + 0.6 * pg_temp.chance(n, 5),
    greatest(listed.price * exp(0.2 * pg_temp.chance(n, 6) - 0.1), 0.00000001),
    date_trunc('hour', now()) - interval '90 days' * (1 - n::double precision / :signals)
FROM generate_series(1, :signals) AS n
-- A few pairs have most of the signals.
JOIN listed ON listed.id = 1 + floor(:symbols * pg_temp.chance(n, 2) ^ 2.5)::integer
ORDER BY n;

-- All but the newest are closed. An agent has its skill, confidence some truth, and an hour of the day its mood.
INSERT INTO outcomes (signal_id, closed_at, exit_price, return_pct, pnl)
SELECT id, closed_at, greatest(entry_price * (1 + CASE direction WHEN 'long' THEN move ELSE -move END / 100), 0.00000001),
       move, move * 10
FROM signals
CROSS JOIN LATERAL (SELECT
    created_at + life(timeframe) * (0.5 + pg_temp.chance(id, 7)) AS closed_at,
    0.15 + 0.35 * confidence + 0.15 * pg_temp.chance(agent_id, 8)
        + 0.05 * sin(extract(hour FROM created_at AT TIME ZONE 'UTC') / 3.8) AS wins) AS fate
CROSS JOIN LATERAL (SELECT round((CASE
    WHEN pg_temp.chance(id, 9) < wins THEN 3.4 * pg_temp.chance(id, 10) + 0.05
    ELSE -2.6 * pg_temp.chance(id, 10) - 0.05 END)::numeric, 4) AS move) AS moved
WHERE closed_at < date_trunc('hour', now());

-- With the rows in place: that is quicker than row by row.
ALTER TABLE outcomes ADD PRIMARY KEY (signal_id), ADD FOREIGN KEY (signal_id) REFERENCES signals;
ALTER TABLE signals ADD FOREIGN KEY (run_id) REFERENCES pipeline_runs, ADD FOREIGN KEY (agent_id) REFERENCES agents,
                    ADD FOREIGN KEY (symbol_id) REFERENCES symbols;
CREATE INDEX signals_by_time ON signals (created_at);
CREATE INDEX signals_by_agent ON signals (agent_id, id DESC);
CREATE INDEX signals_by_symbol ON signals (symbol_id, id DESC);
CREATE INDEX outcomes_by_time ON outcomes (closed_at);
ANALYZE;
