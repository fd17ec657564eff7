/**
 * One descriptor of a source file for many copies at once: closed when it was retired and the last
 * copy has come back. Closing it earlier would let the kernel give its number to another file, and
 * a copy that is still on its way would read that one.
 */
import type { SourceHandle } from './source.ts'

export class SourceLease {
  readonly #handle: Promise<SourceHandle>
  #users = 0
  #isRetired = false

  constructor(handle: Promise<SourceHandle>) {
    this.#handle = handle
  }

  async use<T>(work: (handle: SourceHandle) => Promise<T>): Promise<T> {
    this.#users += 1
    try {
      return await work(await this.#handle)
    } finally {
      this.#users -= 1
      this.#closeWhenUnused()
    }
  }

  retire(): void {
    if (this.#isRetired) return
    this.#isRetired = true
    this.#closeWhenUnused()
  }

  #closeWhenUnused(): void {
    if (!this.#isRetired || this.#users > 0) return
    this.#handle.then(
      handle => handle.close(),
      // It never opened: whoever used it was told.
      () => {},
    )
  }
}
