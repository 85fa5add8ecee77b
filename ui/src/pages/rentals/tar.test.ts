import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { pack, single } from './tar'

const place = mkdtempSync(join(tmpdir(), 'sublet-tar-'))
afterAll(() => rmSync(place, { recursive: true }))
const file = (name: string, content: string) => ({
  name,
  content: new Blob([content]),
  modified: 1_700_000_000,
})

async function written(archive: Blob): Promise<string> {
  const path = join(place, 'archive.tar')
  writeFileSync(path, new Uint8Array(await archive.arrayBuffer()))
  return path
}

test('another program reads what is packed', async () => {
  const long = `${'deep/'.repeat(30)}größe.txt`
  const archive = await written(
    pack([file('a.txt', 'hello'), file(long, 'x'.repeat(1000)), file('empty', '')]),
  )
  const listed = execFileSync('tar', ['--quoting-style=literal', '-tf', archive], { encoding: 'utf8' })
  expect(listed.split('\n').filter(Boolean)).toEqual(['a.txt', long, 'empty'])
  execFileSync('tar', ['-xf', archive, '-C', place])
  expect(readFileSync(join(place, 'a.txt'), 'utf8')).toBe('hello')
  expect(readFileSync(join(place, long)).length).toBe(1000)
})

test('the one file of what another program has packed is found', async () => {
  writeFileSync(join(place, 'one'), 'content\n')
  const tar = (...words: string[]) =>
    new Blob([new Uint8Array(execFileSync('tar', ['-C', place, '-cf', '-', ...words]))])
  for (const format of ['--format=ustar', '--format=pax']) {
    const found = await single(tar(format, 'one'))
    expect(await found?.text(), format).toBe('content\n')
  }
  writeFileSync(join(place, 'two'), '')
  expect(await single(tar('one', 'two'))).toBeUndefined()
  expect(await single(tar('.'))).toBeUndefined()
  const whole = tar('one')
  expect(await single(whole.slice(0, 1024))).toBeUndefined()
  expect(await single(whole.slice(0, 700))).toBeUndefined()
  expect(await single(new Blob(['x'.repeat(2000)]))).toBeUndefined()
})
