// Debian's Chromium before pages as they are built, under the policy that they are served with.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { preview } from 'vite'

const ui = fileURLToPath(new URL('..', import.meta.url))
export const pages = ['overview', 'share', 'market', 'rentals', 'earnings', 'people', 'settings', 'welcome']
/** Pages that there are, by the list that the window itself has. */
export const shown = () => {
  const list = readFileSync(join(ui, 'src/pages/index.ts'), 'utf8')
  return pages.filter((page) => new RegExp(`^  ${page}: `, 'm').test(list))
}

export async function browse() {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
  if (!existsSync(executablePath)) throw new Error(`there is no ${executablePath}: install chromium`)
  return await chromium.launch({ executablePath, args: ['--no-sandbox'] })
}

/** Serves what `vite build` has built, with the API of the node in this directory behind it. */
export async function serve(data) {
  process.env.SUBLET_DATA = data
  const server = await preview({
    root: ui,
    configFile: join(ui, 'vite.config.ts'),
    preview: { port: 0, host: '127.0.0.1' },
    logLevel: 'error',
  })
  return { url: server.resolvedUrls?.local[0] ?? '', close: () => server.close() }
}

/** Goes to a page, and waits until it has said what it has to say. */
export async function visit(page, url, route) {
  await page.goto(`${url}#/${route}`)
  await page.reload()
  await page.locator('#title').first().waitFor()
  await page.locator('[aria-busy="true"]').first().waitFor({ state: 'detached' })
  await page.evaluate(() => document.fonts.ready)
}
