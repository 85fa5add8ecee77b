// What is looked for, and how it is written in a form.

import type { Schemas } from '../../api'

export interface Wish {
  cores: number
  memory: number
  disk: number
  hours: number
  cap: string
  currency: string
  mode: '' | 'gift' | 'barter' | 'rent'
  trust: number
}

export const MIB = 2 ** 20
export const usual: Readonly<Wish> = {
  cores: 1,
  memory: 256,
  disk: 64,
  hours: 1,
  cap: '',
  currency: 'EUR',
  mode: '',
  trust: 0,
}

const positive = (value: number, least: number) => (Number.isFinite(value) && value > 0 ? value : least)

/** An amount as it was typed, with a point or a comma; nothing where none was. */
export function typedAmount(text: string): number | undefined {
  const value = Number(text.trim().replace(',', '.'))
  return text.trim() !== '' && Number.isFinite(value) && value >= 0 ? Math.round(value * 1e6) : undefined
}

/** The question that a form asks. What makes no sense in it is taken as the least that does. */
export function query(wish: Wish): Schemas['Query'] {
  const micros = typedAmount(wish.cap)
  return {
    cpu_millis: Math.round(positive(wish.cores, 0.1) * 1000),
    memory_bytes: Math.round(positive(wish.memory, 16)) * MIB,
    disk_bytes: Math.round(positive(wish.disk, 1)) * MIB,
    term: Math.round(positive(wish.hours, 1 / 60) * 3600),
    min_trust: wish.trust * 10,
    ...(micros === undefined ? {} : { max_price: { micros, currency: wish.currency, text: '' } }),
    ...(wish.mode ? { mode: wish.mode } : {}),
  } as Schemas['Query']
}

/** Pages of a market that changes between them may overlap. */
export function unique<M extends { offer: { id: string } }>(matches: readonly M[]): M[] {
  return [...new Map(matches.map((match) => [match.offer.id, match])).values()]
}

/** Ports as people type them: `80, 8080:80`. The first that makes no sense is named. */
export function ports(text: string): { ports: { local: number; guest: number }[] } | { bad: string } {
  const found: { local: number; guest: number }[] = []
  for (const word of text.split(/[\s,]+/).filter(Boolean)) {
    const [, local = '0', guest = ''] = /^(?:(\d{1,5}):)?(\d{1,5})$/.exec(word) ?? []
    const pair = { local: Number(local), guest: Number(guest) }
    if (guest === '' || pair.guest < 1 || pair.guest > 65_535 || pair.local > 65_535) return { bad: word }
    found.push(pair)
  }
  return { ports: found }
}

export interface TypedSecret {
  name: string
  value: string
}

/** Secrets as they were typed; a line that was left empty is none. The first that no guest can have is named. */
export function secretsOf(typed: readonly TypedSecret[]): { secrets: TypedSecret[] } | { bad: string } {
  const secrets = typed
    .map(({ name, value }) => ({ name: name.trim(), value }))
    .filter(({ name, value }) => name || value)
  const bad = secrets.find(
    ({ name, value }, at) =>
      !/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/.test(name) ||
      value === '' ||
      secrets.findIndex((other) => other.name === name) < at,
  )
  return bad ? { bad: bad.name } : { secrets }
}

/** A command line as words: quotes keep spaces together. */
export function words(line: string): string[] {
  const found = line.match(/"(?:[^"\\]|\\.)*"|'[^']*'|\S+/g) ?? []
  return found.map((word) =>
    word.startsWith('"')
      ? word.slice(1, -1).replace(/\\(.)/g, '$1')
      : word.startsWith("'")
        ? word.slice(1, -1)
        : word,
  )
}
