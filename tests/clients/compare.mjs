// The same as compare.py, for npm clients: asks the gateway, and in the mode `compare` the exchange too.
import assert from 'node:assert/strict';

export const KEY = 'sim-key-of-account-one-0001';
export const SECRET = 'sim-secret-of-account-one-0001';

// What a call is refused with: the exchange's code, wherever the client keeps it.
export async function refusal(call) {
  try {
    await call();
    return { refused: false };
  } catch (error) {
    return { refused: true, code: error.code ?? error.body?.code ?? error.response?.data?.code };
  }
}

export async function run(ask) {
  const through = await ask(process.env.GATEWAY_URL);
  if (process.argv[2] === 'compare') {
    const direct = await ask(process.env.SIM_URL);
    for (const name of Object.keys(direct)) {
      assert.deepEqual(through[name], direct[name], name);
    }
  }
  for (const [name, result] of Object.entries(through)) {
    assert.ok(result && Object.keys(result).length > 0, `nothing came of ${name}`);
  }
  console.log(`${Object.keys(through).length} results`);
}
