// What each day brought and cost, for the chart.

import type { Schemas } from '../../api'
import { dayStart } from '../../book'

type Posting = Schemas['Posting']

export interface Days {
  /** Starts of days, in seconds since 1970, the oldest first. */
  times: number[]
  /** Millionths. */
  lent: number[]
  rented: number[]
}

/** Sums of one currency for each of the last `count` days of the reader's calendar. */
export function byDay(postings: readonly Posting[], currency: string, now: number, count = 30): Days {
  const starts = Array.from({ length: count }, (_, i) => dayStart(now, count - 1 - i))
  const days: Days = {
    times: starts.map((start) => start / 1000),
    lent: starts.map(() => 0),
    rented: starts.map(() => 0),
  }
  for (const posting of postings) {
    const at = Date.parse(posting.at)
    const day = starts.filter((start) => start <= at).length - 1
    if (day < 0) continue
    for (const { account, amount } of posting.entries) {
      if (amount.currency !== currency) continue
      // In the book income stands below nought.
      if (account.kind === 'income') days.lent[day] = (days.lent[day] ?? 0) - amount.micros
      if (account.kind === 'expense') days.rented[day] = (days.rented[day] ?? 0) + amount.micros
    }
  }
  return days
}

/** The currencies that anything was earned or spent in, the most used first. */
export function currencies(postings: readonly Posting[]): string[] {
  const counts = new Map<string, number>()
  for (const posting of postings)
    for (const { account, amount } of posting.entries)
      if (account.kind === 'income' || account.kind === 'expense')
        counts.set(amount.currency, (counts.get(amount.currency) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a).map(([currency]) => currency)
}

/** The last months of the reader's calendar, this one first: from the first moment of each to that of the next. */
export function months(now: number, count = 13): { from: Date; until: Date }[] {
  const first = (ago: number) => {
    const day = new Date(now)
    return new Date(day.getFullYear(), day.getMonth() - ago, 1)
  }
  return Array.from({ length: count }, (_, ago) => ({ from: first(ago), until: first(ago - 1) }))
}
