// `binance` of npm, spot and USD-M futures.
import { MainClient, USDMClient } from 'binance';

import { KEY, SECRET, refusal, run } from './compare.mjs';

await run(async (base) => {
  const options = { api_key: KEY, api_secret: SECRET, baseUrl: base, disableTimeSync: true, recvWindow: 60000 };
  const spot = new MainClient(options);
  const futures = new USDMClient(options);
  return {
    unknown: await refusal(() => spot.getKlines({ symbol: 'NOSUCHCOIN', interval: '1h' })),
    info: await spot.getExchangeInfo({ symbol: 'BTCUSDT' }),
    klines: await spot.getKlines({ symbol: 'BTCUSDT', interval: '1h', limit: 100 }),
    book: await spot.getOrderBook({ symbol: 'BTCUSDT', limit: 10 }),
    day: await spot.get24hrChangeStatistics({ symbol: 'BTCUSDT' }),
    prices: await spot.getSymbolPriceTicker(),
    futuresKlines: await futures.getKlines({ symbol: 'BTCUSDT', interval: '1h', limit: 100 }),
    futuresBook: await futures.getOrderBook({ symbol: 'BTCUSDT', limit: 20 }),
    markPrice: await futures.getMarkPrice({ symbol: 'BTCUSDT' }),
    balances: (await spot.getAccountInformation()).balances,
  };
});
