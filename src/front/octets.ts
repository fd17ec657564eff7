/**
 * Bytes beyond ASCII in a URL or a header, which HTTP allows (RFC 9110 section 5.5: opaque data).
 *
 *     header of the client ──uWS: UTF-8──► text ──headerOctets──► a character a byte ──► node
 *     URL of the client ──uWS: UTF-8──► text ──urlAscii──► percent-encoded ──► node
 *     header of the node ──undici──► a character a byte ──wireForm──► Buffer ──uWS──► client
 *
 * Inside the gateway a header's value has one character for each of its bytes, as `node:http` and
 * undici have it. What uWS has lost cannot be brought back: bytes that are no UTF-8 are refused,
 * and bytes beyond ASCII at either end of a header it takes for white space and cuts off.
 */
import { Buffer } from 'node:buffer'

const ODD_IN_HEADER = /[^\t\x20-\x7e]/
const ODD_IN_URL = /[^\x21-\x7e]/
const ODDS_IN_URL = /[^\x21-\x7e]+/g
/** What uWS puts in the place of bytes that are no UTF-8. */
const LOST = '\ufffd'
/** The one control character that uWS lets through. */
const DELETE = '\x7f'

/** What is wrong with a text, as in "the header x-title has …". */
export interface OddText {
  readonly fault: string
}

const NO_UTF8: OddText = { fault: 'bytes that are no UTF-8' }
const CONTROL: OddText = { fault: 'a control character' }

/** A header's value of uWS with one character a byte. */
export function headerOctets(value: string): string | OddText {
  if (!ODD_IN_HEADER.test(value)) return value
  if (value.includes(DELETE)) return CONTROL
  return value.includes(LOST) ? NO_UTF8 : Buffer.from(value, 'utf8').toString('latin1')
}

/** A part of a URL of uWS as RFC 3986 wants it: some servers close a connection on raw bytes. */
export function urlAscii(text: string): string | OddText {
  if (!ODD_IN_URL.test(text)) return text
  return text.includes(LOST) ? NO_UTF8 : text.replaceAll(ODDS_IN_URL, encodeURIComponent)
}

/** A value with one character a byte, as uWS must be given it. */
export function wireForm(value: string): string | Buffer {
  return ODD_IN_HEADER.test(value) ? Buffer.from(value, 'latin1') : value
}
