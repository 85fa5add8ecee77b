import { render, screen } from '@testing-library/svelte'
import { expect, test } from 'vitest'
import App from './App.svelte'

test('the window says what Sublet is', () => {
  render(App)
  expect(screen.getByRole('heading', { level: 1 }).textContent).toBe('Sublet')
  expect(screen.getByText(/spare capacity of computers/)).toBeTruthy()
})

test('nothing can be pressed that does nothing', () => {
  render(App)
  expect(screen.queryAllByRole('button')).toEqual([])
  expect(screen.queryAllByRole('link')).toEqual([])
})
