// What the window loads, compressed. More than 400 KB is a failure. After `npm run build`.

import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const MOST = 400_000
const dist = fileURLToPath(new URL('../dist', import.meta.url))
let sum = 0
for (const file of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
  if (!extname(file)) continue
  // A font is loaded by the letters that are shown: the Latin one, of all.
  if (extname(file) === '.woff2' && !/inter-latin-wght/.test(file)) continue
  const bytes = readFileSync(join(dist, file))
  sum += extname(file) === '.woff2' ? bytes.length : gzipSync(bytes, { level: 9 }).length
}
const index = readFileSync(join(dist, 'index.html'), 'utf8')
const inline = /<script(?![^>]*\bsrc=)[^>]*>|<style|\son\w+=|\sstyle=/.exec(index)
if (inline) throw new Error(`index.html has what a strict policy refuses: ${inline[0]}`)
if (process.argv.includes('--json'))
  console.log(JSON.stringify({ bench: 'size', compressed_bytes: sum, most_bytes: MOST }))
else console.log(`the window loads ${(sum / 1000).toFixed(1)} KB compressed, of ${MOST / 1000} KB at most`)
if (sum > MOST) process.exit(1)
