// Work of the node that somebody watches: it can be stopped by hand, and stops when nobody watches any more.

import { onDestroy } from 'svelte'
import { work } from './api'
import { attempt } from './toast.svelte'

/** For a component. */
export class Task {
  #now = $state.raw<AbortController>()

  constructor() {
    onDestroy(this.stop)
  }

  get running(): boolean {
    return this.#now !== undefined
  }

  stop = (): void => this.#now?.abort()

  /** What the work came to; nothing when it was stopped, or when it failed, which is said. */
  async run<T>(
    path: Parameters<typeof work>[0],
    told: (progress: unknown) => void,
    wish?: object,
  ): Promise<T | undefined> {
    const mine = new AbortController()
    this.#now = mine
    let done: T | undefined
    await attempt(async () => {
      done = await work<T>(path, wish, told, mine.signal).catch((error) => {
        // Stopped by hand is no failure.
        if (!mine.signal.aborted) throw error
        return undefined
      })
    })
    this.#now = undefined
    return done
  }
}
