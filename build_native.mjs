// Builds the native addon with node-gyp; run by npm on install.
//
// node-gyp wants the headers of the running Node. Most installations carry them beside the
// binary, so those are named first: a build then needs no download. WARMPATH_SANITIZE=address
// builds with ASan and UBSan, and leaves the benches out.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

const prefix = path.resolve(process.execPath, '../..')

function nodeGyp() {
  if (process.env.npm_config_node_gyp) return process.env.npm_config_node_gyp
  const bundled = path.join(prefix, 'lib/node_modules/npm/package.json')
  return createRequire(bundled).resolve('node-gyp/bin/node-gyp.js')
}

function run(...args) {
  const command = [nodeGyp(), ...args]
  const result = spawnSync(process.execPath, command, {
    stdio: 'inherit',
    cwd: import.meta.dirname,
  })
  if (result.status !== 0) process.exit(result.status ?? 1)
}

const hasHeaders = existsSync(path.join(prefix, 'include/node/node_api.h'))
const sanitize = process.env.WARMPATH_SANITIZE ?? ''
const variables = sanitize === '' ? [] : [`-Dsanitize=${sanitize}`, '-Dhas_bench=0']
run('configure', ...(hasHeaders ? [`--nodedir=${prefix}`] : []), '--', ...variables)
run('build', '--jobs', '2')
