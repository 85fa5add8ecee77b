// Which page is shown, by the address behind the hash: #/rentals/3fa4.

export const pages = ['overview', 'share', 'market', 'rentals', 'earnings', 'people', 'settings'] as const
export type Page = (typeof pages)[number]

export interface Route {
  page: Page | 'welcome'
  /** What follows the page: an id, most often. */
  rest: string
}

export function read(hash: string): Route {
  const [, name = '', rest = ''] = /^#\/?([^/?]*)\/?([^?]*)/.exec(hash) ?? []
  const page = name === 'welcome' ? name : (pages.find((page) => page === name) ?? 'overview')
  return { page, rest: decode(rest) }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

export const href = (page: Route['page'], rest = ''): string =>
  rest ? `#/${page}/${encodeURIComponent(rest)}` : `#/${page}`

export const route = $state(read(location.hash))

export const go = (page: Route['page'], rest = ''): void => {
  location.hash = href(page, rest)
}

addEventListener('hashchange', () => Object.assign(route, read(location.hash)))
