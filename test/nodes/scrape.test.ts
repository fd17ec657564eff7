import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isOtherProcess, type NodeMetrics, RANKS_MAX, readMetrics } from '../../src/nodes/scrape.ts'

const CACHE_LABELS = [
  '_block_size_resolved="True"',
  'block_size="32"',
  'enable_prefix_caching="True"',
  'engine="0"',
  'hash_block_size="None"',
  'kv_cache_dtype_skip_layers="[]"',
  'num_gpu_blocks="256"',
  'num_gpu_blocks_override="256"',
  'prefix_caching_hash_algo="sha256_cbor"',
  'prefix_match_unit="None"',
]

/** As vLLM 0.32.0 wrote them, shortened. */
const REAL = `# HELP process_start_time_seconds Start time of the process since unix epoch.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79526585149e+09
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 9.0
vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="weights_offloaded"} 0.0
vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="discard_all"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.125
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 56.0
vllm:prefix_cache_queries_created{engine="0",model_name="tiny"} 1.795265903983569e+09
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 56.0
vllm:generation_tokens_total{engine="0",model_name="tiny"} 16.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="tiny"} 0.0
vllm:cache_config_info{${CACHE_LABELS.join(',')}} 1.0
`

function state(name: string, value: number): string {
  return `vllm:engine_sleep_state{engine="0",sleep_state="${name}"} ${value}`
}

/** Metrics of a process with a start, or without one, that has prefilled so many tokens. */
function at(start: number | null, tokens: number): NodeMetrics {
  const first = start === null ? '' : `process_start_time_seconds ${start}\n`
  return readMetrics(`${first}vllm:prompt_tokens_total{engine="0"} ${tokens}\n`)
}

describe('readMetrics', () => {
  test.each([
    ['2097152', '5000000000', 0, 0],
    ['1048576', '4294967295', 2 ** 20, 2 ** 32 - 1],
    ['-16', '1e300', 0, 0],
    ['16.5', 'None', 0, 0],
  ])(
    'IX-18: block size %s and %s blocks are believed as far as the index goes',
    (size, blocks, ...want) => {
      const labels = `block_size="${size}",engine="0",num_gpu_blocks="${blocks}"`
      const [rank] = readMetrics(`vllm:cache_config_info{${labels}} 1.0\n`).ranks
      expect([rank?.blockSize, rank?.blockCount]).toEqual(want)
    },
  )

  test('reads what a real engine writes', () => {
    expect(readMetrics(REAL)).toEqual({
      processStart: 1_795_265_851.49,
      isAsleep: false,
      ranks: [
        {
          rank: 0,
          running: 2,
          waiting: 7,
          kvUsage: 0.125,
          blockSize: 32,
          blockCount: 256,
          hashAlgorithm: 'sha256_cbor',
          isPrefixCaching: true,
          work: 128,
        },
      ],
    })
  })

  test('what is missing is unknown, not zero', () => {
    const metrics = readMetrics('vllm:num_requests_running{engine="1"} 4\n')
    expect(metrics).toMatchObject({ processStart: null, isAsleep: null })
    expect(metrics.ranks).toMatchObject([{ rank: 1, running: 4, waiting: null, kvUsage: null }])
    expect(readMetrics('')).toEqual({ processStart: null, isAsleep: null, ranks: [] })
  })

  test('ranks are told apart by the engine label and sorted', () => {
    const text = ['10', '0', '2'].map(rank => `vllm:num_requests_running{engine="${rank}"} ${rank}`)
    const { ranks } = readMetrics(text.join('\n'))
    expect(ranks.map(({ rank, running }) => [rank, running])).toEqual([
      [0, 0],
      [2, 2],
      [10, 10],
    ])
    const beyond = `vllm:num_requests_running{engine="${RANKS_MAX}"} 1`
    expect(readMetrics(beyond).ranks).toEqual([])
  })

  test('the names of older engines and of other simulators are understood', () => {
    const text = `vllm:gpu_cache_usage_perc{model_name="m"} 0.5
vllm:prefix_cache_queries{model_name="m"} 12
vllm:num_requests_running{model_name="m"} 1 1700000000000
`
    expect(readMetrics(text).ranks).toMatchObject([{ rank: 0, kvUsage: 0.5, work: 12, running: 1 }])
  })

  test('any sleep state but awake means asleep', () => {
    const asleep = [state('awake', 0), state('weights_offloaded', 1), state('discard_all', 0)]
    expect(readMetrics(asleep.join('\n')).isAsleep).toBe(true)
    expect(readMetrics([state('awake', 1), state('discard_all', 0)].join('\n')).isAsleep).toBe(
      false,
    )
  })

  test('quotes, braces and commas inside a label value do not confuse it', () => {
    const text =
      'vllm:cache_config_info{a="x}\\",block_size=\\"9\\"",block_size="64",engine="0"} 1.0\n'
    expect(readMetrics(text).ranks[0]?.blockSize).toBe(64)
  })

  test('nothing that a node may send throws, at whatever byte it is cut', () => {
    for (let end = 0; end <= REAL.length; end++) readMetrics(REAL.slice(0, end))
    const piece = fc.constantFrom(
      'vllm:cache_config_info',
      'vllm:num_requests_running',
      '{',
      '}',
      '"',
      '\\',
      '=',
      ',',
      ' ',
      '\n',
      'engine="0"',
      'block_size="',
      '1',
      'NaN',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), pieces => {
        for (const rank of readMetrics(pieces.join('')).ranks) {
          expect(Number.isSafeInteger(rank.blockSize)).toBe(true)
        }
      }),
      { interruptAfterTimeLimit: 3000, numRuns: 2000 },
    )
  })
})

describe('isOtherProcess', () => {
  test('another start is another process, whatever the counters say', () => {
    expect(isOtherProcess(at(100, 5), at(101, 50))).toBe(true)
    expect(isOtherProcess(at(100, 5), at(100, 3))).toBe(false)
  })

  test('without a start, counters that ran backwards betray it', () => {
    expect(isOtherProcess(at(null, 5), at(null, 3))).toBe(true)
    expect(isOtherProcess(at(null, 5), at(100, 3))).toBe(true)
    expect(isOtherProcess(at(null, 5), at(null, 5))).toBe(false)
    expect(isOtherProcess(at(null, 5), readMetrics(''))).toBe(false)
  })
})
