import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { address, del, get, Problem, work } from '.'
import { sse } from './sse'
import { type Answer, type Transport, useTransport } from './transport'

const utf8 = new TextEncoder()

function node(answer: Partial<Answer>, pieces: string[] = []): Transport & { asked: string[] } {
  const asked: string[] = []
  const whole = { status: 200, body: '', ...answer }
  return {
    kind: 'browser',
    asked,
    ask: async (method, path) => {
      asked.push(`${method} ${path}`)
      return whole
    },
    open: async (_method, _path, _body, piece) => {
      for (const text of pieces) piece(utf8.encode(text))
      return whole
    },
  }
}

test('types are those of the description', () => {
  const fresh = join(mkdtempSync(join(tmpdir(), 'types-')), 'schema.d.ts')
  const arguments_ = ['../crates/api/openapi.json', '-o', fresh, '--default-non-nullable=false']
  execFileSync('node_modules/.bin/openapi-typescript', arguments_, { stdio: 'ignore' })
  expect(
    readFileSync('src/api/schema.d.ts', 'utf8') === readFileSync(fresh, 'utf8'),
    'run `npm run types`',
  ).toBe(true)
}, 30_000)

test('a path is filled in, whatever fills it', () => {
  expect(address('/v1/people/{person}', { path: { person: 'a/b?' } })).toBe('/v1/people/a%2Fb%3F')
  expect(address('/v1/leases', { query: { all: true, limit: 5 } })).toBe('/v1/leases?all=true&limit=5')
})

test('an answer is its JSON, and no content is nothing', async () => {
  const there = node({ body: '{"peers":3}' })
  useTransport(there)
  expect(await get('/v1/status')).toEqual({ peers: 3 })
  useTransport(node({ status: 204 }))
  expect(await del('/v1/images/{id}', { path: { id: 'x' } })).toBeUndefined()
  expect(there.asked).toEqual(['GET /v1/status'])
})

test('a refusal keeps its code and what to do', async () => {
  useTransport(
    node({ status: 409, body: '{"code":"not_measured","detail":"measure first","hint":"Run bench."}' }),
  )
  const problem = await get('/v1/offer').catch((error: unknown) => error)
  expect(problem).toMatchObject({
    status: 409,
    code: 'not_measured',
    message: 'measure first',
    hint: 'Run bench.',
    gone: false,
  })
})

test('a node that is not there is told from one that refuses', async () => {
  useTransport({ ...node({}), ask: () => Promise.reject(new TypeError('fetch failed')) })
  expect(((await get('/v1/offer').catch((error: unknown) => error)) as Problem).gone).toBe(true)
  useTransport(node({ status: 502, body: '' }))
  expect(((await get('/v1/offer').catch((error: unknown) => error)) as Problem).gone).toBe(true)
})

test('events are read wherever the pieces break', () => {
  const text = ':\n\nevent: progress\ndata: {"a":"ä"}\n\nevent: done\r\ndata: 1\r\ndata: 2\r\n\r\n'
  for (let size = 1; size < 20; size++) {
    const told: string[] = []
    const feed = sse(({ name, data }) => told.push(`${name} ${data}`))
    const all = utf8.encode(text)
    for (let at = 0; at < all.length; at += size) feed(all.slice(at, at + size))
    expect(told).toEqual(['progress {"a":"ä"}', 'done 1\n2'])
  }
})

test('work tells how far it is, and ends with what it has done or why not', async () => {
  const signal = new AbortController().signal
  useTransport(node({}, ['event: progress\ndata: 1\n\nevent: done\nda', 'ta: {"x":2}\n\n']))
  const seen: unknown[] = []
  expect(await work('/v1/benchmark', undefined, (told) => seen.push(told), signal)).toEqual({ x: 2 })
  expect(seen).toEqual([1])
  useTransport(
    node({}, ['event: problem\ndata: {"status":507,"code":"no_disk","detail":"full","hint":""}\n\n']),
  )
  await expect(work('/v1/benchmark', undefined, () => {}, signal)).rejects.toMatchObject({ code: 'no_disk' })
  useTransport(node({}, ['event: progress\ndata: 1\n\n']))
  await expect(work('/v1/benchmark', undefined, () => {}, signal)).rejects.toBeInstanceOf(Problem)
})
