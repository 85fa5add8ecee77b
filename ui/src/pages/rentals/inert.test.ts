import { expect, test } from 'vitest'
import { inert, LINES, Tail } from './inert'

const utf8 = new TextEncoder()

test('escapes and controls are taken out, text stays', () => {
  expect(inert('\x1b[31m<b>red</b>\x1b[0m')).toBe('<b>red</b>')
  expect(inert('\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b')).toBe('ab')
  expect(inert('a\x00\x07\x9bb\u202ec\tä')).toBe('abc\tä')
})

test('lines are read wherever the pieces break', () => {
  const all = utf8.encode('eins\r\nzwei: ä€😀\n10 %\r20 %\rdone\nrest')
  for (let size = 1; size < 12; size++) {
    const tail = new Tail()
    for (let at = 0; at < all.length; at += size) tail.add(all.slice(at, at + size))
    expect(tail.all).toEqual(['eins', 'zwei: ä€😀', 'done', 'rest'])
  }
})

test('a guest that prints for ever fills nothing', () => {
  const tail = new Tail()
  for (let i = 0; i < 50; i++) tail.add(utf8.encode(`${'x'.repeat(10)}\n`.repeat(1_000)))
  expect(tail.all.length).toBe(LINES)
  expect(tail.cut).toBe(true)
  for (let i = 0; i < 100; i++) tail.add(utf8.encode('y'.repeat(10_000)))
  expect(Math.max(...tail.all.map((line) => line.length))).toBeLessThanOrEqual(4_000)
})
