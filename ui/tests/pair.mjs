// A real pair of nodes with real leases between them, for whoever looks at the pages: tests, the gallery, developers
// (`npm run pair`). Needs the program (SUBLET, or target/debug/sublet) and Debian's busybox-static.

import { execFileSync, spawn } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target')
const program = resolve(process.env.SUBLET ?? join(target, 'debug/sublet'))
// Figures of this computer, kept from one run to the next: measuring takes 20 seconds.
const measured = join(target, 'tmp/measured-node')
const GIB = 2 ** 30

export class Node {
  /** @param {string} place @param {string} name */
  constructor(place, name) {
    this.name = name
    this.data = join(place, name)
    /** @type {import('node:child_process').ChildProcess | undefined} */
    this.process = undefined
  }

  async start() {
    mkdirSync(this.data, { recursive: true })
    const address = join(this.data, 'api.json')
    rmSync(address, { force: true })
    const listen = ['/ip4/127.0.0.1/udp/0/quic-v1', '/ip4/127.0.0.1/tcp/0'].flatMap((at) => ['--listen', at])
    this.process = spawn(
      program,
      ['--data', this.data, 'host', '--no-mdns', '--name', this.name, '--port', '0', ...listen],
      // As a program that one file has brought, which updates can replace.
      { stdio: 'ignore', env: { ...process.env, APPIMAGE: program } },
    )
    await eventually(
      `${this.name} to answer`,
      async () => existsSync(address) && (await this.get('/v1/status')),
    )
    return this
  }

  get(path) {
    return this.ask('GET', path)
  }

  /** @param {string} method @param {string} path @param {unknown} [body] @returns {Promise<any>} */
  ask(method, path, body) {
    const { address } = JSON.parse(readFileSync(join(this.data, 'api.json'), 'utf8'))
    const [host, port] = address.split(':')
    const token = readFileSync(join(this.data, 'token'), 'utf8').trim()
    return new Promise((done, failed) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      const sent = request({ host, port, method, path, headers }, (answer) => {
        let text = ''
        answer.on('data', (piece) => (text += piece))
        answer.on('error', failed)
        answer.on('end', () => {
          if ((answer.statusCode ?? 500) > 299) failed(new Error(`${method} ${path}: ${text}`))
          else if (answer.headers['content-type']?.startsWith('application/json')) done(JSON.parse(text))
          else done(text)
        })
      })
      sent.on('error', failed)
      sent.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }

  async stop() {
    const process = this.process
    this.process = undefined
    if (!process || process.exitCode !== null) return
    const gone = new Promise((done) => process.once('exit', done))
    await this.ask('POST', '/v1/shutdown').catch(() => process.kill())
    const late = setTimeout(() => process.kill('SIGKILL'), 15_000)
    await gone
    clearTimeout(late)
  }
}

/** Two nodes: `attic` lends, `laptop` rents from it. */
export class Pair {
  constructor() {
    this.place = mkdtempSync(join(tmpdir(), 'sublet-pair-'))
    this.host = new Node(this.place, 'attic')
    this.tenant = new Node(this.place, 'laptop')
  }

  async start() {
    await measure()
    cpSync(measured, this.host.data, { recursive: true })
    await Promise.all([this.host.start(), this.tenant.start()])
    const euro = (micros) => ({ micros, currency: 'EUR' })
    await this.host.ask('PUT', '/v1/offer', {
      cpu_millis: 1500,
      memory_bytes: 2 * GIB,
      disk_bytes: GIB,
      prices: { mode: 'rent', core: euro(360_000), memory_gib: euro(40_000), disk_gib: euro(0) },
      tick: 2,
      credit: euro(100_000_000),
      region: 'Berlin',
    })
    const { addresses } = await this.host.get('/v1/status')
    await eventually('the two to meet', async () => {
      await this.tenant.ask('POST', '/v1/peers', { address: addresses[0] }).catch(() => {})
      return (await this.tenant.get('/v1/offers')).offers.length > 0
    })
    await image(this.tenant, join(this.place, 'folder'))
    return this
  }

  /** Rents from the host, and returns once the guest runs, or has ended. */
  async rent(command, wish = {}) {
    const lease = await this.tenant.ask('POST', '/v1/leases', {
      image: 'busybox',
      command: ['sh', '-c', command],
      cpu_millis: 250,
      memory_bytes: 128 * 2 ** 20,
      disk_bytes: 16 * 2 ** 20,
      term: 3600,
      ...wish,
    })
    return await this.reaches(lease.id, ['running', 'ended'])
  }

  reaches(id, states) {
    return eventually(`lease ${id} to be ${states}`, async () => {
      const lease = await this.tenant.get(`/v1/leases/${id}`)
      return states.includes(lease.standing.state) && lease
    })
  }

  /** As after a day of use: one lease that ended and was rated, and two that run. */
  async furnish() {
    const over = await this.rent('echo done')
    await this.reaches(over.id, ['ended'])
    await eventually(
      'the last receipt',
      async () => (await this.tenant.get(`/v1/leases/${over.id}`)).receipt?.last,
    )
    await this.tenant.ask('POST', `/v1/leases/${over.id}/rate`, {
      kept: 5,
      quality: 4,
      manners: 5,
      text: 'Quick.',
    })
    await this.host.ask('POST', `/v1/leases/${over.id}/rate`, { kept: 5, quality: 5, manners: 5, text: '' })
    this.web = await this.rent(
      'mkdir -p /tmp/w; echo "<h1>It works</h1>" > /tmp/w/index.html; busybox httpd -f -p 8080 -h /tmp/w & ' +
        'echo "listening on 8080"; printf "\\033[31m<b>not bold</b>\\033[0m\\n"; while :; do sleep 2; echo "tick"; done',
      { ports: [{ local: 0, guest: 8080 }] },
    )
    this.work = await this.rent('i=0; while :; do i=$((i+1)); echo "step $i"; sleep 1; done', {
      cpu_millis: 500,
      term: 7200,
    })
    const invite = await this.host.ask('POST', '/v1/invites', {})
    await this.tenant.ask('POST', '/v1/invites/accept', { link: invite.link })
    await this.host.ask('POST', '/v1/invites', { uses: 3 })
    return this
  }

  async stop() {
    const ask = async () => this.tenant.get('/v1/leases')
    const { leases } = await ask().catch(() => ({ leases: [] }))
    for (const { id } of leases) await this.tenant.ask('DELETE', `/v1/leases/${id}`).catch(() => {})
    for (const { id } of leases) await this.reaches(id, ['ended']).catch(() => {})
    await Promise.all([this.tenant.stop(), this.host.stop()])
    rmSync(this.place, { recursive: true, force: true })
  }
}

/** A release of 9.0.0 for this computer, signed by a key of the tests': a file, and who signed it. */
export async function release(place) {
  const at = (hours) => Date.now() + hours * 3_600_000
  const description = {
    version: '9.0.0',
    channel: 'stable',
    minimum: '0.0.0',
    packages: [
      {
        name: 'sublet-desktop',
        kind: 'app_image',
        arch: process.arch === 'arm64' ? 'arm64' : 'amd64',
        url: 'https://127.0.0.1:9/sublet.AppImage',
        size: 9,
        sha256: '0'.repeat(64),
      },
    ],
    rollout: [{ at: at(-1), cursor: 10_000 }],
    issued: at(-0.1),
    expires: at(24),
  }
  const [json, key, path] = ['release.json', 'makers', 'sublet.release'].map((name) => join(place, name))
  writeFileSync(json, JSON.stringify(description))
  writeFileSync(key, '09'.repeat(32))
  const words = ['--json', 'update', 'sign', json, '--key', key, '--out', path]
  const { signer } = JSON.parse(execFileSync(program, words, { encoding: 'utf8' }))
  return { path, signer }
}

/** A node's directory with the figures of this computer. */
async function measure() {
  if (existsSync(join(measured, 'token'))) return
  const place = mkdtempSync(join(tmpdir(), 'sublet-measure-'))
  const node = await new Node(place, 'attic').start()
  await node.ask('POST', '/v1/benchmark')
  await node.stop()
  cpSync(node.data, measured, { recursive: true })
  rmSync(place, { recursive: true, force: true })
}

async function image(node, folder) {
  mkdirSync(join(folder, 'bin'), { recursive: true })
  for (const name of ['busybox', 'sh', 'sleep', 'mkdir'])
    copyFileSync('/bin/busybox', join(folder, 'bin', name))
  await node.ask('POST', '/v1/images/build', { dir: folder, name: 'busybox' })
}

export async function eventually(what, met, patience = 60_000) {
  const end = Date.now() + patience
  for (;;) {
    const found = await met().catch(() => undefined)
    if (found) return found
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`)
    await new Promise((done) => setTimeout(done, 100))
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const pair = new Pair()
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => void pair.stop().then(() => process.exit(0)))
  try {
    await pair.start()
    await pair.furnish()
  } catch (error) {
    await pair.stop()
    throw error
  }
  console.log(`host: ${pair.host.data}\ntenant: ${pair.tenant.data}\nCtrl-C ends it.`)
}
