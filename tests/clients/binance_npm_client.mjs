// `binance` of npm, spot and USD-M futures.
import { KEY, SECRET, load, run } from './compare.mjs';

const { MainClient, USDMClient } = load('binance');

await run((base) => {
  const options = { api_key: KEY, api_secret: SECRET, baseUrl: base, disableTimeSync: true, recvWindow: 60000 };
  const spot = new MainClient(options);
  const futures = new USDMClient(options);
  return {
    market: {
      info: () => spot.getExchangeInfo({ symbol: 'BTCUSDT' }),
      klines: () => spot.getKlines({ symbol: 'BTCUSDT', interval: '1h', limit: 100 }),
      book: () => spot.getOrderBook({ symbol: 'BTCUSDT', limit: 10 }),
      day: () => spot.get24hrChangeStatistics({ symbol: 'BTCUSDT' }),
      prices: () => spot.getSymbolPriceTicker(),
      futuresKlines: () => futures.getKlines({ symbol: 'BTCUSDT', interval: '1h', limit: 100 }),
      futuresBook: () => futures.getOrderBook({ symbol: 'BTCUSDT', limit: 20 }),
      markPrice: () => futures.getMarkPrice({ symbol: 'BTCUSDT' }),
    },
    signed: { account: () => spot.getAccountInformation() },
    unknown: () => spot.getKlines({ symbol: 'NOSUCHCOIN', interval: '1h' }),
    codeOf: (error) => error.code,
  };
});
