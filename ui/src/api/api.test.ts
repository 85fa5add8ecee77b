import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { address, del, get, Problem, work } from '.'
import { sse } from './sse'
import { type Answer, desktop, type Transport, useTransport } from './transport'

const utf8 = new TextEncoder()

function node(
  answer: Partial<Answer>,
  pieces: string[] = [],
): Omit<Transport, 'session' | 'give'> & { asked: string[] } {
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

test('in the window a program is spoken to by commands, in the order in which it was said', async () => {
  const called: [string, Record<string, unknown>][] = []
  let channel: { onmessage(piece: unknown): void } | undefined
  let end = (_: unknown) => {}
  const internals = {
    transformCallback: () => 1,
    invoke: (command: string, given: Record<string, unknown>) => {
      called.push([command, given])
      if (command !== 'session_open') return new Promise((done) => setTimeout(done, 5 * Math.random()))
      channel = given.pieces as typeof channel
      return new Promise((done) => {
        end = done
      })
    },
  }
  Object.assign(globalThis, { __TAURI_INTERNALS__: internals })
  const heard: unknown[] = []
  const hearing = {
    began: () => heard.push('began'),
    said: (bytes: Uint8Array) => heard.push(new TextDecoder().decode(bytes)),
    ended: (code: number) => heard.push(code),
    lost: () => heard.push('lost'),
  }
  const program = (await desktop()).session('abcd', { command: ['sh'] }, hearing)
  channel?.onmessage(new ArrayBuffer(0))
  channel?.onmessage(utf8.encode('\x01hello').buffer)
  for (let i = 0; i < 5; i++) program.give(Uint8Array.of(i))
  program.order({ signal: 2 })
  const sent = () =>
    called.filter(([command, { heard }]) => command === 'session_send' && heard === undefined)
  await vi.waitFor(() => expect(sent().length).toBe(6))
  expect(sent().map(([, { bytes, order }]) => bytes ?? order)).toEqual([
    [0],
    [1],
    [2],
    [3],
    [4],
    { signal: 2 },
  ])
  expect(called.find(([, given]) => given.heard !== undefined)?.[1]).toMatchObject({ heard: 6 })
  end({ ended: 3 })
  await vi.waitFor(() => expect(heard).toEqual(['began', 'hello', 3]))
  // What an earlier page has left was closed before all.
  expect(called[0]).toEqual(['session_close', {}])
})
