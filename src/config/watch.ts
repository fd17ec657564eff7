/**
 * Reloads the configuration while the gateway runs: on SIGHUP and when a file changes.
 *
 *   change in the folder ──► quiet for RELOAD_QUIET_MS ──► text as before? ──► nothing
 *   SIGHUP ─────────────────────────────────────────┐            │
 *                                                   └──► load ◄──┘
 *                        fault: told, the old one stays ◄──┴──► rules on the mixture ──► apply
 *
 * The folder is watched, not the file: editors replace files, and Kubernetes swaps a symbolic
 * link beside it. What can change at run time is RUNTIME_KEYS; a change elsewhere is told as
 * needing a restart, and what runs stays a mixture of old and new. The rules are checked on that
 * mixture too: a new file that goes back to loopback and drops the keys must not leave the old
 * public listener without keys.
 *
 * What it does badly: file systems without change events (NFS) need the SIGHUP.
 */
import { type FSWatcher, readFileSync, watch } from 'node:fs'
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Log } from '../observe/log.ts'
import { RELOAD } from '../observe/metrics/labels.ts'
import { type Configuration, frozen } from './effective.ts'
import { ConfigurationError } from './error.ts'
import { brokenRules } from './rules.ts'

/** Milliseconds without a further change before files are read: writers write in pieces. */
export const RELOAD_QUIET_MS = 200

/** Keys that a running gateway follows. */
export const RUNTIME_KEYS = ['nodes', 'models', 'api_keys', 'admin_keys', 'log.level'] as const
export type RuntimeKey = (typeof RUNTIME_KEYS)[number]

/** Facts about where settings came from, which are no settings. */
const SOURCE_KEYS = ['file', 'api_keys_file']

export interface WatchOptions {
  readonly current: Configuration
  /** Builds the configuration anew; throws ConfigurationError. */
  readonly load: () => Configuration
  /** Takes the new state into use. Called only when a runtime key has changed. */
  readonly apply: (configuration: Configuration, changed: readonly RuntimeKey[]) => void
  readonly log: Log
  /** Told the position of each outcome in RELOAD_OUTCOMES, for the metric. */
  readonly onOutcome: (outcomeIndex: number) => void
}

/** What a new configuration would change. */
export interface Difference {
  readonly changed: readonly RuntimeKey[]
  readonly needsRestart: readonly string[]
}

export function difference(old: Configuration, next: Configuration): Difference {
  const changed = RUNTIME_KEYS.filter(key =>
    key === 'log.level'
      ? old.log.level !== next.log.level
      : !isDeepStrictEqual(old[key], next[key]),
  )
  const isOther = (key: string): boolean => !RUNTIME_KEYS.some(name => name === key)
  const needsRestart = Object.entries(next)
    .filter(([key]) => isOther(key) && !SOURCE_KEYS.includes(key))
    .filter(([key, value]) => {
      const before: unknown = Object.entries(old).find(([name]) => name === key)?.[1]
      if (key !== 'log') return !isDeepStrictEqual(before, value)
      return old.log.destination !== next.log.destination
    })
    .map(([key]) => key)
  return { changed, needsRestart }
}

/** The old configuration with the runtime keys of the new one. */
function mixture(old: Configuration, next: Configuration): Configuration {
  const { nodes, models, api_keys, admin_keys } = next
  const log = { ...old.log, level: next.log.level }
  return frozen({ ...old, nodes, models, api_keys, admin_keys, log })
}

export class ConfigurationWatch {
  readonly #options: WatchOptions
  readonly #files: readonly string[]
  readonly #watchers: readonly FSWatcher[]
  readonly #onHangUp: () => void
  #current: Configuration
  #texts: string
  #timer: NodeJS.Timeout | null = null

  constructor(options: WatchOptions) {
    this.#options = options
    this.#current = options.current
    const { file, api_keys_file } = options.current
    this.#files = [file, api_keys_file].filter(name => name !== null)
    this.#texts = this.#read()
    const folders = new Set(this.#files.map(name => path.dirname(name)))
    this.#watchers = [...folders].map(folder => this.#watch(folder))
    this.#onHangUp = () => this.reload()
    process.on('SIGHUP', this.#onHangUp)
  }

  /** Loads now; a fault leaves everything as it is. */
  reload(): void {
    const { load, apply, log, onOutcome } = this.#options
    this.#texts = this.#read()
    try {
      const next = load()
      const { changed, needsRestart } = difference(this.#current, next)
      if (needsRestart.length > 0) {
        log.warn({ keys: needsRestart }, 'configuration changed in keys that need a restart')
      }
      if (changed.length === 0) {
        log.info({}, 'configuration reloaded; nothing to apply')
        onOutcome(RELOAD.unchanged)
        return
      }
      const mixed = mixture(this.#current, next)
      const broken = brokenRules(mixed)
      if (broken.length > 0) throw new ConfigurationError(broken.map(fault => fault.message))
      apply(mixed, changed)
      this.#current = mixed
      log.info({ keys: changed }, 'configuration applied')
      onOutcome(RELOAD.applied)
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error
      log.error({ faults: error.faults }, 'configuration rejected; the old one stays')
      onOutcome(RELOAD.rejected)
    }
  }

  close(): void {
    process.off('SIGHUP', this.#onHangUp)
    for (const watcher of this.#watchers) watcher.close()
    if (this.#timer !== null) clearTimeout(this.#timer)
  }

  #watch(folder: string): FSWatcher {
    const watcher = watch(folder, { persistent: false }, () => this.#touched())
    watcher.on('error', error => {
      this.#options.log.warn({ folder, error: error.message }, 'configuration no longer watched')
    })
    return watcher
  }

  #touched(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#timer = null
      if (this.#read() !== this.#texts) this.reload()
    }, RELOAD_QUIET_MS)
    this.#timer.unref()
  }

  /** The files' texts together; one that cannot be read counts as empty until it is back. */
  #read(): string {
    const texts = this.#files.map(file => {
      try {
        return readFileSync(file, 'utf8')
      } catch {
        return ''
      }
    })
    return texts.join('\u0000')
  }
}
