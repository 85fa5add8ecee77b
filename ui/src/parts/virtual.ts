// Which rows of a long list are drawn.

export interface Window {
  first: number
  /** One past the last. */
  end: number
  /** Pixels above the first. */
  before: number
  /** Pixels below the last. */
  after: number
}

/** The rows that are seen, and some around them so that a quick scroll finds them there. */
export function windowOf(count: number, height: number, top: number, seen: number, around = 8): Window {
  const start = Math.floor(Math.max(0, top) / height)
  const first = Math.max(0, Math.min(start, Math.max(0, count - 1)) - around)
  const end = Math.min(count, Math.max(start, 0) + Math.ceil(seen / height) + around)
  const shown = Math.max(first, end)
  return { first, end: shown, before: first * height, after: (count - shown) * height }
}
