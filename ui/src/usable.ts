// For whoever measures how soon the pages can be used: a mark once the first has been drawn with all that it shows.

export function markUsable(): void {
  const whole = () => document.getElementById('title') && !document.querySelector('[aria-busy="true"]')
  const look = () => requestAnimationFrame(whole() ? () => performance.mark('usable') : look)
  look()
}
