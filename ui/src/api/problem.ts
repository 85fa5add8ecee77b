import type { Schemas } from '.'
import type { Answer } from './transport'

/** Why something was not granted, as the node says it (RFC 9457), or that the node is not there. */
export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly hint: string

  constructor(status: number, code: string, detail: string, hint = '') {
    super(detail)
    this.name = 'Problem'
    this.status = status
    this.code = code
    this.hint = hint
  }

  /** Nobody answered: the node has stopped, or is starting. */
  get gone(): boolean {
    return this.code === 'node_gone'
  }

  static of(answer: Answer): Problem {
    try {
      const told = JSON.parse(answer.body) as Partial<Schemas['Problem']>
      if (typeof told.code === 'string' && typeof told.detail === 'string')
        return new Problem(answer.status, told.code, told.detail, told.hint ?? '')
    } catch {
      // What stands before the node, a development server say, speaks otherwise.
    }
    if (answer.status === 502 || answer.status === 503 || answer.status === 504)
      return Problem.gone(answer.body)
    return new Problem(answer.status, 'strange_answer', answer.body.slice(0, 200) || `HTTP ${answer.status}`)
  }

  static gone(cause: unknown): Problem {
    return new Problem(0, 'node_gone', String(cause instanceof Error ? cause.message : cause))
  }

  static from(error: unknown): Problem {
    return error instanceof Problem ? error : Problem.gone(error)
  }
}
