/** A reader for tests: keeps what it hears, and says no when told to. */
import type { LogEnd, LogHead, LogReader } from '../../src/responses/log_reader.ts'

export class Recorder implements LogReader {
  heads: LogHead[] = []
  text = ''
  wholeEnds: number[] = []
  ends: LogEnd[] = []
  isWanting = true

  onHead(head: LogHead): void {
    this.heads.push(head)
  }

  onBytes(chunk: Uint8Array, wholeEnd: number): boolean {
    this.text += Buffer.from(chunk).toString('latin1')
    this.wholeEnds.push(wholeEnd)
    return this.isWanting
  }

  onEnd(end: LogEnd): void {
    this.ends.push(end)
  }
}

export const HEAD: LogHead = { status: 200, headers: { 'content-type': 'text/event-stream' } }

export function latin1(text: string): Uint8Array {
  return Buffer.from(text, 'latin1')
}
