/**
 * What must hold between settings; a configuration that breaks a rule does not start. Each fault
 * names the remedy. (security.md section 8 demands the first four; there is no flag against them.)
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { PUBLIC_KEY_CHARS_MIN } from '../access/config.ts'
import { type Address, formatAddress, isLoopback } from '../address.ts'
import { entryFault, nodeIdOf } from '../nodes/config.ts'
import { TOY_TOKENIZER } from '../prompt/tokenizer.ts'
import type { Configuration } from './effective.ts'
import type { SettingPath } from './yaml_file.ts'

export interface Fault {
  readonly path: SettingPath
  readonly message: string
}

const REMEDY = 'or listen on 127.0.0.1'
const WILDCARDS = ['0.0.0.0', '::']

function bindFaults(configuration: Configuration): Fault[] {
  const { listen, admin, api_keys, admin_keys } = configuration
  const faults: Fault[] = []
  if (!isLoopback(listen.host) && api_keys.length === 0) {
    const how = 'add api_keys (--api-key, WARMPATH_API_KEYS)'
    const message = `${formatAddress(listen)} is open to other machines and no API key is set: `
    faults.push({ path: ['listen'], message: `${message}${how}, ${REMEDY}` })
  }
  if (!isLoopback(admin.host) && admin_keys.length === 0) {
    const how = 'add admin_keys (--admin-key, WARMPATH_ADMIN_KEYS)'
    const message = `${formatAddress(admin)} is open to other machines and no admin key is set: `
    faults.push({ path: ['admin'], message: `${message}${how}, ${REMEDY}` })
  }
  if (overlaps(listen, admin)) {
    const message = `the data and the admin listener are both on ${formatAddress(listen)}`
    faults.push({ path: ['admin'], message: `${message}: give one another port` })
  }
  return faults
}

function overlaps(a: Address, b: Address): boolean {
  if (a.port !== b.port || a.port === 0) return false
  // `localhost` is bound to one of its addresses; which one is not known before.
  const hasName = [a, b].some(({ host }) => host.toLowerCase() === 'localhost')
  const isSame = a.host === b.host || (hasName && isLoopback(a.host) && isLoopback(b.host))
  return isSame || [a.host, b.host].some(host => WILDCARDS.includes(host))
}

function keyFaults(configuration: Configuration): Fault[] {
  const { listen, admin, api_keys, admin_keys } = configuration
  const faults: Fault[] = []
  const isPublic = !isLoopback(listen.host)
  const check = (name: string, keys: readonly string[], isExposed: boolean): void => {
    for (const [index, key] of keys.entries()) {
      if (!isExposed || key.length >= PUBLIC_KEY_CHARS_MIN) continue
      const message = `a key of ${key.length} characters is too short for a public address: `
      const remedy = `use ${PUBLIC_KEY_CHARS_MIN} or more, such as "openssl rand -hex 24" prints`
      faults.push({ path: [name, index], message: message + remedy })
    }
  }
  check('api_keys', api_keys, isPublic)
  check('admin_keys', admin_keys, isPublic || !isLoopback(admin.host))
  for (const [index, key] of admin_keys.entries()) {
    if (!api_keys.includes(key)) continue
    const message = 'this key is an API key too: an admin key must be one of its own'
    faults.push({ path: ['admin_keys', index], message })
  }
  return faults
}

function nodeFaults(configuration: Configuration): Fault[] {
  const faults: Fault[] = []
  const seen = new Map<string, number>()
  for (const [index, node] of configuration.nodes.entries()) {
    const id = nodeIdOf(node.url)
    if (seen.has(id)) {
      const message = `node ${id} is listed twice: remove one`
      faults.push({ path: ['nodes', index, 'url'], message })
    }
    seen.set(id, index)
    const message = entryFault(node)
    if (message !== null) faults.push({ path: ['nodes', index, 'kv_replay'], message })
  }
  return faults
}

function modelFaults(configuration: Configuration): Fault[] {
  const faults: Fault[] = []
  const seen = new Set<string>()
  for (const [index, { name, tokenizer }] of configuration.models.entries()) {
    if (seen.has(name)) {
      faults.push({ path: ['models', index, 'name'], message: `model ${name} is listed twice` })
    }
    seen.add(name)
    if (tokenizer === undefined || tokenizer === TOY_TOKENIZER) continue
    const missing = ['tokenizer.json', 'tokenizer_config.json'].find(
      file => !existsSync(path.join(tokenizer, file)),
    )
    if (missing === undefined) continue
    const message = `${tokenizer} has no ${missing}: name a tokenizer directory, or leave it out`
    faults.push({ path: ['models', index, 'tokenizer'], message })
  }
  return faults
}

/** Every rule that the configuration breaks. */
export function brokenRules(configuration: Configuration): Fault[] {
  return [
    ...bindFaults(configuration),
    ...keyFaults(configuration),
    ...nodeFaults(configuration),
    ...modelFaults(configuration),
  ]
}
