/**
 * Flags and environment variables of `warmpath serve` and `warmpath check`, turned into the same
 * shape that the file has. A flag or variable that holds a list replaces the whole list.
 */
import type { FlagValues } from './arguments.ts'
import { UsageError } from './arguments.ts'

export const SERVE_FLAGS = {
  config: { value: 'FILE', help: 'Configuration file (YAML); WARMPATH_CONFIG' },
  host: { value: 'ADDRESS', help: 'Address to listen on; WARMPATH_HOST (default 127.0.0.1)' },
  port: { value: 'PORT', help: 'Port to listen on; WARMPATH_PORT (default 8100)' },
  admin: { value: 'HOST:PORT', help: 'Admin listener (default: loopback, data port + 1)' },
  threads: { value: 'N', help: 'Gateway threads (default: one a core)' },
  node: {
    value: 'URL',
    isRepeatable: true,
    help: 'A vLLM node; may end in ,kv_events=…,kv_replay=…,in_flight_max=…',
  },
  model: { value: 'NAME=DIR', isRepeatable: true, help: 'A model and its tokenizer directory' },
  'api-key': { value: 'KEY', isRepeatable: true, help: 'An API key; WARMPATH_API_KEYS=a,b' },
  'api-keys-file': { value: 'FILE', help: 'File with one API key a line' },
  'admin-key': { value: 'KEY', isRepeatable: true, help: 'An admin key; WARMPATH_ADMIN_KEYS=a,b' },
  policy: { value: 'NAME', help: 'prefix, least-load or round-robin' },
  'log-level': { value: 'LEVEL', help: 'silent, error, warn, info, debug; WARMPATH_LOG_LEVEL' },
  'log-destination': { value: 'FILE', help: 'stdout, stderr or a file' },
  help: { value: null, help: 'Print this and exit' },
} as const

export type ServeFlags = FlagValues<typeof SERVE_FLAGS>
export type Environment = Readonly<Record<string, string | undefined>>

/** A setting given outside the file: where it belongs, its value, and who gave it. */
export interface Override {
  readonly path: readonly string[]
  readonly value: unknown
  readonly origin: string
}

/** Host and port are two flags but one key; they are joined to `listen` by load.ts. */
export interface ListenOverride {
  readonly host: string | undefined
  readonly port: string | undefined
  readonly origin: string
}

const NODE_FIELDS = ['kv_events', 'kv_replay', 'in_flight_max']

/** `URL[,key=value…]` as an entry of `nodes`. */
function nodeEntry(text: string): Record<string, string> {
  const [url = '', ...fields] = text.split(',')
  const entry: Record<string, string> = { url }
  for (const field of fields) {
    const end = field.indexOf('=')
    const name = field.slice(0, Math.max(0, end))
    if (!NODE_FIELDS.includes(name)) {
      const known = NODE_FIELDS.join('=, ')
      throw new UsageError(`--node: "${field}" is none of ${known}=`)
    }
    entry[name] = field.slice(end + 1)
  }
  return entry
}

/** `NAME=DIR` as an entry of `models`; the name may hold no "=". */
function modelEntry(text: string): Record<string, string> {
  const end = text.indexOf('=')
  if (end < 1 || end === text.length - 1) {
    throw new UsageError(`--model: expected NAME=TOKENIZER_DIRECTORY, not "${text}"`)
  }
  return { name: text.slice(0, end), tokenizer: text.slice(end + 1) }
}

function listed(text: string): string[] {
  return text
    .split(',')
    .filter(item => item.trim() !== '')
    .map(item => item.trim())
}

/** What the flags and the environment say, weakest first. */
export function overridesOf(flags: ServeFlags, environment: Environment): Override[] {
  const overrides: Override[] = []
  const add = (path: string[], value: unknown, origin: string): void => {
    if (value !== undefined) overrides.push({ path, value, origin })
  }
  const variable = (name: string): string | undefined => environment[name] || undefined
  const keys = variable('WARMPATH_API_KEYS')
  const adminKeys = variable('WARMPATH_ADMIN_KEYS')
  add(['api_keys'], keys && listed(keys), 'WARMPATH_API_KEYS')
  add(['admin_keys'], adminKeys && listed(adminKeys), 'WARMPATH_ADMIN_KEYS')
  add(['log', 'level'], variable('WARMPATH_LOG_LEVEL'), 'WARMPATH_LOG_LEVEL')
  add(['admin'], flags.admin, '--admin')
  add(['threads'], flags.threads, '--threads')
  add(['nodes'], flags.node?.map(nodeEntry), '--node')
  add(['models'], flags.model?.map(modelEntry), '--model')
  add(['api_keys'], flags['api-key'], '--api-key')
  add(['api_keys_file'], flags['api-keys-file'], '--api-keys-file')
  add(['admin_keys'], flags['admin-key'], '--admin-key')
  add(['routing', 'policy'], flags.policy, '--policy')
  add(['log', 'level'], flags['log-level'], '--log-level')
  add(['log', 'destination'], flags['log-destination'], '--log-destination')
  return overrides
}

/** Host and port from flags, else from the environment; null when neither is given. */
export function listenOverride(flags: ServeFlags, environment: Environment): ListenOverride | null {
  const host = flags.host ?? (environment.WARMPATH_HOST || undefined)
  const port = flags.port ?? (environment.WARMPATH_PORT || undefined)
  if (host === undefined && port === undefined) return null
  const names = [
    host === undefined ? null : flags.host === undefined ? 'WARMPATH_HOST' : '--host',
    port === undefined ? null : flags.port === undefined ? 'WARMPATH_PORT' : '--port',
  ]
  return { host, port, origin: names.filter(name => name !== null).join(', ') }
}
