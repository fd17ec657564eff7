/**
 * Reads the few things Warmpath wants from a vLLM node's Prometheus text: load of each rank, KV
 * geometry, sleep, and what betrays a restart. Everything else in the text (some 700 lines, 56 KB)
 * is skipped by name, line by line, without a regular expression; 75 KB of it take about 0.2 ms.
 *
 *     vllm:num_requests_running{engine="0",model_name="m"} 3.0     labels in any order,
 *     vllm:cache_config_info{block_size="16",…,engine="0"} 1.0     escapes \\ \" \n inside
 *     process_start_time_seconds 1.79526585149e+09                 no labels at all
 *
 * Accepted beside today's names: `gpu_cache_usage_perc` (before vLLM 0.12) and counters without
 * `_total` (llm-d-inference-sim). A name that is missing stays null: unknown is not zero. A block
 * size or count that the index has no room for is not believed, as if the engine had not said it.
 * The load is a cross-check for operators; the gateway routes by its own load table.
 */

import { BLOCK_TOKENS_MAX, SLOT_BLOCKS_MAX } from '../native/limits.ts'

/** Ranks of one node that are believed; more is a broken exposition. */
export const RANKS_MAX = 256

export interface RankMetrics {
  readonly rank: number
  running: number | null
  waiting: number | null
  /** Share of the KV blocks in use, 0..1. */
  kvUsage: number | null
  blockSize: number
  blockCount: number
  hashAlgorithm: string
  isPrefixCaching: boolean
  /** Sum of the counters below; it falls only when the process was replaced. */
  work: number
}

export interface NodeMetrics {
  /** Start of the server process in seconds; null where the engine does not say. */
  readonly processStart: number | null
  /** null where there is no `engine_sleep_state`. */
  readonly isAsleep: boolean | null
  /** By rank, ascending. */
  readonly ranks: readonly RankMetrics[]
}

type Labels = (name: string) => string | null
type Take = (rank: RankMetrics, value: number, labels: Labels) => void

const addWork: Take = (rank, value) => {
  rank.work += value
}

const PER_RANK: ReadonlyMap<string, Take> = new Map<string, Take>([
  [
    'vllm:num_requests_running',
    (rank, value) => {
      rank.running = (rank.running ?? 0) + value
    },
  ],
  [
    'vllm:num_requests_waiting',
    (rank, value) => {
      rank.waiting = (rank.waiting ?? 0) + value
    },
  ],
  [
    'vllm:kv_cache_usage_perc',
    (rank, value) => {
      rank.kvUsage = value
    },
  ],
  [
    'vllm:gpu_cache_usage_perc',
    (rank, value) => {
      rank.kvUsage ??= value
    },
  ],
  ['vllm:cache_config_info', takeCacheConfig],
  ['vllm:prompt_tokens_total', addWork],
  ['vllm:generation_tokens_total', addWork],
  ['vllm:prefix_cache_queries_total', addWork],
  ['vllm:prefix_cache_queries', addWork],
])

function takeCacheConfig(rank: RankMetrics, _value: number, labels: Labels): void {
  rank.blockSize = countOf(labels('block_size'), BLOCK_TOKENS_MAX)
  rank.blockCount = countOf(labels('num_gpu_blocks'), SLOT_BLOCKS_MAX)
  rank.hashAlgorithm = labels('prefix_caching_hash_algo') ?? ''
  rank.isPrefixCaching = labels('enable_prefix_caching') !== 'False'
}

/** 0 when it is missing, or no count up to `max`. */
function countOf(text: string | null, max: number): number {
  const value = Number(text ?? 0)
  return Number.isInteger(value) && value > 0 && value <= max ? value : 0
}

/** Value of one label in `{a="b",c="d"}`; null when it is absent. */
function labelOf(block: string, name: string): string | null {
  let at = 0
  while (at < block.length) {
    const equals = block.indexOf('="', at)
    if (equals < 0) return null
    let end = equals + 2
    while (end < block.length && block[end] !== '"') end += block[end] === '\\' ? 2 : 1
    if (block.slice(at, equals).trim() === name) {
      return block
        .slice(equals + 2, end)
        .replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c))
    }
    at = end + 1
    while (block[at] === ',' || block[at] === ' ') at++
  }
  return null
}

/** Index of the `}` that closes the labels; a brace inside a value does not count. */
function labelsEnd(line: string, open: number): number {
  let isQuoted = false
  for (let i = open + 1; i < line.length; i++) {
    if (line[i] === '\\') i++
    else if (line[i] === '"') isQuoted = !isQuoted
    else if (line[i] === '}' && !isQuoted) return i
  }
  return -1
}

class Collector {
  readonly #ranks = new Map<number, RankMetrics>()
  processStart: number | null = null
  isAsleep: boolean | null = null

  line(line: string): void {
    const open = line.indexOf('{')
    const space = line.indexOf(' ')
    const isLabelled = open >= 0 && (space < 0 || open < space)
    const name = line.slice(0, isLabelled ? open : Math.max(space, 0))
    const take = PER_RANK.get(name)
    const isProcessStart = name === 'process_start_time_seconds'
    const isSleepState = name === 'vllm:engine_sleep_state'
    if (take === undefined && !isProcessStart && !isSleepState) return

    const close = isLabelled ? labelsEnd(line, open) : -1
    if (isLabelled && close < 0) return
    const block = isLabelled ? line.slice(open + 1, close) : ''
    const rest = line.slice(isLabelled ? close + 1 : space).trim()
    // A timestamp may follow the value.
    const value = Number(rest.split(' ', 1)[0])
    if (rest === '' || !Number.isFinite(value)) return

    if (isProcessStart) {
      this.processStart = value
    } else if (isSleepState) {
      const isAwakeState = labelOf(block, 'sleep_state') === 'awake'
      this.isAsleep = (this.isAsleep ?? false) || (!isAwakeState && value > 0)
    } else if (take !== undefined) {
      const rank = this.#rankOf(labelOf(block, 'engine'))
      if (rank !== null) take(rank, value, label => labelOf(block, label))
    }
  }

  get ranks(): RankMetrics[] {
    return [...this.#ranks.values()].sort((a, b) => a.rank - b.rank)
  }

  #rankOf(engine: string | null): RankMetrics | null {
    const rank = Number(engine ?? 0)
    if (!Number.isSafeInteger(rank) || rank < 0 || rank >= RANKS_MAX) return null
    let metrics = this.#ranks.get(rank)
    if (metrics === undefined) {
      metrics = {
        rank,
        running: null,
        waiting: null,
        kvUsage: null,
        blockSize: 0,
        blockCount: 0,
        hashAlgorithm: '',
        isPrefixCaching: true,
        work: 0,
      }
      this.#ranks.set(rank, metrics)
    }
    return metrics
  }
}

/** Reads an exposition; lines that make no sense are skipped, nothing throws. */
export function readMetrics(text: string): NodeMetrics {
  const collector = new Collector()
  let start = 0
  while (start < text.length) {
    let end = text.indexOf('\n', start)
    if (end < 0) end = text.length
    // Comments and the many histogram lines are told apart by their first characters alone.
    if (text.startsWith('vllm:', start) || text.startsWith('process_start', start)) {
      collector.line(text.slice(start, end))
    }
    start = end + 1
  }
  const { processStart, isAsleep, ranks } = collector
  return { processStart, isAsleep, ranks }
}

/** Two starts this close are the same process (s); no engine restarts within a millisecond. */
const START_TOLERANCE_SECONDS = 0.001

/** Whether the process behind `after` is certainly another one than behind `before`. */
export function isOtherProcess(before: NodeMetrics, after: NodeMetrics): boolean {
  if (before.processStart !== null && after.processStart !== null) {
    return Math.abs(before.processStart - after.processStart) > START_TOLERANCE_SECONDS
  }
  return before.ranks.some(old => {
    const now = after.ranks.find(rank => rank.rank === old.rank)
    return now !== undefined && now.work < old.work
  })
}
