/** Figures of a run: percentiles of the right answers, errors by kind, and what was reused. */
import type { Answer } from './answer.ts'
import type { LoadRun } from './load_run.ts'

export interface Spread {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly mean: number
}

export interface Figures {
  readonly concurrency: number
  readonly requests: number
  readonly succeeded: number
  /** Number of failures by kind. */
  readonly errors: Readonly<Record<string, number>>
  /** What was said about the first failure; null: there was none. */
  readonly first_error: string | null
  readonly seconds: number
  readonly requests_per_s: number
  readonly output_tokens_per_s: number
  readonly prompt_tokens: number
  readonly output_tokens: number
  /** Share of the prompt tokens that the endpoint says came from a cache; null: it does not say. */
  readonly cached_tokens_share: number | null
  /** Times in milliseconds; null where there is nothing to measure. */
  readonly ttft_ms: Spread | null
  readonly time_per_token_ms: Spread | null
  readonly e2e_ms: Spread | null
}

function short(value: number): number {
  return Number(value.toPrecision(4))
}

/** Nearest-rank percentiles. */
export function spread(values: readonly number[]): Spread | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): number =>
    short(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN)
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), mean: short(mean) }
}

/** Time between two tokens of one answer: from the first content to the last. */
function timePerToken({ firstMs, lastMs, outputTokens }: Answer): number[] {
  if (firstMs === null || lastMs === null || outputTokens < 2) return []
  return [(lastMs - firstMs) / (outputTokens - 1)]
}

function cachedShare(answers: readonly Answer[]): number | null {
  let cached = 0
  let prompt = 0
  for (const { usage } of answers) {
    if (usage === null || usage.cachedTokens === null) continue
    cached += usage.cachedTokens
    prompt += usage.promptTokens
  }
  return prompt === 0 ? null : short(cached / prompt)
}

export function readFigures({ concurrency, answers, elapsedMs }: LoadRun): Figures {
  const right = answers.filter(({ error }) => error === null)
  const errors: Record<string, number> = {}
  for (const { error } of answers) if (error !== null) errors[error] = (errors[error] ?? 0) + 1
  const seconds = elapsedMs / 1000
  const outputTokens = right.reduce((sum, answer) => sum + answer.outputTokens, 0)
  return {
    concurrency,
    requests: answers.length,
    succeeded: right.length,
    errors,
    first_error: answers.find(({ error }) => error !== null)?.detail ?? null,
    seconds: short(seconds),
    requests_per_s: short(right.length / seconds),
    output_tokens_per_s: short(outputTokens / seconds),
    prompt_tokens: right.reduce((sum, { usage }) => sum + (usage?.promptTokens ?? 0), 0),
    output_tokens: outputTokens,
    cached_tokens_share: cachedShare(right),
    ttft_ms: spread(
      right.flatMap(({ firstMs, sentMs }) => (firstMs === null ? [] : [firstMs - sentMs])),
    ),
    time_per_token_ms: spread(right.flatMap(timePerToken)),
    e2e_ms: spread(right.map(({ endMs, sentMs }) => endMs - sentMs)),
  }
}
