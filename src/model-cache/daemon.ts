/**
 * What `warmpath cache` can ask a daemon, whatever it serves: status, warm, drop. A daemon has one
 * control socket and one or more members, each with the path that it is known by.
 */
import { rmSync } from 'node:fs'
import type { Server } from 'node:net'
import path from 'node:path'
import { z } from 'zod'
import { listenControl } from './control.ts'
import type { Member } from './member.ts'
import type { ModelCache } from './model_cache.ts'
import type { Slot } from './slot.ts'
import { cacheStatus } from './status.ts'

/** One accelerated path, or one path of a warm-up, and what serves it. */
export interface Served {
  /** The accelerated path; for a warm-up the source. */
  readonly path: string
  readonly cache: ModelCache
  readonly member: Member
  readonly modeReason: string
}

export interface DaemonFacts {
  readonly kind: 'mount' | 'warmup'
  readonly supervisorPid: number | null
  readonly restarts: number
}

const questionSchema = z.discriminatedUnion('verb', [
  z.object({ verb: z.literal('status') }),
  z.object({ verb: z.enum(['warm', 'drop']), path: z.string(), target: z.string() }),
])

function statusOf(facts: DaemonFacts, served: readonly Served[], now: () => number): object {
  return {
    kind: facts.kind,
    supervisor_pid: facts.supervisorPid,
    daemon_pid: process.pid,
    restarts: facts.restarts,
    caches: served.map(({ path: place, cache, member, modeReason }) => ({
      path: place,
      mode_reason: modeReason,
      ready: member.isReady,
      address: `${member.options.listen.host}:${member.port}`,
      capacity_bytes: member.residents.capacityBytes,
      configured_capacity_bytes: member.options.configuredBytes,
      used_bytes: member.residents.usedBytes,
      warmup_error: member.peers.warmupFault,
      peers: member.peers.all().map(peer => ({
        address: peer.name,
        state: peer.state,
        is_warmup: peer.isWarmup,
      })),
      members: member.registry?.addresses() ?? null,
      bytes_by_tier: Object.fromEntries(member.metrics.tierBytes),
      ...cacheStatus(cache, now()),
    })),
  }
}

function isBelow(slot: Slot, target: string): boolean {
  const below = target.replace(/^\/+|\/+$/g, '')
  return below === '' || slot.file.path === below || slot.file.path.startsWith(`${below}/`)
}

async function warm(cache: ModelCache, slots: readonly Slot[]): Promise<object> {
  // Somebody asked for these: unlike a preload they may take the place of others.
  const outcomes = await Promise.all(slots.map(slot => cache.want(slot, 'prefetch')))
  const count = (kind: string): number => outcomes.filter(outcome => outcome.kind === kind).length
  const errors = outcomes.flatMap(outcome => (outcome.kind === 'failed' ? [outcome.message] : []))
  return { resident: count('resident'), bypassed: count('bypassed'), errors }
}

function drop(cache: ModelCache, slots: readonly Slot[]): object {
  const results = slots.map(slot => cache.drop(slot))
  const count = (kind: string): number => results.filter(result => result === kind).length
  return { dropped: count('evicted'), busy: count('busy'), absent: count('absent') }
}

async function handle(
  question: unknown,
  facts: DaemonFacts,
  served: readonly Served[],
  now: () => number,
): Promise<object> {
  const asked = questionSchema.parse(question)
  if (asked.verb === 'status') return statusOf(facts, served, now)
  const found = served.find(({ path: place }) => place === asked.path)
  if (found === undefined) throw new Error(`${asked.path} is not served here`)
  const slots = [...found.cache.slots()].filter(slot => isBelow(slot, asked.target))
  if (slots.length === 0) throw new Error(`the source has nothing at "${asked.target}"`)
  return asked.verb === 'warm' ? warm(found.cache, slots) : drop(found.cache, slots)
}

/** Opens the control socket of these; `close` takes it away again. */
export async function openControl(
  folder: string,
  name: string,
  facts: DaemonFacts,
  served: readonly Served[],
  now: () => number,
): Promise<{ close(): void }> {
  const server: Server = await listenControl(folder, name, question =>
    handle(question, facts, served, now),
  )
  return {
    close: () => {
      server.close()
      rmSync(path.join(folder, `${name}.sock`), { force: true })
    },
  }
}
