// binance-api-node, spot and futures.
import { KEY, SECRET, load, run } from './compare.mjs';

const { default: Binance } = load('binance-api-node');

await run((base) => {
  const client = Binance({ apiKey: KEY, apiSecret: SECRET, httpBase: base, httpFutures: base, httpDelivery: base });
  return {
    market: {
      info: () => client.exchangeInfo({ symbol: 'BTCUSDT' }),
      candles: () => client.candles({ symbol: 'BTCUSDT', interval: '1h', limit: 100 }),
      book: () => client.book({ symbol: 'BTCUSDT', limit: 10 }),
      day: () => client.dailyStats({ symbol: 'BTCUSDT' }),
      prices: () => client.prices(),
      tickers: () => client.allBookTickers(),
      futuresCandles: () => client.futuresCandles({ symbol: 'BTCUSDT', interval: '1h', limit: 100 }),
      futuresPrices: () => client.futuresPrices(),
      markPrice: () => client.futuresMarkPrice({ symbol: 'BTCUSDT' }),
    },
    signed: { account: () => client.accountInfo({ recvWindow: 60000 }) },
    unknown: () => client.candles({ symbol: 'NOSUCHCOIN', interval: '1h' }),
    codeOf: (error) => error.code,
  };
});
