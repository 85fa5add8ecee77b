// How the pages reach the node, and nothing else knows it: in the desktop app over Tauri's bridge, in a browser over HTTP
// with the cookie that the dashboard gives.
//
// The desktop's commands:
//   api({ method, path, body })                 -> { status, body }      one answer, as text
//   api_open({ id, method, path, body, pieces }) -> { status, body }      pieces of a long answer by a channel; resolves at
//                                                   its end. An empty piece comes first, once the answer has begun; `body`
//                                                   is the problem where there is one.
//   api_close({ id })                                                     the reader has gone

export interface Answer {
  status: number
  body: string
}

export interface Transport {
  readonly kind: 'desktop' | 'browser'
  ask(method: string, path: string, body: string | undefined): Promise<Answer>
  /** Reads a long answer piece by piece, until it ends or the signal says stop. */
  open(
    method: string,
    path: string,
    body: string | undefined,
    piece: (bytes: Uint8Array) => void,
    signal: AbortSignal,
  ): Promise<Answer>
}

function browser(): Transport {
  const request = (method: string, path: string, body: string | undefined, signal?: AbortSignal) =>
    fetch(path, {
      method,
      credentials: 'same-origin',
      cache: 'no-store',
      ...(signal ? { signal } : {}),
      ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }),
    })
  return {
    kind: 'browser',
    async ask(method, path, body) {
      const answer = await request(method, path, body)
      return { status: answer.status, body: await answer.text() }
    },
    async open(method, path, body, piece, signal) {
      const answer = await request(method, path, body, signal)
      if (!answer.ok || !answer.body) return { status: answer.status, body: await answer.text() }
      piece(new Uint8Array())
      const reader = answer.body.getReader()
      for (let read = await reader.read(); !read.done; read = await reader.read()) piece(read.value)
      return { status: answer.status, body: '' }
    },
  }
}

async function desktop(): Promise<Transport> {
  const { Channel, invoke } = await import('@tauri-apps/api/core')
  let last = 0
  return {
    kind: 'desktop',
    ask: (method, path, body) => invoke<Answer>('api', { method, path, body }),
    async open(method, path, body, piece, signal) {
      const id = ++last
      const pieces = new Channel<ArrayBuffer | number[]>((bytes) => piece(new Uint8Array(bytes)))
      const close = () => void invoke('api_close', { id })
      signal.addEventListener('abort', close, { once: true })
      try {
        return await invoke<Answer>('api_open', { id, method, path, body, pieces })
      } finally {
        signal.removeEventListener('abort', close)
      }
    },
  }
}

export const inDesktop = (): boolean => '__TAURI_INTERNALS__' in globalThis

let chosen: Promise<Transport> | undefined

export function transport(): Promise<Transport> {
  chosen ??= inDesktop() ? desktop() : Promise.resolve(browser())
  return chosen
}

/** For tests: another way to the node. */
export function useTransport(other: Transport): void {
  chosen = Promise.resolve(other)
}
