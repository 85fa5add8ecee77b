import { fileURLToPath } from 'node:url'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { svelteTesting } from '@testing-library/svelte/vite'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [svelte({ configFile: false }), svelteTesting()],
  server: { fs: { allow: [fileURLToPath(new URL('..', import.meta.url))] } },
  // Both engines that show the app: WebKitGTK 2.40 and up, WebView2.
  build: { target: 'es2022' },
  test: { environment: 'jsdom' },
})
