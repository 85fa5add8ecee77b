import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { languages, type Text } from './say.svelte'

const here = import.meta.dirname
const modules = import.meta.glob<Record<string, Record<string, Text>>>(
  ['./*.ts', '!./*.test.ts', '!./say.svelte.ts'],
  {
    eager: true,
  },
)
const all = Object.entries(modules).flatMap(([file, module]) =>
  Object.values(module).flatMap((page) =>
    Object.entries(page).map(([key, text]) => ({ at: `${file} ${key}`, text })),
  ),
)

const forms = (text: Text[number]) => (typeof text === 'string' ? [text] : [text.one, text.other])
const braces = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort()

test('every text is there in every language', () => {
  expect(all.length).toBeGreaterThan(50)
  for (const { at, text } of all) {
    expect(text.length, at).toBe(languages.length)
    for (const form of text.flatMap(forms)) expect(form.trim(), at).not.toBe('')
  }
})

test('translations fill in the same things', () => {
  for (const { at, text } of all) {
    const [english, ...others] = text.map((language) => [...new Set(forms(language).flatMap(braces))].sort())
    for (const other of others) expect(other, at).toEqual(english)
  }
})

// The text between tags, and what is read aloud: what a reader meets has to come from the texts.
function spoken(source: string): string[] {
  const markup = source
    .replace(/<script[\s\S]*?<\/script>/g, '')
    .replace(/<style[\s\S]*?<\/style>/g, '')
    .replace(/<!--[\s\S]*?-->/g, '')
  // Innermost braces first: what stands in them is code.
  let plain = markup
  for (let before = ''; before !== plain; ) {
    before = plain
    plain = plain.replace(/\{[^{}]*\}/g, '§')
  }
  const between = [...plain.matchAll(/>([^<>]+)</g)].map(([, text]) => text ?? '')
  const said = [...plain.matchAll(/(?:aria-label|title|placeholder|alt|label|hint|lead)="([^"]+)"/g)]
  return [...between, ...said.map(([, text]) => text ?? '')]
    .map((text) => text.trim())
    .filter((text) => /\p{L}{2,}/u.test(text))
}

const sources = readdirSync(join(here, '..'), { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.svelte'),
)

test.each(sources)('%s speaks by the texts alone', (file) => {
  expect(
    spoken(readFileSync(join(here, '..', file), 'utf8')).filter(
      (text) => text !== '– Sublet' && text !== '§ – Sublet',
    ),
  ).toEqual([])
})

test('a text written into a page is found', () => {
  expect(spoken('<p>{say(x)}</p><p title="Nope">Hello {name}, there</p>')).toEqual(['Hello §, there', 'Nope'])
})
