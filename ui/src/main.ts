// First of all: what it mends must be whole before another module reads it.
import './boot'
import '@fontsource-variable/inter'
import './tokens.css'
import './base.css'
import { mount } from 'svelte'
import App from './App.svelte'
import { theme } from './theme'
import { markUsable } from './usable'
import { speech } from './words/say.svelte'

const target = document.getElementById('app')
if (!target) throw new Error('index.html has no element #app')
document.documentElement.lang = speech.language
theme()
mount(App, { target })
markUsable()
