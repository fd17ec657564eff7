/** Prometheus text as the Python client writes it: sorted labels, floats with their point. */

export type Labels = Readonly<Record<string, string>>

export function labelText(labels: Labels): string {
  const names = Object.keys(labels).sort()
  const pairs = names.map(name => `${name}="${escaped(labels[name] ?? '')}"`)
  return `{${pairs.join(',')}}`
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

/** A number as Python prints a float, with its exponent for large ones. */
export function number(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  if (value >= 1_000_000) {
    const [digits = '0', exponent = '0'] = value.toExponential().split('e+')
    const point = digits.includes('.') ? '' : '.0'
    return `${digits}${point}e+${exponent.padStart(2, '0')}`
  }
  return Number.isInteger(value) ? value.toFixed(1) : String(value)
}

export interface HistogramRow {
  readonly suffix: '_bucket' | '_count' | '_sum'
  readonly labels: Labels
  readonly value: number
}

export class Histogram {
  private readonly bounds: readonly number[]
  /** Observations at or below each bound and above the one before; the last has no bound. */
  private readonly counts: Float64Array
  private sum: number

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
    this.sum = 0
  }

  observe(value: number): void {
    let at = 0
    while (at < this.bounds.length && value > (this.bounds[at] ?? 0)) at++
    this.counts[at] = (this.counts[at] ?? 0) + 1
    this.sum += value
  }

  rows(): HistogramRow[] {
    const rows: HistogramRow[] = []
    let total = 0
    for (const [at, count] of this.counts.entries()) {
      total += count
      const le = number(this.bounds[at] ?? Number.POSITIVE_INFINITY)
      rows.push({ suffix: '_bucket', labels: { le }, value: total })
    }
    rows.push({ suffix: '_count', labels: {}, value: total })
    rows.push({ suffix: '_sum', labels: {}, value: this.sum })
    return rows
  }
}
