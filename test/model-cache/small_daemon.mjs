/**
 * The smallest cache daemon that is right: what a supervisor starts in the tests and benches of
 * the native parts. It serves one source folder, hydrates a file when it is opened, and takes
 * over what an earlier life left.
 *
 *     node small_daemon.mjs MODULES SOURCE SOCKET [mode=copy] [gate=FILE] [revalidate=MS] [preload]
 *
 * `gate`: hydration waits until that file exists. SOCKET takes lines: "evict PATH", "force PATH",
 * "bypass PATH", "fail PATH CODE", "use PATH", "counts", "facts", and answers each with one line.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import readline from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

const [modules, source, socket, ...words] = process.argv.slice(2)
const load = name => import(pathToFileURL(path.join(modules, 'native', `${name}.js`)).href)
const { ModelMount, handOver } = await load('model_mount')
const chunks = await load('model_chunks')

const option = name => words.find(word => word.startsWith(`${name}=`))?.slice(name.length + 1)
const gate = option('gate')
const revalidateMs = Number(option('revalidate') ?? 5000)
const handed = handOver().mounts[0]
const store = handed.storeFd
const inStore = name => `/proc/self/fd/${store}/${name}`

/** Entries by path, as the tree shows them, and by file id. */
let byPath = new Map()
const byFile = new Map()

function scan(folder, parent, entries) {
  const names = readdirSync(path.join(source, folder)).toSorted()
  for (const name of names) {
    const relative = path.posix.join(folder, name)
    const facts = statSync(path.join(source, relative), { bigint: true })
    const index = entries.length
    const isDirectory = facts.isDirectory()
    const entry = {
      relative,
      parent,
      name,
      isDirectory,
      mode: Number(facts.mode & 0o777n),
      size: isDirectory ? 4096 : Number(facts.size),
      mtimeSeconds: Number(facts.mtimeNs / 1_000_000_000n),
      mtimeNanoseconds: Number(facts.mtimeNs % 1_000_000_000n),
      generation: isDirectory ? '' : `${facts.size}-${facts.mtimeNs}-${facts.ino}`,
    }
    entries.push(entry)
    if (isDirectory) scan(relative, index, entries)
  }
}

function swap() {
  const root = { relative: '', parent: 0, name: '', isDirectory: true, mode: 0o755, size: 4096 }
  const entries = [{ ...root, mtimeSeconds: 1, mtimeNanoseconds: 0, generation: '' }]
  scan('', 0, entries)
  const files = mount.swapTree(entries)
  const now = new Map()
  for (const [index, entry] of entries.entries()) {
    const file = files[index]
    const known = byFile.get(file) ?? { file, state: 'absent' }
    Object.assign(known, entry)
    byFile.set(file, known)
    now.set(entry.relative, known)
  }
  for (const [name, old] of byPath) {
    if (now.get(name) !== old && old.state === 'resident') drop(old, true)
  }
  byPath = now
}

const storeName = entry => Buffer.from(`${entry.relative}\n${entry.generation}`).toString('hex')

const isClosed = () => gate !== undefined && !existsSync(gate)

async function gateOpens() {
  while (isClosed()) await delay(5)
}

/** One at a time for each file: whoever asks again is answered by the one under way. */
async function hydrate(entry) {
  if (entry.isHydrating === true) return
  entry.isHydrating = true
  await gateOpens()
  const name = storeName(entry).slice(-200)
  let from = -1
  try {
    from = openSync(path.join(source, entry.relative), 'r')
    const to = chunks.createStoreFile(store, name, entry.size)
    const copies = []
    for (let offset = 0; offset < entry.size; offset += chunks.CHUNK_BYTES_MAX) {
      const length = Math.min(chunks.CHUNK_BYTES_MAX, entry.size - offset)
      copies.push(chunks.copyChunk({ from, to, offset, length }))
    }
    await Promise.all(copies)
    closeSync(to)
    publish(entry, name)
    closeSync(openSync(inStore(`${name}.ok`), 'w'))
  } catch (error) {
    rmSync(inStore(name), { force: true })
    mount.fail(entry.file, error.code === 'TRUNCATED' ? 'EIO' : error.code)
  } finally {
    if (from >= 0) closeSync(from)
    entry.isHydrating = false
  }
}

function publish(entry, name) {
  entry.storeName = name
  entry.state = 'resident'
  mount.publish(entry.file, chunks.sealStoreFile(store, name))
}

function drop(entry, isForced) {
  const result = mount.evict(entry.file, isForced)
  if (result === 'evicted' && entry.state === 'resident') {
    chunks.unlinkStoreFile(store, entry.storeName)
    rmSync(inStore(`${entry.storeName}.ok`), { force: true })
    entry.state = 'absent'
  }
  return result
}

function adopt() {
  for (const entry of byPath.values()) {
    if (entry.isDirectory) continue
    const name = storeName(entry).slice(-200)
    if (existsSync(inStore(`${name}.ok`))) publish(entry, name)
    else if (existsSync(inStore(name))) chunks.unlinkStoreFile(store, name)
  }
}

const mount = ModelMount.open({
  handed,
  mode: option('mode') ?? 'passthrough',
  revalidateMs,
  openMsMax: Number(option('open') ?? 60_000),
  onOpenWanted: file => void hydrate(byFile.get(file)),
  onCheckWanted: file => {
    swap()
    mount.confirm(file)
  },
  onEnded: () => process.exit(0),
})

function answer(line) {
  const [command, name = '', code = 'EIO'] = line.split(' ')
  const entry = byPath.get(name)
  if (command === 'counts') return JSON.stringify(mount.counts())
  if (command === 'facts') return JSON.stringify({ ...mount.facts, pid: process.pid })
  if (entry === undefined) return 'unknown'
  if (command === 'evict' || command === 'force') return drop(entry, command === 'force')
  if (command === 'use') return JSON.stringify(mount.use(entry.file))
  if (command === 'fail') mount.fail(entry.file, code)
  if (command === 'bypass') {
    mount.bypass(entry.file, openSync(path.join(source, entry.relative), 'r'))
  }
  return 'ok'
}

swap()
adopt()
if (words.includes('preload')) {
  for (const entry of byPath.values()) {
    if (!entry.isDirectory && entry.state === 'absent') await hydrate(entry)
  }
}
mount.setUsage(2 ** 30, 0)
mkdirSync(path.dirname(socket), { recursive: true })
rmSync(socket, { force: true })
net
  .createServer(connection => {
    readline.createInterface({ input: connection }).on('line', line => {
      let reply = ''
      try {
        reply = answer(line)
      } catch (error) {
        reply = `error ${error.message}`
      }
      connection.write(`${reply}\n`)
    })
  })
  .listen(socket, () => {
    mount.serve()
    mount.markReady()
    writeSync(1, `ready ${handOver().restarts}\n`)
  })
// Ends it like the real daemon: at once, with status 0.
process.on('SIGTERM', () => process.exit(0))
