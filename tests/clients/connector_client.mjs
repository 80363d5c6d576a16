// @binance/connector, spot.
import { KEY, SECRET, load, run } from './compare.mjs';

const { Spot } = load('@binance/connector');

await run((base) => {
  const client = new Spot(KEY, SECRET, { baseURL: base });
  const data = (call) => async () => (await call()).data;
  return {
    market: {
      info: data(() => client.exchangeInfo({ symbol: 'BTCUSDT' })),
      klines: data(() => client.klines('BTCUSDT', '1h', { limit: 100 })),
      depth: data(() => client.depth('BTCUSDT', { limit: 10 })),
      day: data(() => client.ticker24hr('BTCUSDT')),
      price: data(() => client.tickerPrice('BTCUSDT')),
      prices: data(() => client.tickerPrice()),
      book: data(() => client.bookTicker('BTCUSDT')),
    },
    signed: { account: data(() => client.account({ recvWindow: 60000 })) },
    unknown: () => client.klines('NOSUCHCOIN', '1h'),
    codeOf: (error) => error.response?.data?.code,
  };
});
