// Runs before every other module.

// Under LANG=C (services, minimal desktops) WebKitGTK calls the language "C". That is no language tag, and
// every Intl formatter that is given it throws.
try {
  Intl.getCanonicalLocales(navigator.language)
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en', configurable: true })
  Object.defineProperty(navigator, 'languages', { value: ['en'], configurable: true })
}

/**
 * Lets nobody add to what all objects inherit. Frozen as it is, it would also refuse objects a `toString` of their own by
 * assignment, which xterm gives to one; so there that becomes a property of the object.
 */
export function freeze(shared: object): void {
  for (const [name, { value, writable }] of Object.entries(Object.getOwnPropertyDescriptors(shared))) {
    if (!writable) continue
    Object.defineProperty(shared, name, {
      get: () => value,
      set(own: unknown) {
        Object.defineProperty(this, name, {
          value: own,
          writable: true,
          enumerable: true,
          configurable: true,
        })
      },
    })
  }
  Object.freeze(shared)
}
// In the desktop app alone: what scripts of others a browser has in its pages is its own business.
if ('__TAURI_INTERNALS__' in globalThis) freeze(Object.prototype)

// A script that fails before it has drawn anything must not leave an empty window.
function explain(reason: string) {
  const app = document.getElementById('app')
  if (app && app.childElementCount === 0) app.textContent = `Sublet could not start: ${reason}`
}
addEventListener('error', (event) => explain(event.message))
addEventListener('unhandledrejection', (event) => explain(String(event.reason)))
