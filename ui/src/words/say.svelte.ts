// What the pages say, in the reader's language. Each text stands once, with all its translations side by side, so that
// none can be forgotten. A text may have a form for one and a form for others, chosen by `n`.

import { numbers, plurals } from '../intl'

export type Language = 'en' | 'de'
export const languages: readonly Language[] = ['en', 'de']
type Forms = string | { readonly one: string; readonly other: string }
/** English, German. */
export type Text = readonly [Forms, Forms]
export type Fill = Record<string, string | number>

function preferred(): Language {
  const kept = typeof localStorage === 'undefined' ? null : localStorage.getItem('language')
  if (kept === 'en' || kept === 'de') return kept
  return navigator.languages.some((tag) => tag.startsWith('de')) && !navigator.language.startsWith('en')
    ? 'de'
    : 'en'
}

export const speech = $state({ language: preferred() })

export function speak(language: Language): void {
  speech.language = language
  document.documentElement.lang = language
  localStorage.setItem('language', language)
}

/** The locale for numbers and dates: the reader's own where it is of the chosen language. */
export function locale(): string {
  return navigator.languages.find((tag) => tag.startsWith(speech.language)) ?? speech.language
}

export function say(text: Text, fill: Fill = {}): string {
  const forms = text[languages.indexOf(speech.language)] ?? text[0]
  const one = typeof fill.n === 'number' && plurals(speech.language, {}).select(fill.n) === 'one'
  const form = typeof forms === 'string' ? forms : one ? forms.one : forms.other
  return form.replace(/\{(\w+)\}/g, (braces, name: string) => {
    const value = fill[name]
    return value === undefined
      ? braces
      : typeof value === 'number'
        ? numbers(locale(), {}).format(value)
        : value
  })
}

/** Holds a page's texts to their shape. */
export const texts = <T extends Record<string, Text>>(page: T): T => page
