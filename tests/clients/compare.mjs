// The same as compare.py, for npm clients.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';

export const KEY = 'sim-key-of-account-one-0001';
export const SECRET = 'sim-secret-of-account-one-0001';

const INVALID_SYMBOL = -1121;

// A client as tests/install-tools.sh installed it.
export const load = createRequire(new URL('../../target/test-tools/node/', import.meta.url));

// The code that an unknown symbol is refused with, where `codeOf` finds it in the client's error.
async function refusal({ unknown, codeOf }) {
  const error = await unknown().then(
    (answer) => assert.fail(`an unknown symbol gives ${JSON.stringify(answer)}`),
    (refused) => refused,
  );
  assert.equal(codeOf(error), INVALID_SYMBOL, `an unknown symbol: ${error.message}`);
  return { code: codeOf(error), message: error.message };
}

async function ask(calls, mode) {
  const asked = { ...calls.market };
  if (mode !== 'last-good') Object.assign(asked, calls.signed, { unknown: () => refusal(calls) });
  const results = {};
  const took = {};
  for (const [name, call] of Object.entries(asked)) {
    const began = performance.now();
    results[name] = await call();
    took[name] = Math.round(performance.now() - began);
    assert.ok(Object.keys(results[name] ?? {}).length > 0, `nothing came of ${name}`);
  }
  return [results, took];
}

// `connect` gives for a base URL the calls: { market, signed, unknown, codeOf }.
export async function run(connect) {
  const mode = process.argv[2];
  const [through, gateway_ms] = await ask(connect(process.env.GATEWAY_URL), mode);
  const result = { client: path.basename(process.argv[1]), mode, calls: Object.keys(through).length, gateway_ms };
  if (mode === 'compare') {
    const [direct, exchange_ms] = await ask(connect(process.env.SIM_URL), mode);
    for (const name of Object.keys(direct)) {
      // With a message of ours, assert would keep the difference to itself.
      assert.deepEqual({ [name]: through[name] }, { [name]: direct[name] });
    }
    result.exchange_ms = exchange_ms;
  }
  console.log(JSON.stringify(result));
}
