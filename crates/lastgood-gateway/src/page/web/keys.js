// Keys: the list, the state of one, and what may be done about it.

import { ago, bytes, card, count, facts, h, many, moment, name, plain, show, span, spansTable, state, table } from '/page/dom.js';
import { text } from '/page/api.js';

const KINDS = {
  pattern: { hint: 'klines:*BTCUSDT*', label: 'Pattern' },
  symbol: { hint: 'BTCUSDT', label: 'Symbol' },
  tag: { hint: 'daily', label: 'Tag' },
  region: { hint: 'klines', label: 'Region' },
};
/** The keys that a symbol lists and changes. */
const ABOUT = 'Keys that name the symbol as a whole word or have its tag, and those of answers about all symbols. “Remove” only expires the latter: they hold the other symbols, too.';
const AT_ONCE = 100;
/** So much of a body is shown. */
const PREVIEW = 16384;

export function keys(room, page) {
  const kind = h('select', { id: 'kind' }, Object.entries(KINDS).map(([name, { label }]) => h('option', { value: name }, label)));
  const words = h('input', { id: 'words', type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: KINDS.pattern.hint, list: 'regions' });
  const known = h('datalist', { id: 'regions' });
  const actions = h('div', { class: 'buttons' });
  const result = h('p', { role: 'status', 'aria-live': 'polite', class: 'dim note' });
  const list = h('div', { class: 'found' });
  const spoken = h('p', { role: 'status', 'aria-live': 'polite', class: 'hidden' });
  const detail = h('div', { class: 'stack detail' }, card('Key', h('p', { class: 'dim' },
    'Choose a key to see how old it is, who brought it, until when it is kept, and what it holds.')));
  const form = h('form', { class: 'row', role: 'search', onsubmit: (event) => { event.preventDefault(); search(); } },
    h('label', { for: 'kind', class: 'hidden' }, 'Search by'), kind,
    h('label', { for: 'words', class: 'hidden' }, 'Pattern, symbol, tag or region'), words, known,
    h('button', { type: 'submit', class: 'primary' }, 'Search'));
  room.append(h('div', { class: 'stack' },
    h('section', { class: 'card' }, h('h2', {}, 'Keys'), form, actions, result),
    h('div', { class: 'halves' }, h('section', { class: 'card' }, h('h2', {}, 'Found'), list), detail),
    whole(page, result), spoken));
  kind.addEventListener('change', () => { words.placeholder = KINDS[kind.value].hint; });
  list.addEventListener('click', (event) => {
    const { key, after } = event.target.closest?.('button')?.dataset ?? {};
    if (key !== undefined) location.hash = `#keys/key:${encodeURIComponent(key)}`;
    if (after !== undefined) more(after);
  });
  detail.addEventListener('click', (event) => acts[event.target.closest?.('button')?.dataset.act]?.());

  let found = [];
  /** The key whose details are shown, or null; and the one that was asked about last. */
  let shown = null;
  let meant = null;
  const again = () => { if (meant !== null) explain(meant); };
  const acts = {
    look: again,
    expire: () => change(page, result, 'Expire', 'expired', { key: shown, hard: false }, shown).then((done) => { if (done) again(); }),
    remove: () => change(page, result, 'Remove', 'removed', { key: shown, hard: true }, shown).then((done) => { if (done) { again(); search(); } }),
  };
  /** Tells the answers of an earlier search from those of this one, and those of a key asked for earlier from those of this one. */
  let turn = 0;
  let asked = 0;

  /** What the form says, as a body for the Cache API. */
  const wanted = () => (words.value.trim() === '' ? { pattern: '*' } : { [kind.value]: words.value.trim() });

  async function search() {
    turn += 1;
    found = [];
    show(list, h('p', { class: 'dim' }, 'Searching…'));
    offer();
    await more(null);
  }

  async function more(after) {
    const mine = turn;
    const [[by, value]] = Object.entries(wanted());
    const query = new URLSearchParams({ limit: AT_ONCE });
    query.set(by, value);
    if (after) query.set('after', after);
    try {
      const listed = await page.ask('GET', `/api/cache/keys?${query}`);
      if (mine !== turn) return;
      found = found.concat(listed.keys);
      show(list, table('Keys', [
        { head: 'Key', cell: ({ key }) => h('button', { type: 'button', class: 'link', 'data-key': key }, name(key)) },
        { head: 'Kept in', cell: ({ tier }) => (tier === 'both' ? 'memory, store' : tier) },
      ], found, 'No key is like this.'),
      by === 'symbol' ? h('p', { class: 'dim' }, ABOUT) : null,
      listed.complete ? null : h('p', { class: 'warn' }, by === 'tag'
        ? 'Those in memory. The store does not list keys by tag; “Expire” and “Remove” reach them there, too.'
        : 'The store was not searched to its end.'),
      listed.next ? h('p', {}, h('button', { type: 'button', 'data-after': listed.next }, 'More')) : null);
    } catch (error) {
      if (mine !== turn) return;
      found = [];
      show(list, h('p', { class: 'bad' }, error.message));
    }
  }

  /** The buttons for all that the form names. */
  function offer() {
    const scope = wanted();
    const [[by, value]] = Object.entries(scope);
    const button = (label, act, tone) => h('button', { type: 'button', class: tone, onclick: () => act() }, label);
    actions.replaceChildren(
      button('Expire all of these…', () => change(page, result, 'Expire', 'expired', { ...scope, hard: false }, `${by} ${value}`).then(searched)),
      button('Remove all of these…', () => change(page, result, 'Remove', 'removed', { ...scope, hard: true }, `${by} ${value}`).then(searched), 'danger'),
      by === 'symbol' || by === 'region' ? button('Warm…', () => warm(page, result, scope, `${by} ${value}`).then(searched)) : '');
  }

  /** On a narrow screen the details are far below the list. */
  const reveal = () => { if (detail.getBoundingClientRect().top > innerHeight / 2) detail.scrollIntoView(); };
  const searched = (changed) => { if (changed) search(); };

  async function explain(key) {
    asked += 1;
    const isOther = key !== meant;
    meant = key;
    const mine = asked;
    // The same key keeps its details until the new ones have come, so that no button moves away from under a finger.
    if (shown !== key) {
      shown = null;
      show(detail, card('Key', h('p', { class: 'dim' }, 'Asking…')));
    }
    try {
      const path = encodeURIComponent(key);
      const [known, body] = await Promise.all([
        page.ask('GET', `/api/cache/explain/${path}`),
        text(`/api/cache/key/${path}`, { most: PREVIEW, asOperator: true }).catch(() => null)]);
      if (mine !== asked) return;
      shown = key;
      const [first, ...others] = explained(known, body, page.time(), page.now?.began ?? 0);
      first.append(h('div', { class: 'buttons' },
        h('button', { type: 'button', 'data-act': 'look' }, 'Look again'),
        h('button', { type: 'button', 'data-act': 'expire' }, 'Expire…'),
        h('button', { type: 'button', class: 'danger', 'data-act': 'remove' }, 'Remove…')));
      show(detail, first, ...others);
      if (isOther) reveal();
      spoken.textContent = plain(`${key}: ${known.freshness}. ${inWords(known, page.time())}`);
    } catch (error) {
      if (mine !== asked) return;
      shown = null;
      spoken.textContent = plain(`${key}: ${error.message}`);
      show(detail, card('Key', h('p', {}, h('code', { class: 'whole' }, name(key))), h('p', { class: 'bad' }, error.message),
        h('div', { class: 'buttons' }, h('button', { type: 'button', 'data-act': 'look' }, 'Look again'))));
      if (isOther) reveal();
    }
  }

  return {
    open(path) {
      const [, by, value] = /^(\w+):(.*)$/s.exec(path) ?? [];
      if (by === 'key') { if (found.length === 0) search().then(() => explain(value)); else explain(value); return; }
      if (Object.hasOwn(KINDS, by ?? '')) {
        kind.value = by;
        words.value = value;
      }
      search();
    },
    update(now) {
      show(known, Object.keys(now.stats.regions).map((name) => h('option', { value: name })));
    },
    close() { turn += 1; asked += 1; },
  };
}

/** Counts what a change would strike, asks, and makes it. */
async function change(page, result, verb, counted, body, scope) {
  try {
    const would = await page.ask('POST', '/api/cache/invalidate', { ...body, dry_run: true });
    const lines = [[name(scope), `: ${entries(would.matched)}.`], body.hard
      ? 'Removed entries are not served as last good either, and values that applications put are lost.'
      : 'Expired entries are loaded again on the next read. They are still served as last good while their source fails.'];
    if (body.symbol) lines.push(ABOUT);
    if (would.detail) lines.push(would.detail);
    if (!await page.confirm(`${verb}?`, lines, verb)) return false;
    const done = await page.ask('POST', '/api/cache/invalidate', { ...body, dry_run: false });
    result.textContent = `${count(done[counted])} of ${entries(done.matched)} ${counted}. ${done.detail ?? ''}`;
    return true;
  } catch (error) {
    result.textContent = plain(error.message);
    return false;
  }
}

async function warm(page, result, scope, words) {
  try {
    const would = await page.ask('POST', '/api/cache/warm', { ...scope, dry_run: true });
    if (would.matched === 0) {
      result.textContent = plain(`Nothing can be warmed: ${would.why}.`);
      return false;
    }
    const lines = [[name(words), `: ${many(would.matched, 'item')} can be warmed; ${count(would.warmed)} would be loaded, the others are fresh.`]];
    if (!await page.confirm('Warm?', lines, 'Warm')) return false;
    result.textContent = 'Warming…';
    const done = await page.ask('POST', '/api/cache/warm', scope);
    result.textContent = `${count(done.warmed)} loaded, ${count(done.fresh)} fresh already, ${count(done.refused)} left out for the budget, ${count(done.failed)} failed.${done.why ? ` ${done.why}` : ''}`;
    return true;
  } catch (error) {
    result.textContent = plain(error.message);
    return false;
  }
}

const entries = (value) => many(value, 'entry', 'entries');

/** Actions on the whole cache. */
function whole(page, result) {
  const failed = (error) => { result.textContent = plain(error.message); };
  const turn = async (word, lines) => {
    if (!await page.confirm(`${word} the cache?`, lines, word)) return;
    await page.ask('POST', `/api/cache/${word === 'Switch on' ? 'enable' : 'disable'}`).then(() => { result.textContent = `${word}: done.`; }, failed);
  };
  const flush = async () => {
    try {
      const would = await page.ask('POST', '/api/cache/flush', { dry_run: true });
      const lines = [`This removes ${entries(would.matched)}, the last good answers included: nothing is left to serve while a source is away, and what applications put is lost.`];
      if (!await page.confirm('Remove everything?', lines, 'Remove everything')) return;
      const done = await page.ask('POST', '/api/cache/flush', { confirm: true });
      result.textContent = `${entries(done.removed)} removed.`;
    } catch (error) { failed(error); }
  };
  return card('The whole cache', h('div', { class: 'buttons' },
    h('button', { type: 'button', onclick: () => turn('Switch on', ['Requests are answered from the cache again.']) }, 'Switch on…'),
    h('button', { type: 'button', onclick: () => turn('Switch off', ['Every request then passes through to the exchange and the sources, until it is switched on again or the gateway restarts.']) }, 'Switch off…'),
    h('button', { type: 'button', class: 'danger', onclick: flush }, 'Remove everything…')));
}

/** A key as it is: in words, as a timeline, with its body as text. */
function explained(known, body, now, began) {
  const fetched = known.age_ms === null ? null : now - known.age_ms;
  const refresh = isPut(known) ? 'never: it has no source' : known.next_refresh.at ? `${known.next_refresh.when} ${moment(known.next_refresh.at, now)}` : known.next_refresh.when;
  const error = known.last_error;
  return [
    card('Key', h('p', {}, h('code', { class: 'whole' }, name(known.key))), h('p', {}, inWords(known, now)), timeline(known, fetched, now), facts([
      ['State', state(known.freshness)],
      ['Kept in', known.tier === 'both' ? 'memory and store' : known.tier],
      ['Came by', known.origin],
      [isPut(known) ? 'Put' : 'Fetched', fetched === null ? null : `${moment(fetched, now)}, ${span(known.age_ms)} ago`],
      ['Fresh until', moment(known.fresh_until, now)],
      ['Stale until', moment(known.stale_until, now)],
      ['Kept until', known.kept_until ? moment(known.kept_until, now) : known.age_ms === null ? null : 'no end, as long as there is room'],
      ['Next refresh', refresh],
      ['Last error', error ? `${error.reason}: ${error.message}; ${count(error.in_a_row)} in a row, asked again in ${span(error.retry_in_ms)}` : null],
      ['Store', known.store_error],
      ['Size', known.bytes === null ? null : `${bytes(known.bytes)}, ${known.content_type}`],
      ['Tags', known.tags.length ? known.tags.flatMap((tag) => [h('a', { href: `#keys/tag:${encodeURIComponent(tag)}` }, name(tag)), ' ']) : null],
    ])),
    known.candles?.length ? card('Candles', spansTable('Spans of candles', known.candles.slice(-100), now, began, '')) : null,
    body && body.status === 200 ? card('Body', h('p', { class: 'dim' }, body.isCut ? `The first ${bytes(PREVIEW)}.` : 'All of it.'),
      h('pre', { tabindex: 0 }, pretty(body))) : null,
  ].filter(Boolean);
}

/** Whether an application put it: nothing is asked for it again. */
const isPut = (known) => known.origin === 'application';

function inWords(known, now) {
  if (known.age_ms === null) return known.store_error ? 'The store does not say what it holds.' : 'Nothing is kept.';
  const kept = known.kept_until ? `Kept as last good until ${moment(known.kept_until, now)}.` : 'Kept as last good as long as there is room.';
  if (known.freshness === 'fresh') return `${span(known.age_ms)} old, fresh for another ${span(known.fresh_for_ms)}. ${kept}`;
  const next = isPut(known) ? 'It has no source: nothing is asked for it.' : known.loading ? 'It is being loaded.' : known.last_error ? `Asked again in ${span(known.last_error.retry_in_ms)}.`
    : 'Asked again on the next read.';
  return `${span(known.age_ms)} old (fresh for ${span(known.freshness_lifetime_ms)}). ${kept} ${next}`;
}

/** Fresh, stale and kept after each other, and where now is. The lengths are those of logarithms: a second and a day are both seen. */
function timeline(known, fetched, now) {
  if (fetched === null) return null;
  const ends = known.kept_until ?? Math.max(now, known.stale_until ?? now) + 86400000;
  const scale = (millis) => Math.log1p(Math.max(0, millis - fetched) / 1000);
  const x = (millis) => (scale(Math.min(millis, ends)) / Math.max(scale(ends), 0.001)) * 100;
  const fresh = known.fresh_until;
  const stale = Math.max(fresh, known.stale_until ?? fresh);
  const next = known.next_refresh.at > now ? known.next_refresh.at : null;
  const part = (tone, from, to) => h('rect', { class: `area ${tone}`, x: x(from).toFixed(2), width: Math.max(0, x(to) - x(from)).toFixed(2), y: 2, height: 6 });
  return [h('svg', { class: 'timeline', viewBox: '0 0 100 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': inWords(known, now) },
    part('hit', fetched, fresh), part('stale', fresh, stale), part('kept', stale, ends),
    next ? h('rect', { class: 'next', x: Math.max(0, x(next) - 0.2).toFixed(2), width: 0.5, height: 10 }) : null,
    h('rect', { class: 'now', x: Math.max(0, x(now) - 0.2).toFixed(2), width: 0.5, height: 10 })),
  h('p', { class: 'legend' }, h('span', { class: 'key hit' }, `${isPut(known) ? 'put' : 'fetched'} ${ago(fetched, now)}, fresh`), h('span', { class: 'key stale' }, 'stale'),
    h('span', { class: 'key kept' }, 'last good'), h('span', { class: 'key now' }, 'now'),
    next ? h('span', { class: 'key next' }, `next refresh in ${span(next - now)}`) : null)];
}

function pretty({ body, isCut, headers }) {
  if (isCut || !headers.get('content-type')?.includes('json')) return body;
  try { return JSON.stringify(JSON.parse(body), null, 2); } catch { return body; }
}
