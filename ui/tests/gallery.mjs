// Every page in both themes and three sizes, from a real pair of nodes, into ui/gallery/. After `npm run build`.

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { browse, serve, shown, visit } from './browser.mjs'
import { Pair } from './pair.mjs'

const gallery = fileURLToPath(new URL('../gallery', import.meta.url))
const sizes = [
  [1180, 800],
  [800, 600],
  [1920, 1080],
]
const lends = new Set(['overview', 'share', 'welcome', 'earnings'])

const pair = new Pair()
let browser
try {
  await pair.start()
  await pair.furnish()
  const [host, tenant] = [await serve(pair.host.data), await serve(pair.tenant.data)]
  browser = await browse()
  rmSync(gallery, { recursive: true, force: true })
  mkdirSync(gallery, { recursive: true })
  for (const colorScheme of ['light', 'dark'])
    for (const [width, height] of sizes) {
      const page = await browser.newPage({
        viewport: { width, height },
        colorScheme,
        locale: 'en-GB',
        reducedMotion: 'reduce',
      })
      for (const name of shown()) {
        await visit(page, (lends.has(name) ? host : tenant).url, name)
        await page.waitForTimeout(300)
        await page.screenshot({ path: join(gallery, `${name}-${width}x${height}-${colorScheme}.png`) })
      }
      await page.close()
    }
  await host.close()
  await tenant.close()
  console.log(`${shown().length * sizes.length * 2} pictures in ${gallery}`)
} finally {
  await browser?.close()
  await pair.stop()
}
