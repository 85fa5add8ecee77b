import { expect, test } from 'vitest'
import { windowOf } from './virtual'

test('a hundred thousand rows are a few dozen', () => {
  for (let top = 0; top < 100_000 * 40; top += 39_997) {
    const { first, end, before, after } = windowOf(100_000, 40, top, 440)
    expect(end - first).toBeLessThan(40)
    // What is not drawn is kept as room: the bar at the side tells the truth.
    expect(before + after + (end - first) * 40).toBe(100_000 * 40)
    if (top < 100_000 * 40 - 440) {
      expect(first * 40).toBeLessThanOrEqual(top)
      expect(end * 40).toBeGreaterThanOrEqual(Math.min(top + 440, 100_000 * 40))
    }
  }
})

test('nothing is nothing', () => {
  expect(windowOf(0, 40, 0, 440)).toEqual({ first: 0, end: 0, before: 0, after: 0 })
})

test('a list that has become shorter is shown from its end', () => {
  const { first, end } = windowOf(3, 40, 4_000, 440)
  expect(first).toBe(0)
  expect(end).toBe(3)
})
