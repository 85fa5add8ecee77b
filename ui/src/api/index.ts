// The node's API, typed by its own description. `npm run types` writes schema.d.ts anew.

import { Problem } from './problem'
import type { components, paths } from './schema'
import { sse } from './sse'
import { type Answer, type ExecWish, type Hearing, type Session, transport } from './transport'

export { Problem } from './problem'
export type { Session } from './transport'
export type Schemas = components['schemas']
export type Status = Schemas['Status']
export type Lease = Schemas['Lease']
export type LeaseState = Schemas['LeaseState']
export type Money = Schemas['Money']
export type MyOffer = Schemas['MyOffer']
export type Share = Schemas['Share']
export type ShareWish = Schemas['ShareWish']
export type Prices = Schemas['Prices']
export type Owner = Schemas['Owner']
export type OwnerPolicy = Schemas['OwnerPolicy']
export type Resources = Schemas['Resources']
export type Party = Schemas['Party']
export type Event = Schemas['Event']

type Method = 'get' | 'post' | 'put' | 'delete'
type PathsWith<M extends Method> = {
  [P in keyof paths]: paths[P] extends { [K in M]: { responses: unknown } } ? P : never
}[keyof paths]
type Operation<P extends keyof paths, M extends Method> = M extends keyof paths[P] ? paths[P][M] : never
type Good<R> = R extends { 200: infer A }
  ? A
  : R extends { 201: infer A }
    ? A
    : R extends { 202: infer A }
      ? A
      : unknown
type Answered<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { responses: infer R }
    ? Good<R> extends { content: { 'application/json': infer T } }
      ? T
      : undefined
    : never
type Wanted<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { requestBody: { content: { 'application/json': infer T } } } ? T : undefined
type Values = Record<string, string | number | boolean>

/** What fills the braces of a path, and what follows its question mark. */
export interface Where {
  path?: Record<string, string>
  query?: Values
}

export function address(path: string, where: Where = {}): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(where.path?.[name] ?? ''))
  const query = new URLSearchParams(
    Object.entries(where.query ?? {}).map(([name, value]): [string, string] => [name, String(value)]),
  ).toString()
  return query ? `${filled}?${query}` : filled
}

async function ask(method: string, path: string, body: unknown): Promise<unknown> {
  const text = body === undefined ? undefined : JSON.stringify(body)
  let answer: Answer
  try {
    answer = await (await transport()).ask(method, path, text)
  } catch (error) {
    throw Problem.gone(error)
  }
  if (answer.status < 200 || answer.status > 299) throw Problem.of(answer)
  return answer.body === '' ? undefined : JSON.parse(answer.body)
}

export const get = <P extends PathsWith<'get'>>(path: P, where?: Where) =>
  ask('GET', address(path, where), undefined) as Promise<Answered<P, 'get'>>
export const post = <P extends PathsWith<'post'>>(path: P, body: Wanted<P, 'post'>, where?: Where) =>
  ask('POST', address(path, where), body) as Promise<Answered<P, 'post'>>
export const put = <P extends PathsWith<'put'>>(path: P, body: Wanted<P, 'put'>, where?: Where) =>
  ask('PUT', address(path, where), body) as Promise<Answered<P, 'put'>>
export const del = <P extends PathsWith<'delete'>>(path: P, where?: Where) =>
  ask('DELETE', address(path, where), undefined) as Promise<Answered<P, 'delete'>>

/** A file as text: an export, a pack. */
export async function text(path: string): Promise<string> {
  const answer = await (await transport()).ask('GET', path, undefined)
  if (answer.status !== 200) throw Problem.of(answer)
  return answer.body
}

async function open(
  method: string,
  path: string,
  body: unknown,
  piece: (bytes: Uint8Array) => void,
  signal: AbortSignal,
): Promise<void> {
  let answer: Answer
  try {
    const wish = body === undefined ? undefined : JSON.stringify(body)
    answer = await (await transport()).open(method, path, wish, piece, signal)
  } catch (error) {
    if (signal.aborted) return
    throw Problem.gone(error)
  }
  if (answer.status < 200 || answer.status > 299) throw Problem.of(answer)
}

/** Bytes as they come: the log of a guest. */
export const bytes = (path: string, piece: (bytes: Uint8Array) => void, signal: AbortSignal) =>
  open('GET', path, undefined, piece, signal)

/** Gives the node an archive; `gone` hears how much of it is on its way. */
export async function give(
  path: string,
  archive: Blob,
  gone: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  let answer: Answer
  try {
    answer = await (await transport()).give(path, archive, gone, signal)
  } catch (error) {
    if (signal.aborted) return
    throw Problem.gone(error)
  }
  if (answer.status < 200 || answer.status > 299) throw Problem.of(answer)
}

/** What happens, as it happens; ends with a problem when the line breaks. */
export const events = (told: (event: Event) => void, live: () => void, signal: AbortSignal) => {
  let first = true
  const parse = sse(({ data }) => told(JSON.parse(data) as Event))
  return open(
    'GET',
    '/v1/events',
    undefined,
    (piece) => {
      if (first) live()
      first = false
      parse(piece)
    },
    signal,
  )
}

/** Work that tells how far it has come. It is given up when the signal says so. */
export async function work<T>(
  path: PathsWith<'post'>,
  body: unknown,
  progress: (told: unknown) => void,
  signal: AbortSignal,
): Promise<T> {
  let done: T | undefined
  let problem: Problem | undefined
  const parse = sse(({ name, data }) => {
    if (name === 'progress') progress(JSON.parse(data))
    if (name === 'done') done = JSON.parse(data) as T
    if (name === 'problem') {
      const told = JSON.parse(data) as Schemas['Problem']
      problem = new Problem(told.status, told.code, told.detail, told.hint)
    }
  })
  await open('POST', path, body, parse, signal)
  if (problem) throw problem
  if (done === undefined) throw Problem.gone('the work ended without a word')
  return done
}

/** A program in the guest of a lease, to speak to. */
export const session = async (lease: string, wish: ExecWish, hearing: Hearing): Promise<Session> =>
  (await transport()).session(lease, wish, hearing)
