/** The plain model of a response log: one string, and for each reader how far it has read. */
import { modelEvents } from './event_scanner.ts'

export interface ModelReader {
  readonly isRemote: boolean
  position: number
  /** A local reader's answer to onBytes. */
  isWanting: boolean
  isLagging: boolean
  isLive: boolean
  isCut: boolean
}

export class LogModel {
  text = ''
  isKept: boolean
  readonly bytesMax: number
  readonly lagBytesMax: number
  isEnded = false
  /** Its ids have gone: nobody on another thread gets to it any more. */
  isDiscarded = false
  wasAbandoned = false
  readonly readers: ModelReader[] = []

  constructor(isKept: boolean, bytesMax: number, lagBytesMax: number) {
    this.isKept = isKept
    this.bytesMax = bytesMax
    this.lagBytesMax = lagBytesMax
  }

  /** First position that is still held. */
  get base(): number {
    if (this.isKept) return 0
    const needed = this.#live().filter(reader => reader.isRemote || reader.isLagging)
    return Math.min(this.text.length, ...needed.map(reader => reader.position))
  }

  get isPaused(): boolean {
    const live = this.#live()
    return live.length > 0 && live.every(reader => this.#isBehind(reader))
  }

  get ends(): number[] {
    return modelEvents(this.text, this.isEnded).map(event => event.end)
  }

  append(chunk: string): void {
    if (chunk === '') return
    if (this.text.length + chunk.length > this.bytesMax) this.isKept = false
    this.text += chunk
    for (const reader of this.#live()) {
      const isStored = reader.isRemote || reader.isLagging
      if (isStored && !this.isKept && this.text.length - reader.position > this.lagBytesMax) {
        reader.isLive = false
        reader.isCut = true
      } else if (!isStored) {
        reader.position = this.text.length
        reader.isLagging = !reader.isWanting
      }
    }
    this.#noteAbandoned()
  }

  attach(isRemote: boolean, position: number): ModelReader | null {
    if (position < this.base || position > this.text.length) return null
    if (isRemote && this.isDiscarded) return null
    const isLagging = !isRemote && position < this.text.length
    const reader = { isRemote, position, isWanting: true, isLagging, isLive: true, isCut: false }
    this.readers.push(reader)
    return reader
  }

  /** A remote read of up to `size` bytes, or a local reader's ready(). */
  take(reader: ModelReader, size: number): string {
    const taken = this.text.slice(reader.position, reader.position + size)
    reader.position += taken.length
    if (reader.isWanting || taken === '') reader.isLagging = false
    return taken
  }

  /** The owner ends an unread log's time: false when somebody on another thread reads it. */
  doom(): boolean {
    if (this.#live().some(reader => reader.isRemote)) return false
    this.isDiscarded = true
    return true
  }

  leave(reader: ModelReader): void {
    reader.isLive = false
    this.#noteAbandoned()
  }

  #live(): ModelReader[] {
    return this.readers.filter(reader => reader.isLive)
  }

  #isBehind(reader: ModelReader): boolean {
    if (!reader.isRemote) return reader.isLagging
    return this.text.length - reader.position > Math.floor(this.lagBytesMax / 2)
  }

  #noteAbandoned(): void {
    if (!this.isEnded && this.readers.length > 0 && this.#live().length === 0) {
      this.wasAbandoned = true
    }
  }
}
