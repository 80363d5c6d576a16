// The operator's page in a real Chromium. GATEWAY_URL says where it is, the first argument which test to run; an assertion that
// fails ends the script. With PICTURES set to a folder, `views` leaves a picture of each view there.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const tools = createRequire(join(import.meta.dirname, '../../target/test-tools/browser/'));
const { default: puppeteer } = await import(pathToFileURL(tools.resolve('puppeteer-core')));
const gateway = process.env.GATEWAY_URL;
const VIEWS = ['overview', 'keys', 'market', 'routes'];

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // The name leads to this machine, as one does that was pointed here. What the newest browsers refuse themselves, others do not.
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--host-resolver-rules=MAP evil.example 127.0.0.1',
    '--disable-features=LocalNetworkAccessChecks'],
  timeout: 120_000,
});

/** A tab that collects whatever goes wrong in it. */
async function tab({ width = 1280, height = 900, scheme = 'light' } = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(error.message));
  page.on('dialog', (dialog) => { wrong.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('console', (message) => { if (message.type() === 'error') wrong.push(message.text()); });
  page.on('request', (request) => {
    if (!request.url().startsWith(gateway) && !request.url().startsWith('data:')) wrong.push(`asked ${request.url()}`);
  });
  return { page, wrong };
}

const says = (page, selector, text) => page.waitForFunction(
  (selector, text) => document.querySelector(selector)?.innerText.toLowerCase().includes(text.toLowerCase()), {}, selector, text);

const press = async (page, selector, text) => {
  const found = await page.waitForFunction(
    (selector, text) => [...document.querySelectorAll(selector)].find((one) => one.textContent.includes(text)), {}, selector, text);
  await found.click();
};

async function serious(page) {
  const session = await page.createCDPSession();
  // The policy is not about scripts injected for the test.
  await session.send('Runtime.evaluate', { expression: readFileSync(tools.resolve('axe-core/axe.min.js'), 'utf8') });
  const violations = await page.evaluate(async () => (await globalThis.axe.run()).violations);
  return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 200)}`);
}

const tries = {
  /** Each view, light, dark and as wide as a phone. */
  async views() {
    const sizes = [['light', 1280, 'light'], ['dark', 1280, 'dark'], ['phone', 390, 'light']];
    for (const [look, width, scheme] of sizes) {
      for (const view of VIEWS) {
        const { page, wrong } = await tab({ width, scheme });
        await page.goto(`${gateway}/#${view}`);
        await says(page, 'nav [aria-current]', view);
        await page.waitForFunction(() => document.getElementById('version').textContent !== '');
        await page.waitForFunction(() => document.querySelector('main .card') && !document.body.innerText.includes('Asking…'));
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${view} ${look} is ${overflow} px too wide`);
        assert.deepEqual(await serious(page), [], `${view} ${look}`);
        assert.deepEqual(wrong, [], `${view} ${look}`);
        if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, `${view}-${look}.png`) });
        await page.close();
      }
    }
  },

  /** A fault is switched on, seen, and switched off again, with the keyboard. */
  async fault() {
    const { page, wrong } = await tab();
    await page.goto(gateway);
    await says(page, '.situation', 'Well');
    const focus = async (name) => { await page.waitForSelector(`[data-fault=${name}]`); await page.focus(`[data-fault=${name}]`); };
    await focus('fail');
    await page.keyboard.press('Enter');
    await says(page, '.situation', 'Last good answers are served from');
    await says(page, '#state', 'degraded');
    assert.equal(await page.evaluate(() => document.activeElement.dataset.fault), 'fail', 'the focus stays where it was');
    await focus('none');
    await page.keyboard.press('Enter');
    await says(page, '.situation', 'Well');
    assert.deepEqual(wrong, []);
  },

  /** A key of a hostile name and value is shown as text, then expired and removed. */
  async keys() {
    const { page, wrong } = await tab();
    await page.goto(`${gateway}/#keys/pattern:${encodeURIComponent('kv:*')}`);
    await press(page, 'main button.link', '<img');
    await says(page, 'main pre', '<script>alert(1)</script>');
    assert.equal(await page.$('main img, main script'), null, 'nothing of it became an element');
    await press(page, 'main .halves .card button', 'Remove…');
    await says(page, 'dialog', '1 entry');
    await press(page, 'dialog button', 'Cancel');
    await page.waitForFunction(() => !document.querySelector('dialog').open);
    await press(page, 'main .halves .card button', 'Look again');
    await says(page, 'main pre', '<script>alert(1)</script>');
    await press(page, 'main .halves .card button', 'Expire…');
    await press(page, 'dialog button.danger', 'Expire');
    await says(page, 'main [role=status]', '1 of 1 entry expired');
    await press(page, 'main .halves .card button', 'Remove…');
    await press(page, 'dialog button.danger', 'Remove');
    await says(page, 'main [role=status]', '1 of 1 entry removed');
    await says(page, 'main .halves', 'No key is like this');
    // That there is no such key any more is an answer, and no error of the page's.
    assert.deepEqual(wrong.filter((one) => !one.includes('404')), []);
  },

  /** The page asks for the token, refuses a wrong one, and keeps the right one nowhere. */
  async token() {
    const { page, wrong } = await tab();
    const urls = [];
    page.on('request', (request) => urls.push(request.url()));
    await page.goto(gateway);
    await page.waitForSelector('dialog[open] input');
    assert.equal(await page.$('.tiles'), null, 'nothing is shown before');
    await page.type('dialog input', 'a-wrong-token-this-is');
    await page.keyboard.press('Enter');
    await says(page, 'dialog', 'does not take this token');
    await page.type('dialog input', process.env.TOKEN);
    await page.keyboard.press('Enter');
    await page.waitForSelector('.tiles');
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.documentElement.outerHTML]));
    assert.ok(!kept.includes(process.env.TOKEN), 'the token is kept');
    assert.ok(!urls.some((url) => url.includes(process.env.TOKEN)), 'the token is in a URL');
    assert.deepEqual(wrong.filter((one) => !one.includes('401')), []);
  },

  /** A page of somebody else in the same browser reads nothing and changes nothing, neither by address nor by a name that
   * was pointed here. */
  async hostile() {
    const elsewhere = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>evil</title>'));
    await new Promise((ready) => { elsewhere.listen(0, '127.0.0.1', ready); });
    const rebound = gateway.replace('127.0.0.1', 'evil.example');
    for (const from of [`http://127.0.0.1:${elsewhere.address().port}/`, `http://evil.example:${elsewhere.address().port}/`]) {
      const page = await browser.newPage();
      await page.goto(from);
      const got = await page.evaluate(async (bases) => {
        const seen = [];
        for (const base of bases) {
          for (const [method, path] of [['GET', '/'], ['GET', '/page/live'], ['GET', '/api/cache/stats'], ['GET', '/api/cache/keys'],
            ['POST', '/api/cache/disable'], ['POST', '/page/faults/fail']]) {
            await fetch(base + path, { method }).then((answer) => seen.push(`${method} ${path} ${answer.status}`), () => {});
            await fetch(base + path, { method, mode: 'no-cors' }).catch(() => {});
          }
          const form = document.createElement('form');
          Object.assign(form, { method: 'POST', action: `${base}/api/cache/disable`, target: 'frame' });
          const frame = document.createElement('iframe');
          Object.assign(frame, { name: 'frame', src: `${base}/` });
          document.body.append(frame, form);
          form.submit();
          await new Promise((done) => { setTimeout(done, 500); });
        }
        return seen;
      }, [gateway, rebound]);
      assert.deepEqual(got, [], 'no answer can be read');
      await page.close();
    }
    // DNS rebinding: a page of that name, whose name leads to the gateway from then on, is of one origin with it.
    const page = await browser.newPage();
    await page.setRequestInterception(true);
    page.on('request', (request) => (request.isNavigationRequest()
      ? request.respond({ contentType: 'text/html', body: '<!doctype html><title>evil</title>' }) : request.continue()));
    await page.goto(`${rebound}/`);
    const asked = [['GET', '/'], ['GET', '/page/main.js'], ['GET', '/page/live'], ['GET', '/api/cache/stats'], ['POST', '/api/cache/disable'], ['POST', '/page/faults/fail']];
    const answers = await page.evaluate((asked) => Promise.all(asked.map(async ([method, path]) => (await fetch(path, { method })).status)), asked);
    assert.deepEqual(answers, asked.map(() => 403));
    elsewhere.close();
  },
};

try {
  await tries[process.argv[2]]();
} finally {
  await browser.close();
}
