// Amounts, times and sizes as people write them where they live.

import type { Money } from './api'
import { dates, numbers, spans } from './intl'
import { locale, say, texts } from './words/say.svelte'

const words = texts({
  credits: [
    { one: '{amount} credit', other: '{amount} credits' },
    { one: '{amount} Punkt', other: '{amount} Punkte' },
  ],
  ago: ['just now', 'gerade eben'],
})

const NONE = '–'

/** An amount. Small ones keep two digits that count: a cent is much for a minute. */
export function money(amount: Pick<Money, 'micros' | 'currency'> | null | undefined): string {
  if (!amount) return NONE
  const value = amount.micros / 1e6
  const small = value !== 0 && Math.abs(value) < 0.995
  const digits = small ? Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(Math.abs(value))))) : 2
  if (amount.currency === 'credit') {
    const text = numbers(locale(), { maximumFractionDigits: digits }).format(value)
    return say(words.credits, { n: value, amount: text })
  }
  return numbers(locale(), {
    style: 'currency',
    currency: amount.currency,
    minimumFractionDigits: 2,
    maximumFractionDigits: digits,
  }).format(value)
}

/** A size, in powers of 1024, as memory and disks are counted by the node. */
export function bytes(size: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  const power = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(size) / 10))
  const value = size / 1024 ** power
  const text = number(value, value < 10 && power > 0 ? 1 : 0)
  return `${text} ${units[power]}`
}

export const number = (value: number, digits = 0): string =>
  numbers(locale(), { maximumFractionDigits: digits }).format(value)

/** A part of a whole: 0.25 is 25 %. */
export const percent = (part: number): string =>
  numbers(locale(), { style: 'percent', maximumFractionDigits: 0 }).format(part)

/** Thousandths of cores. */
export const cores = (millis: number): string => number(millis / 1000, 2)

const SPANS = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
] as const

/** A length of time, in its two greatest units: 2 h 5 min. */
export function duration(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds))
  const parts: string[] = []
  for (const [unit, size] of SPANS) {
    const count = Math.floor(rest / size)
    rest -= count * size
    if (count === 0 && parts.length === 0 && unit !== 'second') continue
    if (parts.length > 0 && count === 0) break
    parts.push(
      numbers(locale(), {
        style: 'unit',
        unit,
        unitDisplay: unit === 'day' ? 'long' : 'short',
      }).format(count),
    )
    if (parts.length === 2) break
  }
  return parts.join(' ')
}

const when = (options: Intl.DateTimeFormatOptions) => (moment: string | number | null | undefined) =>
  moment === null || moment === undefined ? NONE : dates(locale(), options).format(new Date(moment))

export const date = when({ dateStyle: 'medium' })
export const time = when({ timeStyle: 'short' })
export const dateTime = when({ dateStyle: 'medium', timeStyle: 'short' })
export const day = when({ day: 'numeric', month: 'short' })
export const weekday = when({ weekday: 'long' })

/** How long ago, or how soon: 5 minutes ago, in 2 days. */
export function relative(moment: string, now: number): string {
  const seconds = (Date.parse(moment) - now) / 1000
  if (Math.abs(seconds) < 5) return say(words.ago)
  const [unit, size] = SPANS.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1]
  return spans(locale(), { numeric: 'auto' }).format(Math.round(seconds / size), unit)
}

/** The first digits of an id: enough to tell, and to type. */
export const short = (id: string): string => id.slice(0, 8)
