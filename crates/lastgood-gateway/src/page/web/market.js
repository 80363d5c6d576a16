// Market: candles of a series, with what the cache knows of them, the ticker and the order book. It asks as any client
// does, so that it shows what clients are served; every five seconds, and only while it is seen.

import { ago, card, count, facts, h, many, moment, show, span, spansTable, state, table, withUnit } from '/page/dom.js';
import { said, text } from '/page/api.js';
import { Candles } from '/page/charts.js';

const MARKETS = {
  spot: { label: 'Spot', base: '/api/v3', popular: 'BTCUSDT' },
  futures: { label: 'USD-M futures', base: '/fapi/v1', popular: 'BTCUSDT' },
  coin: { label: 'COIN-M futures', base: '/dapi/v1', popular: 'BTCUSD_PERP' },
};
const MINUTE = 60000;
const DAY = 1440;
/** In minutes; months are of different lengths. */
const INTERVALS = { '1m': 1, '3m': 3, '5m': 5, '15m': 15, '30m': 30, '1h': 60, '2h': 120, '4h': 240, '6h': 360, '8h': 480, '12h': 720,
  '1d': DAY, '3d': 3 * DAY, '1w': 7 * DAY, '1M': null };
/** Weeks begin on Monday, and the epoch was a Thursday. */
const FIRST_MONDAY = 4 * DAY;
const EVERY = 5000;
/** The state of a series of more spans is asked for at every twelfth poll only: the store may be asked for each of them. */
const MANY_SPANS = 50;
const LEVELS = 9;
/** As many kept series are listed. */
const MOST_SERIES = 200;
const BY_WHOM = { exchange: 'from an answer of the exchange', stream: 'from a stream' };
const PLACES = { both: 'memory and store', memory: 'memory', store: 'the store' };

export function market(room, page) {
  const chosen = { market: 'spot', symbol: 'BTCUSDT', interval: '1m' };
  const select = (id, label, options) => h('select', { id, 'aria-label': label }, options.map(([value, text]) => h('option', { value }, text)));
  const of = select('market-of', 'Market', Object.entries(MARKETS).map(([name, { label }]) => [name, label]));
  const symbol = h('input', { id: 'market-symbol', class: 'wide', list: 'market-symbols', 'aria-label': 'Symbol', autocomplete: 'off', spellcheck: 'false' });
  const symbols = h('datalist', { id: 'market-symbols' });
  const interval = select('market-interval', 'Interval', Object.keys(INTERVALS).map((name) => [name, name]));
  const readout = h('p', { class: 'readout' });
  const canvas = h('canvas', { tabindex: 0, role: 'img', 'aria-label': 'Candles. Arrow keys move the crosshair, with shift they scroll; plus and minus zoom.' });
  const source = h('p', { class: 'dim note' });
  const cameBy = h('p', { class: 'dim came' });
  const [ticker, depth, kept] = [1, 2, 3].map(() => h('div', { class: 'stack' }));
  const spans = h('div', { class: 'stack spans' });
  const form = h('form', { class: 'row', onsubmit: (event) => { event.preventDefault(); go(); } }, of, symbol, symbols, interval, h('button', { type: 'submit', class: 'primary' }, 'Show'));
  room.append(h('div', { class: 'market' },
    h('div', { class: 'stack' }, h('section', { class: 'card' }, h('h2', {}, 'Candles'), form, readout, canvas, cameBy, source), spans),
    h('div', { class: 'stack' }, ticker, depth, kept)));
  /** The spans that are known of the series, oldest first. */
  let stretches = [];
  const chart = new Candles(canvas, (one, isCross) => { show(readout, ...described(one, isCross)); show(cameBy, ...origin(one, isCross)); });
  const go = () => { location.hash = `#market/${of.value}/${encodeURIComponent(symbol.value.trim().toUpperCase())}/${interval.value}`; };
  of.addEventListener('change', () => {
    // Spot and USD-M futures have symbols of the same names.
    if ((of.value === 'coin') !== (chosen.market === 'coin')) symbol.value = MARKETS[of.value].popular;
    list();
    go();
  });
  interval.addEventListener('change', go);

  let turn = 0;
  let polls = 0;
  let timer = null;
  let isClosed = false;
  let opened = '';

  function described(one, isCross) {
    if (!one) return ['No candles.'];
    const value = (name, number) => h('span', {}, h('span', { class: 'dim' }, `${name} `), String(number));
    return [value(isCross ? 'at' : 'last', moment(one.from, page.time())), ...Object.entries(one.said).map(([name, text]) => value(name, text)),
       one.forming ? h('span', { class: 'pill warn' }, 'forming') : h('span', { class: 'dim' }, 'closed')];
  }

  /** Where a candle came from, and since when it is known. */
  function origin(one, isCross) {
    const of = one && stretches.findLast(({ from, to }) => from <= one.from && (to === null || one.from <= to));
    if (!of) return [one ? 'Of this candle nothing is kept yet.' : ''];
    const now = page.time();
    return [isCross ? `Candle of ${moment(one.from, now)}: ` : 'Newest candle: ', one.forming ? 'forming' : of.what === 'doubted' ? 'doubted, to be asked for again' : of.confirmed ? 'settled and confirmed' : 'settled, not confirmed yet',
      `, ${BY_WHOM[of.origin] ?? 'by whom it came is not kept'}, in ${PLACES[of.tier]}`, of.said_at === null ? '.' : `, first seen ${ago(of.said_at, now)}.`];
  }

  async function list() {
    const wanted = of.value;
    const known = await popular(page, wanted).catch(() => []);
    if (of.value === wanted) show(symbols, known.map((value) => h('option', { value })));
  }

  async function load(isNew) {
    clearTimeout(timer);
    turn += 1;
    const mine = turn;
    if (isNew) [polls, stretches] = [0, []];
    const { base } = MARKETS[chosen.market];
    const query = `symbol=${encodeURIComponent(chosen.symbol)}`;
    if (!document.hidden) {
      const asked = text(`${base}/klines?${query}&interval=${chosen.interval}&limit=500`, { most: 1 << 20 });
      // The state of the series is asked for after the candles, which may be cached only then.
      const listing = polls % (stretches.length > MANY_SPANS ? 12 : 1) === 0 ? asked.then(series, series) : null;
      const [candles, day, book, known] = await Promise.allSettled([asked, text(`${base}/ticker/24hr?${query}`), text(`${base}/depth?${query}&limit=20`), listing]);
      if (mine !== turn || isClosed) return;
      polls += 1;
      // Before the candles, which are described by it.
      if (known.value) stretches = known.value.stretches;
      if (candles.status === 'fulfilled') drawn(candles.value, isNew);
      else show(source, candles.reason.message);
      if (day.status === 'fulfilled') show(ticker, summary(day.value));
      if (book.status === 'fulfilled') show(depth, levels(book.value));
      // With the others, so that it does not come before them and is pushed down.
      if (known.value) { show(kept, known.value.kept); show(spans, known.value.spans); }
    }
    timer = setTimeout(() => load(false), EVERY);
  }

  function drawn(answer, isNew) {
    const rows = parsed(answer);
    if (!Array.isArray(rows)) {
      chart.set([], true);
      show(source, h('span', { class: 'bad' }, said(answer.status, rows)));
      return;
    }
    const now = page.time();
    const candles = rows.map(([from, open, high, low, close, volume, to]) => (
      { from, slot: slot(from, chosen.interval), open: +open, high: +high, low: +low, close: +close, volume: +volume, forming: to >= now,
        said: { open, high, low, close, volume } }));
    chart.set(candles, isNew || chart.candles.length === 0);
    const holes = candles.filter((one, at) => at > 0 && one.slot > candles[at - 1].slot + 1).length;
    show(source, ...label(answer), holes ? h('span', { class: 'warn' }, ` ${many(holes, 'gap')}`) : '');
  }

  /** What the cache knows of the series, and which series it keeps. */
  async function series() {
    const listed = async (pattern, limit) => (await page.ask('GET', `/api/cache/keys?region=klines&pattern=${encodeURIComponent(pattern)}&limit=${limit}`)).keys.map(({ key }) => key);
    const [names, own] = await Promise.all([listed('klines:*:tail', MOST_SERIES), listed(`klines:*klines:${encodeURIComponent(chosen.symbol)}:${chosen.interval}:tail`, MOST_SERIES)]);
    const all = card('Kept series', h('ul', { class: 'series', tabindex: 0, 'aria-label': 'Kept series' }, names.map(link)),
      names.length === MOST_SERIES ? h('p', { class: 'dim' }, `The first ${count(MOST_SERIES)}; the others are found by their symbol.`) : null);
    const mine = own.find((name) => ends(name)?.every((part, at) => part === [chosen.market, chosen.symbol, chosen.interval][at]));
    if (!mine) return { kept: all, stretches: [], spans: card('Known of this series', h('p', { class: 'dim' }, 'Nothing is kept of it yet.')) };
    const known = await page.ask('GET', `/api/cache/explain/${encodeURIComponent(mine)}`);
    const now = page.time();
    const spans = card('Known of this series', spansTable('Known of this series', (known.candles ?? []).slice(-12).reverse(), now, page.now?.began ?? 0, 'Nothing.'),
    h('p', { class: 'dim' }, `Its end is ${span(known.age_ms)} old, kept in ${known.tier === 'both' ? 'memory and store' : known.tier}. `,
      h('a', { href: `#keys/key:${encodeURIComponent(known.key)}` }, 'The key')));
    return { kept: all, spans, stretches: known.candles ?? [] };
  }

  function link(name) {
    const parts = ends(name);
    return h('li', {}, parts ? h('a', { href: `#market/${parts.map(encodeURIComponent).join('/')}` }, parts.slice(1).join(' '), parts[0] === 'spot' ? '' : ` ${parts[0]}`) : h('code', {}, name));
  }

  return {
    open(path) {
      const [name, wanted, length] = path.split('/');
      if (Object.hasOwn(MARKETS, name)) chosen.market = name;
      chosen.symbol = wanted || (path === '' ? chosen.symbol : MARKETS[chosen.market].popular);
      if (Object.hasOwn(INTERVALS, length ?? '')) chosen.interval = length;
      of.value = chosen.market;
      symbol.value = chosen.symbol;
      interval.value = chosen.interval;
      if (symbols.childElementCount === 0) list();
      const series = [chosen.market, chosen.symbol, chosen.interval].join();
      // A series that is shown already keeps its scroll position.
      load(series !== opened);
      opened = series;
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      chart.close();
    },
  };
}

/** Which candle of an interval begins at a moment, counted so that the next one is one more. */
function slot(from, interval) {
  const begins = new Date(from);
  if (interval === '1M') return begins.getUTCFullYear() * 12 + begins.getUTCMonth();
  return Math.floor((from / MINUTE - (interval === '1w' ? FIRST_MONDAY : 0)) / INTERVALS[interval]);
}

/** The symbols of a market, popular first. COIN-M has no list of the gateway's own: there the busiest of the day come first. */
async function popular(page, name) {
  if (name !== 'coin') return (await page.ask('GET', `/v1/symbols/${name}?limit=1000`)).symbols.map(({ symbol }) => symbol);
  const days = JSON.parse((await text(`${MARKETS.coin.base}/ticker/24hr`, { most: 1 << 20 })).body);
  return days.sort((one, other) => other.baseVolume - one.baseVolume).map(({ symbol }) => symbol);
}

/** The market, symbol and interval of a series' key, if it is one that this view shows. */
function ends(key) {
  const [, venue, symbol, interval] = /^klines:(\w+)(?:@[^/]*)?\/\w+\/v\d\/klines:([^:]+):([^:]+):tail$/.exec(key) ?? [];
  if (!Object.hasOwn(MARKETS, venue ?? '') || !Object.hasOwn(INTERVALS, interval)) return null;
  return [venue, decodeURIComponent(symbol), interval];
}

function parsed({ body }) {
  try { return JSON.parse(body); } catch { return null; }
}

/** Where an answer came from. */
function label({ headers, took }) {
  const age = headers.get('age');
  const outcome = headers.get('x-cache') ?? '';
  // Of a last good answer the detail is the reason as well.
  const [, tier, reason] = /detail=([\w-]+)(?::([\w-]+))?/.exec(headers.get('cache-status') ?? '') ?? [];
  return [outcome ? state(outcome) : '', ` ${[reason ?? tier, age === null ? null : `${withUnit(age, 's')} old`, `in ${withUnit(took.toFixed(0), 'ms')}`].filter(Boolean).join(', ')}`];
}

function summary(answer) {
  const one = parsed(answer);
  const day = Array.isArray(one) ? one[0] : one;
  if (!day?.lastPrice) return card('Ticker', h('p', { class: 'bad' }, said(answer.status, day)));
  return card('Ticker', facts([
    ['Price', h('strong', {}, day.lastPrice)],
    ['24 hours', h('span', { class: day.priceChangePercent < 0 ? 'ask' : 'bid' }, `${day.priceChangePercent > 0 ? '+' : ''}${day.priceChangePercent} %`)],
    ['High', day.highPrice], ['Low', day.lowPrice], ['Volume', day.volume], ['Trades', count(day.count)],
  ]), h('p', { class: 'dim' }, ...label(answer)));
}

function levels(answer) {
  const book = parsed(answer);
  if (!Array.isArray(book?.bids)) return card('Order book', h('p', { class: 'bad' }, said(answer.status, book)));
  const rows = [...book.asks.slice(0, LEVELS).reverse().map((one) => ['ask', ...one]), ...book.bids.slice(0, LEVELS).map((one) => ['bid', ...one])];
  return card('Order book', table('Order book', [
    { head: 'Side', cell: ([side]) => h('span', { class: side }, side) },
    { head: 'Price', number: true, cell: ([side, price]) => h('span', { class: side }, price) },
    { head: 'Quantity', number: true, cell: ([, , quantity]) => quantity },
  ], rows, 'It is empty.'), h('p', { class: 'dim' }, ...label(answer)));
}
