// node-binance-api: its depth cache of spot. The same as books.py for it.
import { load } from './compare.mjs';

const Binance = load('node-binance-api');

const { SIM_URL, GATEWAY_URL } = process.env;
const plan = JSON.parse(process.env.PLAN);
const COMPARED = 100;
const EVERY_MS = 300;

const began = performance.now();
const now = () => (performance.now() - began) / 1000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const top = (levels) => JSON.stringify(levels.slice(0, COMPARED).map(([price, quantity]) => [+price, +quantity]));
const sorted = (side, direction) => Object.entries(side).sort(([a], [b]) => direction * (a - b));

function start(started, number) {
  const bot = { name: `spot ${number}`, started, snapshots: 0, errors: [], books: new Map() };
  setTimeout(() => {
    const client = new Binance({
      urls: { base: `${GATEWAY_URL}/api/`, stream: `${SIM_URL.replace('http:', 'ws:')}/ws/` },
      verbose: true,
      log: (...told) => {
        const text = told.join(' ');
        if (/out of sync|error/i.test(text)) bot.errors.push([now(), text.slice(0, 200)]);
      },
    });
    const request = client.publicSpotRequest.bind(client);
    client.publicSpotRequest = (...asked) => {
      bot.snapshots += 1;
      return request(...asked);
    };
    client.websockets.depthCache('BTCUSDT', (symbol, book, context) => {
      const update = context?.lastEventUpdateId;
      if (update) bot.books.set(update, [now(), top(sorted(book.bids, -1)) + top(sorted(book.asks, 1))]);
    });
    bot.client = client;
  }, started * 1000);
  return bot;
}

// The client leaves it to the program that a snapshot failed; one that did would end here.
let bots = [];
process.on('unhandledRejection', (error) => {
  for (const bot of bots) if (now() >= bot.started) bot.errors.push([now(), `unhandled: ${error?.message ?? error}`]);
});

console.log('go');
bots = plan.starts.map(start);
const books = new Map();
while (now() < plan.seconds) {
  await pause(EVERY_MS - (Date.now() % 100) + 10);
  const answer = await fetch(`${SIM_URL}/api/v3/depth?symbol=BTCUSDT&limit=${COMPARED}`).catch(() => undefined);
  if (!answer?.ok) continue;
  const book = await answer.json();
  books.set(book.lastUpdateId, top(book.bids) + top(book.asks));
}
const told = bots.map(({ client, books: kept, ...bot }) => {
  const matched = [];
  const mismatched = [];
  for (const [update, book] of books) {
    if (kept.has(update)) {
      const [at, own] = kept.get(update);
      (own === book ? matched : mismatched).push(+at.toFixed(2));
    }
  }
  return { ...bot, updates: kept.size, matched, mismatched };
});
console.log(JSON.stringify(told));
process.exit(0);
