/**
 * Cuts a body of server-sent events into the values of their `data:` lines, as it arrives.
 *
 *     …data: {"a":1}\n\ndata: {"b│":2}\n\n      │ end of one read
 *                             └ kept as text until the next read brings the rest
 *
 * Reads LF and CRLF. Lines other than `data:` (comments, `event:`) are skipped; an event with
 * several data lines, which no endpoint of this family sends, gives several values.
 */
import { StringDecoder } from 'node:string_decoder'

/** A line above this is no event stream: an endpoint that never ends its line must not eat us. */
const LINE_CHARACTERS_MAX = 64 << 20

export class StreamEvents {
  readonly #decoder = new StringDecoder('utf8')
  readonly #onData: (data: string) => void
  #rest = ''

  constructor(onData: (data: string) => void) {
    this.#onData = onData
  }

  feed(chunk: Buffer): void {
    const text = this.#rest + this.#decoder.write(chunk)
    let start = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      const line = text.slice(start, text[end - 1] === '\r' ? end - 1 : end)
      if (line.startsWith('data:')) this.#onData(line.slice(line[5] === ' ' ? 6 : 5))
      start = end + 1
    }
    this.#rest = text.slice(start)
    if (this.#rest.length > LINE_CHARACTERS_MAX) throw new Error('an event without an end')
  }
}
