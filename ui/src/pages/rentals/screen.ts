// The screen of a terminal: xterm.js, held to what a guest may do with it. What a guest prints is hostile; only xterm ever
// reads it. This file and xterm are loaded when the first terminal is opened.

import { FitAddon } from '@xterm/addon-fit'
import { Terminal } from '@xterm/xterm'
import '@xterm/xterm/css/xterm.css'

/** Lines that can be scrolled back to. */
const HISTORY = 5_000
/** What is waiting to be drawn, in bytes; beyond, output is left out: a guest can print faster than anything draws. */
const WAITING = 4 << 20

/** Titles, colours of the screen, directories, links, messages, the clipboard: nothing that a guest says may touch these. */
const UNHEARD = [0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 50, 52, 104, 105, 110, 111, 112, 133, 633, 777, 1337]

export interface Screen {
  readonly size: { columns: number; rows: number }
  show(bytes: Uint8Array): void
  /** A line of our own. */
  note(text: string): void
  readAloud(on: boolean): void
  /** As large as its place. */
  fit(): void
  focus(): void
  end(): void
}

interface Told {
  typed(bytes: Uint8Array): void
  resized(size: { columns: number; rows: number }): void
  /** The keyboard is to go elsewhere. */
  leave(): void
  /** Output was left out. */
  flooded(): void
}

export function screen(place: HTMLElement, label: string, told: Told): Screen {
  const style = getComputedStyle(place)
  const terminal = new Terminal({
    scrollback: HISTORY,
    fontFamily: style.fontFamily,
    fontSize: 13,
    lineHeight: 1.2,
    minimumContrastRatio: 4.5,
    linkHandler: { activate: () => {} },
    windowOptions: {},
    theme: {
      background: style.backgroundColor,
      foreground: style.color,
      cursor: style.color,
      selectionBackground: '#3d5a50',
    },
  })
  for (const unheard of UNHEARD) terminal.parser.registerOscHandler(unheard, () => true)
  const fit = new FitAddon()
  terminal.loadAddon(fit)
  const undress = withoutStyleElements(() => terminal.open(place))
  terminal.textarea?.setAttribute('aria-label', label)
  fit.fit()

  const utf8 = new TextEncoder()
  terminal.onData((text) => told.typed(utf8.encode(text)))
  // Mouse reports of old kinds, one byte a letter.
  terminal.onBinary((text) => told.typed(Uint8Array.from(text, (letter) => letter.charCodeAt(0))))
  terminal.onResize(({ cols, rows }) => told.resized({ columns: cols, rows }))
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.type !== 'keydown') return true
    if (event.key === 'Escape' && event.shiftKey) {
      event.preventDefault()
      told.leave()
      return false
    }
    if (event.ctrlKey && event.shiftKey && event.code === 'KeyC') {
      event.preventDefault()
      if (terminal.hasSelection()) void navigator.clipboard.writeText(terminal.getSelection())
      return false
    }
    return true
  })

  let waiting = 0
  let flooded = false
  return {
    get size() {
      return { columns: terminal.cols, rows: terminal.rows }
    },
    show(bytes) {
      if (waiting > WAITING) {
        if (!flooded) told.flooded()
        flooded = true
        return
      }
      flooded = false
      waiting += bytes.length
      terminal.write(bytes, () => {
        waiting -= bytes.length
      })
    },
    note: (text) => terminal.write(`\r\n\x1b[0;2m${text}\x1b[0m\r\n`),
    readAloud(on) {
      terminal.options.screenReaderMode = on
    },
    fit: () => fit.fit(),
    focus: () => terminal.focus(),
    end() {
      terminal.dispose()
      undress()
    },
  }
}

/**
 * While this opens a terminal, the document makes no style elements, which a policy of `style-src 'self'` refuses: the same
 * rules come to the page as constructed style sheets, which it allows. Returns what takes them off the page again.
 */
function withoutStyleElements(open: () => void): () => void {
  const sheets = new Set<CSSStyleSheet>()
  const make = document.createElement.bind(document)
  const adopt = (sheet: CSSStyleSheet) => {
    sheets.add(sheet)
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet]
  }
  const dismiss = (sheet: CSSStyleSheet) => {
    sheets.delete(sheet)
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet)
  }
  document.createElement = (name: string) => {
    if (name !== 'style') return make(name)
    const sheet = new CSSStyleSheet()
    adopt(sheet)
    // It stands where the style element would; a template shows nothing.
    const place = make('template')
    Object.defineProperty(place, 'textContent', { set: (text: string) => sheet.replaceSync(text) })
    return place
  }
  try {
    open()
  } finally {
    Reflect.deleteProperty(document, 'createElement')
  }
  return () => sheets.forEach(dismiss)
}

// For the colours of letters xterm writes style attributes, which that policy refuses as well. The same declarations set as
// properties are allowed.
HTMLSpanElement.prototype.setAttribute = function (name, value) {
  if (name === 'style') this.style.cssText = value
  else Element.prototype.setAttribute.call(this, name, value)
}
