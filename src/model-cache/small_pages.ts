/** Says once that files lie in small pages: fragmented memory gives them without a word. */
import type { Log } from '../observe/log.ts'
import { HUGE_PAGE_BYTES, type Slot } from './slot.ts'

/** Whether most of a file lies in small pages that could lie in huge ones. */
function hasSmallPages({ hugeBytes, file: { size } }: Slot): boolean {
  return hugeBytes !== null && size >= HUGE_PAGE_BYTES && hugeBytes < size / 2
}

export class SmallPages {
  readonly #log: Log
  #isSaid = false

  constructor(log: Log) {
    this.#log = log
  }

  look(slot: Slot): void {
    if (this.#isSaid || !hasSmallPages(slot)) return
    this.#isSaid = true
    const fields = { path: slot.file.path, huge_bytes: slot.hugeBytes }
    this.#log.warn(fields, 'few huge pages are to be had: reads are about half as fast')
  }
}
