// Short words about what was just done, or could not be.

import { Problem } from './api'

export interface Toast {
  id: number
  kind: 'done' | 'problem'
  text: string
  hint: string
}

export const toasts = $state<Toast[]>([])
let last = 0

function show(kind: Toast['kind'], text: string, hint: string, ms: number): void {
  const id = ++last
  // Three are read; more would be a wall.
  toasts.splice(0, Math.max(0, toasts.length - 2))
  toasts.push({ id, kind, text, hint })
  setTimeout(() => dismiss(id), ms)
}

export function dismiss(id: number): void {
  const at = toasts.findIndex((toast) => toast.id === id)
  if (at >= 0) toasts.splice(at, 1)
}

export const done = (text: string): void => show('done', text, '', 5_000)

export function refused(error: unknown): void {
  const problem = Problem.from(error)
  show('problem', problem.message, problem.hint, 12_000)
}

/** Does what was asked for, and says why if it cannot be done. Says whether it was. */
export async function attempt(act: () => Promise<unknown>, said = ''): Promise<boolean> {
  try {
    await act()
    if (said) done(said)
    return true
  } catch (error) {
    refused(error)
    return false
  }
}
