// Archives as the node takes and gives them (POSIX ustar, with pax headers where a name or a size needs one): made of files that
// were chosen, and read for the one file in them. What a guest gives is not trusted: it is only ever bytes to be saved.

const BLOCK = 512

/** A file to go into an archive. */
export interface Entry {
  name: string
  content: Blob
  /** Seconds since 1970. */
  modified: number
}

const encode = (text: string) => new TextEncoder().encode(text)

function header(name: string, size: number, modified: number, kind: '0' | 'x'): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK)
  const put = (at: number, text: string) => block.set(encode(text), at)
  const octal = (value: number, digits: number) => `${Math.floor(value).toString(8).padStart(digits, '0')}\0`
  block.set(encode(name).subarray(0, 100), 0)
  put(100, octal(0o644, 7))
  put(108, octal(0, 7))
  put(116, octal(0, 7))
  // What does not fit stands in the pax header before.
  put(124, octal(size < 8 ** 11 ? size : 0, 11))
  put(136, octal(Math.min(Math.max(modified, 0), 8 ** 11 - 1), 11))
  put(148, ' '.repeat(8))
  put(156, kind)
  put(257, 'ustar\x0000')
  const sum = block.reduce((sum, byte) => sum + byte, 0)
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `)
  return block
}

/** A record of a pax header: its length counts itself. */
function record(key: string, value: string): string {
  const rest = encode(` ${key}=${value}\n`).length
  let length = rest + String(rest).length
  if (String(length).length > String(rest).length) length = rest + String(length).length
  return `${length} ${key}=${value}\n`
}

const padding = (size: number) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK)

/** An archive of files. Their bytes are read when it is sent, and not before. */
export function pack(entries: readonly Entry[]): Blob {
  const parts: BlobPart[] = []
  for (const { name, content, modified } of entries) {
    const records = [
      encode(name).length > 100 || /[^ -~]/.test(name) ? record('path', name) : '',
      content.size < 8 ** 11 ? '' : record('size', String(content.size)),
    ].join('')
    if (records) {
      const pax = encode(records)
      parts.push(header('pax', pax.length, modified, 'x'), pax, padding(pax.length))
    }
    parts.push(header(name, content.size, modified, '0'), content, padding(content.size))
  }
  parts.push(new Uint8Array(2 * BLOCK))
  return new Blob(parts, { type: 'application/x-tar' })
}

const text = (bytes: Uint8Array) => {
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}

/** The one file of an archive; nothing where it holds a directory, a link, or more than one thing. */
export async function single(archive: Blob): Promise<Blob | undefined> {
  let at = 0
  let found: Blob | undefined
  let told: number | undefined
  while (at + BLOCK <= archive.size) {
    const block = new Uint8Array(await archive.slice(at, at + BLOCK).arrayBuffer())
    if (block.every((byte) => byte === 0)) return found
    const kind = text(block.subarray(156, 157))
    const size = told ?? Number.parseInt(text(block.subarray(124, 136)).trim(), 8)
    if (!Number.isSafeInteger(size) || size < 0 || at + BLOCK + size > archive.size) return undefined
    at += BLOCK
    if (kind === 'x') {
      const pax = text(new Uint8Array(await archive.slice(at, at + size).arrayBuffer()))
      const value = /(?:^|\n)\d+ size=(\d+)\n/.exec(pax)?.[1]
      told = value === undefined ? undefined : Number(value)
    } else if (kind === '0' || kind === '') {
      if (found) return undefined
      found = archive.slice(at, at + size)
      told = undefined
    } else return undefined
    at += size + padding(size).length
  }
  // Its end is missing: it broke off.
  return undefined
}
