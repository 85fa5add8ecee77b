// Light, dark, or as the system has it.

export const themes = ['system', 'light', 'dark'] as const
export type Theme = (typeof themes)[number]

export const chosen = (): Theme => themes.find((theme) => theme === localStorage.getItem('theme')) ?? 'system'

/** Shows the theme that was chosen, or chooses another. */
export function theme(choice: Theme = chosen()): void {
  localStorage.setItem('theme', choice)
  if (choice === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = choice
}
