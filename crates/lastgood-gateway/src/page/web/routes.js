// Routes and sources: each declared route with a form of its parameters, and how its sources do.

import { ago, asked, card, count, facts, h, moment, pill, show } from '/page/dom.js';
import { text } from '/page/api.js';

/** So much of an answer is shown. */
const SHOWN = 32768;

export function routes(room, page) {
  const list = h('div', { class: 'stack' }, h('p', { class: 'dim' }, 'Asking…'));
  room.append(list);
  /** The cells kept up to date of each route. */
  let figures = [];
  let described = null;

  /** Asks which routes there are, until that is known. */
  function open() {
    if (figures.length || described) return;
    page.ask('GET', '/api/openapi.json').then((answer) => {
      if (!figures.length) described = answer;
      if (page.now) update(page.now);
    }, (error) => list.replaceChildren(card('Routes', h('p', { class: 'bad' }, error.message))));
  }

  /** Shows the routes once there are figures, too: what came later would push the rest down. */
  function begin(hasExchange) {
    const all = Object.entries(described.paths).filter(([, { get }]) => get);
    const declared = all.filter(([, { get }]) => get.tags?.includes('routes'));
    const own = all.filter(([path, { get }]) => path.startsWith('/v1/') && get.tags?.includes('market data') && (hasExchange || !path.startsWith('/v1/symbols/')));
    list.replaceChildren(
      ...(declared.length ? declared.map(one) : [card('Declared routes', h('p', { class: 'dim' }, 'The configuration declares no route.'),
        h('p', {}, 'A route is a path over a database, a bucket or an API: ', h('code', {}, '[[routes]]'), ' in lastgood.toml.'))]),
      ...(own.length ? [card('The gateway\u2019s own', hasExchange ? h('p', { class: 'dim' }, 'The exchange\u2019s paths are in the view Market.') : null), ...own.map(one)] : []));
    described = null;
  }

  function one([path, { get }]) {
    const state = h('div', {});
    figures.push({ path, region: get['x-lastgood-region'], sources: get['x-lastgood-sources'] ?? [], state });
    const taken = (get.parameters ?? []).filter((parameter) => parameter.name && parameter.in !== 'header');
    // Those of the path first, as they are read there.
    const fields = [...taken.filter((one) => one.in === 'path'), ...taken.filter((one) => one.in !== 'path')].map(field);
    const answer = h('div', { class: 'stack', 'aria-live': 'polite' });
    const form = h('form', { class: 'stack', onsubmit: (event) => { event.preventDefault(); attempt(path, fields, answer); } },
      fields.length ? h('div', { class: 'fields' }, fields.map(({ label }) => label)) : null,
      h('div', { class: 'row' }, h('button', { type: 'submit', class: 'primary' }, 'Try')), answer);
    return h('section', { class: 'card' }, h('details', {}, h('summary', {}, h('code', {}, path), get.summary ? h('span', { class: 'dim' }, `  ${get.summary}`) : null), form), state);
  }

  function update({ at, stats, health, route_failures: failures }) {
    if (described) begin(health.upstreams.length > 0);
    for (const { path, region, sources, state: place } of figures) {
      const failed = failures.find((failure) => failure.path === path);
      const counts = region ? stats.regions[region] : null;
      const known = sources.map((name) => health.sources.find((source) => source.name === name) ?? { name, state: 'unknown' });
      show(place, counts || known.length ? facts([
        ...known.map((source) => ['Source', [h('code', {}, source.name), ' ', asked(source.state, source.since),
          source.since ? h('span', { class: 'dim' }, `, since ${ago(source.since, at)}`) : null, source.reason ? h('span', { class: 'reason' }, ` ${source.reason}`) : null]]),
        ['Last failure', failed ? [`${ago(failed.at, at)}, at ${moment(failed.at, at)}: `, h('code', {}, failed.source), h('span', { class: 'reason' }, ` ${failed.message}`)] : null],
        ['Region', region ? h('a', { href: `#keys/region:${encodeURIComponent(region)}` }, region) : null],
        ['Latency there', counts && counts.load_latency_ms !== null ? `source ${counts.load_latency_ms.toFixed(1)} ms, cache ${counts.hit_latency_us === null ? 'not timed yet' : `${counts.hit_latency_us.toFixed(0)} µs`}` : null],
        ['Last load there', counts?.last_refresh ? `${ago(counts.last_refresh, at)}, at ${moment(counts.last_refresh, at)}` : null],
        ['Served there', counts ? `hits ${count(counts.hits.memory + counts.hits.store)}, stale ${count(counts.stale)}, last good ${count(counts.last_good)}, misses ${count(counts.misses)}, errors ${count(counts.errors)}` : null],
      ]) : null);
    }
  }

  return { open, update, close() { figures = []; } };
}

/** A parameter as a field of a form; the server has the last word on its value. */
function field({ name, in: place, required, description, schema = {} }) {
  const given = schema.default ?? (schema.enum?.length && required ? schema.enum[0] : '');
  const choices = schema.enum ?? (schema.type === 'boolean' ? ['true', 'false'] : null);
  const kind = { integer: 'number', number: 'number' }[schema.type] ?? (schema.format === 'date' ? 'date' : 'text');
  const input = choices
    ? h('select', { required }, [...(required ? [] : ['']), ...choices].map((value) => h('option', { value, selected: String(value) === String(given) }, value === '' ? 'not given' : value)))
    : h('input', { type: kind, value: String(given), required, step: schema.type === 'number' ? 'any' : null, min: kind === 'number' ? schema.minimum : null,
      max: kind === 'number' ? schema.maximum : null, maxlength: schema.maxLength, autocomplete: 'off', spellcheck: 'false' });
  return { name, place, input, label: h('label', { title: description }, h('span', {}, name, required ? '' : ' (optional)'), input) };
}

async function attempt(path, fields, answer) {
  const query = new URLSearchParams();
  let target = path;
  for (const { name, place, input } of fields) {
    if (place === 'path') target = target.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (input.value !== '') query.set(name, input.value);
  }
  if (query.size) target += `?${query}`;
  show(answer, h('p', { class: 'dim' }, 'Asking…'));
  try {
    const got = await text(target, { most: SHOWN });
    const headers = ['x-cache', 'cache-status', 'age', 'content-type'].map((name) => [name, got.headers.get(name)]);
    show(answer, facts([['Asked', h('code', {}, target)], ['Status', [pill(got.status, got.status < 400 ? 'good' : 'bad'), ` in ${got.took.toFixed(0)} ms`]], ...headers]),
      h('pre', { tabindex: 0 }, got.body), got.isCut ? h('p', { class: 'dim' }, 'The rest is not shown.') : null);
  } catch (error) {
    show(answer, h('p', { class: 'bad' }, error.message));
  }
}
