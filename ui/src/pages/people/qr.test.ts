import { expect, test } from 'vitest'
import { path } from './qr'

test('each run of dark modules is one rectangle', () => {
  expect(path(['1101', '0000', '0111'])).toBe('M0 0h2v1h-2zM3 0h1v1h-1zM1 2h3v1h-3z')
  expect(path([])).toBe('')
})
