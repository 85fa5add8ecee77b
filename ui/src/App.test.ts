import { render, screen } from '@testing-library/svelte'
import { expect, test } from 'vitest'
import App from './App.svelte'
import { useTransport } from './api/transport'
import { speak } from './words/say.svelte'

test('without a node every page says so, and what can be done', async () => {
  useTransport({
    kind: 'browser',
    ask: () => Promise.reject(new TypeError('fetch failed')),
    open: () => Promise.reject(new TypeError('fetch failed')),
  })
  render(App)
  expect((await screen.findAllByText(/does not answer/)).length).toBeGreaterThan(0)
  expect(screen.getAllByRole('button', { name: 'Try again' }).length).toBeGreaterThan(0)
  expect(screen.getByRole('heading', { level: 1 }).textContent).toBe('Overview')
})

test('the reader chooses the language', async () => {
  render(App)
  speak('de')
  expect(await screen.findByRole('heading', { level: 1, name: 'Übersicht' })).toBeTruthy()
  expect(document.documentElement.lang).toBe('de')
  speak('en')
})
