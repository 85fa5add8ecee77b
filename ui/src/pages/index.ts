// All pages that there are: a name here is an entry in the side bar.

import type { Component } from 'svelte'
import type { Route } from '../route.svelte'
import Earnings from './earnings/Earnings.svelte'
import Market from './market/Market.svelte'
import Overview from './overview/Overview.svelte'
import People from './people/People.svelte'
import Rentals from './rentals/Rentals.svelte'
import Settings from './settings/Settings.svelte'
import Share from './share/Share.svelte'
import Welcome from './welcome/Welcome.svelte'

export const shown: Partial<Record<Route['page'], Component>> & { overview: Component } = {
  overview: Overview,
  share: Share,
  market: Market,
  rentals: Rentals,
  earnings: Earnings,
  people: People,
  settings: Settings,
  welcome: Welcome,
}
