/** The Prometheus page: the threads' counters, and what only the main thread knows. */

import { SLOTS_MAX } from '../native/limits.ts'
import { LOAD_WORDS, loadTable } from '../native/load_table.ts'
import type { IndexStat } from '../native/prefix_index.ts'
import { INDEX_STATS } from '../native/prefix_index.ts'
import { readLogTotals } from '../native/response_log.ts'
import type { Fleet, NodeReport } from '../nodes/fleet.ts'
import type { Sample } from '../observe/metrics/exposition.ts'
import { renderMetrics } from '../observe/metrics/exposition.ts'
import type { ThreadBuffer } from '../observe/metrics/thread_metrics.ts'
import type { PrefixIndexes } from './prefix_indexes.ts'

export interface PageFacts {
  readonly version: string
  readonly threadCount: number
  /** Of the gateway threads and of the main thread. */
  readonly buffers: readonly ThreadBuffer[]
  readonly fleet: Fleet
  readonly indexes: PrefixIndexes
}

const loads = new Float64Array(SLOTS_MAX * LOAD_WORDS)
const stats = new Float64Array(INDEX_STATS.length)
const NODE_STATES = ['healthy', 'unhealthy', 'draining', 'sleeping', 'starting'] as const

function stat(name: IndexStat): number {
  return stats[INDEX_STATS.indexOf(name)] ?? 0
}

/** Requests in flight on a slot. */
export function inFlightOf(slot: number): number {
  loadTable.read(loads, slot + 1)
  return loads[slot * LOAD_WORDS] ?? 0
}

export function metricsPage(facts: PageFacts): string {
  const nodes = facts.fleet.list()
  return renderMetrics({
    threads: facts.buffers,
    slots: nodes.flatMap(node =>
      node.ranks.map(({ rank, slot }) => ({ slot, node: node.id, rank })),
    ),
    samples: [
      ...processSamples(facts),
      ...nodes.flatMap(node => nodeSamples(node)),
      ...indexSamples(facts.indexes),
    ],
  })
}

function sample(metric: Sample['metric'], value: number, ...labels: string[]): Sample {
  return { metric, labels, value }
}

function processSamples(facts: PageFacts): Sample[] {
  const { user, system } = process.cpuUsage()
  const memory = process.memoryUsage()
  const logs = readLogTotals()
  return [
    sample('buildInfo', 1, facts.version, process.version),
    sample('threads', facts.threadCount),
    sample('responseLogs', logs.logs),
    sample('responseLogsIdle', logs.idleLogs),
    sample('responseLogBytes', logs.bytes),
    sample('residentBytes', memory.rss),
    sample('heapBytes', memory.heapUsed),
    sample('cpuSeconds', (user + system) / 1e6),
    sample('startSeconds', performance.timeOrigin / 1000),
  ]
}

function nodeSamples(node: NodeReport): Sample[] {
  const samples = NODE_STATES.map(state =>
    sample('nodeState', node.state === state ? 1 : 0, node.id, state),
  )
  samples.push(sample('kvLive', node.kvEvents === 'live' ? 1 : 0, node.id))
  samples.push(sample('kvDegraded', node.kvEvents === 'degraded' ? 1 : 0, node.id))
  for (const rank of node.ranks) {
    const labels = [node.id, String(rank.rank)]
    loadTable.read(loads, rank.slot + 1)
    const at = rank.slot * LOAD_WORDS
    samples.push(sample('nodeInFlight', loads[at] ?? 0, ...labels))
    samples.push(sample('nodePrefillTokens', loads[at + 1] ?? 0, ...labels))
    samples.push(sample('nodeDecodeBlocks', loads[at + 2] ?? 0, ...labels))
    // Unknown is left out: a missing series is honest, a zero would not be.
    if (rank.running !== null) samples.push(sample('engineRunning', rank.running, ...labels))
    if (rank.waiting !== null) samples.push(sample('engineWaiting', rank.waiting, ...labels))
    if (rank.kvUsage !== null) samples.push(sample('engineKvUsage', rank.kvUsage, ...labels))
  }
  return samples
}

function indexSamples(indexes: PrefixIndexes): Sample[] {
  return indexes.all().flatMap(({ model, blockSize, index }) => {
    index.statsInto(stats)
    const labels = [model, String(blockSize)]
    return [
      sample('indexBlocks', stat('heldBlocks'), ...labels),
      sample('indexDistinctBlocks', stat('distinctBlocks'), ...labels),
      sample('indexBytes', stat('bytesLive'), ...labels),
      sample('indexUnknownRemovals', stat('unknownRemovals'), ...labels),
      sample('indexDroppedBlocks', stat('droppedBlocks'), ...labels),
    ]
  })
}
