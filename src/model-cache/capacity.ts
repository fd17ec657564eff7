/**
 * How a capacity is spelled, as the model cache's users know it from elsewhere: `10G` and `10GB`
 * are 10 × 10⁹ bytes, `10Gi` and `10GiB` 10 × 2³⁰, a bare number is bytes. A bare number below
 * 1 MiB is refused, because whoever writes 20 means gigabytes.
 */

/** Bytes below which a bare number is taken for a forgotten unit. */
export const BARE_BYTES_MIN = 1024 * 1024

const POWERS = ['', 'K', 'M', 'G', 'T']

function factorOf(unit: string): number | null {
  const match = /^([KMGT]?)(i?)B?$/i.exec(unit)
  if (match === null) return null
  const power = POWERS.indexOf(match[1]!.toUpperCase())
  const isBinary = match[2] !== ''
  if (power === 0 && isBinary) return null
  return (isBinary ? 1024 : 1000) ** power
}

/** Whole bytes, or what is wrong with the text, with the remedy. */
export function parseCapacity(value: string | number): number | { readonly fault: string } {
  const text = String(value).trim()
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text)
  const factor = match === null ? null : factorOf(match[2]!)
  if (match === null || factor === null) {
    return { fault: `expected a size such as "20GiB", "20G" or 21474836480, not "${text}"` }
  }
  const bytes = Math.floor(Number(match[1]) * factor)
  if (match[2] === '' && bytes < BARE_BYTES_MIN) {
    return { fault: `${text} is ${text} bytes, less than 1 MiB: write "${text}GiB" or "${text}G"` }
  }
  if (bytes < 1 || !Number.isSafeInteger(bytes)) return { fault: `"${text}" is out of range` }
  return bytes
}

const SHOWN = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** Bytes for people: `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let step = 0
  while (value >= 1024 && step < SHOWN.length - 1) {
    value /= 1024
    step += 1
  }
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${SHOWN[step]}`
}
