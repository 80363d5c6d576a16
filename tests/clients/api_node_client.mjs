// binance-api-node, spot and futures.
import api from 'binance-api-node';

import { KEY, SECRET, refusal, run } from './compare.mjs';

const Binance = api.default ?? api;

await run(async (base) => {
  const client = Binance({ apiKey: KEY, apiSecret: SECRET, httpBase: base, httpFutures: base, httpDelivery: base });
  return {
    unknown: await refusal(() => client.candles({ symbol: 'NOSUCHCOIN', interval: '1h' })),
    info: await client.exchangeInfo({ symbol: 'BTCUSDT' }),
    candles: await client.candles({ symbol: 'BTCUSDT', interval: '1h', limit: 100 }),
    book: await client.book({ symbol: 'BTCUSDT', limit: 10 }),
    day: await client.dailyStats({ symbol: 'BTCUSDT' }),
    prices: await client.prices(),
    tickers: await client.allBookTickers(),
    futuresCandles: await client.futuresCandles({ symbol: 'BTCUSDT', interval: '1h', limit: 100 }),
    futuresPrices: await client.futuresPrices(),
    markPrice: await client.futuresMarkPrice({ symbol: 'BTCUSDT' }),
    balances: (await client.accountInfo({ recvWindow: 60000 })).balances,
  };
});
