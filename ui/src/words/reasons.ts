import type { Schemas } from '../api'
import { bytes, duration, number } from '../format'
import { say, type Text, texts } from './say.svelte'

// What the node says by codes and facts, in words.

/** Why the owner comes first. */
const owners = texts({
  never: ['lending is off', 'Verleihen ist aus'],
  paused: ['paused by you', 'von dir pausiert'],
  outside_schedule: ['outside your hours', 'außerhalb deiner Zeiten'],
  on_battery: ['on battery', 'Akkubetrieb'],
  low_charge: ['battery low', 'Akku schwach'],
  hot: ['this computer is hot', 'dieser Computer ist heiß'],
  metered: ['traffic is paid for', 'Datenverkehr kostet'],
  full_screen: ['a program fills the screen', 'ein Programm füllt den Bildschirm'],
  program: ['a program of yours comes first', 'ein Programm von dir hat Vorrang'],
  in_use: ['you use keyboard or mouse', 'du benutzt Tastatur oder Maus'],
  busy: ['you need the processor', 'du brauchst den Prozessor'],
})

/** The same, of the owner of somebody else's machine. */
const theirs = texts({
  never: ['its owner has turned lending off', 'Verleihen ist dort aus'],
  paused: ['its owner has paused', 'Besitzer hat pausiert'],
  outside_schedule: ["outside its owner's hours", 'außerhalb der Zeiten des Besitzers'],
  on_battery: ['it runs on battery', 'Akkubetrieb'],
  low_charge: ['its battery is low', 'Akku schwach'],
  hot: ['it is hot', 'zu heiß'],
  metered: ['its traffic is paid for', 'Datenverkehr kostet dort'],
  full_screen: ['a program fills its screen', 'ein Programm füllt dort den Bildschirm'],
  program: ["a program of its owner's comes first", 'ein Programm des Besitzers hat Vorrang'],
  in_use: ['its owner uses it', 'der Besitzer benutzt ihn'],
  busy: ['its owner needs the processor', 'der Besitzer braucht den Prozessor'],
})

/** Why a lease stands still or has ended. */
const ends = texts({
  exited: ['its program ended', 'sein Programm ist zu Ende'],
  term_over: ['its time was over', 'die Zeit war um'],
  tenant_stopped: ['its tenant stopped it', 'vom Mieter beendet'],
  owner_stopped: ['the owner wanted the computer back', 'der Besitzer wollte den Computer zurück'],
  unsigned: ['receipts stayed unsigned', 'Quittungen blieben ohne Unterschrift'],
  credit_used_up: ['the agreed credit was used up', 'der vereinbarte Kredit war verbraucht'],
  fetch_failed: ['the image could not be had in time', 'das Abbild kam nicht rechtzeitig'],
  start_failed: ['it could not be started', 'er ließ sich nicht starten'],
  bad_workload: ['the image or its command cannot run', 'Abbild oder Befehl können nicht laufen'],
  guest_lost: ['it was lost on the host', 'er ging beim Anbieter verloren'],
  host_gone: ['the host could not be reached any more', 'der Anbieter war nicht mehr erreichbar'],
  not_agreed: ['the host never signed', 'der Anbieter hat nie unterschrieben'],
})

const known = (page: Record<string, Text>, code: string, sentence: string): string => {
  const text = page[code]
  return text ? say(text) : sentence
}

/** Why you come first, or the owner of another machine does. */
export const because = (
  reason: Pick<Schemas['Reason'], 'kind' | 'sentence'>,
  side: Schemas['Side'] = 'host',
) => known(side === 'host' ? owners : theirs, reason.kind, reason.sentence)

/** Why a lease stands where it stands; nothing where that says it all. */
export function standing(now: Schemas['Standing'], side: Schemas['Side']): string {
  if (now.owner) return because(now.owner, side)
  return now.reason ? known(ends, now.reason, now.sentence ?? '') : ''
}

const rules = texts({
  below: ['below {n} %', 'unter {n} %'],
  from: ['from {n} °C', 'ab {n} °C'],
  within: ['used within the last {time}', 'benutzt in den letzten {time}'],
  above: ['they use more than {n} % of all cores', 'sie brauchen mehr als {n} % aller Kerne'],
  noPrograms: ['no program is named', 'kein Programm ist genannt'],
  battery: ['from its battery', 'aus dem Akku'],
  mains: ['from the mains', 'aus der Steckdose'],
  charge: ['{n} % charged', '{n} % geladen'],
  metered: ['it is paid for', 'er kostet'],
  free: ['it is not paid for', 'er kostet nichts'],
  full: ['one does', 'eines tut es'],
  notFull: ['none does', 'keines tut es'],
  noneRuns: ['none of them runs', 'keines davon läuft'],
  alone: ['left alone for {time}', 'unberührt seit {time}'],
  load: ['they use {n} %', 'sie brauchen {n} %'],
})

/** From where on a rule holds; nothing where it just holds or not. */
export function threshold(kind: string, policy: Schemas['OwnerPolicy']): string {
  switch (kind) {
    case 'low_charge':
      return say(rules.below, { n: policy.low_charge.below_percent })
    case 'hot':
      return say(rules.from, { n: policy.hot.from_celsius })
    case 'in_use':
      return say(rules.within, { time: duration(policy.in_use.alone_for) })
    case 'busy':
      return say(rules.above, { n: policy.busy.above_percent })
    case 'program':
      return policy.programs.names.length > 0 ? policy.programs.names.join(', ') : say(rules.noPrograms)
    default:
      return ''
  }
}

/** What is seen of a rule now. */
export function seen(kind: string, sight: Schemas['RuleSight']): string {
  const { is_so, percent, celsius, alone, programs } = sight
  if (typeof is_so === 'boolean') {
    const pairs: Record<string, [Text, Text]> = {
      on_battery: [rules.battery, rules.mains],
      metered: [rules.metered, rules.free],
      full_screen: [rules.full, rules.notFull],
    }
    const pair = pairs[kind]
    return pair ? say(is_so ? pair[0] : pair[1]) : ''
  }
  if (typeof percent === 'number') return say(kind === 'busy' ? rules.load : rules.charge, { n: percent })
  if (typeof celsius === 'number') return `${number(celsius)} °C`
  if (typeof alone === 'number') return say(rules.alone, { time: duration(alone) })
  if (programs) return programs.join(', ') || say(rules.noneRuns)
  return ''
}

/** What keeps work away whoever asks. */
const ways = texts({
  not_measured: [
    'This computer was not measured, so nothing can be lent.',
    'Dieser Computer ist nicht vermessen, also kann nichts verliehen werden.',
  ],
  nothing_lent: ['Nothing is lent.', 'Es wird nichts verliehen.'],
  owner_first: ['Nothing new is lent now: {why}.', 'Gerade wird nichts Neues verliehen: {why}.'],
  all_promised: ['All that is lent is promised.', 'Alles, was verliehen wird, ist vergeben.'],
  not_published: ['The offer is not out yet.', 'Das Angebot steht noch nicht.'],
  no_peer: [
    'No peer is connected, so nobody sees the offer.',
    'Niemand ist verbunden, also sieht niemand das Angebot.',
  ],
  not_public: [
    'It is not known that the internet reaches this computer: the local network, and whoever is connected, see the offer.',
    'Ob das Internet diesen Computer erreicht, ist nicht bekannt: Das Angebot sehen das lokale Netz und wer verbunden ist.',
  ],
})

/** What stood in the way of a demand. */
const obstacles = texts({
  owner_first: ['you came first', 'du gingst vor'],
  no_capacity: ['more was wanted than was free', 'es wurde mehr gewollt, als frei war'],
  too_small: ['more was wanted than is lent', 'es wurde mehr gewollt, als verliehen wird'],
  price_above_cap: ['it cost more than was to be paid', 'es war teurer als gewollt'],
  too_dear: ['it cost more than was to be paid', 'es war teurer als gewollt'],
  other_currency: ['it is priced in another currency', 'der Preis steht in anderer Währung'],
  term_too_long: ['it is not lent for so long', 'so lange wird nicht verliehen'],
  too_short: ['it is not lent for so long', 'so lange wird nicht verliehen'],
  other_mode: ['another way of paying was wanted', 'andere Bezahlung war gewollt'],
  other_arch: ['the image is for another processor', 'das Abbild ist für einen anderen Prozessor'],
  out_of_reach: [
    'guests may not reach what was wanted outside',
    'Gäste dürfen das gewollte Ziel nicht erreichen',
  ],
  no_volumes: ['guests have no volumes here', 'Gäste haben hier keine Datenträger'],
  no_secrets: ['guests have no secrets here', 'Gäste haben hier keine Geheimnisse'],
  no_device: ['no such device is lent', 'so ein Gerät wird nicht verliehen'],
  too_slow: ['this computer is slower than was wanted', 'dieser Computer ist langsamer als gewollt'],
  too_little_trust: [
    'more trust was wanted than others have in you',
    'es war mehr Vertrauen gewollt, als andere zu dir haben',
  ],
  stranger: ['you lend to people you know alone', 'du verleihst nur an Leute, die du kennst'],
  not_for_you: ['you lend to people you know alone', 'du verleihst nur an Leute, die du kennst'],
  unknown_offer: ['an older offer was asked for', 'ein älteres Angebot war gefragt'],
})

export const inTheWay = (code: string, owner: Schemas['Reason'] | null | undefined): string =>
  code in ways ? say(ways[code as keyof typeof ways], { why: owner ? because(owner) : '' }) : code

export const obstacle = (code: string): string => known(obstacles, code, code)

/** Each of them once: some codes mean the same to whoever lends. */
export const stoodInTheWay = (codes: readonly string[]): string =>
  [...new Set(codes.map(obstacle))].join(', ')

const releases = texts({
  running: ['This version runs already.', 'Diese Version läuft schon.'],
  older: [
    'What is offered is older than what runs; an update never goes back.',
    'Das Angebotene ist älter als das Laufende; ein Update geht nie zurück.',
  ],
  expired: ['What was said of it has expired.', 'Die Ankündigung ist abgelaufen.'],
  preview: ['It is a preview, and you take none.', 'Es ist eine Vorschau, und du nimmst keine.'],
  never: ['You take no updates.', 'Du nimmst keine Updates.'],
  no_package: ['It has no package for this system.', 'Es hat kein Paket für dieses System.'],
  turn: [
    'It goes out step by step, and the turn of this computer has not come.',
    'Es kommt schrittweise, und dieser Computer ist noch nicht an der Reihe.',
  ],
  too_old: ['A version between comes first.', 'Eine Version dazwischen kommt zuerst.'],
  busy: [
    'It waits until no guest starts or stops: a restart would cut that.',
    'Es wartet, bis kein Gast startet oder endet: ein Neustart würde das stören.',
  ],
  fetch: ['It can be fetched. {size} in all.', 'Es kann geholt werden. Zusammen {size}.'],
  install: ['It is here and verified. Guests would run on.', 'Es ist da und geprüft. Gäste liefen weiter.'],
})

/** What a release means for this computer. */
export function release(found: Schemas['Update']): string {
  const size = bytes(found.packages.reduce((sum, one) => sum + one.size, 0))
  if (found.decision === 'fetch' || found.decision === 'install')
    return say(releases[found.decision], { size })
  return known(releases, found.reason ?? '', found.sentence)
}

/** Why releases cannot be had. */
const problems = texts({
  updates_off: [
    'Updates are off: this program was built without a key to check releases by. Name one that you know.',
    'Updates sind aus: Dieses Programm kennt keinen Schlüssel, um Versionen zu prüfen. Nenne einen, den du kennst.',
  ],
  not_trusted: ['It is signed by somebody else.', 'Es ist von jemand anderem unterschrieben.'],
  not_installed: [
    'This program was not installed by a package: update it as you got it.',
    'Dieses Programm kam nicht aus einem Paket: Erneuere es so, wie du es bekommen hast.',
  ],
  unreachable: ['The place cannot be reached now.', 'Der Ort ist gerade nicht erreichbar.'],
})

export const notReleased = (problem: Schemas['Problem']): string =>
  known(problems, problem.code, problem.detail)
