import { expect, test } from 'vitest'
import { ports, query, secretsOf, typedAmount, unique, usual, words } from './wish'

test('a form asks for what it says', () => {
  expect(query({ ...usual, cores: 1.5, hours: 2, cap: '0,05', mode: 'rent', trust: 50 })).toEqual({
    cpu_millis: 1500,
    memory_bytes: 256 * 2 ** 20,
    disk_bytes: 64 * 2 ** 20,
    term: 7200,
    min_trust: 500,
    max_price: { micros: 50_000, currency: 'EUR', text: '' },
    mode: 'rent',
  })
  expect(query(usual)).not.toHaveProperty('max_price')
})

test('an empty field asks for the least', () => {
  expect(query({ ...usual, cores: Number.NaN, memory: 0 })).toMatchObject({
    cpu_millis: 100,
    memory_bytes: 16 * 2 ** 20,
  })
})

test('amounts are read with a point or a comma', () => {
  expect(typedAmount(' 1.25 ')).toBe(1_250_000)
  expect(typedAmount('1,25')).toBe(1_250_000)
  for (const wrong of ['', 'x', '-1']) expect(typedAmount(wrong)).toBeUndefined()
})

test('ports are read as docker writes them', () => {
  expect(ports('80, 8080:443')).toEqual({
    ports: [
      { local: 0, guest: 80 },
      { local: 8080, guest: 443 },
    ],
  })
  expect(ports('')).toEqual({ ports: [] })
  for (const bad of ['x', '0', '70000', '1:2:3', '99999:1']) expect(ports(bad)).toEqual({ bad })
})

test('a secret has a name and a value', () => {
  const db = { name: 'db-1', value: ' kept as it is ' }
  expect(
    secretsOf([
      { name: '', value: '' },
      { ...db, name: ' db-1 ' },
    ]),
  ).toEqual({ secrets: [db] })
  expect(secretsOf([])).toEqual({ secrets: [] })
  for (const wrong of ['', 'a/b', '.hidden', 'ü', 'x'.repeat(65)]) {
    expect(secretsOf([{ name: wrong, value: 'x' }])).toEqual({ bad: wrong })
  }
  expect(secretsOf([{ name: 'db', value: '' }])).toEqual({ bad: 'db' })
  expect(secretsOf([db, db])).toEqual({ bad: 'db-1' })
})

test('a command keeps together what is quoted', () => {
  expect(words(`sh -c "echo \\"a b\\"" 'c d'`)).toEqual(['sh', '-c', 'echo "a b"', 'c d'])
})

test('pages that overlap show each offer once, in the first place it had', () => {
  const page = (...ids: string[]) => ids.map((id) => ({ offer: { id } }))
  expect(unique([...page('a', 'b'), ...page('b', 'c', 'a')])).toEqual(page('a', 'b', 'c'))
})
