// All pages that there are: a name here is an entry in the side bar.

import type { Component } from 'svelte'
import type { Route } from '../route.svelte'
import Overview from './overview/Overview.svelte'

export const shown: Partial<Record<Route['page'], Component>> & { overview: Component } = {
  overview: Overview,
}
