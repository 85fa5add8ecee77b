/** Lets the reader keep it as a file, where downloads go. */
export function save(content: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(content)
  link.download = name
  link.click()
  // The download reads it a moment later.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}
