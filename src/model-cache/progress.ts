/**
 * How far a preload is: a bar with the time left on a terminal, redrawn twice a second, nothing
 * elsewhere (the log has its own lines). The time left is that of the mean rate so far.
 *
 *   [############------------]  50 %   31.0 of 62.0 GiB   2.9 GiB/s   11 s left
 */
import { formatBytes } from './capacity.ts'

/** Milliseconds between two drawings. */
const DRAW_MS = 500

/** Characters of the bar. */
const WIDTH = 24

export interface Progressing {
  progress(): { readonly wantedBytes: number; readonly hereBytes: number }
}

/** One drawing of the bar. */
export function progressLine(hereBytes: number, wantedBytes: number, seconds: number): string {
  const share = wantedBytes === 0 ? 0 : Math.min(1, hereBytes / wantedBytes)
  const filled = Math.round(share * WIDTH)
  const bar = `[${'#'.repeat(filled)}${'-'.repeat(WIDTH - filled)}]`
  const rate = seconds > 0 ? hereBytes / seconds : 0
  const left = rate > 0 ? `${Math.ceil((wantedBytes - hereBytes) / rate)} s left` : 'starting'
  const percent = `${Math.floor(share * 100)}`.padStart(3)
  const amount = `${formatBytes(hereBytes)} of ${formatBytes(wantedBytes)}`
  return `${bar} ${percent} %   ${amount}   ${formatBytes(rate)}/s   ${left}`
}

/** Draws until `end`; does nothing where nobody looks. */
export function showProgress(from: Progressing, stream: NodeJS.WriteStream): { end(): void } {
  if (!stream.isTTY) return { end: () => {} }
  const startedMs = performance.now()
  const draw = (): void => {
    const { wantedBytes, hereBytes } = from.progress()
    const seconds = (performance.now() - startedMs) / 1000
    stream.write(`\r\x1b[2K${progressLine(hereBytes, wantedBytes, seconds)}`)
  }
  const timer = setInterval(draw, DRAW_MS)
  return {
    end: () => {
      clearInterval(timer)
      draw()
      stream.write('\n')
    },
  }
}
