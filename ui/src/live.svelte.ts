// What the pages show, kept fresh: an event of the node makes those ask again whom it concerns. What is shown stays until
// the new answer is there, so nothing flickers.

import { onDestroy } from 'svelte'
import { type Event, events, get, Problem, type Status } from './api'

export type Topic = Event['event'] | 'link'

/** A burst of events is one question. */
const GATHER = 120
const FIRST_WAIT = 500
const LONGEST_WAIT = 15_000

/** How the node is reached. */
export const link = $state({
  state: 'connecting' as 'connecting' | 'live' | 'gone',
  /** When the next try is made. */
  retryAt: 0,
  why: '',
})

type Listener = (event: Event) => void
const listeners = new Set<Listener>()
const refreshers = new Set<() => void>()

/** Hears every event while the caller lives. */
export function hear(listener: Listener): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** Waits for `ms`, or less when the signal or `hurry` says so. */
let hurry = () => {}
function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, ms)
    hurry = () => {
      clearTimeout(timer)
      done()
    }
    signal.addEventListener('abort', hurry, { once: true })
  })
}

/** Tries to reach the node at once. */
export const retry = (): void => hurry()

/** Listens to the node until the signal says stop, and comes back whenever the line breaks. */
export async function listen(signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted; ) {
    try {
      await events(
        (event) => {
          for (const listener of listeners) listener(event)
        },
        () => {
          failures = 0
          link.state = 'live'
          link.why = ''
          for (const refresh of refreshers) refresh()
        },
        signal,
      )
    } catch (error) {
      link.why = Problem.from(error).message
    }
    if (signal.aborted) return
    failures += 1
    // One broken line is no news: a node that restarts is back before anybody reads of it.
    if (failures > 1) link.state = 'gone'
    const pause = Math.min(FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT)
    link.retryAt = Date.now() + pause
    await wait(pause, signal)
  }
}

/** An answer that is kept fresh. */
export class Live<T> {
  data = $state.raw<T | undefined>()
  problem = $state.raw<Problem | undefined>()
  #load: () => Promise<T>
  #asked = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #last = 0

  constructor(load: () => Promise<T>) {
    this.#load = load
  }

  /** Nothing is known yet. */
  get waiting(): boolean {
    return this.data === undefined && this.problem === undefined
  }

  /** Asks now. A slow answer never overwrites a newer one. */
  refresh = async (): Promise<void> => {
    const mine = ++this.#asked
    this.#last = Date.now()
    try {
      const data = await this.#load()
      if (mine === this.#asked) {
        this.data = data
        this.problem = undefined
      }
    } catch (error) {
      if (mine === this.#asked) this.problem = Problem.from(error)
    }
  }

  /** Asks soon, once for all that calls until then. */
  stale = (): void => {
    if (this.#timer !== undefined) return
    const since = Date.now() - this.#last
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined
        void this.refresh()
      },
      since > GATHER ? 0 : GATHER,
    )
  }

  /** What a change has answered with is fresh. */
  set(data: T): void {
    this.#asked += 1
    this.data = data
    this.problem = undefined
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#asked += 1
  }
}

/** For a component: asks now, whenever what `load` reads changes, and on each of these events. */
export function live<T>(load: () => Promise<T>, ...topics: Topic[]): Live<T> {
  const kept = new Live(load)
  const wanted = new Set<string>([...topics, 'missed'])
  $effect(() => {
    void kept.refresh()
  })
  const deaf = hear((event) => {
    if (wanted.has(event.event)) kept.stale()
  })
  refreshers.add(kept.stale)
  onDestroy(() => {
    deaf()
    refreshers.delete(kept.stale)
    kept.stop()
  })
  return kept
}

export const status = new Live<Status>(async () => {
  const told = await get('/v1/status')
  // Whoever answers is there, though events may take a moment to begin.
  if (link.state === 'connecting') link.state = 'live'
  return told
})
refreshers.add(status.stale)
hear(({ event }) => {
  if (event !== 'fetching' && event !== 'receipt' && event !== 'health') status.stale()
})

/** Calls at an interval while the page is seen: for what no event tells, such as time. */
export function every(ms: number, call: () => void): void {
  $effect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && call(), ms)
    return () => clearInterval(timer)
  })
}

/** The time, for all that counts down; it moves once a second. */
export const clock = $state({ now: Date.now() })
setInterval(() => {
  if (document.visibilityState === 'visible') clock.now = Date.now()
}, 1000)
