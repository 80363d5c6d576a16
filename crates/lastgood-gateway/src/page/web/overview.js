// Overview: is it working, what did it save, which answers are old, why, and who is banned.

import { ago, asked, brief, bytes, card, count, facts, h, many, moment, percent, pill, plain, show, span, state, table, withUnit } from '/page/dom.js';
import { meter, stacked } from '/page/charts.js';

export function overview(room, page) {
  const body = h('div', { class: 'stack' });
  const failure = h('p', { class: 'bad', role: 'alert' });
  room.append(failure, body);
  body.addEventListener('click', (event) => {
    const fault = event.target.closest?.('[data-fault]')?.dataset.fault;
    if (!fault) return;
    page.ask('POST', `/page/faults/${encodeURIComponent(fault)}`)
      .then(() => { failure.textContent = ''; }, (error) => { failure.textContent = plain(error.message); });
  });
  return {
    update(now) {
      show(body, demonstration(now), situation(now, page.history), tiles(now, page.history), h('div', { class: 'columns' },
        h('div', { class: 'stack' }, exchange(now), store(now), together(now)),
        h('div', { class: 'stack' }, hosts(now), streams(now), warming(now), histories(now))), regions(now));
    },
    /** The gateway does not answer any more: what it said last is not how it is. */
    lost({ at }) {
      const section = body.querySelector('.situation');
      if (!section) return;
      section.className = 'card situation degraded';
      show(section, h('h2', {}, 'Not connected'), h('p', {}, `The gateway does not answer. All that is shown is of ${moment(at)}.`), h('ul', {}));
    },
  };
}

function demonstration({ demonstration: offered }) {
  if (!offered) return null;
  const inForce = offered.faults.find(({ name }) => name === offered.in_force);
  return h('section', { class: 'card' }, h('h2', {}, 'The simulated exchange'),
    h('div', { class: 'buttons', role: 'group', 'aria-label': 'How the simulated exchange behaves' },
      offered.faults.map(({ name, label, effect }) => h('button', {
        type: 'button', 'data-fault': name, title: effect, 'aria-pressed': String(name === offered.in_force),
      }, label))),
    h('p', { class: 'dim effect' }, inForce?.effect ?? ''));
}

/** Why last good answers stand in: the words of X-Cache and Cache-Status, for people. */
const WHY = {
  unreachable: 'their source cannot be reached', 'timed-out': 'their source does not answer in time', slow: 'their source is slow',
  'upstream-error': 'their source answers with an error of its own', malformed: 'their source answers something else than was asked',
  outdated: 'their source answers something older', 'rate-limited': 'their source asks for a pause (429)', banned: 'their source has banned this address (418)',
  firewall: 'a firewall refuses this address (403)', overloaded: 'too many loads are under way', throttled: 'their last load failed a moment ago',
  'not-found': 'their source says that there is no such thing', abandoned: 'their load ended without an answer',
  unreadable: 'the store holds something else under their keys',
  panicked: 'their load broke off by a fault of this program', yielded: 'their load gave way to more urgent ones',
};

/** How it is, in words. */
function situation({ at, began, health, oldest }, history) {
  const lines = [...health.reasons];
  const banned = health.bans.map((ban) => h('li', {}, h('strong', {}, ban.exchange), ban.bucket ? ` (${ban.bucket})` : '',
    `: ${ban.reason}. It is asked again at ${moment(ban.until, at)}, in `, h('strong', {}, span(Math.max(0, ban.until - at))), '.'));
  const reasons = [...new Set(health.last_good.map(({ reason }) => reason))];
  const served = reasons.map((reason) => {
    const those = health.last_good.filter((one) => one.reason === reason).map(({ region }) => region);
    const ages = those.map((region) => oldest[region]).filter((age) => age !== undefined);
    return h('li', {}, 'Last good answers are served from ', those.map((region, index) => [index ? ', ' : '', h('code', {}, region)]),
      `: ${WHY[reason] ?? reason}${ages.length ? `; in the last minute the oldest was ${span(Math.max(...ages))} old` : ''}.`);
  });
  const stale = staleOf(history);
  const words = { ok: 'Everything that is served is what would be served without a fault.',
    disabled: 'The cache is switched off: every request passes through to the exchange and the sources.',
    degraded: 'Something is served, or refused, that would not be without a fault.' };
  // The reasons say these two, too, with less.
  const rest = lines.filter((line) => !/ serves last good: |backing off, as it asked/.test(line));
  const running = health.status === 'ok' ? [h('li', {}, `Running for ${span(at - began)}, since ${moment(began, at)}.`), h('li', {}, answering(health))] : [];
  const loading = stale.length ? [h('li', {}, 'Stale answers in the last minute, each loaded again behind its reader: ',
    stale.map(([region, many], index) => [index ? ', ' : '', h('code', {}, region), ` ${count(many)}`]), '.')] : [];
  return h('section', { class: `card situation ${health.status}` },
    h('h2', {}, health.status === 'ok' ? 'Well' : health.status === 'disabled' ? 'Switched off' : 'Degraded'),
    h('p', {}, words[health.status]),
    // A long list scrolls.
    h('ul', { tabindex: lines.length ? 0 : null, 'aria-label': lines.length ? 'Reasons' : null },
      keyed([...banned, ...served, ...rest.map((line) => h('li', {}, line)), ...running, ...loading])));
}

/** Lines of which one that is another now, or stands below such a one, is a new line instead of one that moved. */
function keyed(lines) {
  let key = 0;
  for (const line of lines) {
    for (const letter of line.textContent.replaceAll(/[\d.,:]+/g, '0')) key = (31 * key + letter.codePointAt(0)) | 0;
    line.dataset.key = key;
  }
  return lines;
}

/** The regions that served stale answers in the last minute, and how many; the first few. */
function staleOf(history) {
  const known = history.filter(({ stale }) => stale).slice(-61);
  if (known.length < 2) return [];
  const before = known[0].stale;
  return Object.entries(known.at(-1).stale).map(([region, many]) => [region, many - (before[region] ?? 0)])
    .filter(([, many]) => many > 0).sort((one, other) => other[1] - one[1]).slice(0, 5);
}

/** How many hosts and sources answer, in a sentence. */
function answering({ upstreams, sources }) {
  const all = [...upstreams.flatMap(({ bases }) => bases), ...sources];
  const known = all.filter(({ state: word }) => word !== 'unknown');
  if (all.length === 0) return 'No host and no source is configured.';
  if (all.length === 1) return known.length ? 'The one host or source was asked, and answers.' : 'The one host or source was not asked yet.';
  return `Of ${count(all.length)} hosts and sources ${known.length === 0 ? 'none was asked yet' : `${count(known.length)} ${known.length === 1 ? 'was asked, and answers' : 'were asked, and answer'}`}.`;
}

/** The increase of a counter each second. */
function rates(history, field) {
  const values = [];
  for (let at = 1; at < history.length; at += 1) {
    const seconds = Math.max(0.2, (history[at].at - history[at - 1].at) / 1000);
    values.push(Math.max(0, field(history[at].totals) - field(history[at - 1].totals)) / seconds);
  }
  return values;
}

const mean = (values, last) => {
  const some = values.slice(-last);
  return some.length ? some.reduce((sum, value) => sum + value, 0) / some.length : 0;
};

const served = (totals) => totals.hits + totals.stale;
const reads = (totals) => served(totals) + totals.last_good + totals.misses + totals.joined + totals.errors;

function tiles({ totals, requests_active: active }, history) {
  const requests = rates(history, (one) => one.requests);
  const good = rates(history, served);
  const all = rates(history, reads);
  const outcomes = [
    ['hits', 'hit', (one) => one.hits], ['stale', 'stale', (one) => one.stale],
    ['last good', 'lastgood', (one) => one.last_good], ['misses', 'miss', (one) => one.misses + one.joined],
    ['errors', 'error', (one) => one.errors],
  ].map(([name, tone, field]) => ({ name, tone, values: rates(history, field) }));
  const hitRate = good.map((value, at) => (all[at] > 0 ? value / all[at] : 0));
  const minute = mean(all, 60) > 0 ? mean(good, 60) / mean(all, 60) : null;
  const calls = rates(history, (one) => one.upstream_calls);
  const weight = rates(history, (one) => one.weight_spent);
  const asked = rates(history, (one) => one.weight_asked);
  const saved = Math.max(0, totals.weight_asked - totals.weight_spent);
  // The charts grow with what there is to show, up to five minutes.
  const minutes = Math.max(1, Math.min(5, Math.ceil(history.length / 60)));
  const slots = minutes * 60;
  const over = `the last ${minutes === 1 ? 'minute' : `${minutes} minutes`}`;
  return h('div', { class: 'tiles' },
    tile('Requests', `${brief(mean(requests, 5))}/s`, `${count(totals.requests)} since the start, ${active ? many(active, 'waits', 'wait') : 'none waits'}`,
      stacked(`Reads a second over ${over}, by outcome`, outcomes, { slots }),
      h('p', { class: 'legend' }, outcomes.map(({ name, tone, values }) => h('span', { class: `key ${tone}` }, `${name} ${brief(mean(values, 5))}`)))),
    tile('Hit rate', minute === null ? 'no reads' : percent(minute), `last minute; ${percent(ratio(served(totals), reads(totals)))} since the start`,
      stacked(`Hit rate over ${over}`, [{ tone: 'hit', values: hitRate }], { slots, most: 1 }),
      h('p', { class: 'legend' }, h('span', {}, `${count(totals.last_good)} last good and ${many(totals.errors, 'error')} since the start`))),
    tile('Upstream calls', `${brief(mean(calls, 5))}/s`, `${count(totals.upstream_calls)} since the start, ${count(totals.passed)} passed`,
      stacked(`Upstream calls a second over ${over}`, [{ tone: 'miss', values: calls }], { slots }),
      h('p', { class: 'legend' }, h('span', {}, `${many(totals.joined, 'request')} joined a load under way`))),
    tile('Weight saved', percent(ratio(saved, totals.weight_asked)), `${brief(saved)} of ${brief(totals.weight_asked)} since the start`,
      stacked(`Request weight a second over ${over}: spent, and saved`, [{ tone: 'miss', values: weight },
        { tone: 'saved', values: asked.map((value, at) => Math.max(0, value - weight[at])) }], { slots }),
      h('p', { class: 'legend' }, h('span', { class: 'key miss' }, `spent ${brief(mean(weight, 5))}/s`), h('span', { class: 'key saved' }, `asked for ${brief(mean(asked, 5))}/s`))));
}

const ratio = (part, all) => (all > 0 ? part / all : 0);

function tile(title, figure, note, chart, legend) {
  return h('section', { class: 'card tile' }, h('h2', {}, title), h('p', { class: 'big' }, figure), h('p', { class: 'dim' }, note), chart, legend);
}

function exchange({ at, health }) {
  const rows = health.upstreams.filter(({ bases }) => bases.length > 0).flatMap(({ budgets }) => budgets)
    .flatMap((budget) => budget.buckets.map((bucket) => ({ ...bucket, budget })))
    .filter(({ bucket, used }) => bucket === 'weight' || used > 0);
  const standing = ({ budget, bucket, used, limit, reserve }) => {
    const ban = health.bans.find((one) => one.exchange === budget.exchange && (!one.bucket || one.bucket === bucket));
    if (ban) return pill(`${ban.reason}, ${span(Math.max(0, ban.until - at))}`, 'bad');
    return limit > 0 && used > NEARLY * (limit - reserve) ? pill('nearly spent', 'warn') : null;
  };
  const note = ({ budget, own, others }) => [`${count(own)} by this gateway`, others ? `${count(others)} by others` : '', budget.gateways ? many(budget.gateways, 'gateway') : ''].filter(Boolean).join(', ');
  return card('Budget at the exchange', table('Budget at the exchange', [
    { head: 'Exchange', cell: ({ budget, bucket }) => [h('code', {}, budget.exchange), h('span', { class: 'dim' }, ` ${bucket.replace('raw-', '')}`)] },
    { head: 'Used of the limit', cell: (row) => [meter(`${row.used} of ${row.limit}`, row.used, row.limit, row.reserve),
      h('span', { class: 'dim' }, `${count(row.used)} of ${count(row.limit)} in ${span(row.window_seconds * 1000)}; ${note(row)} `), standing(row)] },
  ], rows, 'This gateway has no exchange.'),
  rows.length ? h('p', { class: 'legend' }, h('span', { class: 'key kept' }, 'left to signed requests')) : null, clocks(health.exchange_clock_offset_ms));
}

/** From this part of what readers may spend on, it is nearly spent. */
const NEARLY = 0.9;
/** The alert fires at this difference of the clocks. */
const CLOCK_IS_OFF = 5000;

function clocks(offset) {
  if (!offset) return null;
  return h('p', { class: Math.abs(offset) >= CLOCK_IS_OFF ? 'warn' : 'dim' },
    `The exchange's clock is ${span(Math.abs(offset))} ${offset > 0 ? 'ahead of' : 'behind'} this machine's.`);
}

function hosts({ at, health }) {
  const named = health.upstreams.flatMap(({ venue, bases }) => bases.map((base) => ({ ...base, kind: venue, name: base.host })));
  const sources = health.sources.map((source) => ({ ...source, kind: 'source' }));
  return card('Hosts and sources', table('Hosts and sources', [
    { head: 'Host', cell: ({ kind, name }) => [h('code', {}, name), h('span', { class: 'dim' }, ` ${kind}`)] },
    { head: 'State', cell: (one) => [asked(one.state, one.since), one.reason ? h('span', { class: 'reason' }, ` ${one.reason}`) : null,
      one.failures ? h('span', { class: 'dim' }, `, ${count(one.failures)} ${one.failures === 1 ? 'failure' : 'failures'}`) : null] },
    { head: 'Since', nowrap: true, cell: ({ since }) => h('span', { title: moment(since, at) }, ago(since, at)) },
  ], [...named, ...sources], 'No host is configured.'));
}

function store({ at, health: { cache, breaker } }) {
  return card('Store', facts([
    ['Store', [h('code', {}, cache.store), ' ', cache.state ? asked(cache.state, cache.since) : null]],
    ['Since', cache.since ? ago(cache.since, at) : null],
    ['Trouble', cache.store_trouble ?? cache.reason],
    ['Breaker', breaker === 'none' ? null : asked(breaker)],
    ['Invalidations of others', cache.log === 'none' ? null : state(cache.log)],
    ['Not published to the others yet', cache.unpublished || null],
    ['Removals not confirmed', cache.unconfirmed_removals || null],
    ['Memory of this gateway', bytes(cache.memory_used)],
    ['Memory of the store', cache.store_memory ? [bytes(cache.store_memory.used), cache.store_memory.limit ? ` of ${bytes(cache.store_memory.limit)}` : ''] : null],
  ]));
}

function together({ at, version, health: { cluster }, stats, peers: known }) {
  const { lifetime } = stats.cluster;
  if (!cluster && !lifetime && !known) return null;
  return card('Gateways on this store', facts([
    ['This one', known ? [h('code', {}, known.own_name), h('span', { class: 'dim' }, ` ${version}`)] : null],
    ['Gateways', cluster ? count(cluster.nodes) : null],
    ['Hit rate of all', cluster ? percent(cluster.hit_rate) : null],
    ['Hit rate since', lifetime ? `${percent(lifetime.hit_rate)} since ${moment(lifetime.since)}` : null],
    ['Store commands', stats.store ? `${count(stats.store.commands)}, ${count(stats.store.commands_per_day)} a day` : null],
  ]), known?.peers.length ? table('The other gateways', [
    { head: 'Other', cell: ({ name, version: other }) => [h('code', {}, name), h('span', { class: other === version ? 'dim' : 'warn' }, ` ${other ?? ''}`)] },
    { head: 'State', cell: ({ state: word, reason }) => [state(word), reason ? h('span', { class: 'reason' }, ` ${reason}`) : null] },
    { head: 'Since', nowrap: true, cell: ({ since }) => h('span', { title: moment(since, at) }, ago(since, at)) },
    { head: 'Reads', number: true, cell: ({ reads: many }) => brief(many) },
    { head: 'Hit rate', number: true, cell: ({ hit_rate: rate }) => percent(rate) },
  ], known.peers, '') : null,
  known?.not_shown ? h('p', { class: 'dim' }, `${many(known.not_shown, 'more is', 'more are')} not shown.`) : null);
}

function streams({ at, streams: venues }) {
  if (venues.length === 0) return null;
  return card('Streams', table('Streams', [
    { head: 'Market', cell: ({ venue }) => venue },
    { head: 'State', cell: ({ connected, reason }) => (!connected && !reason ? h('span', { class: 'dim' }, 'nothing to stream')
      : [state(connected ? 'connected' : 'disconnected'), reason ? h('span', { class: 'reason' }, ` ${reason}`) : null]) },
    { head: 'Since', nowrap: true, cell: ({ since }) => h('span', { title: moment(since, at) }, ago(since, at)) },
    { head: 'Subscribed', number: true, cell: ({ subscribed }) => count(subscribed) },
    { head: 'Messages', number: true, cell: ({ taken }) => count(taken) },
    { head: 'Connections', number: true, cell: ({ connections }) => count(connections) },
  ], venues, ''));
}

function warming({ at, health: { warming: round }, not_warmed: reason }) {
  if (!round.running && round.rounds === 0) return null;
  return card('Warming', facts([
    ['Round', round.running ? 'under way' : `ended ${ago(round.last_finished, at)}`],
    ['Items', `${count(round.loaded)} loaded, ${count(round.fresh)} fresh already, of ${count(round.of)}`],
    ['Left out for the budget', round.refused || null],
    ['Failed', round.failed || null],
    ['Left out last', reason ? h('span', { class: 'reason' }, reason) : null],
    ['Rounds', count(round.rounds)],
  ]));
}

function histories({ at, health: { candles } }) {
  if (candles.histories_changed === 0) return null;
  return card('Candle histories that the exchange changed', h('p', {}, `${count(candles.histories_changed)} since the start.`),
    h('ul', {}, candles.last_changed.slice(-5).map((one) => h('li', {}, h('code', {}, one.series), ` ${ago(one.at, at)}`))));
}

function regions({ at, stats }) {
  const rows = Object.entries(stats.regions).map(([name, region]) => ({ name, ...region }))
    .filter((one) => one.keys + one.hits.memory + one.hits.store + one.misses + one.errors + one.last_good + one.stale + one.refused > 0);
  const number = (head, field) => ({ head, number: true, cell: (row) => count(field(row)) });
  return card('Regions', table('Regions', [
    { head: 'Region', cell: ({ name }) => h('a', { href: `#keys/region:${encodeURIComponent(name)}` }, name) },
    { head: 'Hit rate', number: true, cell: (row) => (row.hits.memory + row.hits.store + row.stale + row.misses + row.last_good + row.errors > 0 ? percent(row.hit_rate) : 'no reads') },
    number('Memory hits', (row) => row.hits.memory), number('Store hits', (row) => row.hits.store),
    number('Stale', (row) => row.stale), number('Last good', (row) => row.last_good), number('Misses', (row) => row.misses),
    number('Errors', (row) => row.errors), number('Keys', (row) => row.keys),
    { head: 'Memory', number: true, cell: (row) => bytes(row.memory_bytes) },
    { head: 'Load', number: true, cell: (row) => (row.load_latency_ms === null ? '' : withUnit(row.load_latency_ms.toFixed(1), 'ms')) },
    { head: 'Hit', number: true, cell: (row) => (row.hit_latency_us === null ? '' : `${row.hit_latency_us.toFixed(0)} µs`) },
    { head: 'Last load', number: true, cell: (row) => ago(row.last_refresh, at) },
  ], rows, 'Nothing was read yet.'));
}
