import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { svelteTesting } from '@testing-library/svelte/vite'
import type { ProxyOptions } from 'vite'
import { defineConfig } from 'vitest/config'

// `SUBLET_DATA=DIR npm run dev` shows the pages of the node that runs in that directory. The token stays on this side of
// the proxy: pages never see it.
function proxy(): Record<string, ProxyOptions> {
  const data = process.env.SUBLET_DATA
  if (!data) return {}
  const { address } = JSON.parse(readFileSync(join(data, 'api.json'), 'utf8')) as { address: string }
  const token = readFileSync(join(data, 'token'), 'utf8').trim()
  return {
    '/v1': {
      target: `http://${address}`,
      changeOrigin: true,
      ws: true,
      headers: { authorization: `Bearer ${token}`, origin: `http://${address}` },
    },
  }
}

export default defineConfig({
  plugins: [svelte({ configFile: false }), svelteTesting()],
  server: { fs: { allow: [fileURLToPath(new URL('..', import.meta.url))] }, proxy: proxy() },
  // `vite preview` serves what was built, with the policy that the desktop and the dashboard hold pages to.
  preview: {
    proxy: proxy(),
    headers: {
      'content-security-policy':
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    },
  },
  // Both engines that show the app: WebKitGTK 2.40 and up, WebView2.
  build: { target: 'es2022', assetsInlineLimit: 0 },
  test: { environment: 'jsdom', exclude: ['tests/**', 'node_modules/**'] },
})
