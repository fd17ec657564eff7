/**
 * The metrics of a simulated node under vLLM's names, labels and order. What the simulation knows
 * is counted for real; families it has no use for (FLOPs, connector caches, multimodal) are there
 * with zeros, because a scraper may ask for them.
 *
 * Counters have the `_total` and `_created` series that the Python client writes. The text is made
 * when it is asked for; a request costs a few additions and eleven histogram observations.
 */
import type { SimNodeConfig } from './config.ts'
import type { Engine, EngineObserver, EngineSequence, FinishReason } from './engine.ts'
import { Histogram, type Labels, labelText, number } from './metric_text.ts'

const SECONDS = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
]
const TOKEN_SECONDS = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
]
const FIRST_SECONDS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640, 2560,
]
const TOKENS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
const STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384]

const HISTOGRAMS = {
  request_prompt_tokens: TOKENS,
  request_generation_tokens: TOKENS,
  iteration_tokens_total: STEP_TOKENS,
  request_max_num_generation_tokens: TOKENS,
  request_params_n: [1, 2, 5, 10, 20],
  request_params_max_tokens: TOKENS,
  time_to_first_token_seconds: FIRST_SECONDS,
  inter_token_latency_seconds: TOKEN_SECONDS,
  request_time_per_output_token_seconds: TOKEN_SECONDS,
  e2e_request_latency_seconds: SECONDS,
  request_queue_time_seconds: SECONDS,
  request_inference_time_seconds: SECONDS,
  request_prefill_time_seconds: SECONDS,
  request_decode_time_seconds: SECONDS,
  request_num_preemptions: [1, 2, 3, 4, 5, 10, 20],
  request_prefill_kv_computed_tokens: TOKENS,
} as const

type HistogramName = keyof typeof HISTOGRAMS

class HistogramSet extends Map<string, Histogram> {
  constructor() {
    super(Object.entries(HISTOGRAMS).map(([name, bounds]) => [name, new Histogram(bounds)]))
  }

  observe(name: HistogramName, value: number): void {
    this.get(name)?.observe(value)
  }
}

/** Counters and histograms of one rank; the engine tells it what happens. */
export class RankMetrics implements EngineObserver {
  preemptions = 0
  promptTokens = 0
  cachedTokens = 0
  queriedTokens = 0
  hitTokens = 0
  generationTokens = 0
  readonly finished = { stop: 0, length: 0, abort: 0, error: 0, repetition: 0 }
  readonly histograms = new HistogramSet()

  onScheduled(sequence: EngineSequence, isFirstTime: boolean): void {
    if (!isFirstTime || sequence.request.skipsCacheRead) return
    this.queriedTokens += sequence.kv.promptTokens
    this.hitTokens += sequence.cachedTokens
  }

  onPreempted(): void {
    this.preemptions++
  }

  onStep(tokens: number): void {
    this.histograms.observe('iteration_tokens_total', tokens)
  }

  onTokens(sequence: EngineSequence): void {
    this.generationTokens++
    if (sequence.generated > 1) {
      const seconds = (performance.now() - sequence.lastTokenAt) / 1000
      this.histograms.observe('inter_token_latency_seconds', seconds)
      return
    }
    const { promptTokens } = sequence.kv
    this.promptTokens += promptTokens
    this.cachedTokens += sequence.cachedTokens
    const seconds = (sequence.firstTokenAt - sequence.arrivedAt) / 1000
    this.histograms.observe('time_to_first_token_seconds', seconds)
  }

  /** Aborted requests are not counted as finished, as a running engine was seen to do. */
  onFinished(sequence: EngineSequence, reason: FinishReason): void {
    if (reason === 'abort') return
    this.finished[reason]++
    const { histograms } = this
    const { kv, generated, cachedTokens, arrivedAt, startedAt, firstTokenAt } = sequence
    const now = performance.now()
    histograms.observe('request_prompt_tokens', kv.promptTokens)
    histograms.observe('request_generation_tokens', generated)
    histograms.observe('request_max_num_generation_tokens', generated)
    histograms.observe('request_params_n', 1)
    histograms.observe('request_params_max_tokens', sequence.request.tokensMax)
    histograms.observe('e2e_request_latency_seconds', (now - arrivedAt) / 1000)
    histograms.observe('request_queue_time_seconds', (startedAt - arrivedAt) / 1000)
    histograms.observe('request_inference_time_seconds', (now - startedAt) / 1000)
    histograms.observe('request_prefill_time_seconds', (firstTokenAt - startedAt) / 1000)
    histograms.observe('request_decode_time_seconds', (now - firstTokenAt) / 1000)
    histograms.observe('request_num_preemptions', 0)
    histograms.observe('request_prefill_kv_computed_tokens', kv.promptTokens - cachedTokens)
    if (generated > 1) {
      const seconds = (now - firstTokenAt) / 1000 / (generated - 1)
      histograms.observe('request_time_per_output_token_seconds', seconds)
    }
  }
}

/** Names of rejection reasons, as labels and as fields. */
export interface Rejections {
  max_num_queued_reqs: number
  max_num_queued_tokens: number
}

export class NodeMetrics {
  readonly rejections: Rejections
  private readonly config: SimNodeConfig
  private readonly created: number
  private ranks: readonly RankMetrics[]

  constructor(config: SimNodeConfig) {
    this.config = config
    this.created = Date.now() / 1000
    this.rejections = { max_num_queued_reqs: 0, max_num_queued_tokens: 0 }
    this.ranks = Array.from({ length: config.ranks }, () => new RankMetrics())
  }

  rank(rank: number): RankMetrics {
    const metrics = this.ranks[rank]
    if (metrics === undefined) throw new RangeError('no such rank')
    return metrics
  }

  /** A new process counts from zero. */
  reset(): void {
    this.ranks = Array.from({ length: this.config.ranks }, () => new RankMetrics())
    this.rejections.max_num_queued_reqs = 0
    this.rejections.max_num_queued_tokens = 0
  }

  render(engines: readonly Engine[], sleepLevel: number): string {
    const page = new Page(this.config.model, this.created, this.ranks, engines)
    for (const name of ['flops', 'read_bytes', 'write_bytes']) {
      page.counter(`estimated_${name}_per_gpu`, () => 0)
    }
    page.gauge('num_requests_running', (_, engine) => engine.runningCount)
    page.gauge('num_requests_waiting', (_, engine) => engine.waitingCount)
    page.gaugeBy('num_requests_waiting_by_reason', 'reason', (_, engine) => ({
      capacity: engine.waitingCount,
      deferred: 0,
    }))
    page.gaugeBy('engine_sleep_state', 'sleep_state', () => ({
      awake: sleepLevel === 0 ? 1 : 0,
      weights_offloaded: sleepLevel === 1 ? 1 : 0,
      discard_all: sleepLevel === 2 ? 1 : 0,
    }))
    page.gauge('kv_cache_usage_perc', (_, engine) => engine.cache.usage)
    page.counter('prefix_cache_queries', rank => rank.queriedTokens)
    page.counter('prefix_cache_hits', rank => rank.hitTokens)
    page.counter('external_prefix_cache_queries', () => 0)
    page.counter('external_prefix_cache_hits', () => 0)
    page.counter('mm_cache_queries', () => 0)
    page.counter('mm_cache_hits', () => 0)
    page.counter('num_preemptions', rank => rank.preemptions)
    page.counter('prompt_tokens', rank => rank.promptTokens)
    page.counterBy('prompt_tokens_by_source', 'source', rank => ({
      local_compute: rank.promptTokens - rank.cachedTokens,
      local_cache_hit: rank.cachedTokens,
      external_kv_transfer: 0,
    }))
    page.counter('prompt_tokens_cached', rank => rank.cachedTokens)
    page.counterBy('prompt_tokens_cached_by_source', 'source', rank => ({
      device: rank.cachedTokens,
      host: 0,
      p2p: 0,
      disk: 0,
      external_unspecified: 0,
    }))
    page.counter('generation_tokens', rank => rank.generationTokens)
    page.counterBy('request_success', 'finished_reason', rank => rank.finished)
    page.rejections(this.rejections)
    for (const name of Object.keys(HISTOGRAMS)) page.histogram(name)
    page.cacheConfig(this.config)
    return page.text()
  }
}

type RankValue = (rank: RankMetrics, engine: Engine) => number
type RankValues = (rank: RankMetrics, engine: Engine) => Readonly<Record<string, number>>

/** Text of one scrape, family after family. */
class Page {
  private readonly lines: string[]
  private readonly model: string
  private readonly created: number
  private readonly rows: { rank: RankMetrics; engine: Engine; labels: Labels }[]

  constructor(
    model: string,
    created: number,
    ranks: readonly RankMetrics[],
    engines: readonly Engine[],
  ) {
    this.lines = []
    this.model = model
    this.created = created
    this.rows = []
    for (const [at, engine] of engines.entries()) {
      const rank = ranks[at]
      const labels = { engine: String(at), model_name: model }
      if (rank !== undefined) this.rows.push({ rank, engine, labels })
    }
  }

  text(): string {
    return `${this.lines.join('\n')}\n`
  }

  private family(name: string, type: string): void {
    const words = name.replaceAll('_', ' ')
    this.lines.push(`# HELP vllm:${name} Simulated: ${words}.`, `# TYPE vllm:${name} ${type}`)
  }

  private line(name: string, labels: Labels, value: number): void {
    this.lines.push(`vllm:${name}${labelText(labels)} ${number(value)}`)
  }

  gauge(name: string, value: RankValue): void {
    this.family(name, 'gauge')
    for (const { rank, engine, labels } of this.rows) this.line(name, labels, value(rank, engine))
  }

  gaugeBy(name: string, label: string, values: RankValues): void {
    this.family(name, 'gauge')
    this.by(name, label, values)
  }

  private by(name: string, label: string, values: RankValues): void {
    for (const { rank, engine, labels } of this.rows) {
      for (const [key, value] of Object.entries(values(rank, engine))) {
        this.line(name, { ...labels, [label]: key }, value)
      }
    }
  }

  counter(name: string, value: RankValue): void {
    this.family(`${name}_total`, 'counter')
    for (const { rank, engine, labels } of this.rows) {
      this.line(`${name}_total`, labels, value(rank, engine))
    }
    this.family(`${name}_created`, 'gauge')
    for (const { labels } of this.rows) this.line(`${name}_created`, labels, this.created)
  }

  counterBy(name: string, label: string, values: RankValues): void {
    this.family(`${name}_total`, 'counter')
    this.by(`${name}_total`, label, values)
    this.family(`${name}_created`, 'gauge')
    this.by(`${name}_created`, label, (rank, engine) =>
      Object.fromEntries(Object.keys(values(rank, engine)).map(key => [key, this.created])),
    )
  }

  rejections(counts: Rejections): void {
    this.family('admission_rejections_total', 'counter')
    for (const [reason, value] of Object.entries(counts)) {
      this.line('admission_rejections_total', { model_name: this.model, reason }, value)
    }
    this.family('admission_rejections_created', 'gauge')
    for (const reason of Object.keys(counts)) {
      const labels = { model_name: this.model, reason }
      this.line('admission_rejections_created', labels, this.created)
    }
  }

  histogram(name: string): void {
    this.family(name, 'histogram')
    for (const { rank, labels } of this.rows) {
      for (const { suffix, labels: own, value } of rank.histograms.get(name)?.rows() ?? []) {
        this.line(`${name}${suffix}`, { ...labels, ...own }, value)
      }
    }
    this.family(`${name}_created`, 'gauge')
    for (const { labels } of this.rows) this.line(`${name}_created`, labels, this.created)
  }

  /** One gauge whose labels are the cache's configuration; it has no model name. */
  cacheConfig(config: SimNodeConfig): void {
    this.family('cache_config_info', 'gauge')
    for (const { labels } of this.rows) {
      this.line('cache_config_info', { ...cacheLabels(config), engine: labels['engine'] ?? '' }, 1)
    }
  }
}

/** Labels of vllm:cache_config_info; Python's spelling of truth and nothing. */
function cacheLabels(config: SimNodeConfig): Labels {
  const none = 'None'
  return {
    _block_size_resolved: 'True',
    block_size: String(config.blockSize),
    cache_dtype: 'auto',
    cache_hit_alignment_tokens: none,
    effective_attention_block_size: String(config.blockSize),
    enable_mamba_shared_prefix_checkpoint: 'False',
    enable_prefix_caching: 'True',
    gpu_memory_utilization: '0.92',
    hash_block_size: none,
    is_attention_free: 'False',
    kv_cache_dtype_skip_layers: '[]',
    kv_cache_layout: none,
    kv_cache_max_concurrency: number((config.blocks * config.blockSize) / config.maxModelLen),
    kv_cache_memory_bytes: none,
    kv_cache_size_tokens: String(config.blocks * config.blockSize),
    kv_offloading_backend: 'native',
    kv_offloading_size: none,
    kv_sharing_fast_prefill: 'False',
    mamba_block_size: none,
    mamba_cache_dtype: 'auto',
    mamba_cache_mode: 'none',
    mamba_page_size_padded: none,
    mamba_ssm_cache_dtype: 'auto',
    num_cpu_blocks: none,
    num_gpu_blocks: String(config.blocks),
    num_gpu_blocks_override: String(config.blocks),
    prefix_cache_retention_interval: '0',
    prefix_caching_hash_algo: 'sha256_cbor',
    prefix_match_unit: none,
    replayssm_buffer_len: '16',
    skip_page_size_padded: none,
    sliding_window: none,
    swa_bounded_replay: 'True',
    use_kda_recoverssm: 'False',
    use_replayssm: 'False',
    user_specified_block_size: 'True',
  }
}
