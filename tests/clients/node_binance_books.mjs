// node-binance-api: its depth cache of spot. The same as books.py for it.
import http from 'node:http';
import { load } from './compare.mjs';

const Binance = load('node-binance-api');

const { SIM_URL, GATEWAY_URL } = process.env;
const plan = JSON.parse(process.env.PLAN);
const COMPARED = 100;
const EVERY_MS = 100;
const LOOK_EVERY = 0.25;

const began = performance.now();
const now = () => (performance.now() - began) / 1000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const top = (levels) => levels.slice(0, COMPARED).join(' ');
const rows = (levels) => levels.map(([price, quantity]) => [+price, +quantity]);
const sorted = (side, direction) => rows(Object.entries(side)).sort((a, b) => direction * (a[0] - b[0]));

// The exchange's own book, unless it is ill on purpose.
function ownBook() {
  return new Promise((done) => {
    const asked = http.get(`${SIM_URL}/api/v3/depth?symbol=BTCUSDT&limit=${COMPARED}`, async (answer) => {
      let text = '';
      for await (const part of answer) text += part;
      done(answer.statusCode === 200 ? JSON.parse(text) : undefined);
    });
    asked.on('error', () => done(undefined));
  });
}

function start(started, number) {
  const bot = { name: `spot ${number}`, started, joined: started, snapshots: 0, updates: 0, errors: [] };
  Object.assign(bot, { books: new Map(), looked: 0 });
  setTimeout(() => {
    const client = new Binance({
      urls: { base: `${GATEWAY_URL}/api/`, stream: `${SIM_URL.replace('http:', 'ws:')}/ws/` },
      verbose: true,
      log: (...words) => {
        const text = words.join(' ');
        if (/out of sync|error/i.test(text)) bot.errors.push([now(), text.slice(0, 200)]);
      },
    });
    const request = client.publicSpotRequest.bind(client);
    client.publicSpotRequest = async (...asked) => {
      bot.snapshots += 1;
      const answer = await request(...asked);
      bot.joined = now();
      return answer;
    };
    client.websockets.depthCache('BTCUSDT', (symbol, book, context) => {
      const update = context?.lastEventUpdateId;
      if (!update) return;
      bot.updates += 1;
      if (now() - bot.looked < LOOK_EVERY) return;
      bot.looked = now();
      bot.books.set(update, [now(), top(sorted(book.bids, -1)) + top(sorted(book.asks, 1))]);
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
  const book = await ownBook();
  if (book) books.set(book.lastUpdateId, top(rows(book.bids)) + top(rows(book.asks)));
}
const results = bots.map(({ client, looked, books: kept, ...bot }) => {
  const matched = [];
  const mismatched = [];
  for (const [update, book] of books) {
    if (kept.has(update)) {
      const [at, own] = kept.get(update);
      (own === book ? matched : mismatched).push(+at.toFixed(2));
    }
  }
  return { ...bot, matched, mismatched };
});
console.log(JSON.stringify(results));
process.exit(0);
