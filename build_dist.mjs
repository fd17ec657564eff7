// Bundles src/ into dist/, which is what users run; run by npm on install, after the addon.
//
// Bundled, because the gateway must answer within half a second of its start, and Node finds, reads
// and links some 200 small files of ours and 90 of zod one by one, in every thread. What a thread
// or the command line is started from keeps its path; all else lies in dist/chunks. A package that
// is bundled has its licence in dist/licences. Types are checked by `npm run check`, not here.
import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { rolldown } from 'rolldown'

const ENTRIES = ['cli', 'front/gateway_thread', 'nodes/kv_events/worker', 'prompt/prompt_worker']
const BUNDLED_PACKAGES = ['lru-cache', 'msgpackr', 'zod']

const root = import.meta.dirname
const dist = path.join(root, 'dist')
// Becomes dist/ once it is whole, so that dist/ is missing for a moment and not for the build.
const made = path.join(root, `dist.${process.pid}`)

function isBundled(id) {
  const isFile = id.startsWith('.') || path.isAbsolute(id)
  return isFile || BUNDLED_PACKAGES.some(name => id === name || id.startsWith(`${name}/`))
}

const bundle = await rolldown({
  cwd: root,
  input: Object.fromEntries(ENTRIES.map(name => [name, `src/${name}.ts`])),
  platform: 'node',
  external: id => !isBundled(id),
})
rmSync(made, { recursive: true, force: true })
await bundle.write({
  dir: made,
  format: 'esm',
  sourcemap: true,
  entryFileNames: '[name].js',
  chunkFileNames: 'chunks/[name]-[hash].js',
})
mkdirSync(path.join(made, 'licences'))
for (const name of BUNDLED_PACKAGES) {
  const home = path.join(root, 'node_modules', name)
  const licence = readdirSync(home).find(file => file.startsWith('LICENSE'))
  copyFileSync(path.join(home, licence), path.join(made, 'licences', `${name}.txt`))
}
rmSync(dist, { recursive: true, force: true })
renameSync(made, dist)
