-- Fills the schema: STOCKS=5000 DAYS=1260 psql -f seed.sql. Deterministic; that much is 6.3 million prices.
\getenv stocks STOCKS
\getenv days DAYS
\if :{?stocks}
\else
    \set stocks 500
\endif
\if :{?days}
\else
    \set days 260
\endif

-- Ten that everyone knows, then S0011 and so on.
INSERT INTO stocks
SELECT coalesce((ARRAY['AAPL','MSFT','NVDA','AMZN','GOOGL','META','TSLA','BRK.B','JPM','V'])[n], 'S' || lpad(n::text, 4, '0')),
       'Company ' || n,
       (ARRAY['Technology','Health','Energy','Finance','Consumer','Industry'])[1 + n % 6],
       (3e12 / (1 + n * 0.9))::bigint
FROM generate_series(1, :stocks) AS n;

-- Working days, counted back from the last: `ago` is what prices are made of, so that more days change none.
CREATE TEMPORARY TABLE days AS
SELECT day::date, row_number() OVER (ORDER BY day DESC) AS ago
FROM generate_series(date '2025-12-31' - :days * 2 - 10, date '2025-12-31', interval '1 day') AS day
WHERE extract(isodow FROM day) < 6
ORDER BY day DESC
LIMIT :days;

INSERT INTO daily_prices
SELECT symbol, day, opened, greatest(opened, closed) * 1.006, least(opened, closed) * 0.994, closed, closed,
       100000 + (abs(sin(n * 12.9898 + ago * 78.233)) * 9000000)::bigint
FROM (SELECT symbol, row_number() OVER (ORDER BY market_cap DESC) AS n FROM stocks) AS stock,
     days,
     LATERAL (SELECT 20 + n * 7919 % 480 AS base, n * 0.618 AS phase) AS shape,
     LATERAL (SELECT
         (base * exp(0.2 * sin(ago / 90.0 + phase) + 0.03 * sin(ago * 1.7 + phase * 3)))::numeric(12, 2) AS closed,
         (base * exp(0.2 * sin((ago + 1) / 90.0 + phase) + 0.03 * sin((ago + 1) * 1.7 + phase * 3)))::numeric(12, 2) AS opened
     ) AS price;

INSERT INTO scores
SELECT symbol, day, 50 + 50 * sin(n * 0.37 + ago * 0.05)
FROM (SELECT symbol, row_number() OVER (ORDER BY market_cap DESC) AS n FROM stocks) AS stock, days
WHERE ago <= 90;

ANALYZE;
