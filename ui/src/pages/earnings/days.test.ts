import { expect, test } from 'vitest'
import type { Schemas } from '../../api'
import { byDay, currencies } from './days'

const now = new Date(2026, 10, 26, 15, 0).getTime()
const posting = (at: Date, kind: 'income' | 'expense' | 'settled', micros: number, currency = 'EUR') =>
  ({
    seq: 1,
    at: at.toISOString(),
    cites: '',
    lease: null,
    entries: [
      { account: { kind }, amount: { micros, currency, text: '' } },
      {
        account: { kind: 'person', person: 'ab', name: null },
        amount: { micros: -micros, currency, text: '' },
      },
    ],
  }) as Schemas['Posting']

test('each day has what was lent and rented on it, by the calendar of the reader', () => {
  const days = byDay(
    [
      posting(new Date(2026, 10, 26, 0, 0), 'income', -5),
      posting(new Date(2026, 10, 25, 23, 59), 'income', -7),
      posting(new Date(2026, 10, 25, 1, 0), 'expense', 3),
      posting(new Date(2026, 10, 25, 1, 0), 'income', -9, 'credit'),
      posting(new Date(2026, 9, 1), 'income', -100),
      posting(new Date(2026, 10, 26, 9, 0), 'settled', 50),
    ],
    'EUR',
    now,
    3,
  )
  expect(days.lent).toEqual([0, 7, 5])
  expect(days.rented).toEqual([0, 3, 0])
  expect(days.times).toHaveLength(3)
})

test('a day without anything is nought, and no currency is made up', () => {
  expect(byDay([], 'EUR', now).lent).toEqual(Array(30).fill(0))
  expect(currencies([posting(new Date(now), 'settled', 1)])).toEqual([])
  expect(currencies([posting(new Date(now), 'income', -1, 'credit')])).toEqual(['credit'])
})
