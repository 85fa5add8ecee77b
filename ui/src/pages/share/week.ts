// The hours of a week, 7 days of 48 halves, and how the node writes them: 08:00-12:30.

import type { Schemas } from '../../api'

export type Schedule = Schemas['Schedule']
export const days = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'] as const
export const HALVES = 48
/** For each day, whether each half of an hour is lent. */
export type Grid = boolean[][]

const clock = (half: number) => `${String(half >> 1).padStart(2, '0')}:${half % 2 === 0 ? '00' : '30'}`
const half = (text: string) => {
  const [hour = '0', minute = '0'] = text.split(':')
  return Number(hour) * 2 + (Number(minute) >= 30 ? 1 : 0)
}

export const full = (): Grid => days.map(() => Array<boolean>(HALVES).fill(true))

export function grid(schedule: Schedule): Grid {
  return days.map((day) => {
    const row = Array<boolean>(HALVES).fill(false)
    for (const range of schedule[day]) {
      const [from = '', to = ''] = range.split('-')
      row.fill(true, half(from), half(to))
    }
    return row
  })
}

export function ranges(row: readonly boolean[]): string[] {
  const found: string[] = []
  for (let at = 0; at < row.length; ) {
    if (!row[at]) {
      at += 1
      continue
    }
    let end = at
    while (row[end]) end += 1
    found.push(`${clock(at)}-${clock(end)}`)
    at = end
  }
  return found
}

export function schedule(week: Grid, zone: string): Schedule {
  const [monday = [], tuesday = [], wednesday = [], thursday = [], friday = [], saturday = [], sunday = []] =
    week.map(ranges)
  return { zone, monday, tuesday, wednesday, thursday, friday, saturday, sunday }
}
