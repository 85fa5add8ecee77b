// All pages that there are: a name here is an entry in the side bar.

import type { Component } from 'svelte'
import type { Route } from '../route.svelte'
import Overview from './overview/Overview.svelte'
import Rentals from './rentals/Rentals.svelte'
import Settings from './settings/Settings.svelte'
import Share from './share/Share.svelte'
import Welcome from './welcome/Welcome.svelte'

export const shown: Partial<Record<Route['page'], Component>> & { overview: Component } = {
  overview: Overview,
  share: Share,
  rentals: Rentals,
  settings: Settings,
  welcome: Welcome,
}
