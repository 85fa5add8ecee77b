import { expect, test } from 'vitest'
import { numbers, plurals } from './intl'

test('a formatter is made once for each language and shape', () => {
  expect(numbers('de', {}).format(1.5)).toBe('1,5')
  expect(numbers('en', {}).format(1.5)).toBe('1.5')
  expect(numbers('en', { maximumFractionDigits: 0 }).format(1.4)).toBe('1')
  expect(numbers('en', {})).toBe(numbers('en', {}))
  expect(plurals('en', {}).select(1)).toBe('one')
})
