// Formatters, each made once: making one takes a hundred times as long as using it, and a long list uses thousands.

/** Options are few, but currencies may come from strangers. */
const MOST = 300

function once<O extends object, F>(Format: new (locale: string, options: O) => F) {
  const made = new Map<string, F>()
  return (locale: string, options: O): F => {
    const key = locale + JSON.stringify(options)
    const known = made.get(key)
    if (known) return known
    if (made.size === MOST) made.clear()
    const format = new Format(locale, options)
    made.set(key, format)
    return format
  }
}

export const numbers = once<Intl.NumberFormatOptions, Intl.NumberFormat>(Intl.NumberFormat)
export const dates = once<Intl.DateTimeFormatOptions, Intl.DateTimeFormat>(Intl.DateTimeFormat)
export const spans = once<Intl.RelativeTimeFormatOptions, Intl.RelativeTimeFormat>(Intl.RelativeTimeFormat)
export const plurals = once<Intl.PluralRulesOptions, Intl.PluralRules>(Intl.PluralRules)
