/** What an accelerated path must show: files of one folder, their bytes, and who reads them. */
export interface PlainReader {
  readonly name: string
  readonly text: string
}

export class PlainServing {
  readonly #texts = new Map<string, string>()
  readonly #readers = new Map<number, PlainReader>()

  write(name: string, text: string): void {
    this.#texts.set(name, text)
  }

  remove(name: string): void {
    this.#texts.delete(name)
  }

  names(): string[] {
    return [...this.#texts.keys()].toSorted()
  }

  /** The bytes of now, or null: ENOENT. A reader keeps what it opened. */
  open(reader: number, name: string): PlainReader | null {
    const text = this.#texts.get(name)
    if (text === undefined) return null
    const opened = { name, text }
    this.#readers.set(reader, opened)
    return opened
  }

  reading(reader: number): PlainReader | undefined {
    return this.#readers.get(reader)
  }

  close(reader: number): void {
    this.#readers.delete(reader)
  }

  /** A file that this process reads must not be evicted; any other may be, or may not. */
  mayEvict(name: string): boolean {
    return ![...this.#readers.values()].some(reader => reader.name === name)
  }
}
