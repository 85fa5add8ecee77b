// Every page, before a real pair of nodes: nothing is refused by the policy, nothing fails, axe finds nothing, the
// keyboard reaches all, and what happens at the node is seen. `npm run test:screens`, after `npm run build`.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { browse, serve, shown, visit } from './browser.mjs'
import { eventually, Pair, release } from './pair.mjs'

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
  page.on(
    'console',
    (line) => line.type() === 'error' && wrong.push(`${line.text()} (${line.location().url})`),
  )
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

test('files go into a guest and out of it', { timeout: 120_000 }, async () => {
  const { page, wrong } = await open()
  await visit(page, tenant.url, `rentals/${pair.work.id}`)
  const files = page.getByRole('region', { name: 'Files' })
  const content = Buffer.from(Array.from({ length: 300_000 }, (_, n) => (n * 7919) % 251))
  await files.getByLabel('Into the guest').setInputFiles([
    { name: 'größe.bin', mimeType: 'application/octet-stream', buffer: content },
    { name: 'two.txt', mimeType: 'text/plain', buffer: Buffer.from('two') },
  ])
  await files.getByLabel('Directory in the guest').fill('/nowhere')
  await files.getByRole('button', { name: 'Copy them there' }).click()
  await page.locator('.toast.bad').waitFor()
  await files.getByLabel('Directory in the guest').fill('/bin')
  await files.getByRole('button', { name: 'Copy them there' }).click()
  await page.getByText('2 files are in /bin now.').waitFor()
  assert.deepEqual(await violations(page), [])
  const fetched = async (path) => {
    await files.getByLabel('Out of the guest').fill(path)
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      files.getByRole('button', { name: 'Copy it here' }).click(),
    ])
    return { name: download.suggestedFilename(), content: readFileSync(await download.path()) }
  }
  const one = await fetched('/bin/größe.bin')
  assert.equal(one.name, 'größe.bin')
  assert.ok(one.content.equals(content), 'each byte comes back')
  assert.equal((await fetched('/bin')).name, 'bin.tar')
  await files.getByLabel('Out of the guest').fill('/no-such-file')
  await files.getByRole('button', { name: 'Copy it here' }).click()
  await page.locator('.toast.bad').last().waitFor()
  // What is refused is an answer that browsers note.
  assert.deepEqual(
    wrong.filter((line) => !line.startsWith('Failed to load resource')),
    [],
  )
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

test('a guest that is not well says so, and why', { timeout: 180_000 }, async () => {
  const check = { command: ['sh', '-c', 'echo looking; test -e /tmp/well'], interval: 1, retries: 2 }
  const lease = await pair.rent('mkdir -p /tmp; sleep 8; echo > /tmp/well; sleep 600', {
    options: { health: { check } },
  })
  const { page, wrong } = await open()
  await visit(page, tenant.url, `rentals/${lease.id}`)
  await page.getByText('Unhealthy').first().waitFor()
  await page.getByText('looking', { exact: true }).waitFor()
  await page.getByText(/checks? in a row have failed|check has failed/).waitFor()
  assert.deepEqual(await violations(page), [])
  await page.screenshot({ path: '/tmp/tenant-health.png' })
  await page.getByText('Healthy', { exact: true }).waitFor()
  assert.deepEqual(wrong, [])
  await pair.tenant.ask('DELETE', `/v1/leases/${lease.id}`)
  await page.close()
})

test('a month is told lease by lease, and a line of the book by its receipt', {
  timeout: 120_000,
}, async () => {
  const { page, wrong } = await open()
  await visit(page, host.url, 'earnings')
  await page.getByRole('button', { name: 'Statement' }).click()
  const sheet = page.getByRole('dialog', { name: 'Statement' })
  const told = await eventually('a statement', async () => {
    const { accounts } = await pair.host.get('/v1/ledger/statement')
    return accounts.find(({ lent }) => lent.micros > 0)
  })
  const sum = told.lines.reduce((all, line) => all + line.amount.micros, told.before.micros)
  assert.equal(told.after.micros, sum)
  const ledger = await pair.host.get('/v1/ledger')
  const owed = ledger.balances.find(
    ({ account, amount }) => account.kind === 'person' && amount.currency === told.after.currency,
  )
  assert.ok(owed.amount.micros >= told.after.micros, 'what was booked meanwhile only adds')
  await sheet.getByRole('heading', { name: told.name }).first().waitFor()
  await eventually('its lines', async () => (await sheet.getByText(/^Lent: /).count()) >= told.lines.length)
  assert.deepEqual(await violations(page), [])
  await sheet.getByLabel('Month').selectOption({ index: 12 })
  await sheet.getByText('Nothing was booked in this month, and nothing is owed').waitFor()
  await page.keyboard.press('Escape')

  const [posting] = (await pair.host.get('/v1/ledger/postings?limit=1')).postings
  await page
    .getByRole('button', { name: `lease ${posting.lease.slice(0, 8)}` })
    .first()
    .click()
  const booked = page.getByRole('dialog', { name: 'What was booked' })
  await booked.getByText(posting.lease).waitFor()
  const [file] = await Promise.all([
    page.waitForEvent('download'),
    booked.getByRole('button', { name: 'Save the proof' }).click(),
  ])
  assert.ok(JSON.parse(readFileSync(await file.path(), 'utf8')), 'the proof is whole')
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

test('other terms are tried on what was wanted, and change nothing', { timeout: 120_000 }, async () => {
  const before = await pair.host.get('/v1/offer')
  const { page } = await open()
  await visit(page, host.url, 'share')
  const why = page.getByRole('region', { name: 'Why did no work come?' })
  await why.getByRole('button', { name: 'Try it' }).click()
  const sum = async (name) =>
    Number(await why.locator('.sums div', { hasText: name }).locator('dd').textContent())
  await why.getByText('would not have come', { exact: true }).waitFor()
  // Other tests have changed the offer since: some came at terms that are no more.
  const past = await sum('would not have come')
  const stays = await sum('would have come as they did')
  assert.ok(stays > 0)
  for (const [label, value] of [
    ['Price of a core for an hour', '1000'],
    ['Memory, GiB', '0.0625'],
  ]) {
    await why.getByLabel(label).fill(value)
    await why.getByRole('button', { name: 'Try it' }).click()
    await eventually(`${label} to lose them`, async () => (await sum('would not have come')) === past + stays)
    await why.getByLabel('Price of a core for an hour').fill('0.01')
  }
  assert.deepEqual(await violations(page), [])
  assert.deepEqual((await pair.host.get('/v1/offer')).share, before.share)
  await page.close()
})

test('devices are lent by a name, and kept again', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, host.url, 'share')
  const devices = page.getByRole('region', { name: 'Devices' })
  await devices.getByText('Lend a device').click()
  await devices.getByLabel('Name').fill('gpu')
  await devices.getByLabel('Is').fill('/dev/no-such-device')
  await devices.getByRole('button', { name: 'Save' }).click()
  await page.locator('.toast.bad').waitFor()
  assert.deepEqual((await pair.host.get('/v1/offer')).share.devices, [])
  assert.deepEqual(await violations(page), [])
  await page.close()
})

test('how fast the computer was is kept', { timeout: 120_000 }, async () => {
  const { page } = await open()
  await visit(page, host.url, 'share')
  const speed = page.getByRole('region', { name: 'Measured speed' })
  await speed.getByText('Measured once').click()
  assert.equal(await speed.locator('tbody tr').count(), 1)
  await page.close()
})

test('what the owner’s rules see is told in the reader’s language', { timeout: 120_000 }, async () => {
  const { page } = await open({ locale: 'de-DE' })
  await visit(page, host.url, 'share')
  const rules = page.getByRole('region', { name: 'Du gehst vor' })
  await rules.getByText('unter 45 %').or(rules.getByText('unter 30 %')).waitFor()
  await pair.host.ask('POST', '/v1/owner/pause', {})
  await rules.getByText('Gäste stehen jetzt still: von dir pausiert').waitFor()
  await pair.host.ask('DELETE', '/v1/owner/pause')
  await page.close()
})

test('a new version is told of as its makers say, and fetched when it can be', {
  timeout: 120_000,
}, async () => {
  const { page } = await open()
  await visit(page, tenant.url, 'settings')
  const updates = page.getByRole('region', { name: 'Updates' })
  await updates.getByText('nowhere: say below where').waitFor()
  await updates.getByText('Where new versions come from').click()
  await updates.getByLabel('Address of the releases').fill('http://example.org/release')
  await updates.getByRole('button', { name: 'Save' }).click()
  await page.locator('.toast.bad').waitFor()
  const made = await release(pair.place)
  await updates.getByLabel('Address of the releases').fill(made.path)
  await updates.getByLabel('Keys whose word counts').fill(made.signer)
  await updates.getByRole('button', { name: 'Save' }).click()
  await page.getByText('Saved.').waitFor()
  await eventually('the release to be read', async () => {
    const now = await pair.tenant.get('/v1/update')
    return now.looked && now.offered?.version === '9.0.0'
  })
  await updates.getByText('9.0.0').waitFor()
  await updates.getByText('It can be fetched.').waitFor()
  assert.deepEqual(await violations(page), [])
  // Where its package is said to lie, nobody answers: that is told, and what is known stays.
  await updates.getByRole('button', { name: 'Look now' }).click()
  await page.locator('.toast.bad').last().waitFor()
  await updates.getByText('9.0.0').waitFor()
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

test('what goes on is saved for a helper, without keys and names', { timeout: 120_000 }, async () => {
  const { page, wrong } = await open()
  await visit(page, host.url, 'settings')
  const [file] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Save diagnostics' }).click(),
  ])
  const text = readFileSync(await file.path(), 'utf8')
  const told = JSON.parse(text)
  assert.equal(told.status.me.name, null)
  assert.ok(
    told.messages.some((line) => line.includes('listening')),
    'what the node told of itself',
  )
  assert.ok(told.leases.some(({ id }) => id === pair.web.id))
  assert.ok(!text.includes(readFileSync(join(pair.host.data, 'token'), 'utf8').trim()))
  assert.deepEqual(wrong, [])
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
