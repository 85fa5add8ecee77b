// Every page in both themes and three sizes, from a real pair of nodes, into ui/gallery/; and parts of pages that are further
// down, or come when something is pressed. After `npm run build`. `npm run gallery -- NAME..` takes only those.

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { browse, serve, shown, visit } from './browser.mjs'
import { eventually, Pair, release } from './pair.mjs'

const gallery = fileURLToPath(new URL('../gallery', import.meta.url))
const sizes = [
  [1180, 800],
  [800, 600],
  [1920, 1080],
]
const lends = new Set(['overview', 'share', 'welcome', 'earnings'])

const region = (page, name) => page.getByRole('region', { name })
/** Brings a part of a page to the top of the picture. */
const top = (part) => part.evaluate((element) => element.scrollIntoView({ block: 'start' }))

/** Where each is, and what is done there. */
const parts = (pair) => ({
  'share-what-if': {
    lends: true,
    route: 'share',
    async act(page) {
      const why = region(page, 'Why did no work come?')
      await why.getByLabel('Price of a core for an hour').fill('1000')
      await why.getByRole('button', { name: 'Try it' }).click()
      await why.locator('.sums').waitFor()
      await top(why)
    },
  },
  'share-devices': {
    lends: true,
    route: 'share',
    async act(page) {
      const devices = region(page, 'Devices')
      await devices.getByText('Lend a device').click()
      await top(devices)
    },
  },
  'share-speed': {
    lends: true,
    route: 'share',
    async act(page) {
      const speed = region(page, 'Measured speed')
      await speed.locator('summary').first().click()
      await top(speed)
    },
  },
  'market-rent': {
    route: 'market',
    async act(page) {
      await page.getByLabel('Cores', { exact: true }).fill('0.25')
      await page.getByRole('button', { name: 'Rent attic' }).click()
      const sheet = page.getByRole('dialog')
      await sheet.getByLabel('Image', { exact: true }).fill('busybox')
      await sheet.getByLabel('Command').fill('sh -c "cat /run/secrets/db"')
      await sheet.getByRole('button', { name: 'Add a secret' }).click()
      await sheet.getByLabel('Name', { exact: true }).fill('db')
      await sheet.getByLabel('Value', { exact: true }).fill('pearl-Zq81')
    },
  },
  'rentals-health': {
    route: `rentals/${pair.sick.id}`,
    act: (page) => page.getByText('Unhealthy').first().waitFor(),
  },
  'rentals-terminal': {
    route: `rentals/${pair.work.id}`,
    async act(page) {
      await page.getByRole('button', { name: 'Open a terminal' }).click()
      await page.getByText('Open', { exact: true }).waitFor()
      await page.keyboard.type('echo $((6 * 7)) in $TERM\nbusybox ls -l /bin\n')
      await page.locator('.xterm-rows').getByText('busybox').last().waitFor()
      await top(page.locator('.place'))
      await page.evaluate(() => scrollBy(0, -70))
    },
  },
  'rentals-files': { route: `rentals/${pair.work.id}`, act: (page) => top(region(page, 'Files')) },
  'settings-notices': { route: 'settings', act: (page) => top(region(page, 'Notifications')) },
  'settings-updates': { route: 'settings', act: (page) => top(region(page, 'Updates')) },
})

/** What the parts show. */
async function prepare(pair) {
  const check = { command: ['sh', '-c', 'echo no database; exit 1'], interval: 1, retries: 2 }
  pair.sick = await pair.rent('echo begun; sleep 3600', { options: { health: { check } } })
  const made = await release(pair.place)
  await pair.tenant.ask('PUT', '/v1/settings', { releases: made.path, release_keys: [made.signer] })
  await eventually('the release to be read', async () => (await pair.tenant.get('/v1/update')).offered)
}

const chosen = process.argv.slice(2)
const pair = new Pair()
let browser
try {
  await pair.start()
  await pair.furnish()
  await prepare(pair)
  const [host, tenant] = [await serve(pair.host.data), await serve(pair.tenant.data)]
  const pages = shown().map((name) => [name, { route: name, lends: lends.has(name), act: async () => {} }])
  const all = [...pages, ...Object.entries(parts(pair))]
  const taken = all.filter(([name]) => chosen.length === 0 || chosen.includes(name))
  browser = await browse()
  if (chosen.length === 0) rmSync(gallery, { recursive: true, force: true })
  mkdirSync(gallery, { recursive: true })
  for (const colorScheme of ['light', 'dark'])
    for (const [width, height] of sizes) {
      const page = await browser.newPage({
        viewport: { width, height },
        colorScheme,
        locale: 'en-GB',
        reducedMotion: 'reduce',
      })
      for (const [name, { route, lends, act }] of taken) {
        await visit(page, (lends ? host : tenant).url, route)
        await act(page)
        await page.waitForTimeout(300)
        await page.screenshot({ path: join(gallery, `${name}-${width}x${height}-${colorScheme}.png`) })
      }
      await page.close()
    }
  await host.close()
  await tenant.close()
  console.log(`${taken.length * sizes.length * 2} pictures in ${gallery}`)
} finally {
  await browser?.close()
  await pair.stop()
}
