/**
 * Bench websocket: what a token costs over WebSocket, beside SSE, and what an idle socket holds.
 *
 *     npm run bench -- websocket [--rounds 7] [--seconds 5] [--scenarios paced,bulk]
 *                                [--idle 10000] [--no-pin] [--quick]
 *
 * One gateway, the same chat streams in turn over `sse`, `ws` (text frames) and `msgpack` (binary
 * frames), in balanced order; `sse_null` is SSE a second time: what differs between equals is
 * noise. One stream a connection, as SSE has it. Every stream must have the same bytes on every
 * transport (the hash of the events).
 *
 *     paced       500 streams of a token every 20 ms, evenly spread, nodes and load on one core
 *     bulk        8 streams of 2,000 tokens as fast as they are taken
 *     one_token   64 connections, streams of one token
 *
 * Processor time is that of the whole gateway process. Idle sockets are opened by this process and
 * kept; the growth of the gateway's resident memory is divided by their number, so the kernel's
 * own memory for a socket is not in it.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { readRssMb } from './cpu.ts'
import { type BenchOptions, flag, numberOption, option } from './options.ts'
import {
  type Cell,
  type Load,
  runCell,
  SCENARIOS,
  type Scenario,
  warmUpCells,
} from './relay_scenarios.ts'
import { median, pairedRatio, type Ratio, rounded, runRounds } from './rounds.ts'
import { openStage, type Target } from './targets.ts'

const ROUNDS = 7
const SECONDS = 5
const KV_BATCHES_PER_SECOND = 50
const IDLE_SOCKETS = 10_000
const IDLE_SOCKETS_QUICK = 50
/** Sockets that are opened at once; more would overflow the listener's queue. */
const OPENING_MAX = 100
/** Milliseconds after which memory is read: buffers of the handshakes have been collected. */
const SETTLE_MS = 3000

const TRANSPORTS = {
  sse: [],
  ws: ['--websocket'],
  msgpack: ['--msgpack'],
  sse_null: [],
} as const
type Transport = keyof typeof TRANSPORTS
const NAMES = ['sse', 'ws', 'msgpack', 'sse_null'] as const satisfies readonly Transport[]
const OF_INTEREST = ['paced', 'bulk', 'one_token']

/** Goals of issue 4: ratios to SSE, and milliseconds. */
const CPU_RATIO_MAX = 1
const TRANSIT_P50_MS_MAX = 0.5
const IDLE_BYTES_MAX = 10_240

interface TransportFigures {
  readonly cpu_us_per_token: number
  readonly cpu_ratio: Ratio
  readonly transit_p50_ms: number
  readonly transit_p99_ms: number
  readonly transit_p99_ratio: Ratio
}

export interface WebSocketResult {
  readonly rounds: number
  readonly seconds: number
  readonly figures: Readonly<Record<string, Readonly<Record<string, TransportFigures>>>>
  readonly idle: IdleFigures
  readonly faults: readonly string[]
  readonly goals: Readonly<Record<string, boolean>>
}

export interface IdleFigures {
  readonly sockets: number
  readonly rss_before_mb: number
  readonly rss_after_mb: number
  readonly bytes_per_socket: number
}

/** A scenario of the relay bench over one transport. */
function over(scenario: Scenario, transport: Transport): Scenario {
  const further = TRANSPORTS[transport]
  return { ...scenario, words: load => [...scenario.words(load), ...further] }
}

function cpu(list: readonly Cell[]): number[] {
  return list.map(({ cpuUs }) => cpuUs)
}

function p99(list: readonly Cell[]): number[] {
  return list.map(({ load }) => load.transit_ms.p99)
}

function figuresOf(cells: ReadonlyMap<string, readonly Cell[]>): Record<string, TransportFigures> {
  const figures: Record<string, TransportFigures> = {}
  const base = cells.get('sse') ?? []
  for (const [name, list] of cells) {
    figures[name] = {
      cpu_us_per_token: rounded(median(cpu(list))),
      cpu_ratio: pairedRatio(cpu(list), cpu(base)),
      transit_p50_ms: rounded(median(list.map(({ load }) => load.transit_ms.p50))),
      transit_p99_ms: rounded(median(p99(list))),
      transit_p99_ratio: pairedRatio(p99(list), p99(base)),
    }
  }
  return figures
}

function faultsOf(name: string, cells: ReadonlyMap<string, readonly Cell[]>): string[] {
  const faults: string[] = []
  const hashes = new Set<string>()
  for (const [transport, list] of cells) {
    for (const { load } of list) {
      hashes.add(load.body_hash)
      if (load.faults === 0) continue
      faults.push(`${name} ${transport}: ${load.faults} × ${load.first_fault}`)
    }
  }
  if (hashes.size > 1) faults.push(`${name}: streams differ between transports`)
  return faults
}

const HANDSHAKE = [
  'GET /v1/chat/completions HTTP/1.1',
  'Host: bench',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: d2FybXBhdGggYmVuY2ggIQ==',
  '\r\n',
].join('\r\n')

async function openIdle(url: URL): Promise<Socket> {
  const socket = connect({ host: url.hostname, port: Number(url.port) })
  socket.write(HANDSHAKE)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  if (!answer.toString('latin1').startsWith('HTTP/1.1 101')) throw new Error('no WebSocket')
  return socket
}

async function measureIdle({ url, pid }: Target, count: number): Promise<IdleFigures> {
  if (pid === null) throw new TypeError('direct has no memory of its own')
  const at = new URL(url)
  const sockets: Socket[] = []
  const open = async (upTo: number): Promise<void> => {
    while (sockets.length < upTo) {
      const batch = Math.min(OPENING_MAX, upTo - sockets.length)
      sockets.push(...(await Promise.all(Array.from({ length: batch }, () => openIdle(at)))))
    }
    await delay(SETTLE_MS)
  }
  try {
    // The first hundred pay for what all share.
    await open(Math.min(OPENING_MAX, count))
    const before = readRssMb(pid)
    const shared = sockets.length
    await open(shared + count)
    const after = readRssMb(pid)
    return {
      sockets: count,
      rss_before_mb: before,
      rss_after_mb: after,
      bytes_per_socket: Math.round(((after - before) * 1e6) / count),
    }
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

function table(scenario: string, figures: Readonly<Record<string, TransportFigures>>): string {
  const rows = Object.entries(figures).map(([name, figure]) => {
    const { ratio, low, high } = figure.cpu_ratio
    return [
      name.padEnd(10),
      `${figure.cpu_us_per_token} µs of processor a token`.padEnd(34),
      `× ${ratio} (${low} to ${high})`.padEnd(26),
      `transit p50 ${figure.transit_p50_ms} ms, p99 ${figure.transit_p99_ms} ms`,
    ].join(' ')
  })
  return `${scenario}\n  ${rows.join('\n  ')}\n`
}

function goalsOf(
  figures: Readonly<Record<string, Readonly<Record<string, TransportFigures>>>>,
  idle: IdleFigures,
): Record<string, boolean> {
  const goals: Record<string, boolean> = {}
  for (const name of ['ws', 'msgpack']) {
    const paced = figures['paced']?.[name]
    if (paced === undefined) continue
    goals[`${name}_cpu`] = paced.cpu_ratio.ratio <= CPU_RATIO_MAX
    goals[`${name}_transit_p50`] = paced.transit_p50_ms <= TRANSIT_P50_MS_MAX
    goals[`${name}_transit_p99`] = paced.transit_p99_ratio.ratio <= 1
  }
  goals['idle'] = idle.bytes_per_socket <= IDLE_BYTES_MAX
  return goals
}

export async function run(options: BenchOptions): Promise<WebSocketResult> {
  const { isQuick, words } = options
  const rounds = options.rounds ?? (isQuick ? 1 : ROUNDS)
  const load: Load = { seconds: options.seconds ?? (isQuick ? 0.1 : SECONDS), isQuick }
  const wanted = option(words, 'scenarios')?.split(',') ?? OF_INTEREST
  const stage = await openStage({
    isPinned: !flag(words, 'no-pin'),
    kvBatchesPerSecond: KV_BATCHES_PER_SECOND,
    targets: ['warmpath'],
  })
  try {
    const [target] = stage.targets
    if (target === undefined) throw new Error('the gateway was not started')
    // First, because what a load has left behind would be used again.
    const count = numberOption(words, 'idle') ?? (isQuick ? IDLE_SOCKETS_QUICK : IDLE_SOCKETS)
    const idle = await measureIdle(target, count)
    process.stdout.write(`idle: ${idle.bytes_per_socket} bytes a socket at ${count} sockets\n`)
    const figures: Record<string, Record<string, TransportFigures>> = {}
    const faults: string[] = []
    for (const scenario of SCENARIOS) {
      if (!OF_INTEREST.includes(scenario.name) || !wanted.includes(scenario.name)) continue
      const cell = (name: string): Promise<Cell> => {
        // The names are those of TRANSPORTS.
        const through = over(scenario, name as Transport)
        return runCell(through, target, stage.loadCore, load)
      }
      // SSE again is the same code: warm by then.
      for (const name of NAMES.filter(transport => transport !== 'sse_null')) {
        for (let i = 0; i < warmUpCells(load); i++) await cell(name)
      }
      const cells = await runRounds(NAMES, rounds, cell)
      const of = figuresOf(cells)
      figures[scenario.name] = of
      faults.push(...faultsOf(scenario.name, cells))
      process.stdout.write(table(scenario.name, of))
    }
    for (const fault of faults) process.stdout.write(`FAULT ${fault}\n`)
    const goals = goalsOf(figures, idle)
    return { rounds, seconds: load.seconds, figures, idle, faults, goals }
  } finally {
    await stage.close()
  }
}
