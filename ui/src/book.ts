// Sums over the book, for what the pages show at a glance.

import { get, type Money, type Schemas } from './api'

type Posting = Schemas['Posting']

/** Pages of postings that are read for a sum; beyond, the sum would be slow and is said to be of the newest. */
const PAGES = 20

/** All postings since a moment, the newest first. */
export async function postingsSince(since: number): Promise<Posting[]> {
  const found: Posting[] = []
  let before: number | null | undefined
  for (let page = 0; page < PAGES; page++) {
    const read = await get('/v1/ledger/postings', { query: { limit: 500, ...(before ? { before } : {}) } })
    const young = read.postings.filter((posting) => Date.parse(posting.at) >= since)
    found.push(...young)
    before = read.next
    if (!before || young.length < read.postings.length) break
  }
  return found
}

/** What lending brought, less what renting cost, for each currency. In the book income stands below nought. */
export function net(postings: readonly Posting[], since = 0): Money[] {
  const sums = new Map<string, number>()
  for (const posting of postings) {
    if (Date.parse(posting.at) < since) continue
    for (const { account, amount } of posting.entries)
      if (account.kind === 'income' || account.kind === 'expense')
        sums.set(amount.currency, (sums.get(amount.currency) ?? 0) - amount.micros)
  }
  return [...sums].map(([currency, micros]) => ({ micros, currency, text: '' }))
}

/** The first moment of a day of the reader's calendar, so many days ago. */
export function dayStart(now: number, ago = 0): number {
  const day = new Date(now)
  day.setHours(0, 0, 0, 0)
  day.setDate(day.getDate() - ago)
  return day.getTime()
}
