// What the operator's page does when things go other than they should: a token that comes late, a gateway that comes back,
// values that no source has. Run by page.mjs, whose tools it is given.

import assert from 'node:assert/strict';

/** Runs in the page before its own scripts: `away(true)` cuts its stream off and fails whatever it asks, as a gateway that is gone does. */
function cuttable() {
  const { fetch: ask } = globalThis;
  let isAway = false;
  let cut = () => {};
  globalThis.away = (is) => { isAway = is; if (is) cut(); };
  globalThis.fetch = async (path, options) => {
    if (isAway) throw new TypeError('Failed to fetch');
    const answer = await ask(path, options);
    if (path !== '/page/live' || !answer.ok) return answer;
    const stop = new TransformStream();
    const ended = new AbortController();
    cut = () => ended.abort(new TypeError('network error'));
    answer.body.pipeTo(stop.writable, { signal: ended.signal }).catch(() => {});
    return new Response(stop.readable);
  };
}

export const tries = ({ gateway, tab, says, press, serious }) => {
  const go = (page, hash) => page.evaluate((hash) => { location.hash = hash; }, hash);
  return {
    /** A view that is opened by its address asks nothing before the token, and everything after it. */
    async 'late-token'() {
      for (const [view, selector, said] of [['keys', '.found', 'kv:a'], ['keys/key:kv%3Aa', 'main pre', 'one'], ['keys/key:kv%3Aa', '.found', 'kv:a'], ['market', '.market', 'Quantity'], ['routes', 'main', '/v1/fear-greed']]) {
        const { page, wrong } = await tab();
        const asked = [];
        page.on('request', (request) => asked.push(new URL(request.url()).pathname));
        await page.goto(`${gateway}/#${view}`);
        await page.waitForSelector('dialog[open] input');
        await page.type('dialog input', 'a-wrong-token-this-is');
        await page.keyboard.press('Enter');
        await says(page, 'dialog', 'does not take this token');
        assert.deepEqual(asked.filter((path) => !/^\/(page\/.*)?$/.test(path)), [], `${view}: nothing is asked without the token`);
        await page.type('dialog input', process.env.TOKEN);
        await page.keyboard.press('Enter');
        await says(page, '#state', 'ok');
        await says(page, selector, said);
        assert.deepEqual(wrong.filter((one) => !one.includes('401')), [], view);
        await page.close();
      }
    },

    /** While the gateway is away each view says so in words; when it is back, each shows what it should. */
    async back() {
      for (const [view, other, selector, said] of [['keys', 'keys/key:kv%3Aa', 'main pre', 'one'], ['overview', 'keys', '.found', 'kv:a'],
        ['overview', 'market', '.market', 'Quantity'], ['overview', 'routes', 'main', '/v1/fear-greed']]) {
        const { page, wrong } = await tab();
        await page.evaluateOnNewDocument(cuttable);
        await page.goto(`${gateway}/#${view}`);
        await says(page, '#state', 'ok');
        await page.waitForFunction(() => !/Asking…|Searching…/.test(document.body.innerText));
        await page.evaluate(() => globalThis.away(true));
        await says(page, '#state', 'not connected');
        await go(page, other);
        await says(page, 'main', 'The gateway does not answer.');
        assert.ok(!(await page.$eval('main', ({ innerText }) => innerText)).includes('Failed to fetch'), `${other}: in words`);
        if (other.includes('key:')) {
          await press(page, 'main .halves .card button', 'Look again');
          await press(page, 'main button', 'Search');
          await says(page, '.found', 'The gateway does not answer.');
        }
        await page.evaluate(() => globalThis.away(false));
        await says(page, '#state', 'ok');
        await says(page, selector, said);
        await page.waitForFunction(() => !document.querySelector('main').innerText.includes('The gateway does not answer.'));
        assert.deepEqual(wrong, [], other);
        await page.close();
      }
    },

    /** A search by symbol lists the keys that a change by it matches. */
    async symbol() {
      const { page, wrong } = await tab();
      for (const symbol of ['SOL', 'solusdt']) {
        await page.goto('about:blank');
        await page.goto(`${gateway}/#keys/symbol:${symbol}`);
        await page.waitForSelector('.found tbody tr');
        const listed = await page.$$eval('.found tbody tr', (rows) => rows.map((row) => row.innerText));
        assert.equal(listed.some((key) => key.includes('SOLUSDT')), symbol === 'solusdt', `${symbol}: ${listed}`);
        await press(page, 'main button', 'Remove all of these…');
        await says(page, 'dialog', `symbol ${symbol}: ${listed.length === 1 ? '1 entry' : `${listed.length} entries`}`);
        await says(page, 'dialog', 'only expires');
        await press(page, 'dialog button', 'Cancel');
      }
      assert.deepEqual(wrong, []);
    },

    /** Each line of the price axis has a price of its own, of whatever coin, and the read-out has the exchange's own texts. */
    async prices() {
      const { page, wrong } = await tab();
      await page.goto(`${gateway}/#market/spot/BTCUSDT/1h`);
      await says(page, '.readout', 'close');
      const labels = await page.evaluate(async () => {
        const { round } = await import('/page/charts.js');
        return [[94000, 94100], [0.98, 1.02], [0.0000187, 0.0000190], [0.00000001, 0.00000002], [0.000000011, 0.0000000113]].map(([low, high]) => {
          const { prices, digits } = round(low, high);
          return { low, high, labels: prices.map((price) => price.toFixed(digits)) };
        });
      });
      for (const one of labels) {
        assert.ok(one.labels.length > 2 && new Set(one.labels).size === one.labels.length, JSON.stringify(one));
        assert.ok(one.labels.every((label) => label >= one.low * 0.999 && label <= one.high * 1.001), JSON.stringify(one));
      }
      // Its open does not change while it forms.
      const open = await page.evaluate(async () => (await (await fetch('/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1')).json())[0][1]);
      assert.match(open, /0$/, 'a text that a number would shorten');
      await says(page, '.readout', `open ${open}`);
      assert.deepEqual(wrong, []);
    },

    /** Times are by UTC, and say so, wherever the browser is. */
    async zone() {
      const { page, wrong } = await tab();
      await page.emulateTimezone('America/New_York');
      await page.goto(`${gateway}/#market/spot/BTCUSDT/1d`);
      await says(page, '.readout', 'close');
      assert.match(await page.$eval('.readout', ({ innerText }) => innerText), /(00:00|00:00:00)\sUTC/, 'days begin at midnight');
      await says(page, '.spans', 'From (UTC)');
      const written = await page.evaluate(async () => {
        const { moment } = await import('/page/dom.js');
        const noon = Date.UTC(2026, 10, 30, 12);
        return [moment(noon, noon), moment(noon, noon + 86400000), moment(noon, noon, '')].map((text) => text.replace('\u00a0', ' '));
      });
      assert.deepEqual(written, ['12:00:00 UTC', '30 Nov 2026, 12:00 UTC', '12:00:00']);
      await go(page, 'overview');
      await says(page, '.situation', ' UTC.');
      assert.deepEqual(wrong, []);
    },

    /** A value put by an application shows its own freshness, and mentions no source. */
    async own() {
      const { page, wrong } = await tab();
      await page.goto(`${gateway}/#keys/key:kv%3Aa`);
      await says(page, 'main .halves', 'It has no source');
      const text = (await page.$eval('main .halves', ({ innerText }) => innerText)).replaceAll('\u00a0', ' ');
      assert.match(text, /old \(fresh for (1 s|9\d\d ms)\)/, text);
      assert.doesNotMatch(text, /Fetched|fetched|Asked again|on next read/, text);
      assert.match(text, /Next refresh\s+never/, text);
      assert.deepEqual(wrong, []);
    },

    /** The first state of a series includes the candles just loaded. */
    async first() {
      const { page, wrong } = await tab();
      await page.evaluateOnNewDocument(() => {
        globalThis.said = [];
        new MutationObserver(() => {
          const text = document.querySelector('.came')?.textContent;
          if (text && text !== globalThis.said.at(-1)) globalThis.said.push(text);
        }).observe(document, { subtree: true, childList: true, characterData: true });
      });
      await page.goto(`${gateway}/#market/spot/ETHUSDT/5m`);
      await page.waitForFunction(() => globalThis.said.length > 0);
      assert.match((await page.evaluate(() => globalThis.said))[0], /^Newest candle: forming/);
      // Sides have words, not colours alone.
      const sides = await page.$$eval('[aria-label="Order book"] tbody tr', (rows) => rows.map((row) => row.innerText.split(/\s/)[0]));
      assert.deepEqual([...new Set(sides)], ['ask', 'bid']);
      assert.deepEqual(wrong, []);
    },

    /** On a phone the details of a key come into view when it is chosen, and are read out. */
    async phone() {
      const { page, wrong } = await tab({ width: 360, height: 740 });
      await page.goto(`${gateway}/#keys/pattern:${encodeURIComponent('kv:*')}`);
      await press(page, 'main button.link', 'kv:');
      await says(page, 'main .detail', 'Look again');
      const top = await page.$eval('.detail', (detail) => detail.getBoundingClientRect().top);
      assert.ok(top > 0 && top < 370, `its details are at ${top}`);
      await page.waitForFunction(() => [...document.querySelectorAll('[aria-live]')].some(({ textContent }) => textContent.startsWith('kv:a')));
      // A name of other direction turns nothing around it, and cannot pass for another.
      const link = await page.$eval('main button.link', (one) => [one.textContent, one.dataset.key, getComputedStyle(one.firstElementChild).unicodeBidi]);
      assert.deepEqual(link, ['kv:a\\u202eb', 'kv:a\u202eb', 'isolate']);
      assert.ok(!(await page.evaluate(() => document.body.innerText)).includes('\u202e'));
      const words = await page.evaluate(async () => { const { many } = await import('/page/dom.js'); return [many(1, 'request'), many(0, 'request'), many(2000, 'request')]; });
      assert.deepEqual(words, ['1 request', '0 requests', '2,000 requests']);
      assert.deepEqual(await serious(page), []);
      assert.deepEqual(wrong, []);
    },

    /** Without an exchange the market says why there is nothing. */
    async nothing() {
      const { page } = await tab();
      await page.goto(`${gateway}/#market`);
      await says(page, '.market .note', process.env.SAYS);
      const text = await page.$eval('.market', ({ innerText }) => innerText);
      assert.doesNotMatch(text, /Status 404/);
    },
  };
};
