// What guests print is theirs: it may hold escape sequences and worse. Here it becomes plain lines.

// CSI, OSC and the short escapes.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])/g
// All that is no text, and what turns the direction of text around.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

export const LINES = 2_000
const LONGEST = 4_000

export function inert(text: string): string {
  return text.replace(ESCAPES, '').replace(CONTROLS, '')
}

/** The last lines of output that comes in pieces, which may break in the midst of a letter. */
export class Tail {
  lines: string[] = []
  cut = false
  #open = ''
  #decoder = new TextDecoder()

  add(bytes: Uint8Array): void {
    const parts = (this.#open + this.#decoder.decode(bytes, { stream: true })).split('\n')
    this.#open = (parts.pop() ?? '').slice(-LONGEST)
    // A carriage return starts the line anew, as progress bars do.
    const whole = parts.map((line) =>
      inert(line.replace(/\r$/, '').split('\r').pop() ?? '').slice(0, LONGEST),
    )
    this.lines = [...this.lines, ...whole]
    if (this.lines.length > LINES) {
      this.lines = this.lines.slice(-LINES)
      this.cut = true
    }
  }

  /** All lines, and the one that is not over. */
  get all(): string[] {
    const open = inert(this.#open.split('\r').pop() ?? '')
    return open ? [...this.lines, open] : this.lines
  }
}
