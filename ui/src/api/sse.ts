// Server-sent events, out of pieces that break anywhere.

export interface Told {
  name: string
  data: string
}

/** Feeds on bytes, and tells each event once it is whole. */
export function sse(tell: (event: Told) => void): (bytes: Uint8Array) => void {
  const decoder = new TextDecoder()
  let rest = ''
  return (bytes) => {
    rest += decoder.decode(bytes, { stream: true })
    const events = rest.split(/\r?\n\r?\n/)
    rest = events.pop() ?? ''
    for (const event of events) {
      let name = 'message'
      const data: string[] = []
      for (const line of event.split(/\r?\n/)) {
        const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? []
        if (field === 'event') name = value ?? ''
        if (field === 'data') data.push(value ?? '')
      }
      // A comment keeps the line open and says nothing.
      if (data.length > 0) tell({ name, data: data.join('\n') })
    }
  }
}
