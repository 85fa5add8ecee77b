import { texts } from './say.svelte'

export const volumes = texts({
  title: ['Volumes', 'Volumes'],
  hosted: ['Volumes that you keep for others', 'Volumes, die du für andere aufhebst'],
  noneHosted: [
    'None. A tenant may rent a disk here that outlives the guest.',
    'Keine. Ein Mieter kann hier einen Datenträger mieten, der den Gast überdauert.',
  ],
  lead: [
    'Disks of yours on other computers. They outlive the guest.',
    'Deine Datenträger auf anderen Computern. Sie überdauern den Gast.',
  ],
  name: ['Name', 'Name'],
  whose: ['Whose', 'Wessen'],
  host: ['On', 'Bei'],
  size: ['Size', 'Größe'],
  until: ['Kept until', 'Bleibt bis'],
  whileLeased: ['While the lease goes on', 'Solange die Miete läuft'],
  state: ['State', 'Zustand'],
  inUse: ['In use', 'In Gebrauch'],
  encrypted: ['Encrypted', 'Verschlüsselt'],
  snapshots: ['Snapshots', 'Schnappschüsse'],
  snapshotCount: [
    { one: '{n} snapshot', other: '{n} snapshots' },
    { one: '{n} Schnappschuss', other: '{n} Schnappschüsse' },
  ],
  manage: ['Manage {name}', '{name} verwalten'],
  noSnapshots: ['None yet.', 'Noch keine.'],
  mayHave: [
    { one: 'The lease allows {n} of them.', other: 'The lease allows {n} of them.' },
    { one: 'Die Miete erlaubt {n} davon.', other: 'Die Miete erlaubt {n} davon.' },
  ],
  snapshotName: ['Name of a new snapshot', 'Name eines neuen Schnappschusses'],
  snapshotHint: [
    'Small letters, digits, dots and dashes. No guest may be using the volume.',
    'Kleinbuchstaben, Ziffern, Punkte und Striche. Kein Gast darf das Volume gerade benutzen.',
  ],
  takeSnapshot: ['Take a snapshot', 'Schnappschuss machen'],
  taken: ['The snapshot is made.', 'Der Schnappschuss ist gemacht.'],
  remove: ['Remove', 'Entfernen'],
  removeNamed: ['Remove {name}', '{name} entfernen'],
  removed: ['It is removed.', 'Es ist entfernt.'],
  deleteTitle: ['Delete this volume for ever?', 'Dieses Volume endgültig löschen?'],
  deleteHint: [
    'All files on it and all its snapshots are gone then. Type its name to be sure: {name}',
    'Alle Dateien darauf und alle Schnappschüsse sind dann fort. Gib zur Sicherheit den Namen ein: {name}',
  ],
  delete: ['Delete for ever', 'Endgültig löschen'],
})
