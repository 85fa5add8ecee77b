// How the pages reach the node, and nothing else knows it: in the desktop app over Tauri's bridge, in a browser over HTTP
// with the cookie that the dashboard gives.
//
// The desktop's commands:
//   api({ method, path, body })                 -> { status, body }      one answer, as text
//   api_open({ id, method, path, body, pieces }) -> { status, body }      pieces of a long answer by a channel; resolves at
//                                                   its end. An empty piece comes first, once the answer has begun; `body`
//                                                   is the problem where there is one.
//   api_put({ id, path }) -> { status, body }     an archive, whose pieces come by api_piece(bytes, { headers: { id } }): it
//                                                   resolves when there is room for another, and an empty one ends it
//   api_close({ id })                                                     the reader has gone
//   session_open({ id, lease, wish, pieces })    -> SessionNews             a program in a guest; what it says by a channel, after
//                                                   a byte that says where, as over a WebSocket; resolves at its end. An
//                                                   empty piece says that it runs.
//   session_send({ id, bytes, order, heard })                               input for it, something else that is asked, or how
//                                                   many bytes have come: it waits when many are on their way
//   autostart() / set_autostart({ on })           -> bool                   whether the app starts at login
//   session_close({ id })                                                   it is to end; without an id: all that an earlier
//                                                   page has left

import type { Schemas } from '.'

export interface Answer {
  status: number
  body: string
}

export type ExecWish = Schemas['ExecWish']
export type SessionOrder = Schemas['SessionOrder']
export type SessionNews = Schemas['SessionNews']

/** What is heard of a program in a guest; nothing after it has ended. */
export interface Hearing {
  began(): void
  said(bytes: Uint8Array): void
  ended(code: number): void
  /** It did not begin, or nothing more can be known of it. */
  lost(problem: Schemas['Problem']): void
}

/** A program in a guest, from this side. */
export interface Session {
  give(bytes: Uint8Array): void
  order(order: SessionOrder): void
  /** It ends, and nothing more is heard of it. */
  close(): void
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
  /** Gives the node an archive, and hears how much of it has gone. */
  give(path: string, archive: Blob, gone: (bytes: number) => void, signal: AbortSignal): Promise<Answer>
  /** Begins a program in the guest of a lease. */
  session(lease: string, wish: ExecWish, hearing: Hearing): Session
}

/** How much of an upload goes over the bridge at once. */
const PIECE = 256 * 1024

/** The line to the program is gone, and nobody says why. */
export const brokeOff = (detail: string): Schemas['Problem'] => ({
  type: 'about:blank',
  title: '',
  status: 0,
  code: 'stream_broke',
  detail,
  hint: '',
})

/** What an end of a session has to say to whoever hears it. */
function tellNews(news: SessionNews, hearing: Hearing): void {
  if (news === 'began') hearing.began()
  else if ('ended' in news) hearing.ended(news.ended)
  else hearing.lost(news.problem)
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
    give(path, archive, gone, signal) {
      // Of an upload by fetch nobody hears how far it is.
      return new Promise((done, failed) => {
        const request = new XMLHttpRequest()
        request.open('PUT', path)
        request.setRequestHeader('content-type', 'application/x-tar')
        request.upload.onprogress = ({ loaded }) => gone(loaded)
        request.onload = () => done({ status: request.status, body: request.responseText })
        request.onerror = () => failed(new TypeError('the upload broke off'))
        request.onabort = () => failed(new DOMException('', 'AbortError'))
        signal.addEventListener('abort', () => request.abort(), { once: true })
        request.send(archive)
      })
    },
    session(lease, wish, hearing) {
      const at = new URL(`/v1/leases/${encodeURIComponent(lease)}/exec`, location.href)
      at.protocol = at.protocol === 'https:' ? 'wss:' : 'ws:'
      const socket = new WebSocket(at)
      socket.binaryType = 'arraybuffer'
      let over = false
      const send = (message: string | Uint8Array<ArrayBuffer>) =>
        socket.readyState === WebSocket.OPEN && socket.send(message)
      socket.onopen = () => send(JSON.stringify(wish))
      socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
        if (over) return
        if (typeof data !== 'string') return hearing.said(new Uint8Array(data, 1))
        const news = JSON.parse(data) as SessionNews
        over = news !== 'began'
        tellNews(news, hearing)
      }
      // A browser does not tell why a socket could not be opened.
      socket.onclose = ({ reason }) => {
        if (!over) hearing.lost(brokeOff(reason))
        over = true
      }
      return {
        give: (bytes) => send(bytes.slice()),
        order: (order) => send(JSON.stringify(order)),
        close() {
          over = true
          socket.close()
        },
      }
    },
  }
}

export async function desktop(): Promise<Transport> {
  const { Channel, invoke } = await import('@tauri-apps/api/core')
  let last = 0
  await invoke('session_close', {})
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
    async give(path, archive, gone, signal) {
      const id = ++last
      const close = () => void invoke('api_close', { id })
      signal.addEventListener('abort', close, { once: true })
      let over = false
      const answer = invoke<Answer>('api_put', { id, path }).finally(() => {
        over = true
        signal.removeEventListener('abort', close)
      })
      const piece = (bytes: Uint8Array) => invoke('api_piece', bytes, { headers: { id: String(id) } })
      const send = async () => {
        for (let at = 0; at < archive.size && !over; at += PIECE) {
          await piece(new Uint8Array(await archive.slice(at, at + PIECE).arrayBuffer()))
          gone(Math.min(at + PIECE, archive.size))
        }
        if (!over) await piece(new Uint8Array())
      }
      // Whoever refuses it says why; that the rest cannot be sent then is no news.
      return await Promise.race([answer, send().then(() => answer)])
    },
    session(lease, wish, hearing) {
      const id = ++last
      let over = false
      const pieces = new Channel<ArrayBuffer | number[]>((bytes) => {
        if (over) return
        const piece = new Uint8Array(bytes)
        if (piece.length === 0) hearing.began()
        else {
          void invoke('session_send', { id, heard: piece.length }).catch(() => {})
          hearing.said(piece.subarray(1))
        }
      })
      const end = (tell: () => void) => {
        if (!over) tell()
        over = true
      }
      invoke<SessionNews>('session_open', { id, lease, wish, pieces }).then(
        (news) => end(() => tellNews(news, hearing)),
        (error: unknown) => end(() => hearing.lost(brokeOff(String(error)))),
      )
      // Calls may overtake each other; keys must not.
      let sent: Promise<unknown> = Promise.resolve()
      const send = (what: object) => {
        sent = sent.then(() => over || invoke('session_send', { id, ...what })).catch(() => {})
      }
      return {
        give: (bytes) => send({ bytes: [...bytes] }),
        order: (order) => send({ order }),
        close() {
          over = true
          void invoke('session_close', { id })
        },
      }
    },
  }
}

/** In the desktop app: whether it starts when its user logs in; with a wish, as it is after that. */
export async function autostart(on?: boolean): Promise<boolean> {
  const { invoke } = await import('@tauri-apps/api/core')
  return on === undefined ? invoke<boolean>('autostart') : invoke<boolean>('set_autostart', { on })
}

export const inDesktop = (): boolean => '__TAURI_INTERNALS__' in globalThis

let chosen: Promise<Transport> | undefined

export function transport(): Promise<Transport> {
  chosen ??= inDesktop() ? desktop() : Promise.resolve(browser())
  return chosen
}

/** For tests: another way to the node, with no programs at its end unless it has some. */
export function useTransport(other: Omit<Transport, 'session' | 'give'> & Partial<Transport>): void {
  const session = () => {
    throw new Error('no programs at this end')
  }
  const give = () => Promise.reject(new Error('no files at this end'))
  chosen = Promise.resolve({ session, give, ...other })
}
