// Charts: small ones as SVG, candles on a canvas.

import { h } from '/page/dom.js';

const WIDTH = 300;
const HEIGHT = 56;

/** Values over the last minutes, stacked. A series is `{ tone, values }`; the newest value is at the right edge. */
export function stacked(label, series, { slots, most }) {
  const length = Math.max(...series.map(({ values }) => values.length), 0);
  const sums = Array.from({ length }, (_, at) => series.reduce((sum, { values }) => sum + values[at], 0));
  const top = most ?? Math.max(...sums, 1) * 1.1;
  const x = (at) => (WIDTH - ((length - 1 - at) * WIDTH) / (slots - 1)).toFixed(1);
  const y = (value) => (HEIGHT - (Math.min(value, top) / top) * (HEIGHT - 2)).toFixed(1);
  const base = new Array(length).fill(0);
  const areas = series.map(({ tone, values }) => {
    const lower = [...base];
    values.forEach((value, at) => { base[at] += value; });
    const upper = base.map((value, at) => `${x(at)},${y(value)}`);
    const back = lower.map((value, at) => `${x(at)},${y(value)}`).reverse();
    return h('path', { class: `area ${tone}`, d: length > 1 ? `M${upper.join('L')}L${back.join('L')}Z` : 'M0,0' });
  });
  return h('svg', { class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label }, areas);
}

/** How much of a limit is used; the part from `reserve` on is marked. */
export function meter(label, used, limit, reserve) {
  const part = Math.min(1, limit > 0 ? used / limit : 0);
  const kept = limit > 0 ? Math.min(1, reserve / limit) : 0;
  const tone = part >= 1 - kept ? 'bad' : part >= 0.7 ? 'warn' : 'good';
  return h('svg', { class: 'meter', viewBox: '0 0 100 6', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    h('rect', { class: 'track', width: 100, height: 6 }),
    h('rect', { class: 'reserve', x: (100 - kept * 100).toFixed(1), width: (kept * 100).toFixed(1), height: 6 }),
    h('rect', { class: `area ${tone}`, width: (part * 100).toFixed(1), height: 6 }));
}

/** About five round numbers between two prices, and how many digits they need. */
export function round(low, high) {
  const rough = Math.max(high - low, 1e-10) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  const prices = Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => (first + at) * step);
  // The difference counts by the step: of the cheapest coins, steps are as small as errors of others.
  const isWhole = (digits) => Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) < 1e-6 * step * 10 ** digits;
  return { prices, digits: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].find(isWhole) ?? 12 };
}

const time = { hour: '2-digit', minute: '2-digit' };
const day = { day: 'numeric', month: 'short' };
// Days and months of the exchange begin by UTC.
const [MINUTES, HOURS, DAYS, MONTHS] = [time, { ...day, ...time }, day, { month: 'short', year: 'numeric' }]
  .map((parts) => new Intl.DateTimeFormat('en-GB', { ...parts, timeZone: 'UTC' }));
const A_DAY = 86400000;

/** How times are written under candles that are `apart` from each other, `all` from the first to the last. */
function times(apart, all) {
  if (all < A_DAY) return MINUTES;
  if (apart < A_DAY) return HOURS;
  return all < 300 * A_DAY ? DAYS : MONTHS;
}

const AXIS = 72;
const FOOT = 22;
const LEAST = 10;

/** Candles on a canvas: volume below, a crosshair, zoom by wheel and keys, gaps left empty. A candle is
 * `{ from, slot, open, high, low, close, volume, forming, said }`, `said` with the exchange's own texts; candles that follow each other are in slots that do. */
export class Candles {
  constructor(canvas, describe) {
    this.canvas = canvas;
    this.describe = describe;
    this.candles = [];
    this.length = 120;
    this.end = null;
    this.cross = null;
    canvas.addEventListener('wheel', (event) => { event.preventDefault(); this.zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15); }, { passive: false });
    canvas.addEventListener('pointermove', (event) => this.moved(event));
    canvas.addEventListener('pointerdown', (event) => { this.grip = { x: event.offsetX, end: this.last() }; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener('pointerup', () => { this.grip = null; });
    canvas.addEventListener('pointerleave', () => { this.cross = null; this.draw(); });
    canvas.addEventListener('keydown', (event) => this.pressed(event));
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(canvas);
  }

  close() { this.sized.disconnect(); }

  set(candles, isNew) {
    this.candles = candles;
    if (isNew) { this.end = null; this.cross = null; this.length = Math.min(this.fitting(), Math.max(LEAST, candles.length)); }
    this.draw();
  }

  /** As many candles as there is room for. */
  fitting() { return Math.max(30, Math.min(150, Math.floor((this.canvas.clientWidth - AXIS) / 7))); }

  /** The slot after the newest candle. */
  newest() { return (this.candles.at(-1)?.slot ?? 0) + 1; }

  first() { return this.candles[0]?.slot ?? 0; }

  /** The slot after the last one that is shown. */
  last() { return this.end ?? this.newest(); }

  scroll(slots) { this.until(this.last() + slots); }

  /** Shows what lies before a slot; the newest candles where that is beyond them. */
  until(slot) {
    this.end = slot >= this.newest() ? null : Math.max(this.first() + LEAST, slot);
    this.draw();
  }

  zoom(by) {
    const most = Math.max(LEAST, this.last() - this.first());
    this.length = Math.min(most, Math.max(LEAST, this.length * by));
    this.draw();
  }

  pressed(event) {
    const shown = this.shown();
    const at = shown.findIndex(({ from }) => from === this.cross?.from);
    const go = (by) => { this.cross = shown[Math.max(0, Math.min(shown.length - 1, (at < 0 ? shown.length : at) + by))] ?? null; this.draw(); };
    const done = {
      ArrowLeft: () => (event.shiftKey ? this.scroll(-this.length / 4) : go(-1)),
      ArrowRight: () => (event.shiftKey ? this.scroll(this.length / 4) : go(1)),
      '+': () => this.zoom(1 / 1.25), '=': () => this.zoom(1 / 1.25), '-': () => this.zoom(1.25),
      Home: () => this.scroll(-Infinity), End: () => this.scroll(Infinity),
      Escape: () => { this.cross = null; this.draw(); },
    }[event.key];
    if (!done) return;
    event.preventDefault();
    done();
  }

  shown() {
    const end = this.last();
    return this.candles.filter(({ slot }) => slot >= end - this.length && slot < end);
  }

  moved(event) {
    const wide = (this.canvas.clientWidth - AXIS) / this.length;
    if (this.grip) this.until(this.grip.end - (event.offsetX - this.grip.x) / wide);
    const at = Math.floor(this.last() - this.length + event.offsetX / wide + 1e-6);
    this.cross = this.candles.find(({ slot }) => slot === at) ?? null;
    this.pointer = event.offsetY;
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (width === 0 || height === 0) return;
    const dense = devicePixelRatio || 1;
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    const pen = canvas.getContext('2d');
    pen.scale(dense, dense);
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(name).trim();
    const shown = this.shown();
    this.describe(this.cross ?? this.candles.at(-1) ?? null, this.cross !== null);
    if (shown.length === 0) return;
    const room = { width: width - AXIS, price: (height - FOOT) * 0.78, volume: height - FOOT };
    let [low, high] = [Math.min(...shown.map((one) => one.low)), Math.max(...shown.map((one) => one.high))];
    const margin = (high - low || high || 1) * 0.05;
    [low, high] = [low - margin, high + margin];
    const busiest = Math.max(...shown.map((one) => one.volume), 1e-12);
    const wide = room.width / this.length;
    const first = this.last() - this.length;
    const x = (slot) => (slot - first) * wide;
    const y = (price) => ((high - price) / (high - low)) * room.price;
    this.axes(pen, { room, low, high, x, y, width, height, color, shown });
    const body = Math.max(1, wide * 0.7);
    for (const one of shown) {
      const tone = color(one.close >= one.open ? '--up' : '--down');
      const middle = x(one.slot) + wide / 2;
      pen.fillStyle = tone;
      pen.strokeStyle = tone;
      pen.globalAlpha = 0.35;
      const tall = (one.volume / busiest) * (room.volume - room.price) * 0.9;
      pen.fillRect(middle - body / 2, room.volume - tall, body, tall);
      pen.globalAlpha = 1;
      pen.beginPath();
      pen.moveTo(middle, y(one.high));
      pen.lineTo(middle, y(one.low));
      pen.stroke();
      const [top, tallest] = [y(Math.max(one.open, one.close)), Math.max(1, Math.abs(y(one.open) - y(one.close)))];
      // The forming candle is hollow: it will change.
      if (one.forming) {
        pen.fillStyle = color('--card');
        pen.fillRect(middle - body / 2, top, body, tallest);
        pen.setLineDash([3, 2]);
        pen.strokeRect(middle - body / 2, top, body, tallest);
        pen.setLineDash([]);
      } else pen.fillRect(middle - body / 2, top, body, tallest);
    }
    if (this.cross) this.crosshair(pen, { x: x(this.cross.slot) + wide / 2, room, width, low, high, color });
  }

  axes(pen, { room, low, high, x, y, width, color, shown }) {
    pen.font = '11px ui-monospace, monospace';
    pen.fillStyle = color('--dim');
    pen.strokeStyle = color('--line');
    pen.lineWidth = 1;
    const { prices, digits } = round(low, high);
    for (const price of prices) {
      pen.beginPath();
      pen.moveTo(0, Math.round(y(price)) + 0.5);
      pen.lineTo(room.width, Math.round(y(price)) + 0.5);
      pen.stroke();
      pen.fillText(price.toFixed(digits), room.width + 6, y(price) + 4, AXIS - 8);
    }
    pen.textAlign = 'center';
    const every = Math.max(1, Math.ceil(this.length / Math.max(2, room.width / 110)));
    const apart = shown.length > 1 ? (shown[1].from - shown[0].from) / (shown[1].slot - shown[0].slot) : 0;
    const written = times(apart, shown.at(-1).from - shown[0].from);
    shown.forEach(({ from, slot }) => {
      if (slot % every === 0 && x(slot) > 40 && x(slot) < width - AXIS - 20) pen.fillText(written.format(from), x(slot), room.volume + 15);
    });
    pen.textAlign = 'start';
    pen.fillText('UTC', room.width + 6, room.volume + 15);
  }

  crosshair(pen, { x, room, low, high, color }) {
    pen.strokeStyle = color('--dim');
    pen.setLineDash([2, 3]);
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, room.volume);
    if (this.pointer !== undefined && this.pointer < room.price) {
      pen.moveTo(0, this.pointer);
      pen.lineTo(room.width, this.pointer);
      pen.fillStyle = color('--text');
      pen.fillText((high - (this.pointer / room.price) * (high - low)).toFixed(Math.min(12, round(low, high).digits + 1)), room.width + 6, this.pointer - 4, AXIS - 8);
    }
    pen.stroke();
    pen.setLineDash([]);
  }
}
