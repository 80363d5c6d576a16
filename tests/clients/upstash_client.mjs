// @upstash/redis: reads what another client wrote, writes as much, and sees errors as it knows them.
import assert from 'node:assert/strict';
import { load } from './compare.mjs';

const { Redis } = load('@upstash/redis');

const values = JSON.parse(process.env.VALUES);
const [url, token] = [process.env.UPSTASH_REDIS_REST_URL, process.env.UPSTASH_REDIS_REST_TOKEN];
const options = { url, retry: false, automaticDeserialization: false };
const redis = new Redis({ ...options, token });

for (const [index, value] of values.entries()) {
  assert.equal(await redis.get(`ours/${index}?${value}`), value);
  assert.equal(await redis.set(`theirs/${index}`, value, { px: 60000 }), 'OK');
}
assert.deepEqual(await redis.mget('theirs/0', 'missing'), [values[0], null]);

let cursor = '0';
const found = [];
do {
  const [next, keys] = await redis.scan(cursor, { match: 'ours/*', count: 10 });
  [cursor] = [String(next), found.push(...keys)];
} while (cursor !== '0');
assert.equal(new Set(found).size, values.length);

const pipeline = redis.pipeline();
pipeline.ping().dbsize();
assert.deepEqual(await pipeline.exec(), ['PONG', 2 * values.length]);

await redis.lpush('list', 'x');
await assert.rejects(redis.get('list'), /WRONGTYPE/);
assert.equal(await redis.unlink('list', 'missing'), 1);
await assert.rejects(new Redis({ ...options, token: 'another' }).get('ours/0'), /WRONGPASS/);
