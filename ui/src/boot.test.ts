import { afterEach, beforeEach, expect, test, vi } from 'vitest'

beforeEach(() => {
  vi.resetModules()
  document.body.innerHTML = '<div id="app"></div>'
})

afterEach(() => {
  Reflect.deleteProperty(navigator, 'language')
  Reflect.deleteProperty(navigator, 'languages')
})

function speak(language: string) {
  Object.defineProperty(navigator, 'language', { value: language, configurable: true })
}

test('a language that is none becomes one', async () => {
  speak('C')
  expect(() => new Intl.NumberFormat(navigator.language)).toThrow(RangeError)
  await import('./boot')
  expect(new Intl.NumberFormat(navigator.language).format(1.5)).toBe('1.5')
})

test('a true language stays', async () => {
  speak('de-CH')
  await import('./boot')
  expect(navigator.language).toBe('de-CH')
})

test('a failure before the first drawing is shown', async () => {
  await import('./boot')
  dispatchEvent(new ErrorEvent('error', { message: 'no such module' }))
  expect(document.body.textContent).toBe('Sublet could not start: no such module')
})

test('a failure later leaves the page alone', async () => {
  document.body.innerHTML = '<div id="app"><main>Overview</main></div>'
  await import('./boot')
  dispatchEvent(new ErrorEvent('error', { message: 'late' }))
  expect(document.body.textContent).toBe('Overview')
})

test('what is frozen stays as it is, and gives way to what an object has itself', async () => {
  const { freeze } = await import('./boot')
  const shared = { name: () => 'shared' }
  freeze(shared)
  const one = Object.create(shared)
  one.name = () => 'own'
  expect([one.name(), Object.create(shared).name()]).toEqual(['own', 'shared'])
  expect(Object.keys(one)).toEqual(['name'])
  expect(() => Object.assign(shared, { name: 1 })).toThrow(TypeError)
  expect(() => Object.assign(shared, { other: 1 })).toThrow(TypeError)
})
