import type { Prices, Share, ShareWish } from '../../api'

/** The three decisions of the first run. */
export interface Choice {
  /** Of what the node suggests at most. */
  part: number
  audience: Share['audience']
  mode: Prices['mode']
  price: number
  currency: string
}

export const resources = (share: Share, part: number) => ({
  cpu_millis: Math.max(100, Math.round((share.resources.cpu_millis * part) / 100) * 100),
  memory_bytes: Math.round((share.resources.memory_bytes * part) / 2 ** 20) * 2 ** 20,
  disk_bytes: Math.round((share.resources.disk_bytes * part) / 2 ** 20) * 2 ** 20,
})

/** What to lend by these decisions. The rest is as the node suggests. */
export function wish(share: Share, choice: Choice): ShareWish {
  const currency = choice.mode === 'barter' ? 'credit' : choice.currency
  const money = (value: number) => ({ micros: Math.round(value * 1e6), currency })
  const prices: Prices =
    choice.mode === 'gift'
      ? { mode: choice.mode }
      : { mode: choice.mode, core: money(choice.price), memory_gib: money(0), disk_gib: money(0) }
  return { ...resources(share, choice.part), audience: choice.audience, prices }
}
