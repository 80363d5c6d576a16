-- The stocks, five years of daily prices, and a score a day for each.

CREATE TABLE stocks (
    symbol     text PRIMARY KEY,
    name       text NOT NULL,
    sector     text NOT NULL,
    market_cap bigint NOT NULL
);

CREATE TABLE daily_prices (
    symbol    text NOT NULL REFERENCES stocks,
    day       date NOT NULL,
    open      numeric(12, 2) NOT NULL,
    high      numeric(12, 2) NOT NULL,
    low       numeric(12, 2) NOT NULL,
    close     numeric(12, 2) NOT NULL,
    adj_close numeric(12, 2) NOT NULL,
    volume    bigint NOT NULL,
    PRIMARY KEY (symbol, day)
);
CREATE INDEX daily_prices_by_day ON daily_prices (day);

CREATE TABLE scores (
    symbol text NOT NULL REFERENCES stocks,
    day    date NOT NULL,
    score  numeric(5, 2) NOT NULL,
    PRIMARY KEY (symbol, day)
);
