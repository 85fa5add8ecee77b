import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { useTransport } from './api/transport'
import { Live, link, listen } from './live.svelte'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('a thousand calls at once are two questions', async () => {
  const load = vi.fn(async () => load.mock.calls.length)
  const live = new Live(load)
  for (let i = 0; i < 1_000; i++) live.stale()
  await vi.advanceTimersByTimeAsync(1)
  for (let i = 0; i < 1_000; i++) live.stale()
  await vi.advanceTimersByTimeAsync(500)
  expect(load).toHaveBeenCalledTimes(2)
  expect(live.data).toBe(2)
})

test('a slow answer never overwrites a newer one', async () => {
  const answers: ((text: string) => void)[] = []
  const live = new Live(() => new Promise<string>((done) => answers.push(done)))
  void live.refresh()
  void live.refresh()
  answers[1]?.('new')
  await vi.advanceTimersByTimeAsync(0)
  answers[0]?.('old')
  await vi.advanceTimersByTimeAsync(0)
  expect(live.data).toBe('new')
})

test('what was known stays when it cannot be asked for', async () => {
  let works = true
  const live = new Live(async () => {
    if (!works) throw new TypeError('fetch failed')
    return 1
  })
  await live.refresh()
  works = false
  await live.refresh()
  expect(live.data).toBe(1)
  expect(live.problem?.gone).toBe(true)
})

test('a line that breaks is tied again, later each time', async () => {
  const tries: number[] = []
  const ending = new AbortController()
  useTransport({
    kind: 'browser',
    ask: async () => ({ status: 200, body: '{}' }),
    open: async (_method, _path, _body, piece) => {
      tries.push(Date.now())
      if (tries.length < 5) throw new TypeError('fetch failed')
      piece(new Uint8Array())
      return new Promise(() => {})
    },
  })
  const listening = listen(ending.signal)
  await vi.advanceTimersByTimeAsync(600)
  expect(link.state).toBe('gone')
  await vi.advanceTimersByTimeAsync(60_000)
  expect(link.state).toBe('live')
  const pauses = tries.slice(1).map((at, i) => at - (tries[i] ?? 0))
  expect(pauses).toEqual([500, 1_000, 2_000, 4_000])
  ending.abort()
  void listening
})
