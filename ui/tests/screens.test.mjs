// Every page, before a real pair of nodes: nothing is refused by the policy, nothing fails, axe finds nothing, the
// keyboard reaches all, and what happens at the node is seen. `npm run test:screens`, after `npm run build`.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { after, before, test } from 'node:test'
import { browse, serve, shown, visit } from './browser.mjs'
import { eventually, Pair } from './pair.mjs'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
let pair, host, tenant, browser

before(
  async () => {
    pair = new Pair()
    await pair.start()
    await pair.furnish()
    host = await serve(pair.host.data)
    tenant = await serve(pair.tenant.data)
    browser = await browse()
  },
  { timeout: 240_000 },
)

after(
  async () => {
    await browser?.close()
    await host?.close()
    await tenant?.close()
    await pair?.stop()
  },
  { timeout: 120_000 },
)

/** A page that remembers what went wrong in it. */
async function open(options = {}) {
  const page = await browser.newPage({ viewport: { width: 1180, height: 800 }, locale: 'en-GB', ...options })
  page.setDefaultTimeout(45_000)
  const wrong = []
  page.on('pageerror', (error) => wrong.push(String(error)))
  page.on('console', (line) => line.type() === 'error' && wrong.push(line.text()))
  return { page, wrong }
}

async function violations(page) {
  // From outside the page: its policy lets no script in.
  const session = await page.context().newCDPSession(page)
  await session.send('Runtime.evaluate', { expression: axe })
  const { results } = await page.evaluate(async () => ({
    results: await globalThis.axe.run(document, { resultTypes: ['violations'] }),
  }))
  return results.violations.map(
    (one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 160)).join('; ')}`,
  )
}

for (const name of shown()) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${name} is whole, in ${colorScheme}`, { timeout: 120_000 }, async () => {
      for (const at of [host, tenant]) {
        const { page, wrong } = await open({ colorScheme, reducedMotion: 'reduce' })
        await visit(page, at.url, name)
        assert.deepEqual(await violations(page), [])
        assert.deepEqual(wrong, [])
        assert.equal(await page.locator('h1').count(), 1)
        assert.ok(
          await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
          'it fits the window',
        )
        await page.close()
      }
    })
  }

  test(`${name} fits a small window with text of twice the size`, { timeout: 120_000 }, async () => {
    const { page } = await open({ viewport: { width: 800, height: 600 } })
    await visit(page, tenant.url, name)
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'at 800')
    await page.evaluate(() => document.documentElement.style.setProperty('font-size', '200%'))
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth + 1), 'at 200 %')
    await page.close()
  })

  test(`${name} speaks German`, { timeout: 120_000 }, async () => {
    const { page } = await open({ locale: 'de-DE' })
    await visit(page, tenant.url, name)
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'de')
    await page.close()
  })
}

test('a pause is seen by whoever looks, and by the node', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, host.url, 'overview')
  await page.getByRole('button', { name: 'Pause for 1 hour' }).click()
  await page.getByText('guests make room for you').waitFor()
  await eventually(
    'the node to have paused',
    async () => (await pair.host.get('/v1/owner')).state === 'frozen',
  )
  // By another way than this page.
  await pair.host.ask('DELETE', '/v1/owner/pause')
  await page.getByText('Sharing is on', { exact: true }).waitFor()
  await page.close()
})

test('the switch is what the node does', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, host.url, 'overview')
  const control = page.getByRole('switch', { name: 'Share this computer' })
  await control.focus()
  await page.keyboard.press('Space')
  await eventually('the offer to be gone', async () => !(await pair.host.get('/v1/status')).lends)
  await page.getByText('Sharing is off').waitFor()
  await page.keyboard.press('Space')
  await eventually('the offer to be back', async () => (await pair.host.get('/v1/status')).lends)
  await page.close()
})

test('what a guest prints is text, and nothing else', { timeout: 120_000 }, async () => {
  const { page, wrong } = await open()
  await visit(page, tenant.url, `rentals/${pair.web.id}`)
  const log = page.getByRole('log')
  await log.getByText('<b>not bold</b>').waitFor()
  assert.equal(await log.locator('b').count(), 0)
  assert.ok(!(await log.textContent()).includes('\u001b'))
  assert.deepEqual(wrong, [])
  await page.close()
})

test('a terminal leads into the guest, and its exit code comes back', { timeout: 120_000 }, async () => {
  const { page, wrong } = await open()
  await visit(page, tenant.url, `rentals/${pair.work.id}`)
  const title = await page.title()
  const rows = page.locator('.xterm-rows')
  const type = async (text) => {
    await page.keyboard.type(text)
    await page.keyboard.press('Enter')
  }
  await page.getByRole('button', { name: 'Open a terminal' }).click()
  await page.getByText('Open', { exact: true }).waitFor()
  await type('echo $((6 * 7)) in $TERM')
  await rows.getByText('42 in xterm-256color').waitFor()
  await type('busybox stty size')
  await rows.getByText(/^\d+ \d+$/).waitFor()
  // Colours come though the policy refuses style attributes; titles, links and what looks like a page do not.
  await type(
    "printf '\\033[38;2;255;90;90mfar from %s\\033[0m \\033]0;%s\\007\\033]8;;http://x/\\007<b>%s\\033]8;;\\007\\n' grey gotcha ok",
  )
  const coloured = rows.locator('span', { hasText: /^far from grey$/ })
  await coloured.waitFor()
  assert.equal(await coloured.evaluate((span) => getComputedStyle(span).color), 'rgb(255, 90, 90)')
  await rows.getByText('<b>ok').first().waitFor()
  assert.equal(await page.locator('.xterm b, .xterm a').count(), 0)
  assert.equal(await page.title(), title)
  assert.deepEqual(await violations(page), [])
  // The keyboard is not caught in it.
  await page.keyboard.press('Shift+Escape')
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Close the terminal')
  await page.locator('.xterm-helper-textarea').focus()
  await type('exit 7')
  await page.getByText('Ended with exit code 7').waitFor()
  await page.getByRole('textbox', { name: 'Program to run in the guest' }).fill('nothing-like-it')
  await page.getByRole('button', { name: 'Open again' }).click()
  await page.getByRole('alert').waitFor()
  assert.deepEqual(wrong, [])
  await page.close()
})

test('a signal ends what runs in a terminal', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, tenant.url, `rentals/${pair.work.id}`)
  await page.getByRole('textbox', { name: 'Program to run in the guest' }).fill('sleep 1000')
  await page.getByRole('button', { name: 'Open a terminal' }).click()
  await page.getByText('Open', { exact: true }).waitFor()
  await page.getByRole('combobox', { name: 'Send a signal' }).selectOption('KILL')
  await page.getByText('Ended with exit code 137').waitFor()
  await page.close()
})

test('what a guest takes is drawn, and moves', { timeout: 120_000 }, async () => {
  const { page, wrong } = await open()
  await visit(page, tenant.url, `rentals/${pair.work.id}`)
  const figure = page.locator('figure').first()
  await figure.locator('canvas').waitFor()
  await page.getByText(/of 128 MiB$/).waitFor()
  const rows = () => figure.locator('tbody tr').count()
  const before = await rows()
  await eventually('another sample', async () => (await rows()) > before)
  assert.deepEqual(await violations(page), [])
  assert.deepEqual(wrong, [])
  await page.close()
})

test('a port of the guest is a click away', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, tenant.url, `rentals/${pair.web.id}`)
  const [opened] = await Promise.all([
    page.context().waitForEvent('page'),
    page.getByRole('link', { name: 'Open in a browser' }).click(),
  ])
  await opened.getByText('It works').waitFor()
  await page.close()
})

test('a volume is seen by both sides, kept as a snapshot, and deleted for sure', {
  timeout: 180_000,
}, async () => {
  const volume = { name: 'photos', path: '/data', size_bytes: 2 ** 25, snapshots: 1, keep: 86_400 }
  const lease = await pair.rent('echo here > /data/file', { term: 600, volumes: [volume] })
  await pair.reaches(lease.id, ['ended'])
  const { page } = await open()
  await visit(page, host.url, 'share')
  await page.getByRole('cell', { name: 'photos' }).waitFor()
  await visit(page, tenant.url, 'rentals')
  await page.getByRole('button', { name: 'Manage photos' }).click()
  const sheet = page.getByRole('dialog')
  await sheet.getByLabel('Name of a new snapshot').fill('first')
  await sheet.getByRole('button', { name: 'Take a snapshot' }).click()
  await sheet.getByRole('button', { name: 'Remove first' }).waitFor()
  assert.deepEqual(await violations(page), [])
  await sheet.getByRole('button', { name: 'Delete for ever' }).click()
  assert.ok(await sheet.getByRole('button', { name: 'Delete for ever' }).isDisabled())
  await sheet.getByRole('textbox').fill('photos')
  await sheet.getByRole('button', { name: 'Delete for ever' }).click()
  await sheet.waitFor({ state: 'hidden' })
  await eventually(
    'the volume to be gone',
    async () => (await pair.host.get('/v1/volumes')).hosted.length === 0,
  )
  await page.close()
})

test('a secret is typed once, reaches the guest, and is shown by its name alone', {
  timeout: 180_000,
}, async () => {
  const { page, wrong } = await open()
  await visit(page, tenant.url, 'market')
  await page.getByLabel('Cores', { exact: true }).fill('0.25')
  await page.getByRole('button', { name: 'Rent attic' }).click()
  const sheet = page.getByRole('dialog')
  await sheet.getByLabel('Image', { exact: true }).fill('busybox')
  await sheet.getByLabel('Command').fill('sh -c "busybox sed s/pearl/PEARL/ /run/secrets/db; sleep 300"')
  await sheet.getByRole('button', { name: 'Add a secret' }).click()
  await sheet.getByLabel('Name', { exact: true }).fill('d b')
  await sheet.getByLabel('Value', { exact: true }).fill('pearl-Zq81')
  assert.equal(await sheet.getByLabel('Value', { exact: true }).getAttribute('type'), 'password')
  assert.deepEqual(await violations(page), [])
  await sheet.getByRole('button', { name: 'Rent', exact: true }).click()
  await page.getByText('The secret “d b” cannot be').waitFor()
  await sheet.getByLabel('Name', { exact: true }).fill('db')
  await sheet.getByRole('button', { name: 'Rent', exact: true }).click()
  await sheet.waitFor({ state: 'hidden' })
  await page.getByRole('log').getByText('PEARL-Zq81').waitFor()
  await page.getByText('db', { exact: true }).waitFor()
  assert.ok(!(await page.content()).includes('pearl-Zq81'))
  assert.deepEqual(wrong, [])
  await page.close()
})

test('thresholds and electricity are the owner’s to say', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, host.url, 'share')
  await page.getByText('From where on the rules hold').click()
  await page.getByLabel('Battery low below, %').fill('45')
  await page.getByLabel('Programs of mine that come first, one a line').fill('steam\nblender')
  await page.getByLabel('In use until left alone for, minutes').fill('7.5')
  await page.locator('details').getByRole('button', { name: 'Save' }).click()
  await eventually('the policy to be kept', async () => {
    const { policy } = await pair.host.get('/v1/owner')
    return (
      policy.low_charge.below_percent === 45 &&
      policy.in_use.alone_for === 450 &&
      policy.programs.names[1] === 'blender'
    )
  })
  const power = page.getByRole('region', { name: 'Electricity' })
  await power.getByLabel('Price of a kilowatt-hour').fill('0.4')
  await power.getByLabel('A busy core takes').selectOption('I say it')
  await power.getByLabel('Watts').fill('10')
  await power.getByRole('button', { name: 'Save' }).click()
  await power.getByText('€0.004', { exact: true }).waitFor()
  await power.getByRole('button', { name: 'Forget' }).click()
  await power.getByText('Say what electricity costs').waitFor()
  await page.close()
})

test('what was wanted, and what stood in the way, is told', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, host.url, 'share')
  const why = page.getByRole('region', { name: 'Why did no work come?' })
  await why.getByText(/^Show \d+ demands?$/).click()
  await why.getByText('A lease').first().waitFor()
  assert.deepEqual(await violations(page), [])
  await page.close()
})

test('the isolation test tells how far it is, and can be stopped', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, host.url, 'share')
  const test = page.getByRole('region', { name: 'Does the sandbox hold?' })
  await test.getByRole('button', { name: 'Run the test' }).click()
  await test.getByText(/[1-9]\d* attempts? so far/).waitFor()
  await test.getByRole('button', { name: 'Stop the test' }).click()
  await test.getByRole('button', { name: 'Run the test' }).waitFor()
  await page.close()
})

test('each notification has a switch that counts at once', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, tenant.url, 'settings')
  const control = page.getByRole('switch', { name: 'A guest has come' })
  const settings = () => pair.tenant.get('/v1/settings')
  const silent = async () => (await settings()).silent
  const before = await settings()
  await control.focus()
  await page.keyboard.press('Space')
  await page.locator('[role=switch][aria-checked=false]').waitFor()
  assert.deepEqual(await silent(), ['guest_arrived'])
  assert.equal((await settings()).restart_needed, before.restart_needed)
  await page.keyboard.press('Space')
  await eventually('all to be told again', async () => (await silent()).length === 0)
  await page.close()
})

test('what images take has a limit, and what is needed stays', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, host.url, 'settings')
  const storage = page.getByRole('region', { name: 'Storage' })
  await storage.getByLabel('Images may take at most, GiB').fill('2')
  await storage.getByRole('button', { name: 'Save' }).click()
  await storage.getByText('At most 2 GiB.').waitFor()
  assert.equal((await pair.host.get('/v1/image-store')).limit_bytes, 2 * 2 ** 30)
  assert.ok(await storage.getByRole('button', { name: /^Remove busybox/ }).isDisabled())
  await storage.getByRole('button', { name: 'Clear up' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Clear up' }).click()
  await page.getByText('0 images removed').waitFor()
  await storage.getByLabel('Images may take at most, GiB').fill('')
  await storage.getByRole('button', { name: 'Save' }).click()
  await eventually('no limit', async () => !(await pair.host.get('/v1/image-store')).limit_bytes)
  await page.close()
})

test('wrong words bring no key back, and the right ones do', { timeout: 120_000 }, async () => {
  const { words } = await pair.tenant.ask('POST', '/v1/identity/words', {})
  const { page } = await open()
  await visit(page, tenant.url, 'settings')
  await page.getByRole('button', { name: 'Bring a key back' }).click()
  const sheet = page.getByRole('dialog')
  const restore = sheet.getByRole('button', { name: 'Bring a key back' })
  await sheet.getByRole('textbox').fill(words.slice(1).join(' '))
  await sheet.getByText('23 of 24').waitFor()
  assert.ok(await restore.isDisabled())
  await sheet.getByRole('textbox').fill([...words.slice(1), 'nonsense'].join('\n'))
  await restore.click()
  await page.locator('.toast.bad').waitFor()
  assert.deepEqual(await violations(page), [])
  await sheet.getByRole('textbox').fill(words.map((word, at) => `${at + 1}. ${word}`).join('\n'))
  await restore.click()
  await sheet.waitFor({ state: 'hidden' })
  await page.getByText('The key is back.').waitFor()
  await page.close()
})

test('the passphrase of the local network is set here', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, tenant.url, 'settings')
  await page.getByRole('button', { name: 'Set the passphrase' }).click()
  await page.getByRole('dialog').getByLabel('Passphrase').fill('a long passphrase')
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click()
  await eventually('the passphrase', async () => (await pair.tenant.get('/v1/dashboard')).passphrase_set)
  await page.getByText('Set', { exact: true }).waitFor()
  await page.close()
})

test('a node that goes is missed, and found again', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, tenant.url, 'rentals')
  await pair.tenant.stop()
  await page.getByText('The node does not answer').first().waitFor()
  // What was known is still there to read.
  await page.getByText('busybox').first().waitFor()
  await page.close()
})
