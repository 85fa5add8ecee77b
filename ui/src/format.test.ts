import { beforeEach, expect, test, vi } from 'vitest'
import { bytes, cores, dateTime, duration, money, percent, relative, short } from './format'
import { speak } from './words/say.svelte'

beforeEach(() => {
  vi.spyOn(navigator, 'languages', 'get').mockReturnValue(['en-GB', 'de-DE'])
  speak('en')
})
// No-break spaces are the formatter's own affair.
const plain = (text: string) => text.replace(/[\u00a0\u202f]/g, ' ')
const euro = (micros: number) => plain(money({ micros, currency: 'EUR' }))

test('small amounts keep the digits that count', () => {
  expect(euro(0)).toBe('€0.00')
  expect(euro(1_584)).toBe('€0.0016')
  expect(euro(36)).toBe('€0.000036')
  expect(euro(360_000)).toBe('€0.36')
  expect(euro(-12_345_678)).toBe('-€12.35')
})

test('credits are counted, not priced', () => {
  expect(money({ micros: 1_000_000, currency: 'credit' })).toBe('1 credit')
  expect(money({ micros: 2_500_000, currency: 'credit' })).toBe('2.5 credits')
})

test('what is not known is not nought', () => {
  expect(money(null)).toBe('–')
  expect(dateTime(null)).toBe('–')
})

test('numbers follow the language', () => {
  speak('de')
  expect(euro(1_234_500_000)).toBe('1.234,50 €')
  expect(plain(percent(0.25))).toBe('25 %')
  expect(cores(1500)).toBe('1,5')
})

test('sizes are in powers of 1024', () => {
  expect(bytes(0)).toBe('0 B')
  expect(bytes(1536)).toBe('1.5 KiB')
  expect(bytes(512 * 2 ** 20)).toBe('512 MiB')
  expect(bytes(2 ** 31)).toBe('2 GiB')
})

test('a length of time is told in its two greatest units', () => {
  expect(plain(duration(0))).toBe('0 secs')
  expect(plain(duration(59.6))).toBe('1 min')
  expect(plain(duration(7_500))).toBe('2 hrs 5 mins')
  expect(plain(duration(86_400 * 3))).toBe('3 days')
})

test('moments are told from now', () => {
  const now = Date.parse('2026-11-26T12:00:00Z')
  expect(relative('2026-11-26T12:00:02Z', now)).toBe('just now')
  expect(relative('2026-11-26T14:00:00Z', now)).toBe('in 2 hours')
  expect(relative('2026-11-25T12:00:00Z', now)).toBe('yesterday')
})

test('ids are told by their first digits', () => {
  expect(short('3fa4b1c2d3e4')).toBe('3fa4b1c2')
})
