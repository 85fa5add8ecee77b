import { text } from './api'
import { short } from './format'

/** Lets the reader keep it as a file, where downloads go. */
export function save(content: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(content)
  link.download = name
  link.click()
  // The download reads it a moment later.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

/** Keeps all that both have signed of a lease, for `sublet verify`. */
export async function saveProof(lease: string): Promise<void> {
  const proof = await text(`/v1/leases/${lease}/pack`)
  save(new Blob([proof], { type: 'application/json' }), `sublet-${short(lease)}.json`)
}
