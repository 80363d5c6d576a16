// Elements, and how values are written. Whatever comes from the cache becomes text, never markup.

const SVG = 'http://www.w3.org/2000/svg';
const SVG_TAGS = new Set(['svg', 'path', 'rect', 'line', 'circle', 'g', 'title']);

/** An element. `on…` properties are listeners, all others attributes; children are elements or text. */
export function h(tag, props, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  add(node, children);
  return node;
}

/** Characters that turn the order of those around them: shown as what they are, they turn nothing. */
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
export const plain = (text) => String(text).replaceAll(TURNING, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, '0')}`);

/** A name that somebody else chose: whatever its script, it moves nothing around it. */
export const name = (text) => h('bdi', {}, text);

function add(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(node, child);
    else if (child !== null && child !== undefined && child !== false) {
      node.append(child instanceof Node ? child : document.createTextNode(plain(child)));
    }
  }
}

/** Makes the children of `target` those of `fresh`, and keeps each node that need not change: focus, selection and
 * scrolling stay where they are. One of another `data-key` is not the same node. */
export function morph(target, fresh) {
  const wanted = [...fresh.childNodes];
  const there = [...target.childNodes];
  wanted.forEach((next, at) => {
    const node = there[at];
    if (!node) target.append(next);
    else if (node.nodeType !== next.nodeType || node.nodeName !== next.nodeName || node.dataset?.key !== next.dataset?.key) node.replaceWith(next);
    else if (node.nodeType === Node.TEXT_NODE) {
      if (node.data !== next.data) node.data = next.data;
    } else {
      attributes(node, next);
      morph(node, next);
    }
  });
  there.slice(wanted.length).forEach((node) => node.remove());
}

function attributes(node, next) {
  for (const { name } of [...node.attributes]) if (!next.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of next.attributes) {
    // Whether details are open is up to the reader.
    if (name !== 'open' && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
}

/** Shows `children` in `target`. */
export function show(target, ...children) {
  morph(target, h('div', {}, ...children));
}

export function card(title, ...children) {
  return h('section', { class: 'card' }, h('h2', {}, title), ...children);
}

/** A table. A column is `{ head, cell, number, nowrap }`. */
export function table(label, columns, rows, empty) {
  if (rows.length === 0) return h('p', { class: 'dim' }, empty);
  const side = (column) => (column.number ? { class: 'number' } : column.nowrap ? { class: 'nowrap' } : {});
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label },
    h('table', {},
      h('thead', {}, h('tr', {}, columns.map((column) => h('th', { scope: 'col', ...side(column) }, column.head)))),
      h('tbody', {}, rows.map((row) => h('tr', {}, columns.map((column) => h('td', side(column), column.cell(row))))))));
}

/** Terms and what they are. */
export function facts(pairs) {
  const given = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return h('dl', {}, given.map(([term, value]) => [h('dt', {}, term), h('dd', {}, value)]));
}

export function pill(text, tone) {
  return h('span', { class: `pill ${tone ?? ''}` }, text);
}

const TONES = {
  ok: 'good', healthy: 'good', fresh: 'good', closed: 'good', heard: 'good', connected: 'good', HIT: 'good',
  degraded: 'bad', failing: 'bad', unhealthy: 'bad', open: 'bad', 'cut off': 'bad', gone: 'bad', disconnected: 'bad',
  ERROR: 'bad', stale: 'warn', kept: 'warn', silent: 'warn', 'half-open': 'warn', disabled: 'warn', STALE: 'warn', 'LAST-GOOD': 'warn',
};

/** A state in its colour. The word says it, too. */
export function state(word) {
  return pill(word, TONES[word]);
}

/** The same of what was perhaps never asked, or not for a while: then it is known `since` when. */
export const asked = (word, since) => state(word !== 'unknown' ? word : since ? 'not asked of late' : 'not asked yet');

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** A number and its unit, which no line parts. */
export const withUnit = (number, unit) => `${number}\u00a0${unit}`;

export const count = (value) => whole.format(value ?? 0);
/** A count with its noun. */
export const many = (value, one, more = `${one}s`) => `${count(value)} ${value === 1 ? one : more}`;
export const brief = (value) => (value < 10 && value % 1 ? value.toFixed(1) : value < 10000 ? whole.format(value) : short.format(value));
export const percent = (part) => withUnit((part * 100).toFixed(part > 0 && part < 0.9995 ? 1 : 0), '%');

export function bytes(size) {
  if (size === null || size === undefined) return '';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  for (; size >= 1024 && at < units.length - 1; at += 1) size /= 1024;
  return withUnit(at === 0 || size >= 100 ? size.toFixed(0) : size.toFixed(1), units[at]);
}

/** A length of time, in its two largest units. */
export function span(millis) {
  if (millis === null || millis === undefined) return '';
  if (millis < 1000) return withUnit(Math.max(0, Math.round(millis)), 'ms');
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  let left = Math.floor(millis / 1000);
  const parts = [];
  for (const [name, seconds] of units) {
    const many = Math.floor(left / seconds);
    left -= many * seconds;
    if (many > 0 || parts.length > 0) parts.push([many, name]);
  }
  return parts.slice(0, 2).filter(([many]) => many > 0).map(([many, name]) => withUnit(many, name)).join(' ');
}

// As the gateway's log, its answers and the exchange's days do.
const timeZone = 'UTC';
const clock = new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', minute: '2-digit', second: '2-digit' });
const date = new Intl.DateTimeFormat('en-GB', { timeZone, year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });

/** A moment by UTC: the time alone within half a day of `now`. Under a head that says UTC, `zone` is empty. */
export function moment(millis, now = Date.now(), zone = '\u00a0UTC') {
  if (millis === null || millis === undefined) return '';
  // Later than any date is for ever.
  if (millis > 8.64e15) return 'no end';
  return (Math.abs(now - millis) < 43200000 ? clock : date).format(new Date(millis)) + zone;
}

export const ago = (millis, now) => (millis === null || millis === undefined ? '' : now - millis < 1000 ? 'just now' : `${span(now - millis)} ago`);

/** The known spans of a series of candles, for a gateway that `began` at a time. */
export function spansTable(label, spans, now, began, empty) {
  return table(label, [
    { head: 'From (UTC)', cell: ({ from }) => moment(from, now, '') }, { head: 'To (UTC)', cell: ({ to }) => (to ? moment(to, now, '') : 'goes on') },
    { head: 'What', cell: ({ what }) => (/candles$/.test(what) ? 'settled' : what) }, { head: 'Candles', number: true, cell: ({ candles }) => count(candles) },
    { head: 'Confirmed', cell: ({ confirmed }) => (confirmed ? 'yes' : 'not yet') },
    { head: 'Came by', cell: ({ origin }) => ({ exchange: 'an answer', stream: 'a stream' }[origin] ?? 'not kept') },
    { head: 'Kept in', cell: ({ tier }) => (tier === 'both' ? 'memory, store' : tier) },
    { head: 'First seen', cell: ({ said_at: at }) => (at === null ? 'not kept' : `${ago(at, now)}${at < began ? ', before this gateway started' : ''}`) },
  ], spans, empty);
}
