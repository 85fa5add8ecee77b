import { get } from './api'
import { short } from './format'
import { live } from './live.svelte'

/** For a component: what people are called here, by their ids. */
export function names(): (person: string) => string {
  const people = live(() => get('/v1/people'))
  return (person) => people.data?.people.find((one) => one.person === person)?.name ?? short(person)
}
