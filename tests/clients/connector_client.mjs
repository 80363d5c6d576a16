// @binance/connector, spot.
import connector from '@binance/connector';

import { KEY, SECRET, refusal, run } from './compare.mjs';

await run(async (base) => {
  const client = new connector.Spot(KEY, SECRET, { baseURL: base });
  const unknown = await refusal(() => client.klines('NOSUCHCOIN', '1h'));
  if (unknown.code !== -1121) client.logger.error(unknown);
  const calls = {
    info: client.exchangeInfo({ symbol: 'BTCUSDT' }),
    klines: client.klines('BTCUSDT', '1h', { limit: 100 }),
    depth: client.depth('BTCUSDT', { limit: 10 }),
    day: client.ticker24hr('BTCUSDT'),
    price: client.tickerPrice('BTCUSDT'),
    prices: client.tickerPrice(),
    book: client.bookTicker('BTCUSDT'),
    account: client.account({ recvWindow: 60000 }),
  };
  const results = { unknown };
  for (const [name, call] of Object.entries(calls)) results[name] = (await call).data;
  results.account = results.account.balances;
  return results;
});
