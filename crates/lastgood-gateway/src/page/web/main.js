// The page as a whole: which view is shown, the stream that feeds it, the token.

import { h } from '/page/dom.js';
import { Refusal, hasToken, json, live, setToken } from '/page/api.js';
import { overview } from '/page/overview.js';
import { keys } from '/page/keys.js';
import { market } from '/page/market.js';
import { routes } from '/page/routes.js';

const VIEWS = { overview, keys, market, routes };
/** As many seconds as the charts show. */
const KEPT = 300;

const at = (id) => document.getElementById(id);
const main = at('main');
let view = null;
let shown = null;
/** Whether there was no event yet, or trouble since the last one. */
let isTroubled = true;
/** When the last event came, by the browser's clock. */
let receivedAt = 0;
/** The last event, the figures of the last minutes, and the gateway's time: the browser's may be wrong. */
const page = { now: null, history: [], confirm, ask: json, time: () => (page.now ? page.now.at + performance.now() - receivedAt : Date.now()) };

function navigate() {
  const [name, ...rest] = location.hash.slice(1).split('/');
  // The link that skips the navigation is no view.
  if (name === 'main' && view) return;
  const wanted = Object.hasOwn(VIEWS, name) ? name : 'overview';
  let path = '';
  try { path = decodeURIComponent(rest.join('/')); } catch { /* No path then. */ }
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${wanted}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (wanted !== shown) {
    view?.close?.();
    const room = h('div', { class: 'view' }, h('h1', { class: 'hidden' }, wanted[0].toUpperCase() + wanted.slice(1)));
    main.replaceChildren(room);
    view = VIEWS[wanted](room, page);
    if (shown !== null) main.focus({ preventScroll: true });
    shown = wanted;
    document.title = `${wanted} · lastgood`;
    scrollTo(0, 0);
  }
  // Before the first event the gateway may want a token, and would refuse whatever a view asks.
  if (!page.now) return;
  view.open?.(path);
  view.update?.(page.now);
}

/** The seconds between two samples, as if the counters had grown evenly. */
function between(before, after) {
  const seconds = Math.round((after.at - before.at) / 1000);
  const part = (at) => Object.fromEntries(Object.entries(after.totals)
    .map(([name, value]) => [name, before.totals[name] + ((value - before.totals[name]) * at) / seconds]));
  return Array.from({ length: seconds - 1 }, (_, at) => ({ at: before.at + (at + 1) * 1000, totals: part(at + 1) }));
}

/** What the gateway counted before the page was opened, or while it was in the background. */
async function recall() {
  const samples = await json('GET', '/page/history').catch(() => []);
  const recalled = samples.filter(({ at }) => page.now && at < page.now.at)
    .flatMap((sample, at, all) => (at > 0 ? [...between(all[at - 1], sample), sample] : [sample]));
  const rest = page.history.filter(({ at }) => at > (recalled.at(-1)?.at ?? 0));
  if (rest.length && recalled.length) recalled.push(...between(recalled.at(-1), rest[0]));
  page.history = [...recalled, ...rest].slice(-KEPT - 1);
}

/** How many stale answers each region has served. */
const staleOf = (regions) => Object.fromEntries(Object.entries(regions).filter(([, { stale }]) => stale > 0).map(([name, { stale }]) => [name, stale]));

function received(now) {
  const { totals } = now;
  const before = page.history.at(-1);
  page.now = now;
  receivedAt = performance.now();
  // After a restart the counters begin again.
  if (before && totals.requests < before.totals.requests) page.history.length = 0;
  page.history.push({ at: now.at, totals, stale: staleOf(now.stats.regions) });
  if (!before || now.at - before.at > 5000) recall().then(() => view?.update?.(page.now));
  if (page.history.length > KEPT + 1) page.history.shift();
  at('version').textContent = now.version;
  say(now.health.status, { ok: 'good', degraded: 'bad', disabled: 'warn' }[now.health.status]);
  at('leave').hidden = !hasToken();
  // Without an exchange there is no market to look at.
  document.querySelector('nav a[href="#market"]').hidden = now.health.upstreams.length === 0;
  main.classList.remove('old');
  // What was asked before, or meanwhile, was refused or not answered.
  if (isTroubled) {
    isTroubled = false;
    navigate();
  } else view?.update?.(now);
}

function say(text, tone) {
  const pill = at('state');
  // Only what changes is read out.
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${tone}`;
}

async function troubled(error) {
  isTroubled = true;
  main.classList.add('old');
  if (error instanceof Refusal && error.status === 401) {
    say('token needed', 'warn');
    askForToken(hasToken() ? 'The gateway does not take this token.' : '');
    return;
  }
  say(error instanceof Refusal ? 'refused' : 'not connected', 'bad');
  if (page.now) view?.lost?.(page.now);
  if (!page.now) {
    const title = error instanceof Refusal ? 'Refused' : 'Not connected';
    view?.close?.();
    main.replaceChildren(h('div', { class: 'view' }, h('section', { class: 'card' }, h('h1', {}, title), h('p', {}, error.message))));
    view = null;
    shown = null;
  }
}

const dialog = at('dialog');

function askForToken(wrong) {
  if (dialog.open) {
    const alert = dialog.querySelector('[role=alert]');
    if (alert) alert.textContent = wrong;
    return;
  }
  const field = h('input', { id: 'token', type: 'password', autocomplete: 'off', required: true, spellcheck: 'false' });
  const form = h('form', { method: 'dialog', onsubmit: () => setToken(field.value.trim()) },
    h('h2', { id: 'dialog-title' }, 'Admin token'),
    h('p', {}, 'This gateway has an admin token. The page keeps it until it is closed or loaded again, and stores it nowhere.'),
    h('p', { role: 'alert', class: 'bad' }, wrong),
    h('label', { for: 'token' }, 'Token'), field,
    h('p', { class: 'buttons' }, h('button', { type: 'submit', class: 'primary' }, 'Show the page')));
  dialog.replaceChildren(form);
  dialog.showModal();
}

/** Asks before something is changed. Resolves to whether it was confirmed. */
function confirm(title, lines, action) {
  return new Promise((decide) => {
    const form = h('form', { method: 'dialog' },
      h('h2', { id: 'dialog-title' }, title),
      lines.map((line) => h('p', {}, line)),
      h('p', { class: 'buttons' },
        h('button', { value: 'no', autofocus: true }, 'Cancel'),
        h('button', { value: 'yes', class: 'danger' }, action)));
    dialog.replaceChildren(form);
    dialog.returnValue = 'no';
    dialog.addEventListener('close', () => decide(dialog.returnValue === 'yes'), { once: true });
    dialog.showModal();
  });
}

at('leave').addEventListener('click', () => {
  setToken(null);
  location.reload();
});
addEventListener('hashchange', navigate);
navigate();
live(received, troubled);
