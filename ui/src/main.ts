// First of all: what it mends must be whole before another module reads it.
import './boot'
import '@fontsource-variable/inter'
import './tokens.css'
import { mount } from 'svelte'
import App from './App.svelte'

const target = document.getElementById('app')
if (!target) throw new Error('index.html has no element #app')
mount(App, { target })
