import { expect, test } from 'vitest'
import { full, grid, ranges, schedule } from './week'

test('hours are read as they are written', () => {
  const written = schedule(full(), 'Europe/Berlin')
  expect(written.monday).toEqual(['00:00-24:00'])
  const night = { ...written, tuesday: ['00:00-06:30', '22:00-24:00'], sunday: [] }
  expect(schedule(grid(night), 'Europe/Berlin')).toEqual(night)
})

test('a day without an hour is an empty list', () => {
  expect(ranges(Array<boolean>(48).fill(false))).toEqual([])
})
