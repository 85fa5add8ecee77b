import { expect, test } from 'vitest'
import { kept } from './samples'

const at = (second: number) => ({ at: new Date(second * 1000).toISOString() })

test('ten minutes are kept, in their order, and nothing twice', () => {
  let samples: readonly { at: string }[] = []
  for (let second = 0; second < 700; second++) samples = kept(samples, at(second))
  expect(samples.length).toBe(600)
  expect(samples[0]).toEqual(at(100))
  expect(kept(samples, at(699))).toBe(samples)
  expect(kept(samples, at(5))).toBe(samples)
})
