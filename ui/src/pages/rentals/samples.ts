// What a guest has taken of late: a sample each second, kept for ten minutes.

const WINDOW = 10 * 60_000

/** With one more sample, the oldest dropped. One that comes twice, or late, is left out. */
export function kept<S extends { at: string }>(samples: readonly S[], sample: S): readonly S[] {
  const at = Date.parse(sample.at)
  const last = samples.at(-1)
  if (last && Date.parse(last.at) >= at) return samples
  return [...samples.filter((one) => at - Date.parse(one.at) < WINDOW), sample]
}
