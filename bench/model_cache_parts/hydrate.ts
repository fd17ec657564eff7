/**
 * Hydration: how long an open of an absent file waits, per byte, beside a plain copy of the same
 * file between two tmpfs with huge pages.
 *
 *     copy      cp between the two                         null   the same again
 *     source    open on a mount whose source is the first tmpfs; every chunk hashed
 *     peer      open on a mount that takes it from the other one, over loopback; hashed twice
 *
 * Memory is touched before each cell by writing and removing as much of it as the cell will need:
 * pages that the host of a virtual machine is not backing cost more than the copy itself.
 */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { median, pairedRatio, type Ratio, rounded, runRounds } from '../rounds.ts'
import { dd, MEBIBYTE, Site, seconds } from './site.ts'

export interface HydratePlan {
  readonly rounds: number
  readonly sizeMib: number
}

type Cell = number | string | Ratio

/** One byte of the file: the open waits until the whole of it is there. */
function open(file: string): void {
  execFileSync('head', ['-c1', file])
}

export async function benchHydrate(plan: HydratePlan): Promise<Record<string, Cell>> {
  const { sizeMib, rounds } = plan
  const site = new Site(sizeMib)
  try {
    const source = site.tmpfs('source', sizeMib)
    const copied = path.join(site.tmpfs('target', sizeMib), 'file')
    const file = path.join(source, 'file')
    dd('if=/dev/urandom', `of=${file}`, `count=${sizeMib / 4}`)
    const { path: first } = await site.mount(source, sizeMib)
    const { path: second } = await site.mount(
      source,
      sizeMib,
      '--peers',
      site.status(first).address,
    )
    const copy = (): number => {
      site.touch()
      const taken = seconds(() => dd(`if=${file}`, `of=${copied}`))
      rmSync(copied)
      return taken
    }
    const cells: Record<string, () => number> = {
      copy,
      source: () => {
        // Neither mount has it: the first reads the source, since the second asks nobody for it.
        site.cache('drop', second)
        site.cache('drop', first)
        site.touch()
        return seconds(() => open(path.join(first, 'file')))
      },
      peer: () => {
        open(path.join(first, 'file'))
        site.cache('drop', second)
        site.touch()
        return seconds(() => open(path.join(second, 'file')))
      },
      null: copy,
    }
    const results = await runRounds(Object.keys(cells), rounds, name => {
      const rate = (sizeMib * MEBIBYTE) / (cells[name]?.() ?? Number.NaN) / 1e9
      return Promise.resolve(rate)
    })
    const out: Record<string, Cell> = { unit: 'GB/s' }
    for (const [name, values] of results) {
      out[name] = rounded(median(values))
      if (name !== 'copy') out[`${name}_to_copy`] = pairedRatio(values, results.get('copy') ?? [])
    }
    return out
  } finally {
    await site.close()
  }
}
