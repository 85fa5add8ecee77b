// Runs before every other module.

// Under LANG=C (services, minimal desktops) WebKitGTK calls the language "C". That is no language tag, and
// every Intl formatter that is given it throws.
try {
  Intl.getCanonicalLocales(navigator.language)
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en', configurable: true })
  Object.defineProperty(navigator, 'languages', { value: ['en'], configurable: true })
}

// A script that fails before it has drawn anything must not leave an empty window.
function explain(reason: string) {
  const app = document.getElementById('app')
  if (app && app.childElementCount === 0) app.textContent = `Sublet could not start: ${reason}`
}
addEventListener('error', (event) => explain(event.message))
addEventListener('unhandledrejection', (event) => explain(String(event.reason)))

export {} // a module, so that tests can import it
