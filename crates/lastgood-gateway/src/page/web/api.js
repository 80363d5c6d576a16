// How the page asks the gateway. The token is kept in this module's memory alone, and sent as a header alone.

let token = null;
const waiting = new Set();

export const hasToken = () => token !== null;

export function setToken(text) {
  token = text;
  for (const wake of waiting) wake();
  waiting.clear();
}

function headers(more) {
  return token === null ? more : { ...more, authorization: `Bearer ${token}` };
}

/** Why an answer is no success: the gateway's words, or the exchange's. */
export const said = (status, problem) => [problem?.detail ?? problem?.msg ?? problem?.title ?? `Status ${status}`, problem?.hint].filter(Boolean).join(' ');

/** An answer that is no success. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(said(status, problem));
    this.status = status;
    this.problem = problem;
  }
}

/** Each browser has words of its own for a gateway that is away, and none of them says so. */
const heard = (answer) => answer.catch((error) => { throw error instanceof TypeError ? new Error('The gateway does not answer.') : error; });

async function refusal(response) {
  const text = await response.text().catch(() => '');
  let problem = {};
  try { problem = JSON.parse(text) ?? {}; } catch { problem = { detail: text.slice(0, 300) }; }
  return new Refusal(response.status, problem);
}

/** JSON from a path of the gateway; throws a `Refusal`. */
export async function json(method, path, body) {
  const given = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  const response = await heard(fetch(path, { method, cache: 'no-store', ...given, headers: headers(given.headers ?? {}) }));
  if (!response.ok) throw await refusal(response);
  return response.status === 204 ? null : heard(response.json());
}

/** The status, headers and first bytes of an answer as text, and how long it took. `asOperator` sends the token with it. */
export async function text(path, { most = 65536, asOperator = false } = {}) {
  const began = performance.now();
  const response = await heard(fetch(path, { cache: 'no-store', headers: asOperator ? headers({}) : {} }));
  const reader = response.body?.getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = reader ? await heard(reader.read()) : { done: true };
    if (done) break;
    size += value.length;
    parts.push(value);
    if (size > most) { reader.cancel().catch(() => {}); break; }
  }
  const took = performance.now() - began;
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  const body = new TextDecoder().decode(bytes.subarray(0, most));
  return { status: response.status, headers: response.headers, body, isCut: size > most, took };
}

const pause = (millis) => new Promise((wake) => {
  const timer = setTimeout(wake, millis);
  waiting.add(() => { clearTimeout(timer); wake(); });
});

/** Reads the stream of events for as long as the page is open. A page in the background reads nothing. */
export async function live(onEvent, onTrouble) {
  for (let failures = 0; ; ) {
    await visible();
    try {
      for await (const event of events()) {
        failures = 0;
        onEvent(event);
      }
      if (!document.hidden) onTrouble(new Error('The gateway ended the stream.'));
    } catch (error) {
      if (!document.hidden) onTrouble(error);
      failures += 1;
    }
    waiting.clear();
    if (!document.hidden) await pause(Math.min(1000 * 2 ** failures, 15000));
  }
}

const visible = () => new Promise((seen) => {
  if (!document.hidden) { seen(); return; }
  const look = () => {
    if (document.hidden) return;
    document.removeEventListener('visibilitychange', look);
    seen();
  };
  document.addEventListener('visibilitychange', look);
});

async function* events() {
  const stop = new AbortController();
  const hide = () => { if (document.hidden) stop.abort(); };
  // A stream without a word for so long is dead, whatever the connection says.
  let silent = setTimeout(() => stop.abort(), 15000);
  document.addEventListener('visibilitychange', hide);
  try {
    const response = await heard(fetch('/page/live', { cache: 'no-store', headers: headers({}), signal: stop.signal }));
    if (!response.ok) throw await refusal(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffered = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(silent);
      silent = setTimeout(() => stop.abort(), 15000);
      buffered += value;
      const ended = buffered.split('\n\n');
      buffered = ended.pop();
      for (const event of ended) if (event.startsWith('data: ')) yield JSON.parse(event.slice(6));
    }
  } finally {
    clearTimeout(silent);
    document.removeEventListener('visibilitychange', hide);
    stop.abort();
  }
}
